//! What the drivers publish for others to see: committed histories, the state of the feed, signs of life. Nothing here decides.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use detection::{History, Minute, Silence, Stream};

use crate::store::{SilenceRecord, Store, StoreError};

/// One stream as of its last commit.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its newest observed minutes.
    pub history: Arc<History>,
    /// The newest of them.
    pub newest: Minute,
    /// When that minute came, milliseconds since 1970.
    pub arrived_at_ms: i64,
}

/// The streams that had a commit since the start. Published after the commit, never before, so a reader sees only what is stored.
#[derive(Clone, Debug, Default)]
pub struct Snapshots(Arc<RwLock<HashMap<Stream, Snapshot>>>);

impl Snapshots {
    /// The stream's snapshot; none if it had no commit since the start.
    pub fn get(&self, stream: &str) -> Option<Snapshot> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(stream)
            .cloned()
    }

    /// True if no stream had a commit since the start.
    pub fn is_empty(&self) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Takes over what a commit stored.
    pub(crate) fn publish(&self, snapshots: impl IntoIterator<Item = (Stream, Snapshot)>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(snapshots);
    }
}

/// The silences that people asked for, for those who decide about alerts.
#[derive(Clone, Debug, Default)]
pub struct Silences {
    known: Arc<RwLock<Arc<[SilenceRecord]>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Silences {
    /// Those in force at `now_ms`.
    pub fn in_force(&self, now_ms: i64) -> Vec<Silence> {
        let known = Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner));
        known
            .iter()
            .filter(|record| record.until_ms > now_ms)
            .map(|record| record.silence.clone())
            .collect()
    }

    /// Takes over what is stored, one at a time: what was read first must not be published last.
    pub(crate) async fn refresh(&self, store: &Store, now_ms: i64) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let stored = store.silences(now_ms).await?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = stored.into();
        Ok(())
    }
}

/// How the feed from Kafka stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// True if the brokers answer.
    pub connected: bool,
    /// Since when `connected` is what it is, milliseconds since 1970.
    pub since_ms: i64,
    /// True if partitions are assigned, so that what is sent is seen.
    pub consuming: bool,
    /// Since when `consuming` is what it is, milliseconds since 1970.
    pub consuming_since_ms: i64,
    /// True if every partition was read to its end.
    pub caught_up: bool,
    /// Partitions assigned.
    pub partitions: usize,
    /// Messages not yet read; none while unknown.
    pub lag: Option<u64>,
    /// What stands in the way, if anything does.
    pub error: Option<String>,
}

/// The state of the feed, as ingest last saw it.
#[derive(Clone, Debug)]
pub struct FeedState(Arc<Mutex<Feed>>);

impl FeedState {
    /// Not connected yet, since now.
    pub fn new(now_ms: i64) -> Self {
        Self(Arc::new(Mutex::new(Feed {
            connected: false,
            since_ms: now_ms,
            consuming: false,
            consuming_since_ms: now_ms,
            caught_up: false,
            partitions: 0,
            lag: None,
            error: None,
        })))
    }

    /// As it stands.
    pub fn get(&self) -> Feed {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn update(&self, now_ms: i64, change: impl FnOnce(&mut Feed)) {
        let mut feed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (connected, consuming) = (feed.connected, feed.consuming);
        change(&mut feed);
        if feed.connected != connected {
            feed.since_ms = now_ms;
        }
        if feed.consuming != consuming {
            feed.consuming_since_ms = now_ms;
        }
    }
}

/// A task that must show signs of life. The writer has none of its own: all three wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Kafka to store.
    Ingest,
    /// Every 30 s.
    Scheduler,
    /// Outbox to receiver.
    Delivery,
}

impl Task {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Scheduler, Self::Delivery];

    /// The name in health answers and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Scheduler => "scheduler",
            Self::Delivery => "delivery",
        }
    }
}

/// A task without a sign of life for this long is hung, milliseconds.
pub const HUNG_TIMEOUT_MS: i64 = 60_000;

/// When each task last showed a sign of life.
#[derive(Clone, Debug)]
pub struct TaskLiveness(Arc<[AtomicI64; Task::ALL.len()]>);

impl TaskLiveness {
    /// All alive now.
    pub fn new(now_ms: i64) -> Self {
        Self(Arc::new(Task::ALL.map(|_| AtomicI64::new(now_ms))))
    }

    /// A sign of life.
    pub fn report(&self, task: Task, now_ms: i64) {
        self.0[task as usize].store(now_ms, Ordering::Relaxed);
    }

    /// When each task last showed one, milliseconds since 1970: for the watchdog.
    pub fn last_reports(&self) -> [(&'static str, i64); Task::ALL.len()] {
        Task::ALL.map(|task| (task.name(), self.0[task as usize].load(Ordering::Relaxed)))
    }

    /// The task that hangs, if one does, and for how many milliseconds it has been still.
    pub fn hung(&self, now_ms: i64) -> Option<(Task, i64)> {
        let (task, still_ms) = self.longest_unreported(now_ms);
        (still_ms >= HUNG_TIMEOUT_MS).then_some((task, still_ms))
    }

    /// The task that has been still for longest, and for how many milliseconds.
    pub fn longest_unreported(&self, now_ms: i64) -> (Task, i64) {
        let still =
            Task::ALL.map(|task| (task, now_ms - self.0[task as usize].load(Ordering::Relaxed)));
        still
            .into_iter()
            .max_by_key(|(_, ms)| *ms)
            .unwrap_or((Task::Ingest, 0))
    }
}
