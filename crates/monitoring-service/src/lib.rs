//! The monitoring service: consumes transaction minutes from Kafka, stores and judges them, sends alerts, answers queries.
//!
//! Start at [`app`]: it wires everything else. [`ingest`] is where a message becomes rows, findings and alerts.

pub mod alerts;
pub mod app;
pub mod clock;
pub mod config;
pub mod context;
pub mod evaluate;
pub mod ingest;
pub mod lifecycle;
pub mod liveness;
pub mod metrics;
pub mod notify;
pub mod routes;
pub mod scheduler;
pub mod store;
