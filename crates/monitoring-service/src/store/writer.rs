//! The one writer: a thread that owns the only read-write connection and runs jobs, each in a transaction.
//!
//! Queued jobs share a commit. If it fails, each is retried alone, so that a faulty job fails no other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use detection::Stream;
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    StoreError,
    engine::{self, Sql},
    names::stream_id,
    postgres::lock::Writing,
    wal::FileWriter,
};

/// Length of the queue; when it is full, senders wait.
const QUEUE: usize = 1024;

/// Maximum jobs in one commit.
const MAX_GROUPED: usize = 64;

/// The lock of a transaction, which the instances on one PostgreSQL database share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// It runs alone.
    Exclusive,
    /// It runs beside others that also change only what belongs to partitions of their instance.
    Shared,
}

/// The open transaction of a job, and the ids of names.
pub(super) struct Transaction<'a> {
    pub(super) sql: Sql<'a>,
    pub(super) ids: &'a mut Ids,
    /// The term in which this instance leads, if it does.
    term: Option<u64>,
    /// True if a delivery is due; then the outbox is notified after the commit.
    pub(super) wakes_outbox: bool,
}

/// Ids of streams and statuses, read once. Cleared when a transaction fails, since it may have created some of them.
#[derive(Default)]
pub(super) struct Ids {
    pub(super) streams: HashMap<String, i64>,
    pub(super) statuses: HashMap<String, i64>,
}

impl Ids {
    /// The id of a stream that is stored.
    pub(super) fn stream(&self, sql: Sql<'_>, stream: &Stream) -> engine::Result<i64> {
        match self.streams.get(stream.as_str()) {
            Some(id) => Ok(*id),
            None => stream_id(sql, stream.as_str())?.ok_or(engine::Error::NoRow),
        }
    }
}

/// A job and its reply channel; the closure may run twice.
trait Job: Send {
    fn lock(&self) -> Lock;
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError>;
    fn finish(self: Box<Self>, result: Result<(), StoreError>);
}

struct Call<F, T> {
    work: F,
    lock: Lock,
    /// The term in which this instance must lead.
    term: Option<u64>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Call<F, T>
where
    F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn lock(&self) -> Lock {
        self.lock
    }

    fn run(&mut self, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
        if self.term.is_some() && self.term != transaction.term {
            return Err(StoreError::NotLeader);
        }
        self.value = Some((self.work)(transaction)?);
        Ok(())
    }

    fn finish(self: Box<Self>, result: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        // The caller may be gone; the job is done anyway.
        drop(reply.send(result.and_then(|()| value.ok_or(StoreError::Closed))));
    }
}

/// The term of the only instance on a file.
pub(super) const ONLY_TERM: u64 = 1;

/// How often a transaction that met others is run again.
const MAX_CONFLICTS: usize = 5;

/// The queue to the writer thread.
#[derive(Clone)]
pub(super) struct WriterHandle {
    jobs: mpsc::Sender<Box<dyn Job>>,
    /// The term in which this instance must lead for the jobs of this handle.
    pub(super) term: Option<u64>,
}

impl WriterHandle {
    /// Runs a job alone in a transaction and waits until it is on disk.
    pub(super) async fn call<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.call_with(Lock::Exclusive, work).await
    }

    /// The same with another lock.
    pub(super) async fn call_with<T, F>(&self, lock: Lock, work: F) -> Result<T, StoreError>
    where
        F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Call {
            work,
            lock,
            term: self.term,
            value: None,
            reply,
        });
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Hands a job to the writer without waiting, for a thread outside the async runtime.
    pub(super) fn begin<T, F>(&self, lock: Lock, work: F) -> PendingWrite<T>
    where
        F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        // If the writer is gone, the reply channel is dropped and the wait reports it.
        drop(self.jobs.blocking_send(Box::new(Call {
            work,
            lock,
            term: self.term,
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

/// What the writer writes to.
pub(super) enum Engine {
    Sqlite(FileWriter),
    Postgres(Writing),
}

impl Engine {
    /// Runs `work` in a transaction and commits it; `work` gets the term in which this instance leads. Returns true beside its value if
    /// rows were changed.
    fn transact<T>(
        &mut self,
        lock: Lock,
        work: impl FnOnce(Sql<'_>, Option<u64>) -> Result<T, StoreError>,
    ) -> Result<(T, bool), StoreError> {
        match self {
            Self::Sqlite(file) => file.transact(|sql| work(sql, Some(ONLY_TERM))),
            Self::Postgres(writing) => writing.transact(lock, work),
        }
    }

    /// True if jobs that failed together may be tried alone: nothing of them is stored, and the database answers.
    const fn may_retry(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(writing) => writing.is_connected(),
        }
    }
}

/// The writer; it needs its own thread.
pub struct Writer {
    engine: Engine,
    ids: Ids,
    jobs: mpsc::Receiver<Box<dyn Job>>,
    outbox_changed: Arc<Notify>,
    write_error: WriteError,
}

impl Writer {
    pub(super) fn new(
        engine: Engine,
        outbox_changed: Arc<Notify>,
        write_error: WriteError,
    ) -> (Self, WriterHandle) {
        let (sender, jobs) = mpsc::channel(QUEUE);
        let writer = Self {
            engine,
            ids: Ids::default(),
            jobs,
            outbox_changed,
            write_error,
        };
        let handle = WriterHandle {
            jobs: sender,
            term: None,
        };
        (writer, handle)
    }

    /// The same with other limits of the write-ahead log.
    #[cfg(test)]
    pub(super) fn limiting_wal(mut self, limits: super::wal::WalLimits) -> Self {
        if let Engine::Sqlite(file) = &mut self.engine {
            file.limits = limits;
        }
        self
    }

    /// Runs jobs until every [`super::Store`] is dropped.
    pub fn run(mut self) {
        let mut jobs = Vec::with_capacity(MAX_GROUPED);
        while self.receive(&mut jobs) > 0 {
            self.commit_all(&mut jobs);
            match &mut self.engine {
                Engine::Sqlite(file) => file.bound_wal(),
                Engine::Postgres(writing) => writing.apply(),
            }
        }
    }

    /// Waits for jobs; 0 after the last.
    fn receive(&mut self, jobs: &mut Vec<Box<dyn Job>>) -> usize {
        let Engine::Postgres(writing) = &mut self.engine else {
            return self.jobs.blocking_recv_many(jobs, MAX_GROUPED);
        };
        loop {
            let received = writing.wait(self.jobs.recv_many(jobs, MAX_GROUPED));
            if let Some(received) = received {
                return received;
            }
            writing.keep_alive();
            writing.apply();
        }
    }

    fn commit_all(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let together = self.commit(jobs);
        match together {
            Err(_) if jobs.len() > 1 && self.engine.may_retry() => {
                for mut job in jobs.drain(..) {
                    let alone = self.commit(std::slice::from_mut(&mut job));
                    job.finish(alone);
                }
            }
            result => jobs.drain(..).for_each(|job| job.finish(result.clone())),
        }
    }

    /// One transaction for these jobs. The first error drops it.
    fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(bool, bool), StoreError> {
        let is_shared = jobs.iter().all(|job| job.lock() == Lock::Shared);
        let lock = if is_shared {
            Lock::Shared
        } else {
            Lock::Exclusive
        };
        let ids = &mut self.ids;
        self.engine.transact(lock, |sql, term| {
            let mut transaction = Transaction {
                sql,
                ids,
                term,
                wakes_outbox: false,
            };
            for job in jobs {
                job.run(&mut transaction)?;
            }
            Ok(transaction.wakes_outbox)
        })
    }

    /// The same, again if it met another transaction.
    fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let mut committed = self.transact(jobs);
        for _ in 0..MAX_CONFLICTS {
            if !matches!(committed, Err(StoreError::Conflict(_))) {
                break;
            }
            self.ids = Ids::default();
            committed = self.transact(jobs);
        }
        match committed {
            Ok((wakes_outbox, changed)) => {
                // An empty transaction succeeds on a full disk, too.
                if changed {
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
}
