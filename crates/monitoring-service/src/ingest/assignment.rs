//! The offsets to read from: decided at each assignment and checked again while reading. Offset gaps are recorded first.

use std::{collections::BTreeMap, sync::Arc};

use rdkafka::consumer::Consumer as _;

use super::{
    Anchor, Ingest, Position,
    gather::Fetched,
    kafka::{self, KafkaConsumer, Topic},
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
        let (mut offsets, mut lanes) = (Vec::new(), Vec::new());
        consumer.context().forget_ends();
        self.positions.clear();
        for &partition in &topic.partitions {
            self.report();
            let stored = stored.get(&partition).copied();
            let log = kafka::log(consumer.client(), &name, partition)?;
            let start = match elsewhere.get(&partition) {
                Some(old) => plan::restart(old.last_offset + 1, log, OffsetGapReason::NewCluster),
                None => plan::start(stored, log),
            };
            self.record_gap(topic, partition, stored, &start)?;
            self.progress.set_log(partition, log);
            offsets.push((partition, start.offset));
            lanes.push((partition, start.offset, log.high));
            let (stored, read) = (start.consumed, start.consumed);
            self.positions.insert(
                partition,
                Position {
                    stored,
                    read,
                    verify: start.verify,
                    at_end: false,
                },
            );
        }
        kafka::assign(consumer, &name, offsets)?;
        self.progress.keep(&topic.partitions);
        let partitions = self.positions.len();
        self.publish(|status| {
            (status.consuming, status.partitions) = (true, partitions);
        });
        tracing::info!(topic = name, partitions, "consuming");
        let slack_minutes = i64::from(self.context.monitor.allowed_lateness_minutes / 2);
        Ok(Fetched::new(lanes, slack_minutes))
    }

    /// Stores an offset gap and the offset at which reading continues.
    pub(super) fn record_gap(
        &self,
        topic: &Topic,
        partition: i32,
        stored: Option<StoredOffset>,
        start: &Start,
    ) -> Result<(), StoreError> {
        let (Some(gap), Some(consumed)) = (start.gap, start.consumed) else {
            return Ok(());
        };
        let Gap {
            from: from_offset,
            to: to_offset,
            reason,
        } = gap;
        let (name, now_ms) = (self.settings.topic.clone(), self.context.clock.now_ms());
        tracing::error!(
            topic = name,
            partition,
            from_offset,
            to_offset,
            reason = reason.name(),
            "offset gap: records that were not read are lost"
        );
        let offsets = vec![self.advance(topic, partition, stored, consumed)];
        let gap = OffsetGap {
            topic: name,
            partition,
            from_offset,
            to_offset,
            reason,
            detected_at_ms: now_ms,
        };
        let commit = IngestCommit {
            gaps: vec![gap],
            offsets,
            now_ms,
            ..IngestCommit::default()
        };
        self.context.store.begin_ingest(&Arc::new(commit)).wait()?;
        self.context
            .metrics
            .offset_gaps
            .with_label_values(&[reason.name()])
            .inc();
        Ok(())
    }

    /// Checks that the topic is still the same one. The brokers do not report a change: librdkafka goes on at its offset in a
    /// topic that was deleted, recreated and filled beyond it. So a record read a while ago is read again.
    pub(super) fn refresh(
        &self,
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
            .filter_map(|(partition, position)| Some((*partition, position.stored?)));
        stored
            .filter(|(_, stored)| stored.last_timestamp_ms.is_some())
            .max_by_key(|(_, stored)| stored.last_timestamp_ms)
    }

    /// The consumed record was replaced: the topic was recreated and filled beyond it. All of it is read again.
    pub(super) fn recreated(&self, consumer: &KafkaConsumer, topic: &Topic) -> Interrupted {
        let record = |(partition, position): (&i32, &Position)| -> Result<(), Interrupted> {
            let log = kafka::log(consumer.client(), &self.settings.topic, *partition)?;
            let next = position
                .stored
                .map_or(log.low, |stored| stored.last_offset + 1);
            let start = plan::restart(next, log, OffsetGapReason::Recreated);
            Ok(self.record_gap(topic, *partition, position.stored, &start)?)
        };
        match self
            .positions
            .iter()
            .filter(|(_, position)| position.stored.is_some())
            .try_for_each(record)
        {
            Ok(()) => Interrupted::TopicChanged("it was recreated".to_owned()),
            Err(interrupted) => interrupted,
        }
    }
}
