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
    /// The record that counts as consumed.
    pub(super) consumed: Option<StoredOffset>,
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

/// The broker never chooses the offset, so that deleted offsets are recorded as a gap.
pub(super) fn start(stored: Option<StoredOffset>, log: Log) -> Start {
    let Some(stored) = stored else {
        return Start {
            offset: log.low,
            consumed: None,
            verify: false,
            gap: None,
        };
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
        consumed: Some(stored),
        verify,
        gap: None,
    }
}

/// From the start of the log, after a gap.
pub(super) fn restart(next: i64, log: Log, reason: OffsetGapReason) -> Start {
    let consumed = StoredOffset {
        last_offset: log.low - 1,
        last_timestamp_ms: None,
    };
    let gap = Gap {
        from: next,
        to: log.low,
        reason,
    };
    Start {
        offset: log.low,
        consumed: Some(consumed),
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

    #[test]
    fn an_unread_partition_starts_at_its_oldest_record() {
        let start = start(None, Log { low: 5, high: 9 });
        assert_eq!(
            start,
            Start {
                offset: 5,
                consumed: None,
                verify: false,
                gap: None
            }
        );
    }

    #[test]
    fn the_last_consumed_record_is_read_again() {
        for high in [10, 99] {
            let start = start(Some(stored(9)), Log { low: 0, high });
            assert_eq!((start.offset, start.verify, start.gap), (9, true, None));
        }
    }

    #[test]
    fn a_deleted_last_record_is_not_verified() {
        let start = start(Some(stored(9)), Log { low: 10, high: 10 });
        assert_eq!((start.offset, start.verify, start.gap), (10, false, None));
    }

    #[test]
    fn unread_deleted_records_are_a_gap() {
        let start = start(Some(stored(9)), Log { low: 15, high: 20 });
        let gap = Gap {
            from: 10,
            to: 15,
            reason: OffsetGapReason::Retention,
        };
        assert_eq!((start.offset, start.gap), (15, Some(gap)));
        assert_eq!(
            start.consumed,
            Some(StoredOffset {
                last_offset: 14,
                last_timestamp_ms: None
            })
        );
    }

    #[test]
    fn a_shorter_log_was_recreated() {
        for high in [0, 9] {
            let start = start(Some(stored(9)), Log { low: 0, high });
            assert_eq!(
                (start.offset, start.gap.map(|gap| gap.reason)),
                (0, Some(OffsetGapReason::Recreated))
            );
            assert_eq!(
                start.consumed,
                Some(StoredOffset {
                    last_offset: -1,
                    last_timestamp_ms: None
                })
            );
        }
    }
}
