//! The one writer: a thread that owns the only read-write connection and runs jobs, each in a transaction.
//!
//! Jobs that wait together are committed together; if that fails, each is tried alone, so that one job's fault is not another's.

use std::collections::HashMap;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// Jobs that may wait; more make their senders wait.
const QUEUE: usize = 1024;

/// Most jobs of one commit.
const MOST_GROUPED: usize = 64;

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
}

impl Writer {
    pub(super) fn new(connection: Connection) -> (Self, WriterHandle) {
        let (sender, jobs) = mpsc::channel(QUEUE);
        (Self { connection, ids: Ids::default(), jobs }, WriterHandle(sender))
    }

    /// Works until every [`super::Store`] is gone.
    pub fn run(mut self) {
        let mut jobs = Vec::with_capacity(MOST_GROUPED);
        while self.jobs.blocking_recv_many(&mut jobs, MOST_GROUPED) > 0 {
            self.commit_all(&mut jobs);
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
