//! The database: the only door to SQLite. One writer thread, a few read-only connections that never wait for it.

mod alerts;
mod ingest;
mod minutes;
mod outbox;
mod queries;
mod records;
mod schema;
mod silences;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Notify, Semaphore};

pub use alerts::{AlertFilter, DeliveryRecord};
pub use ingest::{IngestCommit, IngestUnderWay, OffsetAdvance, StoredOffset};
pub use minutes::{Explained, RangeVerdicts, RowFilter, RowRecord};
pub use outbox::{DeliveryFilter, ListedDelivery, OutboxState, Replay};
pub use queries::{DeadLetterRecord, GapRecord, StatusTotal, StatusVerdict, StreamRecord, Summary};
pub use records::*;
pub use silences::SilenceRecord;
pub use upkeep::Retention;
pub use writer::Writer;

/// Read-only connections at work at a time for the API; further queries wait.
const READERS: usize = 4;

/// Why the store did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// For now: the disk is full, or input and output fail. Trying again later is right.
    #[error("the database cannot be used now: {0}")]
    Unavailable(String),
    /// The stored offset is not the one the caller went on from: it must read it again.
    #[error("the stored offset of {topic}[{partition}] is not the expected one")]
    OffsetMoved {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: i32,
    },
    /// For good: the file is damaged or not ours, or a statement of ours is wrong.
    #[error("{0}")]
    Broken(String),
    /// The writer has stopped.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::ReadOnly,
            ) => Self::Unavailable(error.to_string()),
            _ => Self::Broken(format!("the database refused a statement: {error}")),
        }
    }
}

/// The stored minutes, verdicts, alerts, deliveries and offsets. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: writer::WriterHandle,
    shared: Arc<Shared>,
}

struct Shared {
    locked: schema::LockedPath,
    idle_readers: Mutex<Vec<Connection>>,
    reader_permits: Arc<Semaphore>,
    outbox_changed: Notify,
}

impl Store {
    /// Opens the database at `path`, making it if there is none, and takes its lock for as long as any clone lives.
    /// The [`Writer`] must run on a thread of its own.
    pub fn open(path: &Path) -> Result<(Self, Writer), StoreError> {
        let locked = schema::lock(path)?;
        let (writer, handle) = Writer::new(schema::open_writer(&locked)?);
        let shared = Shared {
            locked,
            idle_readers: Mutex::new(Vec::new()),
            reader_permits: Arc::new(Semaphore::new(READERS)),
            outbox_changed: Notify::new(),
        };
        Ok((Self { writer: handle, shared: Arc::new(shared) }, writer))
    }

    /// Notified after each commit that wrote a delivery.
    pub fn outbox_changed(&self) -> &Notify {
        &self.shared.outbox_changed
    }

    /// Where the database is.
    pub fn path(&self) -> &PathBuf {
        &self.shared.locked.path
    }

    /// Runs a query on a read-only connection, on a thread where it may block.
    async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let permits = Arc::clone(&self.shared.reader_permits);
        let permit = permits.acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let store = self.clone();
        let query = tokio::task::spawn_blocking(move || {
            // Kept for as long as the query runs, whether or not anybody still waits for it.
            let _permit = permit;
            store.read_blocking(query)
        });
        query.await.unwrap_or_else(|_| Err(StoreError::Broken("a query panicked".into())))
    }

    /// Runs a query on a read-only connection, on this thread.
    fn read_blocking<T>(&self, query: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = || self.shared.idle_readers.lock().unwrap_or_else(PoisonError::into_inner);
        let pooled = idle().pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => schema::open_reader(&self.shared.locked.path)?,
        };
        let result = query(&connection);
        idle().push(connection);
        result
    }
}
