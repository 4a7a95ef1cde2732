//! The minute counts of a file, eight bytes for each count: a year of one stream takes 25 MB. They are
//! put together as [`MinuteCounts`] one at a time.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use detection::{Minute, MinuteCounts, Status, Stream};

use crate::minutes::Minutes;
use crate::series::Series;
use crate::unknown::{StatusSet, Unknown, status_set};

/// The minute counts of a file, in order of minute and stream. There is at least one.
#[derive(Debug)]
pub struct Counts {
    /// Sorted by name.
    pub(crate) streams: Vec<StreamCounts>,
    pub(crate) range: RangeInclusive<i32>,
    /// Minutes without rows are zeros, except where a skipped row may belong.
    pub(crate) zeros: Option<Unknown>,
    messages: u64,
    absent: u64,
}

/// The counts of one stream.
#[derive(Debug)]
pub(crate) struct StreamCounts {
    pub(crate) name: Stream,
    /// The number it has in [`Unknown`].
    pub(crate) number: u32,
    pub(crate) series: Vec<StatusCounts>,
    pub(crate) statuses: StatusSet,
}

#[derive(Debug)]
pub(crate) struct StatusCounts {
    pub(crate) status: Status,
    /// Minute and count, sorted by minute.
    pub(crate) points: Box<[(i32, u32)]>,
}

impl Counts {
    /// `None` without a count. The numbers of streams and statuses are positions in `names`.
    pub(crate) fn new(
        table: Vec<Vec<Series>>,
        names: &[Stream],
        statuses: &[Status],
    ) -> Option<Self> {
        let of_stream = |(number, all): (u32, Vec<Series>)| {
            let name = names[number as usize].clone();
            StreamCounts::new(name, number, all, statuses)
        };
        let mut streams: Vec<_> = (0_u32..).zip(table).map(of_stream).collect();
        streams.retain(|stream| !stream.series.is_empty());
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        let mut counts = Self {
            streams,
            range: 0..=0,
            zeros: None,
            messages: 0,
            absent: 0,
        };
        let is_empty = !counts.measure();
        counts.absent = counts.count_absent();
        (!is_empty).then_some(counts)
    }

    /// Finds the range and the number of messages; false if no count is left.
    fn measure(&mut self) -> bool {
        let series = self.streams.iter().flat_map(|stream| &stream.series);
        let first = self.streams.iter().filter_map(StreamCounts::first).min();
        let last = series.filter_map(|s| Some(s.points.last()?.0)).max();
        let (Some(first), Some(last)) = (first, last) else {
            return false;
        };
        self.range = first..=last;
        self.count_messages();
        true
    }

    fn count_messages(&mut self) {
        let (first, mut last, mut messages) = (*self.range.start(), 0, 0);
        let mut steps = self.iter();
        while let Some((minute, _)) = steps.step(|_, _| {}) {
            last = minute;
            messages += 1;
        }
        self.range = first..=last;
        self.messages = messages;
    }

    /// Removes minutes that may miss a count; returns how many, or `None` if none is left.
    pub(crate) fn leave_out(&mut self, unknown: &Unknown) -> Option<u64> {
        if unknown.is_empty() {
            return Some(0);
        }
        let mut out = HashSet::new();
        let mut steps = self.iter();
        loop {
            let mut present = 0;
            let step = steps.step(|status: &Status, _| present |= status_set(status));
            let Some((minute, index)) = step else { break };
            let stream = &self.streams[index];
            if unknown.has(minute, stream.number, present, stream.statuses) {
                out.insert((minute, index));
            }
        }
        self.retain(|minute, index| !out.contains(&(minute, index)));
        self.measure().then_some(out.len() as u64)
    }

    /// Takes minutes without rows as zeros: of each stream, from its first minute to the last one of
    /// the file. `most` minutes are kept.
    pub(crate) fn fill(&mut self, unknown: Unknown, most: Option<u64>) {
        self.zeros = Some(unknown);
        self.absent = 0;
        let (first, last) = (*self.range.start(), *self.range.end());
        let most = most.and_then(|most| i32::try_from(most).ok());
        let end = most.and_then(|most| first.checked_add(most - 1));
        let last = end.map_or(last, |end| end.min(last));
        self.retain(|minute, _| minute <= last);
        self.range = first..=last;
        self.count_messages();
    }

    /// Removes the counts of other minutes and streams, given by their index.
    fn retain(&mut self, keep: impl Fn(i32, usize) -> bool) {
        for (index, stream) in self.streams.iter_mut().enumerate() {
            for series in &mut stream.series {
                let points = std::mem::take(&mut series.points).into_iter();
                series.points = points.filter(|point| keep(point.0, index)).collect();
            }
        }
    }

    /// How many minute counts there are: at least one.
    pub const fn messages(&self) -> u64 {
        self.messages
    }

    /// The first minute.
    pub fn first(&self) -> Minute {
        Minute::from_epoch_minutes((*self.range.start()).into())
    }

    /// The last minute.
    pub fn last(&self) -> Minute {
        Minute::from_epoch_minutes((*self.range.end()).into())
    }

    /// Minutes without rows: of each stream, between its first minute and the last one of the file.
    pub const fn absent(&self) -> u64 {
        self.absent
    }

    fn count_absent(&self) -> u64 {
        let last = i64::from(*self.range.end());
        let firsts = self.streams.iter().filter_map(StreamCounts::first);
        let span: i64 = firsts.map(|first| last - i64::from(first) + 1).sum();
        u64::try_from(span).map_or(0, |span| span.saturating_sub(self.messages))
    }

    /// All of them.
    pub fn iter(&self) -> Minutes<'_> {
        self.iter_from(self.first())
    }

    /// Those of a minute and later.
    pub fn iter_from(&self, start: Minute) -> Minutes<'_> {
        Minutes::new(self, start)
    }
}

impl StreamCounts {
    fn new(name: Stream, number: u32, all: Vec<Series>, statuses: &[Status]) -> Self {
        let all = all.into_iter().filter(|series| !series.points.is_empty());
        let series: Vec<_> = all
            .map(|series| StatusCounts {
                status: statuses[series.status as usize].clone(),
                // One series after the other, so that the memory of the last one is free again.
                points: series.points.iter().map(|p| (p.minute, p.count)).collect(),
            })
            .collect();
        let monitored = series.iter().map(|series| status_set(&series.status));
        Self {
            name,
            number,
            statuses: monitored.fold(0, |all, status| all | status),
            series,
        }
    }

    /// Its first minute with a count.
    fn first(&self) -> Option<i32> {
        let firsts = self.series.iter();
        firsts
            .filter_map(|series| Some(series.points.first()?.0))
            .min()
    }
}

impl<'a> IntoIterator for &'a Counts {
    type Item = MinuteCounts;
    type IntoIter = Minutes<'a>;

    fn into_iter(self) -> Minutes<'a> {
        self.iter()
    }
}
