//! The state of each receiver, shared with `/health`: does it accept deliveries, and since when does it not. The back-off belongs to the
//! receiver: while it fails, one delivery at a time is attempted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::alerts::Fallback;

/// Interval of the log line of a receiver that fails, milliseconds.
const REPORT_INTERVAL_MS: i64 = 60_000;

/// The state of a receiver that did not accept the latest attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    /// Since when, milliseconds since 1970.
    pub(crate) since_ms: i64,
    /// Failed attempts in a row.
    pub(crate) attempts: u32,
    /// When it is tried next, milliseconds since 1970.
    pub(crate) retry_at_ms: i64,
    /// The last error.
    pub(crate) error: String,
    reported_at_ms: i64,
}

/// May a delivery be attempted?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Several at a time.
    Open,
    /// One, to see whether the receiver accepts deliveries again.
    Probe,
    /// Not before this time, milliseconds since 1970.
    ClosedUntil(i64),
}

/// The receivers of the settings. A clone shares their state.
#[derive(Clone, Debug, Default)]
pub struct ReceiverBoard {
    receivers: Arc<Mutex<BTreeMap<String, Option<Failing>>>>,
}

impl ReceiverBoard {
    /// A board of these receivers, none of which fails.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let receivers = names.into_iter().map(|name| (name, None));
        Self {
            receivers: Arc::new(Mutex::new(receivers.collect())),
        }
    }

    /// Each receiver by name, with its failure.
    pub(crate) fn all(&self) -> Vec<(String, Option<Failing>)> {
        let receivers = self.lock();
        let pairs = receivers.iter();
        pairs
            .map(|(name, failing)| (name.clone(), failing.clone()))
            .collect()
    }

    /// The receivers that a fallback stands in for, each with the time since when it fails, milliseconds since 1970.
    pub(crate) fn replaced_by(&self, fallback: &Fallback, now_ms: i64) -> Vec<(String, i64)> {
        let receivers = self.lock();
        let others = receivers
            .iter()
            .filter(|(name, _)| **name != fallback.receiver);
        let failing = others.filter_map(|(name, failing)| {
            let since_ms = failing.as_ref()?.since_ms;
            (now_ms - since_ms >= fallback.after_ms).then(|| (name.clone(), since_ms))
        });
        failing.collect()
    }

    pub(super) fn gate(&self, name: &str, now_ms: i64) -> Gate {
        match self.lock().get(name) {
            Some(Some(failing)) if now_ms < failing.retry_at_ms => {
                Gate::ClosedUntil(failing.retry_at_ms)
            }
            Some(Some(_)) => Gate::Probe,
            Some(None) | None => Gate::Open,
        }
    }

    /// Failed attempts in a row.
    pub(super) fn failures(&self, name: &str) -> u32 {
        let receivers = self.lock();
        let failing = receivers.get(name).and_then(Option::as_ref);
        failing.map_or(0, |failing| failing.attempts)
    }

    /// Records a failed attempt that began after `earlier` failed ones in a row: those that were in flight together count as one, and the
    /// longest of their waits applies. Returns the failure if it is to be logged: the first one, then one a minute.
    pub(crate) fn failed(
        &self,
        name: &str,
        earlier: u32,
        error: String,
        retry_at_ms: i64,
        now_ms: i64,
    ) -> Option<Failing> {
        let mut receivers = self.lock();
        let state = receivers.entry(name.to_owned()).or_default();
        let is_new = state.is_none();
        let failing = state.get_or_insert_with(|| Failing {
            since_ms: now_ms,
            attempts: 0,
            retry_at_ms,
            error: String::new(),
            reported_at_ms: now_ms,
        });
        failing.attempts = failing.attempts.max(earlier.saturating_add(1));
        failing.error = error;
        failing.retry_at_ms = failing.retry_at_ms.max(retry_at_ms);
        if !is_new && now_ms - failing.reported_at_ms < REPORT_INTERVAL_MS {
            return None;
        }
        failing.reported_at_ms = now_ms;
        Some(failing.clone())
    }

    /// Records an accepted delivery. Returns the failure that it ended.
    pub(crate) fn accepted(&self, name: &str) -> Option<Failing> {
        self.lock().get_mut(name).and_then(Option::take)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<Failing>>> {
        self.receivers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_fails_is_probed_and_reported_once_a_minute() {
        let board = ReceiverBoard::new(["a", "b"].map(ToOwned::to_owned));
        assert_eq!(board.gate("a", 0), Gate::Open);
        let failed = |now_ms| {
            let earlier = board.failures("a");
            board.failed("a", earlier, "refused".to_owned(), now_ms + 5, now_ms)
        };
        assert_eq!(failed(0).map(|failing| failing.attempts), Some(1));
        assert_eq!(board.gate("a", 4), Gate::ClosedUntil(5));
        assert_eq!(
            (board.gate("a", 5), board.gate("b", 4)),
            (Gate::Probe, Gate::Open)
        );
        assert_eq!(failed(59_999), None);
        assert_eq!(failed(60_000).map(|failing| failing.attempts), Some(3));
        let ended = board.accepted("a").expect("it failed");
        assert_eq!((ended.since_ms, board.gate("a", 60_000)), (0, Gate::Open));
        assert_eq!(board.accepted("a"), None);
    }

    #[test]
    fn attempts_that_were_in_flight_together_count_once() {
        let board = ReceiverBoard::new(["a".to_owned()]);
        for retry_at_ms in [30, 60, 45] {
            board.failed("a", 0, "no answer".to_owned(), retry_at_ms, 0);
        }
        assert_eq!(
            (board.failures("a"), board.gate("a", 59)),
            (1, Gate::ClosedUntil(60))
        );
        board.failed("a", 1, "no answer".to_owned(), 90, 60);
        // One of the first four had to wait longer for its failure.
        board.failed("a", 0, "no answer".to_owned(), 70, 61);
        assert_eq!(
            (board.failures("a"), board.gate("a", 62)),
            (2, Gate::ClosedUntil(90))
        );
    }

    #[test]
    fn a_fallback_stands_in_after_its_time_and_not_for_itself() {
        let board = ReceiverBoard::new(["a", "b", "spare"].map(ToOwned::to_owned));
        let fallback = Fallback {
            receiver: "spare".to_owned(),
            after_ms: 300_000,
            acknowledgements: false,
        };
        for (name, now_ms) in [("a", 0), ("b", 1), ("spare", 0)] {
            board.failed(name, 0, String::new(), 0, now_ms);
        }
        let replaced = |now_ms| board.replaced_by(&fallback, now_ms);
        assert_eq!(replaced(299_999), []);
        assert_eq!(replaced(300_000), [("a".to_owned(), 0)]);
        board.accepted("a");
        assert_eq!(replaced(300_001), [("b".to_owned(), 1)]);
    }
}
