//! The one writer: a thread that owns the only read-write connection and runs jobs, each in a transaction.
//!
//! Queued jobs share a commit. If it fails, each is retried alone, so that a faulty job fails no other.
//!
//! SQLite restarts the write-ahead log only while no query runs. Under constant queries the log would grow, so above a size the writer
//! waits for a free moment and, above a larger one, interrupts the queries.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{StoreError, files, readers::Readers};
use crate::clock::Stopwatch;

/// Length of the queue; when it is full, senders wait.
const QUEUE: usize = 1024;

/// Maximum jobs in one commit.
const MAX_GROUPED: usize = 64;

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

/// The open transaction of a job, and the ids of names.
pub(super) struct Transaction<'a> {
    pub(super) sql: &'a Connection,
    pub(super) ids: &'a mut Ids,
    /// True if a delivery is due; then the outbox is notified after the commit.
    pub(super) wakes_outbox: bool,
}

/// Ids of streams and statuses, read once. Cleared when a transaction fails, since it may have created some of them.
#[derive(Default)]
pub(super) struct Ids {
    pub(super) streams: HashMap<String, i64>,
    pub(super) statuses: HashMap<String, i64>,
}

/// A job and its reply channel; the closure may run twice.
trait Job: Send {
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError>;
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

struct Call<F, T> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Call<F, T>
where
    F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        self.value = Some((self.work)(transaction)?);
        Ok(())
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        // The caller may be gone; the job is done anyway.
        drop(reply.send(result.and_then(|()| value.ok_or(StoreError::Closed))));
    }
}

/// The queue to the writer thread.
#[derive(Clone)]
pub(super) struct WriterHandle(mpsc::Sender<Box<dyn Job>>);

impl WriterHandle {
    /// Runs a job in a transaction and waits until it is on disk.
    pub(super) async fn call<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Call {
            work,
            value: None,
            reply,
        });
        self.0.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Hands a job to the writer without waiting, for a thread outside the async runtime.
    pub(super) fn begin<T, F>(&self, work: F) -> PendingWrite<T>
    where
        F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        // If the writer is gone, the reply channel is dropped and the wait reports it.
        drop(self.0.blocking_send(Box::new(Call {
            work,
            value: None,
            reply,
        })));
        PendingWrite(answer)
    }
}

/// A job handed to the writer.
pub(super) struct PendingWrite<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> PendingWrite<T> {
    /// True once the writer has answered; never if it is gone.
    pub(super) fn is_done(&self) -> bool {
        !self.0.is_empty()
    }

    /// Waits until the job is on disk. Blocks.
    pub(super) fn wait(self) -> Result<T, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

/// The error of the last write, until one succeeds. A clone shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteError(Arc<Mutex<Option<String>>>);

impl WriteError {
    pub(super) fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, error: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// The writer; it needs its own thread.
pub struct Writer {
    connection: Connection,
    ids: Ids,
    jobs: mpsc::Receiver<Box<dyn Job>>,
    readers: Arc<Readers>,
    outbox_changed: Arc<Notify>,
    write_error: WriteError,
    wal: PathBuf,
    limits: WalLimits,
    /// Since the last try to restart the log.
    tried: Option<Stopwatch>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        path: &Path,
        readers: Arc<Readers>,
        outbox_changed: Arc<Notify>,
        write_error: WriteError,
    ) -> (Self, WriterHandle) {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let (ids, limits) = (Ids::default(), WalLimits::default());
        (
            Self {
                connection,
                ids,
                jobs,
                readers,
                outbox_changed,
                write_error,
                wal: files::wal(path),
                limits,
                tried: None,
            },
            WriterHandle(sender),
        )
    }

    /// The same with other limits of the write-ahead log.
    #[cfg(test)]
    pub(super) const fn limiting_wal(mut self, limits: WalLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Runs jobs until every [`super::Store`] is dropped.
    pub fn run(mut self) {
        let mut jobs = Vec::with_capacity(MAX_GROUPED);
        while self.jobs.blocking_recv_many(&mut jobs, MAX_GROUPED) > 0 {
            self.commit_all(&mut jobs);
            self.bound_wal();
        }
    }

    /// Restarts the write-ahead log if it is too long. A failure is retried later.
    fn bound_wal(&mut self) {
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

    fn commit_all(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let together = self.commit(jobs);
        match together {
            Err(_) if jobs.len() > 1 => {
                for mut job in jobs.drain(..) {
                    let alone = self.commit(std::slice::from_mut(&mut job));
                    job.finish(alone);
                }
            }
            result => jobs.drain(..).for_each(|job| job.finish(result.clone())),
        }
    }

    /// One transaction for these jobs. The first error drops it: SQLite may have rolled back by itself already, and a
    /// statement after that would commit alone.
    fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let changes = self.connection.total_changes();
        match Self::try_commit(&mut self.connection, &mut self.ids, jobs) {
            Ok(wakes_outbox) => {
                // An empty transaction succeeds on a full disk, too.
                if self.connection.total_changes() > changes {
                    self.write_error.set(None);
                }
                if wakes_outbox {
                    self.outbox_changed.notify_one();
                }
                Ok(())
            }
            Err(error) => {
                self.ids = Ids::default();
                if let StoreError::Unavailable(_) | StoreError::Broken(_) = &error {
                    self.write_error.set(Some(error.to_string()));
                }
                Err(error)
            }
        }
    }

    fn try_commit(
        connection: &mut Connection,
        ids: &mut Ids,
        jobs: &mut [Box<dyn Job>],
    ) -> Result<bool, StoreError> {
        let sql = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut transaction = Transaction {
            sql: &sql,
            ids,
            wakes_outbox: false,
        };
        for job in jobs {
            job.run(&mut transaction)?;
        }
        let wakes_outbox = transaction.wakes_outbox;
        if sql.is_autocommit() {
            return Err(StoreError::Unavailable(
                "SQLite rolled the transaction back".into(),
            ));
        }
        sql.commit()?;
        Ok(wakes_outbox)
    }
}
