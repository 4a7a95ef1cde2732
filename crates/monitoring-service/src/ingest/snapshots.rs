//! The history of each stream as of its last commit, for the evaluation of submissions.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use detection::{History, Minute, Stream, detector::adaptive::AdaptiveState};

/// One stream as of its last commit.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its newest observed minutes.
    pub history: Arc<History>,
    /// What the policy `adaptive` remembers, where it alerts.
    pub adaptive: Option<Arc<AdaptiveState>>,
    /// The newest of them.
    pub newest: Minute,
    /// When that minute arrived, milliseconds since 1970.
    pub arrived_at_ms: i64,
}

/// The streams that had a commit since the start. Published after the commit, so a reader sees only stored data.
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

    /// Publishes what a commit stored.
    pub(crate) fn publish(&self, snapshots: impl IntoIterator<Item = (Stream, Snapshot)>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(snapshots);
    }
}
