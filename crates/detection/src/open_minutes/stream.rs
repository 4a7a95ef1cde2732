//! One stream: the counts of its open minutes, and which of them are closed next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Counts, partition::Partition};
use crate::{
    message::{MAX_STATUSES, MinuteCounts, StatusCount},
    minute::Minute,
    status::Status,
    stream::Stream,
};

/// A stream without a message for this long is dormant: it gets no more zeros until it is seen again.
const DORMANT_AFTER_MINUTES: i64 = 24 * 60;

/// The stored form of a stream, without its counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// The partitions that it was seen on. Where none is left, its minutes close at once.
    pub partitions: Vec<i32>,
    /// Its first minute since it was last dormant.
    pub since: Minute,
    /// Minutes before this one are closed.
    pub closed: Minute,
    /// Its newest closed minute with a message.
    pub seen: Minute,
    /// Statuses that its closed minutes named: a minute without them has zeros.
    pub statuses: Vec<Status>,
}

impl StreamState {
    /// True if no partition is left to wait for.
    pub(super) const fn is_detached(&self) -> bool {
        self.partitions.is_empty()
    }
}

/// The counts of one open minute.
#[derive(Debug, Default)]
pub(super) struct OpenMinute {
    pub(super) counts: Counts,
    /// True if they differ from what is stored.
    pub(super) changed: bool,
}

/// What is stored of a stream's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Nothing,
    /// The state before it changed.
    Before,
    Same,
}

/// A stream with its open minutes.
#[derive(Debug)]
pub(super) struct OpenStream {
    pub(super) state: StreamState,
    /// What is stored of the state.
    pub(super) stored: Stored,
    pub(super) minutes: BTreeMap<Minute, OpenMinute>,
    /// Closed minutes whose counts are still stored.
    pub(super) ended: Vec<Minute>,
    /// True if it is in the list of streams with changes.
    pub(super) listed: bool,
    dormant: bool,
}

impl OpenStream {
    pub(super) const fn restored(state: StreamState) -> Self {
        Self {
            state,
            stored: Stored::Same,
            minutes: BTreeMap::new(),
            ended: Vec::new(),
            listed: false,
            dormant: false,
        }
    }

    /// A stream that was first seen in this minute, when `horizon` was closed.
    pub(super) fn new(partition: i32, minute: Minute, horizon: Minute) -> Self {
        let state = StreamState {
            partitions: vec![partition],
            since: minute,
            closed: horizon,
            seen: minute,
            statuses: Vec::new(),
        };
        Self {
            stored: Stored::Nothing,
            ..Self::restored(state)
        }
    }

    /// The counts of an open minute, to change them.
    pub(super) fn counts_of(&mut self, minute: Minute) -> &mut Counts {
        let open = self.minutes.entry(minute).or_default();
        open.changed = true;
        &mut open.counts
    }

    /// Notes that the state differs from the stored one.
    pub(super) fn note_state(&mut self) {
        if self.stored == Stored::Same {
            self.stored = Stored::Before;
        }
    }

    /// True if it must be put into the list of streams with changes.
    pub(super) fn note_change(&mut self) -> bool {
        !std::mem::replace(&mut self.listed, true)
    }

    /// True if nothing of it needs to be remembered.
    pub(super) fn is_over(&self) -> bool {
        self.minutes.is_empty() && (self.dormant || self.state.is_detached())
    }

    /// Closes the minutes that are complete on all of its partitions. True if there were any.
    pub(super) fn close(
        &mut self,
        stream: &Stream,
        partitions: &BTreeMap<i32, Partition>,
        closed: &mut Vec<MinuteCounts>,
    ) -> bool {
        let Some(end) = self.end(partitions) else {
            return false;
        };
        if end <= self.state.closed {
            return false;
        }
        let start = self.state.closed.max(self.state.since);
        self.state.closed = end;
        self.note_state();
        for minute in self.due(start, end, partitions) {
            let counts = self.minutes.remove(&minute).map(|open| open.counts);
            match counts {
                Some(counts) => {
                    self.ended.push(minute);
                    self.see(minute, &counts);
                    closed.push(self.closed_minute(stream, minute, counts));
                }
                None if self.is_dormant(minute) => self.dormant = self.minutes.is_empty(),
                None => closed.push(self.closed_minute(stream, minute, Counts::new())),
            }
        }
        true
    }

    /// The first minute that stays open: not complete on its slowest partition, or beyond what came on any.
    fn end(&self, partitions: &BTreeMap<i32, Partition>) -> Option<Minute> {
        let of = || {
            let ids = self.state.partitions.iter();
            ids.filter_map(|id| partitions.get(id))
        };
        if self.state.is_detached() {
            return Some(self.minutes.last_key_value()?.0.plus(1));
        }
        let complete = of().map(|partition| partition.complete).min().flatten()?;
        Some(complete.min(of().filter_map(Partition::active_until).max()?))
    }

    /// The minutes from `start` to before `end` that have counts or zeros, in order.
    fn due(
        &self,
        start: Minute,
        end: Minute,
        partitions: &BTreeMap<i32, Partition>,
    ) -> Vec<Minute> {
        let mut minutes: Vec<_> = self.minutes.range(..end).map(|(at, _)| *at).collect();
        for id in &self.state.partitions {
            let zeros = partitions.get(id).map_or(&[][..], |of| &of.zeros);
            let from = zeros.partition_point(|minute| *minute < start);
            let zeros = zeros[from..].iter().take_while(|minute| **minute < end);
            minutes.extend(zeros);
        }
        minutes.sort_unstable();
        minutes.dedup();
        minutes
    }

    fn is_dormant(&self, minute: Minute) -> bool {
        minute.since(self.state.seen) > DORMANT_AFTER_MINUTES
    }

    fn see(&mut self, minute: Minute, counts: &Counts) {
        if self.is_dormant(minute) {
            self.state.statuses.clear();
        }
        self.state.seen = self.state.seen.max(minute);
        self.dormant = false;
        for StatusCount { status, .. } in counts {
            let known = &mut self.state.statuses;
            if known.len() < MAX_STATUSES && !known.contains(status) {
                known.push(status.clone());
                known.sort();
            }
        }
    }

    /// The counts with a zero for every status that the stream named before.
    fn closed_minute(&self, stream: &Stream, minute: Minute, mut counts: Counts) -> MinuteCounts {
        for status in &self.state.statuses {
            if counts.len() < MAX_STATUSES && !counts.iter().any(|named| named.status == *status) {
                let (status, count) = (status.clone(), 0);
                counts.push(StatusCount { status, count });
            }
        }
        counts.sort_by(|a, b| a.status.cmp(&b.status));
        MinuteCounts::try_new(stream.clone(), minute, counts)
            .expect("each status once, and at most MAX_STATUSES")
    }
}
