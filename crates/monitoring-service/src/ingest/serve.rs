//! Serves what the API asks: minutes are observed and stored like a batch of messages, all of a request or none.

use std::time::Duration;

use detection::mapping::ReadMinute;
use tokio_util::sync::CancellationToken;

use super::{
    Ingest, MAX_MESSAGES, POLL_TIMEOUT,
    batch::Batch,
    kafka::Topic,
    recovery::Interrupted,
    requests::{Answer, Outcome, Place, Refused, Request, Work},
    spans::{MessageSpan, MessageSpans},
};
use crate::{
    clock::{self, Stopwatch},
    store::StoreError,
};

impl Ingest {
    /// Serves requests alone, until the first error or the stop.
    pub(super) fn session_without_kafka(
        &mut self,
        stop: &CancellationToken,
    ) -> Result<(), Interrupted> {
        self.reader.restart()?;
        self.publish(|status| {
            (status.consuming, status.caught_up, status.error) = (true, true, None);
        });
        while !stop.is_cancelled() {
            self.report();
            self.serve_and_settle(POLL_TIMEOUT)?;
            self.publish_notes();
        }
        Ok(self.settle()?)
    }

    /// Waits after an error, and serves requests meanwhile if the store can be read.
    pub(super) fn pause(&mut self, length: Duration, stop: &CancellationToken) {
        let watch = Stopwatch::start();
        let left = || length.saturating_sub(watch.elapsed());
        // The memory may be ahead of the store.
        let mut usable = self.reader.restart().map_err(Interrupted::from);
        while usable.is_ok() && !stop.is_cancelled() && !left().is_zero() {
            self.report();
            usable = self.serve_and_settle(left().min(POLL_TIMEOUT));
        }
        self.report();
        // The caller checks which of the two ended it.
        drop(
            self.runtime
                .block_on(async { tokio::time::timeout(left(), stop.cancelled()).await }),
        );
    }

    /// Serves the requests that wait, or that come within this time. While a batch is written, the next one is observed.
    fn serve_and_settle(&mut self, wait: Duration) -> Result<(), Interrupted> {
        let wait = if self.in_flight.is_some() {
            Duration::ZERO
        } else {
            wait
        };
        if !self.serve(None, wait)? {
            self.settle()?;
        }
        Ok(())
    }

    /// Hands the requests that wait, or that come within this time, to the writer as one transaction; false if there is none.
    /// `topic`: the one that is being read.
    pub(super) fn serve(
        &mut self,
        topic: Option<&Topic>,
        wait: Duration,
    ) -> Result<bool, Interrupted> {
        let Some(first) = self.queue.next(wait) else {
            return Ok(false);
        };
        self.reload_retired(topic)?;
        if self.context.store.is_shared() {
            // Its versions are those of the commit in flight.
            self.settle()?;
            self.reader.versions.check_again();
        }
        let watch = Stopwatch::start();
        let mut batch = Batch::new(self.context.clock.now_ms());
        batch.silences = self.context.silences.active(batch.commit.now_ms);
        let (mut spans, mut answers) = (MessageSpans::default(), Vec::new());
        let mut next = Some(first);
        while let Some(request) = next {
            if !request.is_abandoned() {
                let answer = self.take_request(request, topic, &mut batch, &mut spans)?;
                answers.extend(answer);
            }
            let has_room = batch.commit.observed.len() < MAX_MESSAGES;
            next = has_room.then(|| self.queue.next(Duration::ZERO)).flatten();
        }
        if answers.is_empty() {
            return Ok(true);
        }
        self.settle()?;
        if let Some(topic) = topic.filter(|_| !batch.commit.replayed.is_empty()) {
            self.close_minutes(&mut batch, &mut spans)?;
            batch.commit.open = self.open_commit(topic);
            for answer in &mut answers {
                answer.outcome.find_closed(&batch.commit);
            }
        }
        self.begin_commit(batch, &spans, watch, answers);
        Ok(true)
    }

    /// Does what one request asks, and answers at once if it is refused.
    fn take_request(
        &mut self,
        request: Request,
        topic: Option<&Topic>,
        batch: &mut Batch,
        spans: &mut MessageSpans,
    ) -> Result<Option<Answer>, StoreError> {
        let (work, context) = (request.work.clone(), request.span.clone());
        let (begun, alerts) = (clock::span_time(), batch.commit.alerts.len());
        let done = match work {
            Work::Minutes(minutes) => self.observe_minutes(minutes, batch),
            Work::Replay(id) => self.replay(id, topic, batch),
        };
        match done {
            Ok(outcome) => {
                let judged = Some(begun..clock::span_time());
                let alerts = batch.commit.alerts.len() - alerts;
                spans.push(MessageSpan { context, judged }, alerts);
                batch.requests += 1;
                Ok(Some(Answer { request, outcome }))
            }
            Err(refused) => {
                let failed = match &refused {
                    Refused::Store(error) => Err(error.clone()),
                    _ => Ok(None),
                };
                request.refuse(refused);
                failed
            }
        }
    }

    /// Observes minutes, oldest first: within one request none is too late because another one was named before it.
    pub(super) fn observe_minutes(
        &mut self,
        minutes: Vec<ReadMinute>,
        batch: &mut Batch,
    ) -> Result<Outcome, Refused> {
        self.reader.admit(&minutes, batch.commit.now_ms)?;
        let mut places = vec![Place::default(); minutes.len()];
        let mut in_order: Vec<_> = minutes.into_iter().enumerate().collect();
        in_order.sort_by_key(|(_, minute)| minute.counts.minute());
        for (i, minute) in in_order {
            let counts = self.reader.note_minute(minute);
            let observed = self.reader.observe(counts, &batch.silences)?;
            let (at, before) = (batch.commit.observed.len(), batch.commit.alerts.len());
            batch.add(observed, &self.context.notify);
            let alerts = before..batch.commit.alerts.len();
            places[i] = Place {
                observed: at,
                alerts,
            };
        }
        Ok(Outcome { places, open: None })
    }
}
