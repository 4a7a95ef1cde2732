//! Steps through the counts of a file in order of time. It changes none of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use detection::{Minute, MinuteCounts, Status, StatusCount};

use crate::counts::{Counts, StreamCounts};

/// Minute counts in order of minute and stream.
#[derive(Debug)]
pub struct Minutes<'a> {
    counts: &'a Counts,
    /// For each series of each stream, the next point.
    next: Vec<Vec<usize>>,
    /// The next minute of each stream, and its index. Streams are sorted by name.
    due: BinaryHeap<Reverse<(i32, usize)>>,
}

impl<'a> Minutes<'a> {
    pub(crate) fn new(counts: &'a Counts, start: Minute) -> Self {
        let start = start.epoch_minutes();
        let before = |point: &(i32, u32)| i64::from(point.0) < start;
        let next_points = |stream: &StreamCounts| {
            let series = stream.series.iter();
            series.map(|s| s.points.partition_point(before)).collect()
        };
        let mut minutes = Self {
            counts,
            next: counts.streams.iter().map(next_points).collect(),
            due: BinaryHeap::new(),
        };
        for (index, stream) in counts.streams.iter().enumerate() {
            let started = stream
                .series
                .iter()
                .any(|s| s.points.first().is_some_and(before));
            let begin = i32::try_from(start - 1).ok().filter(|_| started);
            minutes.schedule(index, begin);
        }
        minutes
    }

    /// Adds the next minute of a stream, whose newest one was `newest`.
    fn schedule(&mut self, index: usize, newest: Option<i32>) {
        let stream = &self.counts.streams[index];
        let heads = stream.series.iter().zip(&self.next[index]);
        let with_rows = heads
            .filter_map(|(s, next)| Some(s.points.get(*next)?.0))
            .min();
        let minute = match (&self.counts.zeros, newest) {
            (Some(unknown), Some(newest)) => {
                let end = with_rows.unwrap_or(self.counts.range.end().saturating_add(1));
                let mut between = newest + 1..end;
                between
                    .find(|m| !unknown.has(*m, stream.number, 0, stream.statuses))
                    .or(with_rows)
            }
            _ => with_rows,
        };
        if let Some(minute) = minute {
            self.due.push(Reverse((minute, index)));
        }
    }

    /// Steps over one stream's minute: calls `each` with its counts, and returns it.
    pub(crate) fn step(&mut self, mut each: impl FnMut(&'a Status, u32)) -> Option<(i32, usize)> {
        let Reverse((minute, index)) = self.due.pop()?;
        for (series, next) in self.counts.streams[index]
            .series
            .iter()
            .zip(&mut self.next[index])
        {
            if let Some((at, count)) = series.points.get(*next)
                && *at == minute
            {
                *next += 1;
                each(&series.status, *count);
            }
        }
        self.schedule(index, Some(minute));
        Some((minute, index))
    }
}

impl Iterator for Minutes<'_> {
    type Item = MinuteCounts;

    fn next(&mut self) -> Option<MinuteCounts> {
        let mut transactions = Vec::new();
        let (minute, index) = self.step(|status, count| {
            transactions.push(StatusCount {
                status: status.clone(),
                count,
            });
        })?;
        let stream = self.counts.streams[index].name.clone();
        let minute = Minute::from_epoch_minutes(minute.into());
        let counts = MinuteCounts::try_new(stream, minute, transactions);
        Some(counts.expect("each status once, and at most MAX_STATUSES"))
    }
}
