//! The routes as a client sees them: requests against the whole router over a database of its own.

mod analyze;
mod docs;
mod evaluate;
mod harness;
mod minutes;
mod problems;
mod reading;
mod silences;
