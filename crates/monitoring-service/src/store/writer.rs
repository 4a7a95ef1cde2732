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

/// The open transaction of a job, and the ids of names.
pub(super) struct Transaction<'a> {
    pub(super) sql: Sql<'a>,
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

/// What the writer writes to.
pub(super) enum Engine {
    Sqlite(FileWriter),
    Postgres(Writing),
}

impl Engine {
    /// Runs `work` in a transaction and commits it. Returns true beside its value if rows were changed.
    fn transact<T>(
        &mut self,
        work: impl FnOnce(Sql<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, bool), StoreError> {
        match self {
            Self::Sqlite(file) => file.transact(work),
            Self::Postgres(writing) => writing.transact(work),
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
        (writer, WriterHandle(sender))
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
    ///
    /// # Errors
    /// [`StoreError::Broken`] if another instance has taken over the database.
    pub fn run(mut self) -> Result<(), StoreError> {
        let mut jobs = Vec::with_capacity(MAX_GROUPED);
        while self.receive(&mut jobs)? > 0 {
            self.commit_all(&mut jobs);
            match &mut self.engine {
                Engine::Sqlite(file) => file.bound_wal(),
                Engine::Postgres(writing) => writing.check()?,
            }
        }
        Ok(())
    }

    /// Waits for jobs; 0 after the last.
    fn receive(&mut self, jobs: &mut Vec<Box<dyn Job>>) -> Result<usize, StoreError> {
        let Engine::Postgres(writing) = &mut self.engine else {
            return Ok(self.jobs.blocking_recv_many(jobs, MAX_GROUPED));
        };
        loop {
            let received = writing.wait(self.jobs.recv_many(jobs, MAX_GROUPED));
            if let Some(received) = received {
                return Ok(received);
            }
            writing.keep_alive();
            writing.check()?;
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
    fn commit(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let ids = &mut self.ids;
        let committed = self.engine.transact(|sql| {
            let mut transaction = Transaction {
                sql,
                ids,
                wakes_outbox: false,
            };
            for job in jobs {
                job.run(&mut transaction)?;
            }
            Ok(transaction.wakes_outbox)
        });
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
