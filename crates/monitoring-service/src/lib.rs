//! The monitoring service: consumes transaction minutes from Kafka, stores and judges them, sends alerts, answers queries.
//!
//! Start at [`app`]: it wires everything else. [`ingest`] is where a message becomes rows, verdicts and alerts.

pub mod alerting;
pub mod app;
pub mod clock;
pub mod config;
pub mod evaluate;
pub mod ingest;
pub mod lifecycle;
pub mod metrics;
pub mod routes;
pub mod scheduler;
pub mod server;
pub mod state;
pub mod store;
pub mod webhook;
