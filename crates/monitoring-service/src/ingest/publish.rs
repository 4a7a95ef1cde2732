//! What others see of ingest: committed histories, figures, log lines, the state of the feed. Only ever what is stored.

use std::{collections::HashMap, sync::Arc};

use detection::{Stream, Timeliness};
use rdkafka::consumer::Consumer as _;

use super::{
    Ingest, Interrupted,
    kafka::{self, KafkaConsumer},
};
use crate::{
    alerting::log_alert,
    state::{Feed, Snapshot},
    store::IngestCommit,
};

impl Ingest {
    /// The histories of the streams in a batch, as they are once it is stored. Taken before the next batch is judged.
    pub(super) fn snapshots_of(&self, commit: &IngestCommit) -> Vec<(Stream, Snapshot)> {
        let mut moved: HashMap<&Stream, bool> = HashMap::new();
        for judged in &commit.judged {
            *moved.entry(judged.batch.stream()).or_default() |=
                judged.timeliness == Timeliness::Fresh;
        }
        let snapshot = |(stream, moved): (&Stream, bool)| {
            let history = self.reader.monitor.history(stream)?;
            let before = if moved {
                None
            } else {
                Some(self.deps.snapshots.get(stream.as_str())?.arrived_at_ms)
            };
            let arrived_at_ms = before.unwrap_or(commit.now_ms);
            let newest = history.newest()?.minute;
            Some((
                stream.clone(),
                Snapshot {
                    history: Arc::new(history.clone()),
                    newest,
                    arrived_at_ms,
                },
            ))
        };
        moved.into_iter().filter_map(snapshot).collect()
    }

    /// Tells of what is stored now: figures and log lines.
    pub(super) fn announce(&mut self, commit: &IngestCommit, messages: usize) {
        let metrics = &self.deps.metrics;
        for judged in commit
            .judged
            .iter()
            .filter(|judged| judged.timeliness == Timeliness::TooLate)
        {
            if self.warned_too_late.insert(judged.batch.stream().clone()) {
                let (stream, minute) = (
                    judged.batch.stream().as_str(),
                    judged.batch.minute().to_string(),
                );
                tracing::warn!(
                    stream,
                    minute,
                    "old minutes came: those not known yet are stored without a verdict (ALLOWED_LATENESS)"
                );
            }
        }
        metrics.committed(&commit.judged);
        let dead = commit.dead_letters.len();
        metrics
            .messages_consumed
            .with_label_values(&["stored"])
            .inc_by((messages - dead) as u64);
        metrics
            .messages_consumed
            .with_label_values(&["dead_letter"])
            .inc_by(dead as u64);
        for letter in &commit.dead_letters {
            metrics
                .dead_letters
                .with_label_values(&[letter.reason])
                .inc();
            let (topic, partition, offset) = (&letter.topic, letter.partition, letter.offset);
            tracing::warn!(
                topic,
                partition,
                offset,
                reason = letter.reason,
                detail = letter.detail,
                "dead letter"
            );
        }
        for alert in &commit.alerts {
            metrics.alert(alert);
            if alert.is_dispatched() {
                log_alert(alert);
            }
        }
    }

    /// Says what went wrong: in the log when it is news, in the health always.
    pub(super) fn note(&self, interrupted: &Interrupted) {
        let text = interrupted.to_string();
        if self.deps.feed.get().error.as_ref() != Some(&text) {
            tracing::warn!(
                brokers = self.settings.bootstrap_servers,
                topic = self.settings.topic,
                error = text,
                "not consuming"
            );
        }
        self.publish(|feed| {
            feed.connected &= !matches!(interrupted, Interrupted::Unreachable(_));
            (feed.consuming, feed.caught_up) = (false, false);
            (feed.lag, feed.error) = (None, Some(text));
        });
    }

    pub(super) fn publish_progress(&self, consumer: &KafkaConsumer) {
        let caught_up = self.positions.values().all(|position| position.at_end);
        let next = self
            .positions
            .iter()
            .map(|(partition, position)| (*partition, position.next()));
        let lag = if caught_up {
            0
        } else {
            consumer.context().lag(next)
        };
        self.publish(|feed| (feed.caught_up, feed.lag) = (caught_up, Some(lag)));
    }

    pub(super) fn publish(&self, change: impl FnOnce(&mut Feed)) {
        self.deps.feed.update(self.deps.clock.now_ms(), change);
    }

    pub(super) fn commit_offsets(&self, consumer: &KafkaConsumer) {
        let read = self
            .positions
            .iter()
            .filter(|(_, position)| position.stored.is_some());
        let next: Vec<_> = read
            .map(|(partition, position)| (*partition, position.next()))
            .collect();
        if next.is_empty() {
            return;
        }
        if let Err(error) = kafka::commit_offsets(consumer, &self.settings.topic, next) {
            tracing::debug!(%error, "Kafka was not told the offsets; lag tools show old ones");
        }
    }
}
