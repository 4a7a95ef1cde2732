//! The offsets to read from: decided at each assignment and checked again while reading. Offset gaps are recorded first.

use std::{collections::BTreeMap, sync::Arc};

use rdkafka::consumer::Consumer as _;

use super::{
    Anchor, Ingest, Position,
    gather::Fetched,
    kafka::{self, KafkaConsumer, Topic},
    membership,
    plan::{self, Gap, Start},
    recovery::Interrupted,
};
use crate::store::{IngestCommit, OffsetGap, OffsetGapReason, StoreError, StoredOffset};

impl Ingest {
    /// Decides where to start in each partition, records offset gaps, and assigns.
    pub(super) fn assign<'c>(
        &mut self,
        consumer: &'c KafkaConsumer,
        topic: &Topic,
    ) -> Result<Fetched<'c>, Interrupted> {
        let name = self.settings.topic.clone();
        let stored = self.context.store.offsets(&topic.cluster_id, &name)?;
        let elsewhere = if stored.is_empty() {
            let store = &self.context.store;
            store.offsets_elsewhere(&topic.cluster_id, &name)?
        } else {
            BTreeMap::new()
        };
        let is_known = !stored.is_empty();
        let held = self.held_of(consumer, topic);
        self.resume(topic, &held)?;
        // The first instance stores a start for all partitions: with some of them, the rest would be new ones.
        let started = if is_known { &held } else { &topic.partitions };
        let (mut starts, mut lanes) = (Vec::new(), Vec::new());
        consumer.context().forget_ends();
        for &partition in started {
            self.report();
            let stored = stored.get(&partition).copied();
            let log = kafka::log(consumer.client(), &name, partition)?;
            let start = match elsewhere.get(&partition) {
                Some(old) => plan::restart(old.last_offset + 1, log, OffsetGapReason::NewCluster),
                None => plan::start(stored, is_known, log),
            };
            if held.contains(&partition) {
                self.progress.set_log(partition, log);
            }
            starts.push((partition, stored, start));
            lanes.push((partition, start.offset, log.high));
        }
        let lost = self.committed.lost(&topic.cluster_id, &stored);
        self.record_starts(topic, &starts, &lost)?;
        starts.retain(|(partition, ..)| held.contains(partition));
        lanes.retain(|(partition, ..)| held.contains(partition));
        let position = |start: &Start| Position {
            stored: start.consumed,
            read: start.consumed,
            verify: start.verify,
            at_end: false,
        };
        let positions = starts.iter().map(|(at, _, start)| (*at, position(start)));
        self.positions = positions.collect();
        self.committed.reset(&topic.cluster_id, &self.positions);
        let has_joined = self.has_joined(consumer);
        if has_joined {
            self.progress.keep(&held);
        }
        self.find_unreadable(&lanes)?;
        lanes.retain(|(at, ..)| !self.unreadable.contains(at));
        let offsets = lanes.iter().map(|(at, from, _)| (*at, *from));
        if self.settings.joins_group {
            membership::hold(consumer, &name, offsets)?;
        } else {
            kafka::assign(consumer, &name, offsets)?;
        }
        let (partitions, of_group) = (self.positions.len(), self.held());
        self.publish(|status| {
            (status.consuming, status.partitions) = (has_joined, partitions);
            if let (Some(group), Some(held)) = (&mut status.group, of_group) {
                group.partitions.clone_from(&topic.partitions);
                group.held = held;
            }
        });
        if has_joined {
            tracing::info!(topic = name, partitions, "consuming");
        }
        let slack_minutes = i64::from(self.context.monitor.allowed_lateness_minutes / 2);
        Ok(Fetched::new(lanes, slack_minutes))
    }

    /// True once the group has assigned partitions, also if it is none; always without a group.
    pub(super) fn has_joined(&self, consumer: &KafkaConsumer) -> bool {
        !self.settings.joins_group || consumer.context().held().is_some()
    }

    /// The partitions that this instance reads.
    fn held_of(&self, consumer: &KafkaConsumer, topic: &Topic) -> Vec<i32> {
        if !self.settings.joins_group {
            return topic.partitions.clone();
        }
        let held = consumer.context().held().unwrap_or_default();
        let exists = |partition: &i32| topic.partitions.contains(partition);
        held.into_iter().filter(exists).collect()
    }

    /// Loads the open minutes of the partitions that this instance reads.
    fn resume(&mut self, topic: &Topic, held: &[i32]) -> Result<(), StoreError> {
        let held = self.settings.joins_group.then_some(held);
        self.reader.resume(topic, held)
    }

    /// Stores the offsets at which reading starts, where they are not those that are stored, the offset gaps before them, and the offsets whose
    /// commits the database lost.
    fn record_starts(
        &mut self,
        topic: &Topic,
        starts: &[(i32, Option<StoredOffset>, Start)],
        lost: &[(i32, Gap)],
    ) -> Result<(), StoreError> {
        let now_ms = self.context.clock.now_ms();
        let mut commit = IngestCommit {
            now_ms,
            ..IngestCommit::default()
        };
        for &(partition, stored, start) in starts {
            if stored != Some(start.consumed) {
                let advance = self.advance(topic, partition, stored, start.consumed);
                commit.offsets.push(advance);
            }
            let gap = |of: Gap| self.offset_gap(partition, of, now_ms);
            commit.gaps.extend(start.gap.map(gap));
        }
        let lost = lost.iter();
        let gaps = lost.map(|(partition, of)| self.offset_gap(*partition, *of, now_ms));
        commit.gaps.extend(gaps);
        if commit.offsets.is_empty() && commit.gaps.is_empty() {
            return Ok(());
        }
        let commit = Arc::new(commit);
        self.context.store.begin_ingest(&commit).wait()?;
        self.committed.note(&commit.offsets);
        for gap in &commit.gaps {
            tracing::error!(
                topic = gap.topic,
                partition = gap.partition,
                from_offset = gap.from_offset,
                to_offset = gap.to_offset,
                reason = gap.reason.name(),
                "offset gap: {}",
                gap.reason.effect()
            );
            let gaps = &self.context.metrics.offset_gaps;
            gaps.with_label_values(&[gap.reason.name()]).inc();
        }
        Ok(())
    }

    fn offset_gap(&self, partition: i32, gap: Gap, detected_at_ms: i64) -> OffsetGap {
        OffsetGap {
            topic: self.settings.topic.clone(),
            partition,
            from_offset: gap.from,
            to_offset: gap.to,
            reason: gap.reason,
            detected_at_ms,
        }
    }

    /// Checks that the topic is still the same one. The brokers do not report a change: librdkafka goes on at its offset in a
    /// topic that was deleted, recreated and filled beyond it. So a record read a while ago is read again.
    pub(super) fn refresh(
        &mut self,
        consumer: &KafkaConsumer,
        topic: &Topic,
        anchor: Option<Anchor>,
    ) -> Result<(), Interrupted> {
        let now = kafka::topic(consumer.client(), &self.settings.topic)
            .map_err(Interrupted::Unreachable)?;
        if now != *topic {
            return Err(Interrupted::TopicChanged(format!(
                "{topic:?} is now {now:?}"
            )));
        }
        let Some((partition, read)) = anchor else {
            return Ok(());
        };
        match kafka::timestamp_at(&self.settings, partition, read.last_offset)? {
            Some(timestamp_ms) if Some(timestamp_ms) != read.last_timestamp_ms => {
                Err(self.recreated(consumer, topic))
            }
            _ => Ok(()),
        }
    }

    /// The newest stored record of all partitions: retention deletes it last.
    pub(super) fn newest_read(&self) -> Option<Anchor> {
        let stored = self
            .positions
            .iter()
            .map(|(partition, position)| (*partition, position.stored));
        stored
            .filter(|(_, stored)| stored.last_timestamp_ms.is_some())
            .max_by_key(|(_, stored)| stored.last_timestamp_ms)
    }

    /// The consumed record was replaced: the topic was recreated and filled beyond it. All of it is read again.
    pub(super) fn recreated(&mut self, consumer: &KafkaConsumer, topic: &Topic) -> Interrupted {
        let start = |(&partition, position): (&i32, &Position)| {
            let log = kafka::log(consumer.client(), &self.settings.topic, partition)?;
            let next = position.stored.last_offset + 1;
            let start = plan::restart(next, log, OffsetGapReason::Recreated);
            Ok((partition, Some(position.stored), start))
        };
        // Where nothing was read, nothing is read again.
        let read = |(_, position): &(_, &Position)| position.stored.last_offset >= 0;
        let starts: Result<Vec<_>, Interrupted> =
            self.positions.iter().filter(read).map(start).collect();
        match starts.and_then(|starts| Ok(self.record_starts(topic, &starts, &[])?)) {
            Ok(()) => Interrupted::TopicChanged("it was recreated".to_owned()),
            Err(interrupted) => interrupted,
        }
    }
}
