//! Publishes committed data: histories, metrics, log lines, the status of ingest.

use std::{collections::HashMap, sync::Arc};

use detection::{Observed, PolicyName, Stream, Timeliness};
use rdkafka::consumer::Consumer as _;

use super::{
    Ingest,
    gather::Fetched,
    kafka::{self, KafkaConsumer},
    progress::StandStill,
    recovery::Interrupted,
    snapshots::Snapshot,
    status::IngestStatus,
};
use crate::store::IngestCommit;

/// Logs the end of an episode of the policy `adaptive`.
fn log_closed_episodes(observed: &Observed) {
    let closed = observed
        .episode_events
        .iter()
        .filter(|event| event.change.is_close());
    for event in closed {
        tracing::info!(
            stream = observed.counts.stream().as_str(),
            opened = %event.since,
            closed = %event.minute,
            severity = event.severity.name(),
            new_level = event.new_level_reason(),
            "episode closed"
        );
    }
}

/// The streams of a batch, and whether each has a fresh minute.
pub(super) fn moved_streams(observed: &[Observed]) -> HashMap<&Stream, bool> {
    let mut moved = HashMap::new();
    for observed in observed {
        *moved.entry(observed.counts.stream()).or_default() |=
            observed.timeliness == Timeliness::Fresh;
    }
    moved
}

impl Ingest {
    /// The histories of the streams in a batch, as they are once it is stored. Taken before the next batch is observed.
    pub(super) fn snapshots_of(
        &self,
        moved: HashMap<&Stream, bool>,
        now_ms: i64,
    ) -> Vec<(Stream, Snapshot)> {
        let snapshot = |(stream, moved): (&Stream, bool)| {
            let history = self.reader.monitor.history(stream)?;
            let before = if moved {
                None
            } else {
                Some(self.context.snapshots.get(stream.as_str())?.arrived_at_ms)
            };
            let arrived_at_ms = before.unwrap_or(now_ms);
            let newest = history.newest()?.minute;
            let adaptive = self.reader.monitor.adaptive(stream);
            let adaptive = adaptive
                .filter(|_| self.context.alerting() == PolicyName::Adaptive)
                .map(|state| Arc::new(state.clone()));
            Some((
                stream.clone(),
                Snapshot {
                    history: Arc::new(history.clone()),
                    adaptive,
                    newest,
                    arrived_at_ms,
                },
            ))
        };
        moved.into_iter().filter_map(snapshot).collect()
    }

    /// Publishes what was stored: metrics, log lines, alerts.
    pub(super) fn publish_commit(&mut self, commit: &IngestCommit, messages: usize) {
        let metrics = &self.context.metrics;
        let too_late = |observed: &&Observed| observed.timeliness == Timeliness::TooLate;
        for Observed { counts, .. } in commit.observed.iter().filter(too_late) {
            if self.warned_too_late.insert(counts.stream().clone()) {
                let (stream, minute) = (counts.stream().as_str(), counts.minute().to_string());
                tracing::warn!(
                    stream,
                    minute,
                    "minute older than ALLOWED_LATENESS; stored without evaluation"
                );
            }
        }
        metrics.committed(&commit.observed);
        commit.observed.iter().for_each(log_closed_episodes);
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
        let detail = commit
            .dead_letters
            .last()
            .map(|letter| letter.detail.as_str());
        self.rejections.count(messages - dead, dead, detail);
        let acceptance = self.rejections.acceptance();
        self.publish(|status| status.acceptance = acceptance);
        for alert in &commit.alerts {
            self.context.announcer.announce(alert);
        }
    }

    /// Publishes an error in the status and, if it is new, in the log.
    pub(super) fn note(&mut self, interrupted: &Interrupted) {
        self.note_progress(|_| false);
        self.failed_at_ms = Some(self.context.clock.now_ms());
        let standing_still = self.progress.standing_still();
        let partitions = self.positions.len();
        let text = interrupted.to_string();
        if self.context.ingest.get().error.as_ref() != Some(&text) {
            tracing::warn!(
                brokers = self.settings.bootstrap_servers,
                topic = self.settings.topic,
                error = text,
                "not consuming"
            );
        }
        self.publish(|status| {
            status.connected &= !matches!(interrupted, Interrupted::Unreachable(_));
            (status.consuming, status.caught_up) = (false, false);
            status.partitions = partitions;
            (status.lag, status.error) = (None, Some(text));
            status.standing_still = standing_still;
        });
    }

    /// Notes how far each partition is; `is_held`: messages of it wait for older ones of another.
    fn note_progress(&mut self, is_held: impl Fn(i32) -> bool) {
        let now_ms = self.context.clock.now_ms();
        for (&partition, position) in &self.positions {
            let is_waiting = !position.at_end && !is_held(partition);
            self.progress
                .note(partition, position.next(), is_waiting, now_ms);
        }
    }

    /// True if every partition has gone on since the last session ended. Until then its error is shown: the next one may end alike.
    fn is_over(&mut self, longest: Option<&StandStill>) -> bool {
        let failed_at_ms = self.failed_at_ms;
        let is_over = failed_at_ms
            .is_none_or(|failed_ms| longest.is_none_or(|still| still.since_ms > failed_ms));
        if is_over {
            self.failed_at_ms = None;
        }
        is_over
    }

    pub(super) fn publish_progress(&mut self, consumer: &KafkaConsumer, lanes: &Fetched<'_>) {
        consumer
            .context()
            .each_end(|(partition, end)| self.progress.set_end(partition, end));
        self.note_progress(|partition| lanes.is_waiting(partition));
        let standing_still = self.progress.standing_still();
        let is_over = self.is_over(standing_still.first());
        let is_at_end = self.positions.values().all(|position| position.at_end);
        let caught_up = is_at_end && self.has_joined(consumer);
        let lag = if caught_up { 0 } else { self.progress.lag() };
        let held = self.held();
        self.publish(|status| {
            (status.caught_up, status.lag) = (caught_up, Some(lag));
            if let (Some(group), Some(held)) = (&mut status.group, held) {
                group.held = held;
            }
            status.standing_still = standing_still;
            if is_over {
                status.error = None;
            }
        });
        self.publish_notes();
    }

    /// The partitions of this instance, and whether each was read to its end; none where it has all of them.
    pub(super) fn held(&self) -> Option<Vec<(i32, bool)>> {
        let positions = self.positions.iter();
        let held = positions.map(|(partition, position)| (*partition, position.at_end));
        self.settings.joins_group.then(|| held.collect())
    }

    pub(super) fn publish_notes(&mut self) {
        if let Some(notes) = self.reader.notes.take_changed() {
            self.publish(|status| status.notes = notes);
        }
    }

    pub(super) fn publish(&self, change: impl FnOnce(&mut IngestStatus)) {
        self.context
            .ingest
            .update(self.context.clock.now_ms(), change);
    }

    pub(super) fn commit_offsets(&self, consumer: &KafkaConsumer) {
        let next = self
            .positions
            .iter()
            .map(|(partition, position)| (*partition, position.next()));
        if let Err(error) = kafka::commit_offsets(consumer, &self.settings.topic, next) {
            tracing::debug!(%error, "offsets not committed to Kafka; lag tools show old ones");
        }
    }
}
