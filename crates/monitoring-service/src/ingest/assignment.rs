//! Which offsets to read from: decided at each assignment, looked at again while reading. Whatever is lost is recorded first.

use std::sync::Arc;

use rdkafka::consumer::Consumer as _;

use super::{
    Anchor, Ingest, Interrupted, Position,
    kafka::{self, KafkaConsumer, Topic},
    plan::{self, Lost, Start},
};
use crate::store::{IngestCommit, OffsetGap, OffsetGapReason, StoreError, StoredOffset};

impl Ingest {
    /// Decides where to go on in each partition, records what is lost, and assigns.
    pub(super) fn assign(
        &mut self,
        consumer: &KafkaConsumer,
        topic: &Topic,
    ) -> Result<(), Interrupted> {
        let name = self.settings.topic.clone();
        let stored = self.deps.store.offsets(&topic.cluster_id, &name)?;
        let mut offsets = Vec::new();
        self.positions.clear();
        for &partition in &topic.partitions {
            self.report();
            let stored = stored.get(&partition).copied();
            let start = plan::start(stored, kafka::log(consumer.client(), &name, partition)?);
            self.record_loss(topic, partition, stored, &start)?;
            offsets.push((partition, start.offset));
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
        let partitions = self.positions.len();
        self.publish(|feed| {
            (feed.consuming, feed.partitions, feed.error) = (true, partitions, None)
        });
        tracing::info!(topic = name, partitions, "consuming");
        Ok(())
    }

    /// Stores where to go on after a loss, with the gap: from then on it is known.
    pub(super) fn record_loss(
        &self,
        topic: &Topic,
        partition: i32,
        stored: Option<StoredOffset>,
        start: &Start,
    ) -> Result<(), StoreError> {
        let (Some(lost), Some(consumed)) = (start.lost, start.consumed) else {
            return Ok(());
        };
        let Lost {
            from: from_offset,
            to: to_offset,
            reason,
        } = lost;
        let (name, now_ms) = (self.settings.topic.clone(), self.deps.clock.now_ms());
        tracing::error!(
            topic = name,
            partition,
            from_offset,
            to_offset,
            reason = reason.name(),
            "offsets lost"
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
        self.deps.store.begin_ingest(&Arc::new(commit)).wait()?;
        self.deps
            .metrics
            .offset_gaps
            .with_label_values(&[reason.name()])
            .inc();
        Ok(())
    }

    /// Looks whether the topic is still the one that is being read. The brokers do not tell: librdkafka goes on at its
    /// offset in a topic that was deleted, made again and filled beyond it. So a record read a while ago is looked at again.
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

    /// The record stored last, of the partition where it is newest: retention takes it last.
    pub(super) fn newest_read(&self) -> Option<Anchor> {
        let stored = self
            .positions
            .iter()
            .filter_map(|(partition, position)| Some((*partition, position.stored?)));
        stored
            .filter(|(_, stored)| stored.last_timestamp_ms.is_some())
            .max_by_key(|(_, stored)| stored.last_timestamp_ms)
    }

    /// Another record stands where one was consumed: the topic was made again and filled beyond it. All of it is read anew.
    pub(super) fn recreated(&self, consumer: &KafkaConsumer, topic: &Topic) -> Interrupted {
        let record = |(partition, position): (&i32, &Position)| -> Result<(), Interrupted> {
            let log = kafka::log(consumer.client(), &self.settings.topic, *partition)?;
            let next = position
                .stored
                .map_or(log.low, |stored| stored.last_offset + 1);
            let start = plan::anew(next, log, OffsetGapReason::Recreated);
            Ok(self.record_loss(topic, *partition, position.stored, &start)?)
        };
        match self
            .positions
            .iter()
            .filter(|(_, position)| position.stored.is_some())
            .try_for_each(record)
        {
            Ok(()) => Interrupted::TopicChanged("it was made again".to_owned()),
            Err(interrupted) => interrupted,
        }
    }
}
