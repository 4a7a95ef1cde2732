//! The routes as a client sees them: requests against the whole router over a database of its own.

mod alerts;
mod analyze;
mod docs;
mod evaluate;
mod explain;
mod faults;
mod harness;
mod health;
mod limits;
mod problems;
mod silences;
mod streams;
mod transactions;
