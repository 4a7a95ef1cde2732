//! The whole producer against a Kafka-protocol broker in the same process.

mod command;
mod harness;
mod readme;
mod replay;
