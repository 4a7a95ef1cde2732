//! Bounds the broker's memory: deletes the oldest batches that every group has committed, and makes producers wait until groups commit.
//!
//! `FakeBroker` itself never deletes a record. Unlike Kafka's retention, this deletes by committed offsets and never by age, so no reader
//! loses a record.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use krafka::error::ErrorCode;
use krafka::testing::{ClusterState, Control, FakeBroker, GroupState, PartitionState};

/// Maximum size of a topic in bytes of record batches, divided evenly among its partitions.
///
/// A partition always keeps its newest records, an eighth of its share (8 MiB: over a week of one stream's minutes), and every record that
/// some group with a committed offset there has not committed yet; without such a group it keeps all. Older records are deleted. When a
/// partition has used its share, produce requests are refused with the retriable `NOT_ENOUGH_REPLICAS` until readers commit. The limit may
/// be exceeded by a few requests. It is below the 100 MB that librdkafka accepts in one response, because `FakeBroker` answers a fetch with
/// all records.
pub const MAX_TOPIC_BYTES: usize = 64 << 20;

/// Produce requests between two trims. Measuring a log takes time proportional to its length, and a request adds at most 1 MB.
const PRODUCES_PER_TRIM: usize = 16;

/// The size limit of one broker's topics, and whether it is reached.
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

    /// Admits a produce request, or refuses it while a topic is full.
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
                "embedded Kafka is full; producers wait until every reader has committed"
            );
        }
        Control::Error(ErrorCode::NotEnoughReplicas)
    }
}

/// Trims every topic and clears the broker's own records of lookups. Returns a topic that is still over its limit, if any.
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

/// The lowest committed offset of all groups; `None` if no group has committed here.
fn read_by_all(groups: &HashMap<String, GroupState>, topic: &str, partition: i32) -> Option<i64> {
    let key = (topic.to_owned(), partition);
    let committed = groups.values().filter_map(|group| group.offsets.get(&key));
    committed.map(|committed| committed.offset).min()
}

/// Deletes the oldest batches that end at or below `read`, while at least `keep` bytes remain. Returns the bytes that remain.
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

/// Moves the log start to `offset` and deletes the batches that are entirely below it.
pub(crate) fn delete_below(partition: &mut PartitionState, offset: i64) {
    let start = offset.clamp(partition.log_start_offset, partition.next_offset);
    let gone = (0..partition.log.len())
        .take_while(|&index| batch_end(partition, index) <= start)
        .count();
    partition.log.drain(..gone);
    partition.log_start_offset = start;
}

/// Changes the last byte of the batch with the record at `offset`; none if it is not there.
pub(crate) fn damage(partition: &mut PartitionState, offset: i64) -> Option<()> {
    let index = (0..partition.log.len()).find(|&index| batch_end(partition, index) > offset)?;
    let mut batch = partition.log[index].to_vec();
    *batch.last_mut()? ^= 1;
    partition.log[index] = batch.into();
    Some(())
}

/// The offset after the last record of a batch.
fn batch_end(partition: &PartitionState, index: usize) -> i64 {
    partition
        .log
        .get(index + 1)
        .and_then(|next| next.first_chunk())
        .map_or(partition.next_offset, |base| i64::from_be_bytes(*base))
}
