//! The whole service between an embedded broker and a webhook receiver, tested through its HTTP API.

mod alerts;
mod backtest;
mod clients;
mod contract;
mod differential;
mod doors;
mod faults;
mod harness;
mod incidents;
mod ingest;
mod inputs;
mod kill;
mod lifecycle;
mod messages;
mod partitions;
#[path = "../../src/store/tests/place.rs"]
mod place;
mod policies;
mod posted;
mod program;
mod receivers;
mod refresh;
mod replicas;
mod sql;
mod stale;
mod storage;
mod streams;
mod values;
