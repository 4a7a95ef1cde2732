//! What keeps the broker's memory bounded: the oldest batches go once every group has committed past them, and producers wait for that.
//!
//! `FakeBroker` never deletes a record. Unlike Kafka's retention this never takes a record from a reader that still needs it: it looks at the offsets
//! that groups commit. It does not know about time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use krafka::error::ErrorCode;
use krafka::testing::{ClusterState, Control, FakeBroker, GroupState, PartitionState};

/// The most that a topic holds, in bytes of record batches, shared evenly by its partitions.
///
/// A partition always keeps its newest records, an eighth of its share (8 MiB: over a week of one stream's minutes), and those that a group with a
/// committed offset there has not yet committed; where no group has one, all. Older ones go. At its full share produce requests are refused with the
/// retriable `NOT_ENOUGH_REPLICAS` until readers have committed. The bound is kept to within a few requests. It stays below the 100 MB that librdkafka
/// accepts in one response, because `FakeBroker` answers a fetch with everything it has.
pub const MAX_TOPIC_BYTES: usize = 64 << 20;

/// Weighing a log takes time with its length, and a produce request adds 1 MB at most: not every one is worth it.
const PRODUCES_PER_TRIM: usize = 16;

/// The bound of one broker and how far it is used.
pub(crate) struct Bound {
    max_topic_bytes: usize,
    produces: AtomicUsize,
    full: AtomicBool,
}

impl Bound {
    pub(crate) fn new(max_topic_bytes: usize) -> Self {
        Self {
            max_topic_bytes,
            produces: AtomicUsize::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// What to do with a produce request.
    pub(crate) fn admit(&self, broker: &FakeBroker) -> Control {
        let was_full = self.full.load(Ordering::Relaxed);
        let due = self
            .produces
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(PRODUCES_PER_TRIM);
        if !was_full && !due {
            return Control::Pass;
        }
        let full_topic = broker.with_state(|state| trim(state, self.max_topic_bytes));
        self.full.store(full_topic.is_some(), Ordering::Relaxed);
        let Some(topic) = full_topic else {
            return Control::Pass;
        };
        if !was_full {
            tracing::warn!(
                topic,
                max_topic_bytes = self.max_topic_bytes,
                "the embedded Kafka is full: producers wait until every reader has committed"
            );
        }
        Control::Error(ErrorCode::NotEnoughReplicas)
    }
}

/// Trims every topic and forgets what the broker notes for its own tests; the name of a topic that is still over its bound.
fn trim(state: &mut ClusterState, max_topic_bytes: usize) -> Option<String> {
    state.list_offsets_lookups.clear();
    let mut full = None;
    for (name, topic) in &mut state.topics {
        let share = max_topic_bytes / topic.partitions.len();
        for (index, partition) in (0..).zip(&mut topic.partitions) {
            let read = read_by_all(&state.groups, name, index).unwrap_or(0);
            if trim_partition(partition, share / 8, read) > share {
                full = Some(name.clone());
            }
        }
    }
    full
}

/// The offset below which every group has committed; `None` if no group has committed here.
fn read_by_all(groups: &HashMap<String, GroupState>, topic: &str, partition: i32) -> Option<i64> {
    let key = (topic.to_owned(), partition);
    let committed = groups.values().filter_map(|group| group.offsets.get(&key));
    committed.map(|committed| committed.offset).min()
}

/// Deletes the oldest batches while at least `keep` bytes are left and all of a batch is below `read`; the bytes that are left.
fn trim_partition(partition: &mut PartitionState, keep: usize, read: i64) -> usize {
    let mut left = partition.log.iter().fold(0, |sum, batch| sum + batch.len());
    let mut start = partition.log_start_offset;
    for (index, batch) in partition.log.iter().enumerate() {
        let end = batch_end(partition, index);
        if left < keep + batch.len() || end > read {
            break;
        }
        left -= batch.len();
        start = end;
    }
    delete_below(partition, start);
    left
}

/// Moves the log start to `offset` and deletes the batches that lie wholly below it.
pub(crate) fn delete_below(partition: &mut PartitionState, offset: i64) {
    let start = offset.clamp(partition.log_start_offset, partition.next_offset);
    let gone = (0..partition.log.len())
        .take_while(|&index| batch_end(partition, index) <= start)
        .count();
    partition.log.drain(..gone);
    partition.log_start_offset = start;
}

/// The offset after the last record of a batch: where the next one begins.
fn batch_end(partition: &PartitionState, index: usize) -> i64 {
    partition
        .log
        .get(index + 1)
        .and_then(|next| next.first_chunk())
        .map_or(partition.next_offset, |base| i64::from_be_bytes(*base))
}
