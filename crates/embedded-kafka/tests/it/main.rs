//! The embedded broker through `rdkafka`, as our programs use it: an idempotent producer and a consumer that assigns its partitions itself.
//!
//! These tests cover the embedded broker only, not Kafka itself.

mod clients;
mod faults;
mod retention;
// `cfg(test)` lets its functions unwrap, as clippy allows in tests.
#[cfg(test)]
mod support;
