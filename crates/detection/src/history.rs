//! The newest observed minutes of one stream, with rolling sums. It returns the baseline of any minute within its capacity.

use std::collections::VecDeque;

use crate::{
    baseline::{Baseline, Sums},
    finding::Severity,
    minute::Minute,
    status::MonitoredStatus,
};

/// Windows exclude minutes older than this before the evaluated one: 6 h, so that yesterday's level is not compared with today's.
pub(crate) const MAX_AGE_MINUTES: i64 = 360;

/// One observed minute of a stream, in the order of [`MonitoredStatus::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedMinute {
    /// The minute.
    pub minute: Minute,
    /// The counts of the monitored statuses.
    pub counts: [u32; MonitoredStatus::COUNT],
    /// True where a message named the status; elsewhere the count is an implied 0.
    pub named: [bool; MonitoredStatus::COUNT],
    /// The highest severity that each count ever had; it alerts only above that.
    pub peaks: [Option<Severity>; MonitoredStatus::COUNT],
}

impl ObservedMinute {
    /// A minute before any message: all zeros, none named.
    pub const fn new(minute: Minute) -> Self {
        Self {
            minute,
            counts: [0; MonitoredStatus::COUNT],
            named: [false; MonitoredStatus::COUNT],
            peaks: [None; MonitoredStatus::COUNT],
        }
    }
}

/// Up to `capacity` newest observed minutes in order of time, and the sums of the newest `window` of them.
#[derive(Clone, Debug)]
pub struct History {
    window: usize,
    capacity: usize,
    observed: VecDeque<ObservedMinute>,
    /// Index in `observed` at which the summed window starts; it extends to the end.
    start: usize,
    sums: [Sums; MonitoredStatus::COUNT],
}

impl History {
    /// An empty history with windows of `window` observed minutes and enough capacity to evaluate minutes that are
    /// `lateness_minutes` late.
    pub(crate) fn new(window: usize, lateness_minutes: usize) -> Self {
        let capacity = Self::capacity(window, lateness_minutes);
        Self {
            window,
            capacity,
            observed: VecDeque::new(),
            start: 0,
            sums: Default::default(),
        }
    }

    /// Number of observed minutes to keep: a whole window before the oldest minute that may still be evaluated, and all after it.
    pub(crate) const fn capacity(window: usize, lateness_minutes: usize) -> usize {
        window + lateness_minutes + 1
    }

    /// The history of stored minutes, in any order; the newest [`History::capacity`] of them are enough.
    pub(crate) fn from_observed(
        window: usize,
        lateness_minutes: usize,
        observed: impl IntoIterator<Item = ObservedMinute>,
    ) -> Self {
        let mut history = Self::new(window, lateness_minutes);
        let mut observed: Vec<_> = observed.into_iter().collect();
        observed.sort_unstable_by_key(|observed| observed.minute);
        history.observed = observed
            .split_off(observed.len().saturating_sub(history.capacity))
            .into();
        history.sum_again();
        history
    }

    /// The newest observed minute.
    pub fn newest(&self) -> Option<&ObservedMinute> {
        self.observed.back()
    }

    /// The minute's entry, if it was observed and is still kept.
    pub fn get(&self, minute: Minute) -> Option<&ObservedMinute> {
        self.observed
            .binary_search_by_key(&minute, |observed| observed.minute)
            .ok()
            .map(|at| &self.observed[at])
    }

    /// The baselines for `minute`, which must be newer than all observed ones. O(1) amortised, by the rolling sums.
    pub(crate) fn baselines_for_next(
        &mut self,
        minute: Minute,
    ) -> [Baseline; MonitoredStatus::COUNT] {
        self.slide_to(minute);
        self.sums.map(|sums| sums.baseline())
    }

    /// Moves the summed window to end before `minute`, which must be newer than all observed ones. Required before each push.
    pub(crate) fn slide_to(&mut self, minute: Minute) {
        let oldest = minute.plus(-MAX_AGE_MINUTES);
        while self.observed.len() - self.start > self.window
            || self
                .observed
                .get(self.start)
                .is_some_and(|observed| observed.minute < oldest)
        {
            let counts = self.observed[self.start].counts;
            self.sums
                .iter_mut()
                .zip(counts)
                .for_each(|(sums, count)| sums.remove(count));
            self.start += 1;
        }
    }

    /// The baseline for `minute`, observed or not: over the newest observed minutes before it. O(window).
    pub fn baseline(&self, minute: Minute, status: MonitoredStatus) -> Baseline {
        let oldest = minute.plus(-MAX_AGE_MINUTES);
        let end = self
            .observed
            .partition_point(|observed| observed.minute < minute);
        let window = self.observed.range(end.saturating_sub(self.window)..end);
        let counts = window
            .filter(|observed| observed.minute >= oldest)
            .map(|observed| observed.counts[status.index()]);
        counts.collect::<Sums>().baseline()
    }

    /// True if this history is enough to evaluate `minute`: its window contains no older minute than the kept ones.
    pub fn covers(&self, minute: Minute) -> bool {
        let before = self
            .observed
            .partition_point(|observed| observed.minute < minute);
        let whole = self.observed.len() < self.capacity;
        whole
            || before >= self.window
            || self
                .observed
                .front()
                .is_some_and(|observed| observed.minute < minute.plus(-MAX_AGE_MINUTES))
    }

    /// Adds a minute that is newer than all observed ones.
    pub(crate) fn push(&mut self, observed: ObservedMinute) {
        self.sums
            .iter_mut()
            .zip(observed.counts)
            .for_each(|(sums, count)| sums.add(count));
        self.observed.push_back(observed);
        if self.observed.len() > self.capacity {
            self.observed.pop_front();
            // The window is shorter than the capacity, so it never starts at the removed minute.
            self.start -= 1;
        }
    }

    /// Adds or replaces an older minute; no effect if a full history has only newer minutes.
    pub(crate) fn correct(&mut self, observed: ObservedMinute) {
        match self
            .observed
            .binary_search_by_key(&observed.minute, |observed| observed.minute)
        {
            Ok(at) => self.observed[at] = observed,
            Err(0) if self.observed.len() == self.capacity => return,
            Err(at) => self.observed.insert(at, observed),
        }
        if self.observed.len() > self.capacity {
            self.observed.pop_front();
        }
        self.sum_again();
    }

    fn sum_again(&mut self) {
        self.start = self.observed.len().saturating_sub(self.window);
        self.sums = Default::default();
        for observed in self.observed.range(self.start..) {
            self.sums
                .iter_mut()
                .zip(observed.counts)
                .for_each(|(sums, count)| sums.add(count));
        }
    }
}
