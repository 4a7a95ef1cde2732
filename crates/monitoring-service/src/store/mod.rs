//! The database, the only user of SQLite and PostgreSQL. It stores and finds and makes no decisions. One writer thread, and a few
//! read-only connections that never wait for it.

mod alerts;
mod attempts;
mod charts;
mod cooldowns;
mod copy;
mod dead_letters;
mod detector_states;
mod engine;
mod fallback;
mod files;
mod findings;
mod incidents;
mod ingest;
mod integrity;
mod minutes;
mod names;
mod newest;
mod offset_gaps;
mod offsets;
mod open_minutes;
mod outbox;
mod partition_state;
mod postgres;
mod ranges;
mod read_only;
mod readers;
mod release;
mod restore;
mod retirement;
mod rows;
mod schema;
mod silences;
mod skip;
mod sqlite;
mod stale;
mod streams;
mod summaries;
#[cfg(test)]
pub(crate) mod tests;
mod upkeep;
mod upserts;
mod wal;
mod watermarks;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rusqlite::ErrorCode;
use tokio::sync::{Notify, watch};

pub use alerts::AlertFilter;
pub(crate) use attempts::{EventDelivery, PendingOf};
pub(crate) use charts::{ChartFilter, Charts, Span};
pub use copy::{CopiedTable, copy_database};
pub(crate) use dead_letters::{DeadLetter, DeadLetterCount, DeadLetterRecord};
pub(crate) use fallback::Owed;
pub(crate) use incidents::{IncidentFilter, StoredEvent};
pub(crate) use ingest::{InFlightCommit, IngestCommit};
pub(crate) use integrity::check_database;
pub(crate) use newest::Newest;
pub(crate) use offset_gaps::{OffsetGap, OffsetGapReason, OffsetGapRecord};
pub(crate) use offsets::{OffsetAdvance, StoredOffset};
pub(crate) use open_minutes::OpenCommit;
pub use outbox::OutboxState;
pub(crate) use outbox::{
    Attempt, Content, DeliveryFilter, DeliveryOutcome, DeliveryRecord, DeliveryState, DueDelivery,
    ListedDelivery, Replay,
};
pub(crate) use partition_state::PartitionRecord;
pub use postgres::PostgresUrl;
pub(crate) use ranges::{Hole, RangeFindings, SeriesFilter, SeriesPoint, StatusTotal, Summary};
pub(crate) use read_only::{MinuteFilter, labelled_incidents, stored_minutes};
pub use rows::{Explained, RowFilter, RowRecord};
pub use skip::skip_records;
pub(crate) use streams::{NewestRow, StreamInput, StreamRecord};
pub(crate) use upkeep::Retention;
pub(crate) use writer::Writer;

use engine::{Sql, params};
use postgres::{Server, lock::Writing};
use readers::{CancelOnDrop, QueryClass, Readers, Waiting};
use wal::FileWriter;
use writer::{Engine, ONLY_TERM};

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
    /// Another instance, or a request, has changed this meanwhile: the caller must read it again.
    #[error("{0} was changed meanwhile")]
    Outdated(String),
    /// The transaction met another one, again and again: the caller retries later.
    #[error("the database cannot be used now: {0}")]
    Conflict(String),
    /// This instance does not lead (any more): another one does the work.
    #[error("another instance leads")]
    NotLeader,
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

impl StoreError {
    /// True if nothing failed: what was read must be read again, since others have changed it.
    pub(crate) const fn is_outdated(&self) -> bool {
        matches!(self, Self::Outdated(_) | Self::StreamRetired(_))
    }

    /// True if another instance may have read the partition on.
    pub(crate) const fn is_offset_moved(&self) -> bool {
        matches!(self, Self::OffsetMoved { .. })
    }
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

/// The address of a database: a file of SQLite, or a database of PostgreSQL. Shown without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseAddress {
    /// A file.
    File(PathBuf),
    /// PostgreSQL.
    Postgres(PostgresUrl),
}

impl DatabaseAddress {
    /// A file, or an address that begins with `postgres`; the error does not repeat it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return PostgresUrl::parse(text).map(Self::Postgres);
        }
        Ok(Self::File(text.into()))
    }
}

impl fmt::Display for DatabaseAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

/// Where the data is.
#[derive(Clone)]
enum Database {
    /// The file at this path.
    File(PathBuf),
    /// PostgreSQL.
    Server(Arc<Server>),
}

struct Shared {
    /// The open files of SQLite.
    files: Option<(sqlite::LockedPath, files::OpenFiles)>,
    readers: Arc<Readers>,
    outbox_changed: Arc<Notify>,
    write_error: writer::WriteError,
    /// The term in which this instance leads, if it does.
    leading: watch::Receiver<Option<u64>>,
    /// When all of the database was checked, milliseconds since 1970.
    checked_at_ms: OnceLock<i64>,
}

impl Store {
    /// Opens the database at `path`, creates it if there is none, and takes its lock for as long as any clone lives.
    /// The `Writer` must run on a thread of its own.
    pub fn open(path: &Path) -> Result<(Self, Writer), StoreError> {
        let locked = sqlite::lock(path)?;
        let readers = Arc::new(Readers::new(Database::File(locked.path.clone())));
        let connection = sqlite::open_writer(&locked)?;
        let writer = FileWriter::new(connection, path, Arc::clone(&readers));
        let files = files::OpenFiles::of(path)?;
        let engine = Engine::Sqlite(writer);
        let leading = watch::channel(Some(ONLY_TERM)).1;
        Ok(Self::with(engine, readers, leading, Some((locked, files))))
    }

    /// Opens the database at `url`, which other instances may use, too, and creates the tables if there are none. Blocks for some seconds at
    /// most.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the server cannot be reached: try again.
    pub fn connect(url: PostgresUrl) -> Result<(Self, Writer), StoreError> {
        let server = Server::new(url)?;
        let writing = Writing::open(Arc::clone(&server))?;
        let readers = Arc::new(Readers::new(Database::Server(server)));
        let leading = writing.leading();
        Ok(Self::with(
            Engine::Postgres(writing),
            readers,
            leading,
            None,
        ))
    }

    fn with(
        engine: Engine,
        readers: Arc<Readers>,
        leading: watch::Receiver<Option<u64>>,
        files: Option<(sqlite::LockedPath, files::OpenFiles)>,
    ) -> (Self, Writer) {
        let outbox_changed = Arc::new(Notify::new());
        let write_error = writer::WriteError::default();
        let (writer, handle) =
            Writer::new(engine, Arc::clone(&outbox_changed), write_error.clone());
        let shared = Shared {
            files,
            readers,
            outbox_changed,
            write_error,
            leading,
            checked_at_ms: OnceLock::new(),
        };
        let store = Self {
            writer: handle,
            shared: Arc::new(shared),
        };
        (store, writer)
    }

    /// True if other instances may use the database, too.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.files.is_none()
    }

    /// The store for what one instance does for all, if this one leads. What it writes is refused with [`StoreError::NotLeader`] once another
    /// instance has led.
    pub(crate) fn as_leader(&self) -> Option<Self> {
        let term = *self.shared.leading.borrow();
        term.map(|term| self.of_term(term))
    }

    /// Waits until this instance leads.
    pub(crate) async fn lead(&self) -> Result<Self, StoreError> {
        let mut leading = self.shared.leading.clone();
        let term = leading.wait_for(Option::is_some).await;
        let term = term.ok().and_then(|term| *term);
        term.map(|term| self.of_term(term))
            .ok_or(StoreError::Closed)
    }

    fn of_term(&self, term: u64) -> Self {
        let mut store = self.clone();
        store.writer.term = Some(term);
        store
    }

    /// Notified after each commit of this instance that created or replayed a delivery.
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
                const CHECK: &str = "INSERT INTO write_checks (id, at_ms) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET at_ms = excluded.at_ms";
                transaction
                    .sql
                    .prepare_cached(CHECK)?
                    .execute(params![now_ms])?;
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
        let files = self.shared.files.as_ref();
        files.map_or(Ok(()), |(_, files)| files.check())
    }

    /// The path of the database file, if it is one.
    fn path(&self) -> Option<&PathBuf> {
        let files = self.shared.files.as_ref();
        files.map(|(locked, _)| &locked.path)
    }

    /// Runs a query that reads a page, on a thread where it may block. It is interrupted when its caller is gone.
    async fn read<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(Sql<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.read_within(QueryClass::Page, query).await
    }

    /// The same for a range scan. At most two run, so that page queries and probes always get a connection.
    async fn scan<T, F>(&self, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(Sql<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.read_within(QueryClass::RangeScan, query).await
    }

    async fn read_within<T, F>(&self, class: QueryClass, query: F) -> Result<T, StoreError>
    where
        F: FnOnce(Sql<'_>) -> Result<T, StoreError> + Send + 'static,
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
        query: impl FnOnce(Sql<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.shared.readers.run(&Waiting::default(), query)
    }
}
