//! What this instance has committed, to notice that the database lost commits: after a failover to a standby that was behind, or a restore of a backup. Pure.

use std::collections::BTreeMap;

use super::{Position, plan::Gap};
use crate::store::{OffsetAdvance, OffsetGapReason, StoredOffset};

/// The last committed offset of each partition that this instance reads.
#[derive(Debug, Default)]
pub(super) struct Committed {
    cluster_id: String,
    offsets: BTreeMap<i32, i64>,
}

impl Committed {
    /// Notes what a commit has stored.
    pub(super) fn note(&mut self, advances: &[OffsetAdvance]) {
        for advance in advances {
            if self.cluster_id != advance.cluster_id {
                self.cluster_id.clone_from(&advance.cluster_id);
                self.offsets.clear();
            }
            self.offsets
                .insert(advance.partition, advance.to.last_offset);
        }
    }

    /// The offsets of a topic in this cluster whose commits are missing in what is stored. Their messages are read again.
    pub(super) fn lost(
        &self,
        cluster_id: &str,
        stored: &BTreeMap<i32, StoredOffset>,
    ) -> Vec<(i32, Gap)> {
        if self.cluster_id != cluster_id {
            return Vec::new();
        }
        let lost = |(&partition, &committed): (&i32, &i64)| {
            let gap = Gap {
                from: stored.get(&partition).map_or(0, |of| of.last_offset + 1),
                to: committed + 1,
                reason: OffsetGapReason::CommitsLost,
            };
            (gap.from < gap.to).then_some((partition, gap))
        };
        self.offsets.iter().filter_map(lost).collect()
    }

    /// From now on these positions count: those of the partitions that this instance reads, as stored. Others go on with the rest.
    pub(super) fn reset(&mut self, cluster_id: &str, positions: &BTreeMap<i32, Position>) {
        cluster_id.clone_into(&mut self.cluster_id);
        let stored = positions.iter();
        self.offsets = stored
            .map(|(partition, position)| (*partition, position.stored.last_offset))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offset(last_offset: i64) -> StoredOffset {
        StoredOffset {
            last_offset,
            last_timestamp_ms: None,
        }
    }

    fn advance(partition: i32, to: i64) -> OffsetAdvance {
        OffsetAdvance {
            cluster_id: "c".to_owned(),
            topic: "t".to_owned(),
            partition,
            from: None,
            to: offset(to),
        }
    }

    #[test]
    fn a_stored_offset_that_went_back_is_found() {
        let mut committed = Committed::default();
        committed.note(&[advance(0, 9), advance(1, 9), advance(2, 9)]);
        let stored = BTreeMap::from([(0, offset(9)), (1, offset(4)), (3, offset(1))]);
        let lost = |partition, from| {
            let reason = OffsetGapReason::CommitsLost;
            (
                partition,
                Gap {
                    from,
                    to: 10,
                    reason,
                },
            )
        };
        let found = committed.lost("c", &stored);
        assert_eq!(found, [lost(1, 5), lost(2, 0)]);
        assert_eq!(committed.lost("another", &stored), []);
        let position = Position {
            stored: offset(4),
            read: offset(4),
            verify: false,
            at_end: false,
        };
        committed.reset("c", &BTreeMap::from([(1, position)]));
        assert_eq!(committed.lost("c", &stored), [], "it is recorded once");
        assert_eq!(committed.lost("c", &BTreeMap::new()).len(), 1);
    }

    #[test]
    fn a_lower_offset_of_its_own_is_no_loss() {
        let mut committed = Committed::default();
        committed.note(&[advance(0, 9)]);
        committed.note(&[advance(0, -1)]);
        assert_eq!(committed.lost("c", &BTreeMap::from([(0, offset(-1))])), []);
    }
}
