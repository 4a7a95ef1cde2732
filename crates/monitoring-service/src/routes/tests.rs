//! Requests against the whole router, over a temporary database.

mod alerts;
mod analyze;
mod docs;
mod evaluate;
mod explain;
mod faults;
pub(crate) mod harness;
mod health;
mod incidents;
mod limits;
mod policies;
mod problems;
mod silences;
mod streams;
mod transactions;
