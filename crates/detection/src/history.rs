//! The newest observed minutes of one stream, with rolling sums: from it comes the baseline of any minute within reach.

use std::collections::VecDeque;

use crate::{
    baseline::{Baseline, Sums},
    batch::Minute,
    detector::Severity,
    status::MonitoredStatus,
};

/// A observed minute older than this is in no window: 6 h, so that yesterday's level never judges today.
pub const MAX_AGE_MINUTES: i64 = 360;

/// One observed minute of a stream, in the order of [`MonitoredStatus::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedMinute {
    /// Which minute.
    pub minute: Minute,
    /// The counts of the monitored statuses.
    pub counts: [u32; MonitoredStatus::COUNT],
    /// True where a batch named the status; elsewhere the count is an implied 0.
    pub named: [bool; MonitoredStatus::COUNT],
    /// The highest severity each row ever had: an alert goes out only above it.
    pub peaks: [Severity; MonitoredStatus::COUNT],
}

/// Up to `capacity` newest observed minutes in order of time, and the sums of the newest `window` of them.
#[derive(Clone, Debug)]
pub struct History {
    window: usize,
    capacity: usize,
    known: VecDeque<ObservedMinute>,
    /// Where the summed window starts in `known`; it reaches to the end.
    start: usize,
    sums: [Sums; MonitoredStatus::COUNT],
}

impl History {
    /// An empty history whose windows hold `window` observed minutes, with room to judge minutes that come `lateness_minutes` late.
    pub fn new(window: usize, lateness_minutes: usize) -> Self {
        let capacity = Self::capacity(window, lateness_minutes);
        Self {
            window,
            capacity,
            known: VecDeque::new(),
            start: 0,
            sums: Default::default(),
        }
    }

    /// How many observed minutes are kept: a whole window before the latest minute that may still be judged, and all after it.
    pub const fn capacity(window: usize, lateness_minutes: usize) -> usize {
        window + lateness_minutes + 1
    }

    /// The history of stored minutes, in any order; the newest [`History::capacity`] of them are enough.
    pub fn from_observed(
        window: usize,
        lateness_minutes: usize,
        known: impl IntoIterator<Item = ObservedMinute>,
    ) -> Self {
        let mut history = Self::new(window, lateness_minutes);
        let mut known: Vec<_> = known.into_iter().collect();
        known.sort_unstable_by_key(|known| known.minute);
        history.known = known
            .split_off(known.len().saturating_sub(history.capacity))
            .into();
        history.sum_anew();
        history
    }

    /// The newest observed minute.
    pub fn newest(&self) -> Option<&ObservedMinute> {
        self.known.back()
    }

    /// The minute's entry, if it is known and within reach.
    pub fn get(&self, minute: Minute) -> Option<&ObservedMinute> {
        self.known
            .binary_search_by_key(&minute, |known| known.minute)
            .ok()
            .map(|at| &self.known[at])
    }

    /// The baselines that judge `minute`, which must be newer than all known ones. O(1) amortised: the rolling sums serve it.
    pub(crate) fn baselines_for_next(
        &mut self,
        minute: Minute,
    ) -> [Baseline; MonitoredStatus::COUNT] {
        let oldest = minute.plus(-MAX_AGE_MINUTES);
        while self.known.len() - self.start > self.window
            || self
                .known
                .get(self.start)
                .is_some_and(|known| known.minute < oldest)
        {
            let counts = self.known[self.start].counts;
            self.sums
                .iter_mut()
                .zip(counts)
                .for_each(|(sums, count)| sums.remove(count));
            self.start += 1;
        }
        self.sums.map(|sums| sums.baseline())
    }

    /// The baseline that judges `minute`, whether known or not: over the newest observed minutes before it. O(window).
    pub fn baseline(&self, minute: Minute, status: MonitoredStatus) -> Baseline {
        let oldest = minute.plus(-MAX_AGE_MINUTES);
        let end = self.known.partition_point(|known| known.minute < minute);
        let window = self.known.range(end.saturating_sub(self.window)..end);
        let counts = window
            .filter(|known| known.minute >= oldest)
            .map(|known| known.counts[status.index()]);
        counts.collect::<Sums>().baseline()
    }

    /// True if this history alone can judge `minute`: nothing older than it holds belongs to that window.
    pub fn covers(&self, minute: Minute) -> bool {
        let before = self.known.partition_point(|known| known.minute < minute);
        let whole = self.known.len() < self.capacity;
        whole
            || before >= self.window
            || self
                .known
                .front()
                .is_some_and(|known| known.minute < minute.plus(-MAX_AGE_MINUTES))
    }

    /// Puts a minute in that is newer than all known ones.
    pub(crate) fn push(&mut self, known: ObservedMinute) {
        self.sums
            .iter_mut()
            .zip(known.counts)
            .for_each(|(sums, count)| sums.add(count));
        self.known.push_back(known);
        if self.known.len() > self.capacity {
            self.known.pop_front();
            // The window is shorter than the capacity, so it never starts at the minute that leaves.
            self.start -= 1;
        }
    }

    /// Puts an older minute in or replaces it; without effect where it lies before everything a full history holds.
    pub(crate) fn correct(&mut self, known: ObservedMinute) {
        match self
            .known
            .binary_search_by_key(&known.minute, |known| known.minute)
        {
            Ok(at) => self.known[at] = known,
            Err(0) if self.known.len() == self.capacity => return,
            Err(at) => self.known.insert(at, known),
        }
        if self.known.len() > self.capacity {
            self.known.pop_front();
        }
        self.sum_anew();
    }

    fn sum_anew(&mut self) {
        self.start = self.known.len().saturating_sub(self.window);
        self.sums = Default::default();
        for known in self.known.range(self.start..) {
            self.sums
                .iter_mut()
                .zip(known.counts)
                .for_each(|(sums, count)| sums.add(count));
        }
    }
}
