//! The embedded broker as our programs use it: through `rdkafka`, an idempotent producer and a consumer that assigns its partitions itself.
//!
//! These tests speak for the fake only; what Kafka itself does is tested on a real broker.

mod clients;
mod faults;
mod retention;
// `cfg(test)` tells clippy that its helpers may unwrap as tests do.
#[cfg(test)]
mod support;
