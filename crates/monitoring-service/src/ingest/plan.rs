//! Where to start in a partition, decided from the stored offset and the log of the broker. Pure.

use crate::store::{OffsetGapReason, StoredOffset};

/// The log of a partition: it has offsets from `low` to before `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) low: i64,
    pub(super) high: i64,
}

/// Where to start, and the offset gap found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The offset to assign.
    pub(super) offset: i64,
    /// The record that counts as consumed, which is stored before the first one is read: so what is deleted until then is a gap.
    pub(super) consumed: StoredOffset,
    /// True if the first record is the last consumed one: it is compared and not consumed again.
    pub(super) verify: bool,
    /// The offset gap.
    pub(super) gap: Option<Gap>,
}

/// Offsets from `from` to before `to` that will never be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) reason: OffsetGapReason,
}

/// The broker never chooses the offset, so that deleted offsets are recorded as a gap. `is_known`: offsets of the topic are stored, so
/// a partition without one is new, and all of it was to be read.
pub(super) fn start(stored: Option<StoredOffset>, is_known: bool, log: Log) -> Start {
    let Some(stored) = stored else {
        let start = restart(0, log, OffsetGapReason::Retention);
        let gap = start.gap.filter(|_| is_known && log.low > 0);
        return Start { gap, ..start };
    };
    let next = stored.last_offset + 1;
    if next > log.high {
        return restart(next, log, OffsetGapReason::Recreated);
    }
    if next < log.low {
        return restart(next, log, OffsetGapReason::Retention);
    }
    let verify = stored.last_timestamp_ms.is_some()
        && stored.last_offset >= log.low
        && stored.last_offset < log.high;
    Start {
        offset: if verify { stored.last_offset } else { next },
        consumed: stored,
        verify,
        gap: None,
    }
}

/// From the start of the log, after a gap.
pub(super) fn restart(next: i64, log: Log, reason: OffsetGapReason) -> Start {
    let gap = Gap {
        from: next,
        to: log.low,
        reason,
    };
    Start {
        offset: log.low,
        consumed: StoredOffset {
            last_offset: log.low - 1,
            last_timestamp_ms: None,
        },
        verify: false,
        gap: Some(gap),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(last_offset: i64) -> StoredOffset {
        StoredOffset {
            last_offset,
            last_timestamp_ms: Some(7),
        }
    }

    const fn before(offset: i64) -> StoredOffset {
        StoredOffset {
            last_offset: offset - 1,
            last_timestamp_ms: None,
        }
    }

    #[test]
    fn an_unread_topic_starts_at_its_oldest_records() {
        let start = start(None, false, Log { low: 5, high: 9 });
        assert_eq!((start.offset, start.consumed), (5, before(5)));
        assert_eq!((start.verify, start.gap), (false, None));
    }

    #[test]
    fn a_new_partition_is_to_be_read_from_its_first_record() {
        let new = start(None, true, Log { low: 0, high: 9 });
        assert_eq!((new.offset, new.consumed, new.gap), (0, before(0), None));
        let late = start(None, true, Log { low: 5, high: 9 });
        let gap = Gap {
            from: 0,
            to: 5,
            reason: OffsetGapReason::Retention,
        };
        assert_eq!((late.offset, late.gap), (5, Some(gap)));
    }

    #[test]
    fn records_deleted_before_the_first_one_was_read_are_a_gap() {
        let unread = start(Some(before(5)), true, Log { low: 5, high: 5 });
        assert_eq!((unread.offset, unread.gap), (5, None));
        let late = start(Some(before(5)), true, Log { low: 8, high: 9 });
        let gap = Gap {
            from: 5,
            to: 8,
            reason: OffsetGapReason::Retention,
        };
        assert_eq!((late.offset, late.gap), (8, Some(gap)));
    }

    #[test]
    fn the_last_consumed_record_is_read_again() {
        for high in [10, 99] {
            let start = start(Some(stored(9)), true, Log { low: 0, high });
            assert_eq!((start.offset, start.verify, start.gap), (9, true, None));
        }
    }

    #[test]
    fn a_deleted_last_record_is_not_verified() {
        let start = start(Some(stored(9)), true, Log { low: 10, high: 10 });
        assert_eq!((start.offset, start.verify, start.gap), (10, false, None));
    }

    #[test]
    fn unread_deleted_records_are_a_gap() {
        let start = start(Some(stored(9)), true, Log { low: 15, high: 20 });
        let gap = Gap {
            from: 10,
            to: 15,
            reason: OffsetGapReason::Retention,
        };
        assert_eq!((start.offset, start.gap), (15, Some(gap)));
        assert_eq!(start.consumed, before(15));
    }

    #[test]
    fn a_shorter_log_was_recreated() {
        for high in [0, 9] {
            let start = start(Some(stored(9)), true, Log { low: 0, high });
            assert_eq!(
                (start.offset, start.gap.map(|gap| gap.reason)),
                (0, Some(OffsetGapReason::Recreated))
            );
            assert_eq!(start.consumed, before(0));
        }
    }
}
