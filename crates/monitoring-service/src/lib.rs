//! The monitoring service: consumes minute counts from Kafka, stores and evaluates them, sends alerts, answers queries.
//!
//! Start at [`app`], which wires everything else. [`ingest`] turns a message into rows, findings and alerts.

pub mod alerts;
pub mod app;
pub mod backtest;
pub mod clock;
pub mod config;
pub mod context;
pub mod database_check;
mod evaluate;
mod group;
pub mod ingest;
pub mod lifecycle;
mod liveness;
pub mod metrics;
mod notify;
mod opening;
mod page;
mod routes;
mod scheduler;
pub mod store;
