//! The monitoring service: consumes minute counts from Kafka, stores and evaluates them, sends alerts, answers queries.
//!
//! Start at [`app`], which wires everything else. [`ingest`] turns a message into rows, findings and alerts.

pub mod alerts;
pub mod app;
pub mod backtest;
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
