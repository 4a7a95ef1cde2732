//! The database, the only user of SQLite. It stores and finds and makes no decisions. One writer thread, and a few read-only
//! connections that never wait for it.

mod alerts;
mod attempts;
mod charts;
mod cooldowns;
mod dead_letters;
mod detector_states;
mod fallback;
mod files;
mod findings;
mod incidents;
mod ingest;
mod integrity;
mod minutes;
mod names;
mod offset_gaps;
mod offsets;
mod open_minutes;
mod outbox;
mod ranges;
mod read_only;
mod readers;
mod release;
mod rows;
mod schema;
mod silences;
mod skip;
mod streams;
mod summaries;
#[cfg(test)]
mod tests;
mod upkeep;
mod watermarks;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::Notify;

pub use alerts::AlertFilter;
pub(crate) use attempts::{EventDelivery, PendingOf};
pub(crate) use charts::{ChartFilter, Charts, Span};
pub(crate) use dead_letters::{DeadLetter, DeadLetterCount, DeadLetterRecord};
pub(crate) use fallback::Owed;
pub(crate) use incidents::{IncidentFilter, StoredEvent};
pub(crate) use ingest::{InFlightCommit, IngestCommit};
pub(crate) use integrity::check_database;
pub(crate) use offset_gaps::{OffsetGap, OffsetGapReason, OffsetGapRecord};
pub(crate) use offsets::{OffsetAdvance, StoredOffset};
pub(crate) use open_minutes::OpenCommit;
pub use outbox::OutboxState;
pub(crate) use outbox::{
    Attempt, Content, DeliveryFilter, DeliveryOutcome, DeliveryRecord, DeliveryState, DueDelivery,
    ListedDelivery, Replay,
};
pub(crate) use ranges::{Hole, RangeFindings, SeriesFilter, SeriesPoint, StatusTotal, Summary};
pub(crate) use read_only::{MinuteFilter, labelled_incidents, stored_minutes};
pub use rows::{Explained, RowFilter, RowRecord};
pub use skip::skip_records;
pub(crate) use streams::{NewestRow, StreamInput, StreamRecord};
pub(crate) use upkeep::Retention;
pub(crate) use writer::Writer;

use readers::{CancelOnDrop, QueryClass, Readers, Waiting};

/// The reason why the store failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Temporary: the disk is full, or input or output fails. The caller retries later.
    #[error("the database cannot be used now: {0}")]
    Unavailable(String),
    /// The stored offset is not the expected one: the caller must read it again.
    #[error("the stored offset of {topic}[{partition}] is not the expected one")]
    OffsetMoved {
        /// Which topic.
        topic: String,
        /// Which partition.
        partition: i32,
    },
    /// The stream was retired after it was loaded: the caller must load it again.
    #[error("the stream {0} was retired meanwhile")]
    StreamRetired(String),
    /// Permanent: the file is damaged or not ours, or a statement is wrong.
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
                // Interrupted: the write-ahead log grew too large, or the caller is gone.
                | ErrorCode::OperationInterrupted
                | ErrorCode::ReadOnly,
            ) => Self::Unavailable(error.to_string()),
            _ => Self::Broken(format!("the database refused a statement: {error}")),
        }
    }
}

/// The stored minutes, findings, alerts, deliveries and offsets. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: writer::WriterHandle,
    shared: Arc<Shared>,
}

struct Shared {
    locked: schema::LockedPath,
    files: files::OpenFiles,
    readers: Arc<Readers>,
    outbox_changed: Arc<Notify>,
    write_error: writer::WriteError,
    /// When all of the database was checked, milliseconds since 1970.
    checked_at_ms: OnceLock<i64>,
}

impl Store {
    /// Opens the database at `path`, creates it if there is none, and takes its lock for as long as any clone lives.
    /// The `Writer` must run on a thread of its own.
    pub fn open(path: &Path) -> Result<(Self, Writer), StoreError> {
        let locked = schema::lock(path)?;
        let readers = Arc::new(Readers::new(locked.path.clone()));
        let outbox_changed = Arc::new(Notify::new());
        let write_error = writer::WriteError::default();
        let (writer, handle) = Writer::new(
            schema::open_writer(&locked)?,
            &locked.path,
            Arc::clone(&readers),
            Arc::clone(&outbox_changed),
            write_error.clone(),
        );
        let shared = Shared {
            files: files::OpenFiles::of(&locked.path)?,
            locked,
            readers,
            outbox_changed,
            write_error,
            checked_at_ms: OnceLock::new(),
        };
        Ok((
            Self {
                writer: handle,
                shared: Arc::new(shared),
            },
            writer,
        ))
    }

    /// Notified after each commit that created or replayed a delivery.
    pub(crate) fn outbox_changed(&self) -> &Notify {
        &self.shared.outbox_changed
    }

    /// The error of the last write, until one succeeds.
    pub(crate) fn write_error(&self) -> Option<String> {
        self.shared.write_error.get()
    }

    /// Writes a row if the last write failed, so that an idle service notices when the database can be written again.
    pub(crate) async fn check_write(&self, now_ms: i64) -> Result<(), StoreError> {
        if self.write_error().is_none() {
            return Ok(());
        }
        self.writer
            .call(move |transaction| {
                transaction.sql.execute(
                    "INSERT OR REPLACE INTO write_checks VALUES (1, ?1)",
                    [now_ms],
                )?;
                Ok(())
            })
            .await
    }

    /// When all of the database was checked for damage since it was opened, milliseconds since 1970.
    pub(crate) fn checked_at_ms(&self) -> Option<i64> {
        self.shared.checked_at_ms.get().copied()
    }

    /// Notes that all of the database was checked.
    pub(crate) fn note_checked(&self, now_ms: i64) {
        self.shared.checked_at_ms.get_or_init(|| now_ms);
    }

    /// [`StoreError::Broken`] if the files of the database were deleted or replaced since they were opened.
    pub(crate) fn check_files(&self) -> Result<(), StoreError> {
        self.shared.files.check()
    }

    /// The path of the database.
    pub(crate) fn path(&self) -> &PathBuf {
        &self.shared.locked.path
    }

    /// Runs a query that reads a page, on a thread where it may block. It is interrupted when its caller is gone.
    async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.read_within(QueryClass::Page, query).await
    }

    /// The same for a range scan. At most two run, so that page queries and probes always get a connection.
    async fn scan<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.read_within(QueryClass::RangeScan, query).await
    }

    async fn read_within<T, F>(&self, class: QueryClass, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let readers = Arc::clone(&self.shared.readers);
        let permit = readers.permit(class).await?;
        let cancel = CancelOnDrop(Waiting::default());
        let waiting = cancel.0.clone();
        let query = tokio::task::spawn_blocking(move || {
            // Kept for as long as the query runs, also when its caller is gone.
            let _permit = permit;
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
