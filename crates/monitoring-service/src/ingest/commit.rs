//! Hands batches to the writer, and publishes what was stored.

use std::sync::Arc;

use detection::Stream;

use super::{
    Ingest,
    batch::Batch,
    kafka::Topic,
    publish::moved_streams,
    requests::Answer,
    snapshots::Snapshot,
    spans::{MessageSpans, Spans},
};
use crate::{
    clock::Stopwatch,
    store::{InFlightCommit, IngestCommit, OffsetAdvance, StoreError, StoredOffset},
};

/// A batch in flight, and the snapshots and metrics to publish after its commit.
pub(super) struct InFlightBatch {
    pub(super) job: InFlightCommit,
    commit: Arc<IngestCommit>,
    snapshots: Vec<(Stream, Snapshot)>,
    messages: usize,
    /// The requests in it.
    answers: Vec<Answer>,
    spans: Spans,
    /// Since its first message was read.
    watch: Stopwatch,
    /// Since it was handed to the writer.
    inserting: Stopwatch,
}

impl Ingest {
    pub(super) fn advance(
        &self,
        topic: &Topic,
        partition: i32,
        from: Option<StoredOffset>,
        to: StoredOffset,
    ) -> OffsetAdvance {
        let (cluster_id, name) = (topic.cluster_id.clone(), self.settings.topic.clone());
        OffsetAdvance {
            cluster_id,
            topic: name,
            partition,
            from,
            to,
        }
    }

    /// What was read since the last commit. The positions count as stored from now on: if the commit fails, the session restarts. In a group
    /// every partition is named: minutes that the clock closed are those of its instance only.
    pub(super) fn advances(&mut self, topic: &Topic) -> Vec<OffsetAdvance> {
        let names_all = self.settings.joins_group;
        let moved = self
            .positions
            .iter()
            .filter(|(_, position)| names_all || position.read != position.stored);
        let offsets = moved.map(|(partition, position)| {
            self.advance(topic, *partition, Some(position.stored), position.read)
        });
        let offsets = offsets.collect();
        self.positions
            .values_mut()
            .for_each(|position| position.stored = position.read);
        offsets
    }

    /// Hands the batch to the writer.
    pub(super) fn begin_commit(
        &mut self,
        mut batch: Batch,
        spans: &MessageSpans,
        watch: Stopwatch,
        answers: Vec<Answer>,
    ) {
        let spans = Spans::begin(&mut batch, spans);
        batch.trace_incidents();
        let Batch {
            mut commit,
            messages,
            ..
        } = batch;
        commit.states = self.reader.monitor.take_due_states();
        let moved = moved_streams(&commit.observed);
        let versions = self.reader.versions.advance(moved.keys().copied());
        let snapshots = self.snapshots_of(moved, commit.now_ms);
        commit.versions = versions;
        let commit = Arc::new(commit);
        let inserting = Stopwatch::start();
        let job = self.context.store.begin_ingest(&commit);
        self.in_flight = Some(InFlightBatch {
            job,
            commit,
            snapshots,
            messages,
            answers,
            spans,
            watch,
            inserting,
        });
    }

    /// Waits for the in-flight batch and publishes it after its commit.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        let Some(batch) = self.in_flight.take() else {
            return Ok(());
        };
        let stored = batch.job.wait();
        batch.spans.end(stored.as_ref().err());
        let events = match stored {
            Ok(events) => events,
            Err(error) => {
                if !self.is_by_others(&error) {
                    let errors = &self.context.metrics.store_errors;
                    errors.with_label_values(&["ingest"]).inc();
                }
                for answer in batch.answers {
                    if let Some(request) = answer.failed(&error) {
                        self.queue.put_back(request);
                    }
                }
                return Err(error);
            }
        };
        self.context
            .metrics
            .insert_duration
            .observe(batch.inserting.elapsed().as_secs_f64());
        self.context
            .metrics
            .batch_duration
            .observe(batch.watch.elapsed().as_secs_f64());
        self.committed.note(&batch.commit.offsets);
        self.context.snapshots.publish(batch.snapshots);
        self.publish_commit(&batch.commit, batch.messages);
        self.context.announcer.announce_incidents(&events);
        for answer in batch.answers {
            let minutes = answer.outcome.places.len() as u64;
            self.context.metrics.minutes_posted.inc_by(minutes);
            answer.done(&batch.commit);
        }
        Ok(())
    }

    fn is_by_others(&self, error: &StoreError) -> bool {
        let is_shared = self.settings.joins_group;
        error.is_outdated() || (is_shared && error.is_offset_moved())
    }
}
