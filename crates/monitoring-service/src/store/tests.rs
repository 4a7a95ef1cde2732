//! The store alone. Each file is about one thing that it stores or promises; here is what they share.

mod alerts;
mod both_policies;
mod copy;
mod failures;
mod incident_releases;
mod incidents;
mod indexes;
mod integrity;
mod minutes;
mod opening;
mod outbox_events;
pub(crate) mod place;
mod postgres;
mod readers;
mod retirement;
mod upkeep;

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use detection::{
    Minute, MinuteCounts, Monitor, MonitorSettings, MonitoredStatus, Observed, Raised, StatusCount,
    Stream,
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    DatabaseAddress, IngestCommit, Store, StoreError, Writer,
    engine::{self, Row, params},
    writer::{Lock, Transaction},
};
use crate::alerts::{Alert, NotifyPolicy};

const MINUTE_MS: i64 = 60_000;

static NOTIFY: LazyLock<NotifyPolicy> = LazyLock::new(|| NotifyPolicy::with_default_receiver(None));

/// A store whose place is this path: a file, or a schema of the server.
pub(crate) fn open_at(path: &Path) -> (Store, Writer) {
    match address_of(path) {
        DatabaseAddress::File(path) => Store::open(&path).expect("a usable database"),
        DatabaseAddress::Postgres(url) => Store::connect(url).expect("a usable database"),
    }
}

fn address_of(path: &Path) -> DatabaseAddress {
    match place::address(path) {
        None => DatabaseAddress::File(path.to_owned()),
        Some(url) => DatabaseAddress::parse(&url).expect("an address"),
    }
}

/// A store in a temporary folder, with its writer on a thread.
fn open() -> (Store, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, writer) = open_at(&folder.path().join("test.db"));
    std::thread::spawn(move || writer.run());
    (store, folder)
}

/// The same in a file, for what only SQLite has.
fn open_file() -> (Store, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, writer) = Store::open(&folder.path().join("test.db")).expect("a new database");
    std::thread::spawn(move || writer.run());
    (store, folder)
}

fn counts(minute: i64, named: &[(MonitoredStatus, u32)]) -> MinuteCounts {
    let named = named.iter().map(|&(status, count)| StatusCount {
        status: status.into(),
        count,
    });
    let minute = Minute::from_epoch_minutes(minute);
    MinuteCounts::try_new(Stream::default(), minute, named.collect()).expect("no status twice")
}

fn commit(store: &Store, observed: Vec<Observed>, now_ms: i64) {
    let alerts = observed.iter().flat_map(|observed| observed.alerts.clone());
    let record = |raised: Raised| Alert::of_stream(raised, &NOTIFY, now_ms);
    let commit = IngestCommit {
        alerts: alerts.map(record).collect(),
        observed,
        now_ms,
        ..IngestCommit::default()
    };
    store
        .begin_ingest(&Arc::new(commit))
        .wait()
        .expect("committed");
}

/// Approvals for `minutes` minutes, and failures in the last.
fn fill(store: &Store, minutes: i64) -> Monitor {
    let mut monitor = Monitor::new(MonitorSettings::default());
    let usual = (0..minutes - 1).map(|minute| {
        counts(
            minute,
            &[(MonitoredStatus::Approved, 100 + u32::from(minute % 2 == 0))],
        )
    });
    let last = counts(
        minutes - 1,
        &[
            (MonitoredStatus::Approved, 100),
            (MonitoredStatus::Failed, 7),
        ],
    );
    let judged = usual
        .chain([last])
        .map(|counts| monitor.observe(counts, &[]))
        .collect();
    commit(store, judged, minutes * MINUTE_MS);
    monitor
}

/// Waits for a query on a thread without a runtime, like that of ingest.
fn wait<T>(query: impl Future<Output = Result<T, StoreError>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(query).expect("readable")
}

/// A second connection to the file.
fn raw(store: &Store) -> Connection {
    Connection::open(path(store)).expect("a second connection")
}

fn path(store: &Store) -> &Path {
    store.path().expect("a file")
}

/// The first row of a query, on either engine.
fn row<T: Send + 'static>(
    store: &Store,
    query: &'static str,
    read: impl FnOnce(&Row<'_>) -> engine::Result<T> + Send + 'static,
) -> T {
    let row = store.read(move |sql| Ok(sql.prepare_cached(query)?.query_row(params![], read)?));
    wait(row)
}

/// Changes the database as a job of the store would.
fn execute(store: &Store, statement: &'static str) {
    let run = move |transaction: &mut Transaction<'_>| {
        Ok(transaction
            .sql
            .prepare_cached(statement)?
            .execute(params![])?)
    };
    store
        .writer
        .begin(Lock::Exclusive, run)
        .wait()
        .expect("executed");
}
