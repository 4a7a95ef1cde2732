//! The read-write connection to the database file, and the length of its write-ahead log.
//!
//! SQLite restarts the log only while no query runs. Under constant queries it would grow, so above a size the writer waits for a free
//! moment and, above a larger one, interrupts the queries.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, engine::Sql, files, readers::Readers};
use crate::clock::Stopwatch;

/// Time limit for a lock of another program: the default of rusqlite.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// When the writer restarts the write-ahead log.
#[derive(Clone, Copy, Debug)]
pub(super) struct WalLimits {
    /// Above this many bytes it waits for the running queries. New queries may begin; they no longer need the log.
    pub(super) restart_bytes: u64,
    /// Above this many bytes it interrupts the running queries.
    pub(super) interrupt_bytes: u64,
    /// The longest that it waits.
    pub(super) wait: Duration,
    /// Interval of the attempts, since another program may read without end.
    pub(super) retry: Duration,
}

impl Default for WalLimits {
    fn default() -> Self {
        let (wait, retry) = (Duration::from_millis(100), Duration::from_secs(1));
        Self {
            restart_bytes: 64 << 20,
            interrupt_bytes: 256 << 20,
            wait,
            retry,
        }
    }
}

/// The connection that writes to the file.
pub(super) struct FileWriter {
    connection: Connection,
    readers: Arc<Readers>,
    wal: PathBuf,
    pub(super) limits: WalLimits,
    /// Since the last try to restart the log.
    tried: Option<Stopwatch>,
}

impl FileWriter {
    pub(super) fn new(connection: Connection, path: &Path, readers: Arc<Readers>) -> Self {
        Self {
            connection,
            readers,
            wal: files::wal(path),
            limits: WalLimits::default(),
            tried: None,
        }
    }

    /// Runs `work` in a transaction and commits it. Returns true beside its value if rows were changed. After an error nothing more is
    /// run: SQLite may have rolled back by itself already, and a statement after that would commit alone.
    pub(super) fn transact<T>(
        &mut self,
        work: impl FnOnce(Sql<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, bool), StoreError> {
        let changes = self.connection.total_changes();
        let behavior = TransactionBehavior::Immediate;
        let sql = self.connection.transaction_with_behavior(behavior)?;
        let value = work(Sql::Sqlite(&sql))?;
        if sql.is_autocommit() {
            return Err(StoreError::Unavailable(
                "SQLite rolled the transaction back".into(),
            ));
        }
        sql.commit()?;
        Ok((value, self.connection.total_changes() > changes))
    }

    /// Restarts the write-ahead log if it is too long. A failure is retried later.
    pub(super) fn bound_wal(&mut self) {
        let bytes = self.wal.metadata().map_or(0, |file| file.len());
        let just_tried = self
            .tried
            .as_ref()
            .is_some_and(|tried| tried.elapsed() < self.limits.retry);
        if bytes < self.limits.restart_bytes || just_tried {
            return;
        }
        if bytes >= self.limits.interrupt_bytes {
            self.readers.interrupt();
        }
        if let Err(error) = self.empty_wal() {
            tracing::warn!(%error, bytes, "write-ahead log not restarted; retried later");
        }
        self.tried = Some(Stopwatch::start());
    }

    fn empty_wal(&self) -> rusqlite::Result<()> {
        self.connection.busy_timeout(self.limits.wait)?;
        let emptied = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        emptied
    }
}
