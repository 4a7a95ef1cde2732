//! Whether each partition goes on: messages that wait and are not read are a fault, for any reason. Pure.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::Log;

/// Partitions that one sentence names.
const MAX_NAMED: usize = 3;

/// A partition that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
            since_ms,
        } = self;
        let since = Timestamp::from_millisecond(*since_ms).unwrap_or(Timestamp::MAX);
        let since = since.strftime("%F %H:%M UTC");
        write!(
            f,
            "partition {partition} stands still at offset {offset} since {since}, and {waiting} messages wait"
        )
    }
}

/// The partitions that stand still for some time, and whether the others are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Those that stand still, the longest first; at least one.
    pub(crate) partitions: Vec<StandStill>,
    /// How many others are read.
    pub(crate) read: usize,
    /// The error of the last session, if it is not over.
    pub(crate) error: Option<String>,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, still) in self.partitions.iter().take(MAX_NAMED).enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            write!(f, "{separator}{still}")?;
        }
        match self.partitions.len().saturating_sub(MAX_NAMED) {
            0 => {}
            more => write!(f, "; and {more} more stand still")?,
        }
        if let Some(error) = &self.error {
            write!(f, " ({error})")?;
        }
        match self.read {
            0 => Ok(()),
            1 => write!(f, "; the other partition is read"),
            read => write!(f, "; the other {read} partitions are read"),
        }
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

    /// Notes the offset that is read next. `is_waiting`: nothing of it is there to be read now, neither its end nor messages that wait for
    /// older ones of another partition.
    pub(super) fn note(&mut self, partition: i32, offset: i64, is_waiting: bool, now_ms: i64) {
        let Some(reading) = self.0.get_mut(&partition) else {
            return;
        };
        let waits = is_waiting && offset < reading.log.high;
        let goes_on = offset != reading.offset;
        reading.offset = offset;
        reading.since_ms = match reading.since_ms {
            _ if !waits => None,
            Some(since_ms) if !goes_on => Some(since_ms),
            _ => Some(now_ms),
        };
    }

    /// Messages not yet read, over all partitions.
    pub(super) fn lag(&self) -> u64 {
        let behind = |reading: &Reading| (reading.log.high - reading.offset).max(0);
        self.0.values().map(behind).map(i64::unsigned_abs).sum()
    }

    /// Forgets partitions that do not exist any more.
    pub(super) fn keep(&mut self, partitions: &[i32]) {
        self.0.retain(|partition, _| partitions.contains(partition));
    }

    /// The partitions that stand still, the longest first.
    pub(super) fn standing_still(&self) -> Vec<StandStill> {
        let still = |(&partition, reading): (&i32, &Reading)| {
            Some(StandStill {
                partition,
                offset: reading.offset,
                waiting: reading.log.high - reading.offset,
                since_ms: reading.since_ms?,
            })
        };
        let mut all: Vec<_> = self.0.iter().filter_map(still).collect();
        all.sort_by_key(|still| still.since_ms);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_stands_still_while_messages_wait() {
        let mut progress = Progress::default();
        let since = |progress: &Progress| {
            let still = progress.standing_still();
            still.first().map(|still| still.since_ms)
        };
        progress.set_log(3, Log { low: 10, high: 20 });
        progress.note(3, 10, true, 1);
        progress.note(3, 10, true, 2);
        let still = progress.standing_still()[0];
        assert_eq!((still.partition, still.offset, still.since_ms), (3, 10, 1));
        progress.note(3, 11, true, 5);
        progress.note(3, 11, true, 6);
        assert_eq!(since(&progress), Some(5), "it went on");
        // Another session: the log is looked up again.
        progress.set_log(3, Log { low: 10, high: 20 });
        progress.note(3, 11, true, 7);
        assert_eq!(since(&progress), Some(5));
        progress.note(3, 11, false, 8);
        assert_eq!(since(&progress), None, "what is left is no message");
        progress.note(3, 11, true, 9);
        progress.set_log(4, Log { low: 0, high: 1 });
        progress.note(4, 0, true, 10);
        let still = progress.standing_still();
        let order = still.iter().map(|still| (still.partition, still.since_ms));
        assert_eq!(order.collect::<Vec<_>>(), [(3, 9), (4, 10)]);
        progress.note(3, 20, true, 11);
        assert_eq!(since(&progress), Some(10));
        progress.set_end(3, 21);
        progress.note(3, 20, true, 12);
        progress.keep(&[3]);
        assert_eq!(since(&progress), Some(12));
    }

    #[test]
    fn the_sentence_names_each_partition_and_the_others() {
        let still = |partition| StandStill {
            partition,
            offset: 10,
            waiting: 7,
            since_ms: 60_000,
        };
        let one = Standing {
            partitions: vec![still(3)],
            read: 2,
            error: Some("damaged".to_owned()),
        };
        let sentence =
            "partition 3 stands still at offset 10 since 1970-01-01 00:01 UTC, and 7 messages wait";
        assert_eq!(
            one.to_string(),
            format!("{sentence} (damaged); the other 2 partitions are read")
        );
        let many = Standing {
            partitions: (3..8).map(still).collect(),
            read: 0,
            error: None,
        };
        let text = many.to_string();
        assert!(
            text.starts_with(&format!("{sentence}; partition 4 stands")),
            "{text}"
        );
        assert!(text.ends_with("wait; and 2 more stand still"), "{text}");
    }
}
