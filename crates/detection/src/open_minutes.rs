//! Counts that still grow, and when a minute is closed: single transactions and growing totals become the counts of closed minutes.
//!
//! A minute closes when the newest event time read from its partition has passed its end by [`Settings::close_after_ms`]. So a replay
//! closes what a live run closes, for any order of the transactions within that bound. Only where a partition was read to its end
//! does the wall clock, an argument, close its newest minute too, later by the delay of the newest message.
//!
//! A zero is a fact here: when a minute closes, every stream of the partition has it, because the feed was alive. A partition without
//! any message for [`Settings::max_pause_minutes`] or longer is stale, and its minutes are unknown.

mod partition;
mod stored;
mod stream;

use std::collections::{BTreeMap, HashMap};

use self::{partition::Partition, stream::OpenStream};
pub use self::{
    partition::PartitionState,
    stored::{OpenChanges, StoredOpenMinutes, StreamChange},
    stream::StreamState,
};
use crate::{
    message::{MAX_STATUSES, MinuteCounts, StatusCount, TransactionsError},
    minute::Minute,
    status::Status,
    stream::Stream,
};

const MINUTE_MS: i64 = 60_000;

/// When minutes close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A minute is closed this long after its end, milliseconds: the bound on how far transactions may come out of order.
    pub close_after_ms: i64,
    /// Minutes without any message on a partition are zeros if there are fewer than this many in a row, else unknown.
    pub max_pause_minutes: i64,
}

/// Counts of a minute by status, each status once.
pub type Counts = Vec<StatusCount>;

/// How counts of the same stream, minute and status are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Counts of single transactions.
    Add,
    /// Totals so far.
    Replace,
}

impl Merge {
    /// How far beyond its event time a message counts: totals are those of a whole minute.
    const fn span_ms(self) -> i64 {
        match self {
            Self::Add => 0,
            Self::Replace => MINUTE_MS,
        }
    }
}

/// The counts of minutes that are not closed yet.
#[derive(Debug)]
pub struct OpenMinutes {
    settings: Settings,
    merge: Merge,
    partitions: BTreeMap<i32, Partition>,
    streams: HashMap<Stream, OpenStream>,
    /// Counts of minutes that were closed already, since they were last taken.
    late: BTreeMap<(Minute, Stream), Counts>,
    /// Streams that were seen on a further partition.
    split: Vec<Stream>,
    /// Streams with changes that are not stored yet.
    changed: Vec<Stream>,
    /// Streams that are dropped from what is stored.
    forgotten: Vec<Stream>,
}

impl OpenMinutes {
    /// Without any stream.
    pub fn new(settings: Settings, merge: Merge) -> Self {
        Self::restore(settings, merge, StoredOpenMinutes::default())
    }

    /// The stream of this name, if it has open minutes or gets zeros.
    pub fn stream(&self, name: &str) -> Option<&Stream> {
        Some(self.streams.get_key_value(name)?.0)
    }

    /// Adds one count that was read from a partition. The event time moves the partition's watermark.
    pub fn add(
        &mut self,
        partition: i32,
        at_ms: i64,
        stream: &Stream,
        status: &Status,
        count: u32,
    ) -> Result<(), TransactionsError> {
        self.observe(partition, at_ms, stream, |counts, merge| {
            put(counts, merge, status, count)
        })
    }

    /// Adds the counts of a message that was read from a partition.
    pub fn add_minute(
        &mut self,
        partition: i32,
        counts: &MinuteCounts,
    ) -> Result<(), TransactionsError> {
        let at_ms = counts.minute().epoch_minutes().saturating_mul(MINUTE_MS);
        let named = counts.transactions();
        self.observe(partition, at_ms, counts.stream(), |open, merge| {
            let is_new = |of: &&StatusCount| !open.iter().any(|known| known.status == of.status);
            let statuses = open.len() + named.iter().filter(is_new).count();
            if statuses > MAX_STATUSES {
                return Err(TransactionsError::TooManyStatuses(statuses));
            }
            named
                .iter()
                .try_for_each(|of| put(open, merge, &of.status, of.count))
        })
    }

    fn observe(
        &mut self,
        partition: i32,
        at_ms: i64,
        stream: &Stream,
        put: impl FnOnce(&mut Counts, Merge) -> Result<(), TransactionsError>,
    ) -> Result<(), TransactionsError> {
        let minute = Minute::from_epoch_minutes(at_ms.div_euclid(MINUTE_MS));
        let close_after_ms = self.settings.close_after_ms;
        let horizon =
            self.partitions
                .entry(partition)
                .or_default()
                .pass(at_ms, minute, close_after_ms);
        let open = match self.streams.get_mut(stream) {
            Some(open) => open,
            None => self
                .streams
                .entry(stream.clone())
                .or_insert_with(|| OpenStream::new(partition, minute, horizon)),
        };
        if !open.state.partitions.contains(&partition) {
            open.state.partitions.push(partition);
            open.note_state();
            self.split.push(stream.clone());
        }
        let slowest =
            open.state.partitions.iter().filter_map(|partition| {
                Some(self.partitions.get(partition)?.horizon(close_after_ms))
            });
        let horizon = slowest.min().unwrap_or(horizon);
        if minute < horizon.max(open.state.closed) {
            let late = self.late.entry((minute, stream.clone())).or_default();
            return put(late, self.merge);
        }
        if open.note_change() {
            self.changed.push(stream.clone());
        }
        if minute < open.state.since {
            open.state.since = minute;
            open.note_state();
        }
        put(open.counts_of(minute), self.merge)
    }

    /// Closes the minutes that are due, oldest first, with zeros where nothing came. `at_end` tells which partitions were read to
    /// their end: there the wall clock closes minutes, too, less the delay with which their newest message came. Call it after each
    /// batch of messages.
    pub fn close(&mut self, now_ms: i64, at_end: impl Fn(i32) -> bool) -> Vec<MinuteCounts> {
        let mut moved = self.streams.values().any(|open| open.state.is_detached());
        let span_ms = self.merge.span_ms();
        for (id, partition) in &mut self.partitions {
            moved |= partition.advance(now_ms, at_end(*id), span_ms, &self.settings);
        }
        if !moved {
            return Vec::new();
        }
        let mut closed = Vec::new();
        for (stream, open) in &mut self.streams {
            if open.close(stream, &self.partitions, &mut closed) && open.note_change() {
                self.changed.push(stream.clone());
            }
        }
        let streams = &self.streams;
        let (ended, changed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.changed)
            .into_iter()
            .partition(|stream| streams.get(stream).is_none_or(OpenStream::is_over));
        self.changed = changed;
        for stream in ended {
            self.streams.remove(&stream);
            self.forgotten.push(stream);
        }
        let slowest = self.partitions.values().filter_map(|of| of.complete).min();
        if let Some(slowest) = slowest {
            self.partitions
                .values_mut()
                .for_each(|of| of.prune(slowest));
        }
        closed.sort_by(|a, b| (a.minute(), a.stream()).cmp(&(b.minute(), b.stream())));
        closed
    }

    /// The counts that came after their minute was closed. They correct what is stored.
    pub fn take_late(&mut self) -> Vec<((Minute, Stream), Counts)> {
        std::mem::take(&mut self.late).into_iter().collect()
    }

    /// Streams that were seen on more than one partition since the last call: their minutes close with the slowest.
    pub fn take_split(&mut self) -> Vec<Stream> {
        std::mem::take(&mut self.split)
    }
}

/// Puts one count to the others. An error if there are too many statuses.
pub fn put(
    counts: &mut Counts,
    merge: Merge,
    status: &Status,
    count: u32,
) -> Result<(), TransactionsError> {
    if let Some(known) = counts.iter_mut().find(|known| known.status == *status) {
        known.count = match merge {
            Merge::Add => known.count.saturating_add(count),
            Merge::Replace => count,
        };
        return Ok(());
    }
    if counts.len() >= MAX_STATUSES {
        return Err(TransactionsError::TooManyStatuses(counts.len() + 1));
    }
    let status = status.clone();
    counts.push(StatusCount { status, count });
    Ok(())
}
