//! The database: the only door to SQLite. One writer thread, a few read-only connections that never wait for it.

mod alerts;
mod codes;
mod ingest;
mod minutes;
mod outbox;
mod queries;
mod ranges;
mod readers;
mod records;
mod schema;
mod silences;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::Notify;

pub use alerts::{AlertFilter, DeliveryRecord};
pub use ingest::{InFlightCommit, IngestCommit, OffsetAdvance, StoredOffset};
pub use minutes::{Explained, RowFilter, RowRecord};
pub use outbox::{DeliveryFilter, ListedDelivery, OutboxState, Replay};
pub use queries::{DeadLetterRecord, OffsetGapRecord, StatusVerdict, StreamRecord};
pub use ranges::{RangeVerdicts, Series, SeriesFilter, SeriesPoint, StatusTotal, Summary};
pub use records::*;
pub use silences::SilenceRecord;
pub use upkeep::Retention;
pub use writer::Writer;

use readers::{Reach, Readers, Waiter, Waiting};

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
                // It took so long that the write-ahead log grew too large meanwhile, or that nobody waits for it.
                | ErrorCode::OperationInterrupted
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
    readers: Arc<Readers>,
    outbox_changed: Notify,
}

impl Store {
    /// Opens the database at `path`, making it if there is none, and takes its lock for as long as any clone lives.
    /// The [`Writer`] must run on a thread of its own.
    pub fn open(path: &Path) -> Result<(Self, Writer), StoreError> {
        let locked = schema::lock(path)?;
        let readers = Arc::new(Readers::new(locked.path.clone()));
        let (writer, handle) = Writer::new(
            schema::open_writer(&locked)?,
            &locked.path,
            Arc::clone(&readers),
        );
        let shared = Shared {
            locked,
            readers,
            outbox_changed: Notify::new(),
        };
        Ok((
            Self {
                writer: handle,
                shared: Arc::new(shared),
            },
            writer,
        ))
    }

    /// Notified after each commit that wrote a delivery.
    pub fn outbox_changed(&self) -> &Notify {
        &self.shared.outbox_changed
    }

    /// Where the database is.
    pub fn path(&self) -> &PathBuf {
        &self.shared.locked.path
    }

    /// Runs a query that reads a page, on a thread where it may block. It is interrupted when nobody waits for it any more.
    async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.read_within(Reach::Page, query).await
    }

    /// The same for one that reads a range of any length: a few run at a time, and leave room for pages.
    async fn read_long<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.read_within(Reach::Long, query).await
    }

    async fn read_within<T, F>(&self, reach: Reach, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let readers = Arc::clone(&self.shared.readers);
        let place = readers.place(reach).await?;
        let waiter = Waiter(Waiting::default());
        let waiting = waiter.0.clone();
        let query = tokio::task::spawn_blocking(move || {
            // Kept for as long as the query runs, whether or not anybody still waits for it.
            let _place = place;
            readers.run(&waiting, query)
        });
        query
            .await
            .unwrap_or_else(|_| Err(StoreError::Broken("a query panicked".into())))
    }

    /// Runs a query on a read-only connection, on this thread.
    fn read_blocking<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.shared.readers.run(&Waiting::default(), query)
    }
}
