//! The one writer: a thread that owns the only read-write connection and runs jobs, each in a transaction.
//!
//! Jobs that wait together are committed together; if that fails, each is tried alone, so that one job's fault is not another's.
//!
//! SQLite starts the write-ahead log anew only at a moment without a query. Where queries leave none, the log grows, so from
//! a limit on the writer makes such a moment.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{StoreError, readers::Readers};

/// Jobs that may wait; more make their senders wait.
const QUEUE: usize = 1024;

/// Most jobs of one commit.
const MOST_GROUPED: usize = 64;

/// How long a statement waits for another program that holds the database: the default of rusqlite.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Sizes of the write-ahead log, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct WalLimits {
    /// From here on no query begins until those that run have ended and the log is empty.
    pub(super) make_way: u64,
    /// From here on those that run are interrupted.
    pub(super) interrupt: u64,
}

impl Default for WalLimits {
    fn default() -> Self {
        Self { make_way: 64 << 20, interrupt: 256 << 20 }
    }
}

/// What a job works with: the open transaction and the ids of names.
pub(super) struct Transaction<'a> {
    pub(super) sql: &'a Connection,
    pub(super) ids: &'a mut Ids,
}

/// Ids of streams and statuses, looked up once. Dropped when a transaction fails, since it may have made some of them.
#[derive(Default)]
pub(super) struct Ids {
    pub(super) streams: HashMap<String, i64>,
    pub(super) statuses: HashMap<String, i64>,
}

/// A job and the one who waits for it; the closure may run twice.
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
        // Nobody waits any more where a request was given up: the work is done all the same.
        drop(reply.send(result.and_then(|()| value.ok_or(StoreError::Closed))));
    }
}

/// The way to the writer thread.
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
        let job = Box::new(Call { work, value: None, reply });
        self.0.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Hands a job over and goes on, for a thread that is not of the async runtime.
    pub(super) fn begin<T, F>(&self, work: F) -> UnderWay<T>
    where
        F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        // Where the writer is gone the job is dropped with its reply, which is what the wait then meets.
        drop(self.0.blocking_send(Box::new(Call { work, value: None, reply })));
        UnderWay(answer)
    }
}

/// A job handed over.
pub(super) struct UnderWay<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> UnderWay<T> {
    /// Waits until the job is on disk. Blocks.
    pub(super) fn wait(self) -> Result<T, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

/// The writer itself, to be run on a thread of its own.
pub struct Writer {
    connection: Connection,
    ids: Ids,
    jobs: mpsc::Receiver<Box<dyn Job>>,
    readers: Arc<Readers>,
    wal: PathBuf,
    limits: WalLimits,
    /// By how much the limits are exceeded because another program reads the database: there is nothing to be done about it.
    excess: u64,
}

impl Writer {
    pub(super) fn new(connection: Connection, path: &Path, readers: Arc<Readers>) -> (Self, WriterHandle) {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        let (ids, limits) = (Ids::default(), WalLimits::default());
        (Self { connection, ids, jobs, readers, wal: wal.into(), limits, excess: 0 }, WriterHandle(sender))
    }

    /// The same with other limits of the write-ahead log.
    #[cfg(test)]
    pub(super) const fn limiting_wal(mut self, limits: WalLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Works until every [`super::Store`] is gone.
    pub fn run(mut self) {
        let mut jobs = Vec::with_capacity(MOST_GROUPED);
        while self.jobs.blocking_recv_many(&mut jobs, MOST_GROUPED) > 0 {
            self.commit_all(&mut jobs);
            self.bound_wal();
        }
    }

    /// Empties the write-ahead log where it has become too long. Failing is no fault: the next commit tries again.
    fn bound_wal(&mut self) {
        let length = self.wal.metadata().map_or(0, |file| file.len()).saturating_sub(self.excess);
        if length < self.limits.make_way {
            return;
        }
        let connection = &self.connection;
        let emptied = self.readers.when_quiet(length >= self.limits.interrupt, || empty_wal(connection));
        match emptied {
            // Another program reads: it must not be waited for again and again.
            Some(Ok(false) | Err(_)) => self.excess += length,
            Some(Ok(true)) => self.excess = 0,
            None => {}
        }
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
        let result = Self::try_commit(&mut self.connection, &mut self.ids, jobs);
        if result.is_err() {
            self.ids = Ids::default();
        }
        result
    }

    fn try_commit(connection: &mut Connection, ids: &mut Ids, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let sql = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for job in jobs {
            job.run(&mut Transaction { sql: &sql, ids })?;
        }
        if sql.is_autocommit() {
            return Err(StoreError::Unavailable("SQLite rolled the transaction back".into()));
        }
        Ok(sql.commit()?)
    }
}

/// True if the write-ahead log is empty now; false if another program stands in the way.
fn empty_wal(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(Duration::ZERO)?;
    let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(!busy?)
}
