//! Whether each partition goes on: messages that wait and are not read are a fault, for any reason. Pure.

use std::{collections::BTreeMap, fmt};

use super::plan::Log;

/// A partition that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandStill {
    /// Which partition.
    pub partition: i32,
    /// The offset that is read next.
    pub offset: i64,
    /// Messages that wait from there on.
    pub waiting: i64,
    /// Since when nothing was read, milliseconds since 1970.
    pub since_ms: i64,
}

impl fmt::Display for StandStill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partition,
            offset,
            waiting,
            ..
        } = self;
        write!(
            f,
            "partition {partition} stands still at offset {offset}, and {waiting} messages wait"
        )
    }
}

/// The progress of the partitions, over all sessions with the broker.
#[derive(Debug, Default)]
pub(super) struct Progress(BTreeMap<i32, Reading>);

#[derive(Debug)]
struct Reading {
    log: Log,
    offset: i64,
    /// Since when messages wait and none is read.
    since_ms: Option<i64>,
}

impl Progress {
    /// Notes the log of a partition.
    pub(super) fn set_log(&mut self, partition: i32, log: Log) {
        let new = |log| Reading {
            log,
            offset: i64::MIN,
            since_ms: None,
        };
        self.0.entry(partition).or_insert_with(|| new(log)).log = log;
    }

    /// Notes the end of its log.
    pub(super) fn set_end(&mut self, partition: i32, end: i64) {
        if let Some(reading) = self.0.get_mut(&partition) {
            reading.log.high = end;
        }
    }

    /// Notes the offset that is read next.
    pub(super) fn note(&mut self, partition: i32, offset: i64, is_at_end: bool, now_ms: i64) {
        let Some(reading) = self.0.get_mut(&partition) else {
            return;
        };
        let offset = offset.max(reading.log.low);
        let waits = !is_at_end && offset < reading.log.high;
        let goes_on = offset != reading.offset;
        reading.offset = offset;
        reading.since_ms = match reading.since_ms {
            _ if !waits => None,
            Some(since_ms) if !goes_on => Some(since_ms),
            _ => Some(now_ms),
        };
    }

    /// Forgets partitions that do not exist any more.
    pub(super) fn keep(&mut self, partitions: &[i32]) {
        self.0.retain(|partition, _| partitions.contains(partition));
    }

    /// The partition that stands still for the longest time.
    pub(super) fn longest(&self) -> Option<StandStill> {
        let still = |(&partition, reading): (&i32, &Reading)| {
            Some(StandStill {
                partition,
                offset: reading.offset,
                waiting: reading.log.high - reading.offset,
                since_ms: reading.since_ms?,
            })
        };
        let all = self.0.iter().filter_map(still);
        all.min_by_key(|still| still.since_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_stands_still_while_messages_wait() {
        let mut progress = Progress::default();
        let since = |progress: &Progress| progress.longest().map(|still| still.since_ms);
        progress.set_log(3, Log { low: 10, high: 20 });
        progress.note(3, 0, false, 1);
        progress.note(3, 0, false, 2);
        let still = progress.longest().expect("nothing is read");
        assert_eq!((still.partition, still.offset, still.since_ms), (3, 10, 1));
        assert_eq!(
            still.to_string(),
            "partition 3 stands still at offset 10, and 10 messages wait"
        );
        progress.note(3, 11, false, 5);
        progress.note(3, 11, false, 6);
        assert_eq!(since(&progress), Some(5), "it went on");
        // Another session: the log is looked up again.
        progress.set_log(3, Log { low: 10, high: 20 });
        progress.note(3, 11, false, 7);
        assert_eq!(since(&progress), Some(5));
        progress.note(3, 11, true, 8);
        assert_eq!(since(&progress), None, "what is left is no message");
        progress.note(3, 11, false, 9);
        progress.set_log(4, Log { low: 0, high: 1 });
        progress.note(4, 0, false, 10);
        assert_eq!(since(&progress), Some(9), "the longest");
        progress.note(3, 20, false, 11);
        assert_eq!(since(&progress), Some(10));
        progress.set_end(3, 21);
        progress.note(3, 20, false, 12);
        progress.keep(&[3]);
        assert_eq!(since(&progress), Some(12));
    }
}
