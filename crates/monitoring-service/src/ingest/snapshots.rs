//! The history of each stream as of its last commit, for the evaluation of submissions.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use detection::{History, Minute, Stream, detector::adaptive::AdaptiveState};

/// One stream as of its last commit.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Its newest observed minutes.
    pub(crate) history: Arc<History>,
    /// What the policy `adaptive` remembers, where it alerts.
    pub(crate) adaptive: Option<Arc<AdaptiveState>>,
    /// The newest of them.
    pub(crate) newest: Minute,
    /// When that minute arrived, milliseconds since 1970.
    pub(crate) arrived_at_ms: i64,
}

/// The streams that had a commit since the start. Published after the commit, so a reader sees only stored data.
#[derive(Clone, Debug)]
pub struct Snapshots {
    published: Arc<RwLock<Published>>,
    /// True if other instances also commit, so that only the store knows the newest state.
    is_shared: bool,
}

#[derive(Debug, Default)]
struct Published {
    commits: u64,
    /// Each stream with the number of its last commit.
    streams: HashMap<Stream, (u64, Snapshot)>,
}

impl Snapshots {
    /// Without any stream. `is_shared`: other instances also commit.
    pub(crate) fn new(is_shared: bool) -> Self {
        Self {
            published: Arc::default(),
            is_shared,
        }
    }

    /// The stream's snapshot; none if it had no commit since the start, or if another instance may have had one.
    pub(crate) fn get(&self, stream: &str) -> Option<Snapshot> {
        if self.is_shared {
            return None;
        }
        let published = self.read();
        published
            .streams
            .get(stream)
            .map(|(_, snapshot)| snapshot.clone())
    }

    /// How many commits were published since the start.
    pub(crate) fn commits(&self) -> u64 {
        self.read().commits
    }

    /// The streams with a commit after this one.
    pub(crate) fn changed_since(&self, commit: u64) -> Vec<String> {
        let published = self.read();
        let changed = published
            .streams
            .iter()
            .filter(|(_, (last, _))| *last > commit);
        changed.map(|(stream, _)| stream.to_string()).collect()
    }

    /// Publishes what a commit stored.
    pub(crate) fn publish(&self, snapshots: impl IntoIterator<Item = (Stream, Snapshot)>) {
        let mut published = self
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        published.commits += 1;
        let commit = published.commits;
        let snapshots = snapshots.into_iter();
        published
            .streams
            .extend(snapshots.map(|(stream, snapshot)| (stream, (commit, snapshot))));
    }

    /// Removes streams whose stored state was changed by others.
    pub(super) fn forget(&self, streams: &[Stream]) {
        let mut published = self
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        published
            .streams
            .retain(|stream, _| !streams.contains(stream));
    }

    fn read(&self) -> RwLockReadGuard<'_, Published> {
        self.published
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
