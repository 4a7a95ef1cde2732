//! Where to go on in a partition, decided from what is stored and what the broker still has. Pure.

use crate::store::{OffsetGapReason, StoredOffset};

/// The log of a partition: it has offsets from `low` to before `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) low: i64,
    pub(super) high: i64,
}

/// Where to go on, and what was found lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The offset to assign.
    pub(super) offset: i64,
    /// What counts as consumed.
    pub(super) consumed: Option<StoredOffset>,
    /// True if the first record is the last one consumed: to be compared with it, not consumed again.
    pub(super) verify: bool,
    /// Offsets lost.
    pub(super) lost: Option<Lost>,
}

/// Offsets from `from` to before `to` that will never be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) reason: OffsetGapReason,
}

/// Never seeks and never lets the broker choose: an offset that is gone is a loss to be recorded.
pub(super) fn start(stored: Option<StoredOffset>, log: Log) -> Start {
    let Some(stored) = stored else {
        return Start {
            offset: log.low,
            consumed: None,
            verify: false,
            lost: None,
        };
    };
    let next = stored.last_offset + 1;
    if next > log.high {
        return anew(next, log, OffsetGapReason::Recreated);
    }
    if next < log.low {
        return anew(next, log, OffsetGapReason::Retention);
    }
    let verify = stored.last_timestamp_ms.is_some()
        && stored.last_offset >= log.low
        && stored.last_offset < log.high;
    Start {
        offset: if verify { stored.last_offset } else { next },
        consumed: Some(stored),
        verify,
        lost: None,
    }
}

/// From the beginning of what is there, after a loss.
pub(super) fn anew(next: i64, log: Log, reason: OffsetGapReason) -> Start {
    let consumed = StoredOffset {
        last_offset: log.low - 1,
        last_timestamp_ms: None,
    };
    let lost = Lost {
        from: next,
        to: log.low,
        reason,
    };
    Start {
        offset: log.low,
        consumed: Some(consumed),
        verify: false,
        lost: Some(lost),
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
    fn a_partition_never_read_starts_at_its_oldest_record_and_nothing_is_lost() {
        let start = start(None, Log { low: 5, high: 9 });
        assert_eq!(
            start,
            Start {
                offset: 5,
                consumed: None,
                verify: false,
                lost: None
            }
        );
    }

    #[test]
    fn the_last_record_consumed_is_read_again_to_see_that_it_is_still_the_same() {
        for high in [10, 99] {
            let start = start(Some(stored(9)), Log { low: 0, high });
            assert_eq!((start.offset, start.verify, start.lost), (9, true, None));
        }
    }

    #[test]
    fn a_last_record_that_retention_took_is_not_verified_and_not_lost() {
        let start = start(Some(stored(9)), Log { low: 10, high: 10 });
        assert_eq!((start.offset, start.verify, start.lost), (10, false, None));
    }

    #[test]
    fn records_that_retention_took_before_they_were_read_are_a_gap() {
        let start = start(Some(stored(9)), Log { low: 15, high: 20 });
        let lost = Lost {
            from: 10,
            to: 15,
            reason: OffsetGapReason::Retention,
        };
        assert_eq!((start.offset, start.lost), (15, Some(lost)));
        assert_eq!(
            start.consumed,
            Some(StoredOffset {
                last_offset: 14,
                last_timestamp_ms: None
            })
        );
    }

    #[test]
    fn a_log_shorter_than_what_was_read_was_made_again() {
        for high in [0, 9] {
            let start = start(Some(stored(9)), Log { low: 0, high });
            assert_eq!(
                (start.offset, start.lost.map(|lost| lost.reason)),
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
