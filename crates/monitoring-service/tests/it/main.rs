//! The service from outside: an in-process broker before it, a receiver of alerts behind it, its HTTP API in between.

mod alerts;
mod clients;
mod contract;
mod doors;
mod harness;
mod ingest;
mod kill;
mod lifecycle;
mod messages;
mod receivers;
mod refresh;
mod stale;
mod storage;
mod streams;
