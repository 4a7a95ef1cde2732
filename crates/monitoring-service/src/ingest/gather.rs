//! Collects the messages of one transaction from the partitions, in the order of [`Lanes`].

use std::time::Duration;

use rdkafka::{Message as _, consumer::Consumer as _, error::KafkaError, message::BorrowedMessage};

use super::{
    BATCH_TIMEOUT, Ingest, KafkaInput, MAX_MESSAGES, MAX_TRANSACTIONS, POLL_TIMEOUT,
    batch::Batch,
    kafka::{self, KafkaConsumer, Topic},
    lanes::{Lanes, Next},
    reader::Parsed,
    recovery::Interrupted,
    spans::MessageSpans,
};
use crate::{clock::Stopwatch, store::StoredOffset};

/// Messages that are fetched before a partition is chosen again.
const MAX_FETCHED: usize = 64;

/// The fetched messages of the partitions.
pub(super) type Fetched<'c> = Lanes<BorrowedMessage<'c>>;

impl Ingest {
    /// Reads the messages of one transaction and hands them to the writer: a live message alone, many in a backlog. In a
    /// backlog the next batch is read and observed while this one is written.
    pub(super) fn gather<'c>(
        &mut self,
        consumer: &'c KafkaConsumer,
        topic: &Topic,
        lanes: &mut Fetched<'c>,
        session: &Stopwatch,
    ) -> Result<(), Interrupted> {
        self.reload_retired(Some(topic))?;
        let (mut batch, mut spans) = (
            Batch::new(self.context.clock.now_ms()),
            MessageSpans::default(),
        );
        consumer
            .context()
            .each_end(|(partition, end)| lanes.set_end(partition, end));
        lanes.find_slow(session.elapsed());
        let mut now = session.elapsed();
        let (mut watch, mut started) = (Stopwatch::start(), now);
        let (mut more, mut is_dry, mut failed) = (true, false, None);
        let max_messages = match self.settings.input {
            KafkaInput::Transactions => MAX_TRANSACTIONS,
            KafkaInput::Minutes | KafkaInput::Updates => MAX_MESSAGES,
        };
        while more && batch.messages < max_messages {
            // Reading the clock at each message would cost a twentieth of the time.
            if batch.messages.is_multiple_of(MAX_FETCHED) {
                now = session.elapsed();
            }
            let is_late = now.saturating_sub(started) >= BATCH_TIMEOUT;
            if is_late && failed.is_none() && !self.is_writing() {
                break;
            }
            match lanes.next(now) {
                Next::Take(partition, limit) => {
                    let Some(message) = lanes.take(partition) else {
                        continue;
                    };
                    if batch.messages == 0 {
                        (watch, started) = (Stopwatch::start(), now);
                        batch.commit.now_ms = self.context.clock.now_ms();
                        batch.silences = self.context.silences.active(batch.commit.now_ms);
                    }
                    let parsed = self.reader.parse(&message, batch.commit.now_ms);
                    let minute = parsed.minute();
                    if let (Some(minute), Some(limit)) = (minute, limit)
                        && minute > limit
                    {
                        drop(parsed);
                        lanes.put_back(partition, message, minute, now);
                        continue;
                    }
                    self.take(consumer, topic, &message, parsed, &mut batch, &mut spans)?;
                    if lanes.note_read(partition, minute, now) {
                        kafka::resume(consumer, &self.settings.topic, partition)?;
                    }
                    if let Some(position) = self.positions.get_mut(&partition) {
                        position.at_end = lanes.is_at_end(partition);
                    }
                }
                Next::Fetch if failed.is_some() => break,
                Next::Fetch => {
                    // What waits may be allowed when nothing more was fetched.
                    let is_urgent = lanes.is_any_waiting() && !is_dry;
                    let is_idle = batch.messages == 0 && self.in_flight.is_none();
                    let timeout = if is_idle && !is_urgent {
                        self.queue.poll_timeout(POLL_TIMEOUT)
                    } else {
                        Duration::ZERO
                    };
                    match self.fetch(consumer, lanes, timeout, now) {
                        Ok(fetched) => is_dry = !fetched,
                        // The group waits for an answer.
                        Err(error @ Interrupted::Rebalanced) => {
                            failed = Some(error);
                            break;
                        }
                        // What was fetched before it is read first: the next session may end alike.
                        Err(error) => {
                            (failed, is_dry) = (Some(error), false);
                            lanes.release();
                        }
                    }
                    now = session.elapsed();
                    if is_dry {
                        lanes.note_dry();
                        more = is_urgent;
                    }
                }
            }
        }
        self.settle()?;
        self.close_minutes(&mut batch, &mut spans)?;
        if batch.messages > 0 || !batch.commit.observed.is_empty() {
            batch.commit.offsets = self.advances(topic);
            batch.commit.open = self.open_commit(topic);
            self.begin_commit(batch, &spans, watch, Vec::new());
        }
        if let Some(error) = failed {
            Err(error)
        } else if more {
            Ok(())
        } else {
            self.settle()?;
            self.resolve_doubt(consumer)
        }
    }

    /// True while the batch before is being written: this one would only wait.
    fn is_writing(&self) -> bool {
        let batch = self.in_flight.as_ref();
        batch.is_some_and(|batch| !batch.job.is_done())
    }

    /// Fetches some messages or events; false if there were none. Only the first is waited for.
    fn fetch<'c>(
        &mut self,
        consumer: &'c KafkaConsumer,
        lanes: &mut Fetched<'c>,
        timeout: Duration,
        now: Duration,
    ) -> Result<bool, Interrupted> {
        let mut fetched = self.fetch_one(consumer, lanes, timeout, now)?;
        let any = fetched;
        for _ in 1..MAX_FETCHED {
            if !fetched {
                break;
            }
            fetched = self.fetch_one(consumer, lanes, Duration::ZERO, now)?;
        }
        Ok(any)
    }

    /// Fetches one message or event; false if there was none.
    fn fetch_one<'c>(
        &mut self,
        consumer: &'c KafkaConsumer,
        lanes: &mut Fetched<'c>,
        timeout: Duration,
        now: Duration,
    ) -> Result<bool, Interrupted> {
        let polled = consumer.poll(timeout);
        if self.settings.joins_group && consumer.context().is_changed() {
            return Err(Interrupted::Rebalanced);
        }
        match polled {
            None => return Ok(false),
            // While a broker is down each attempt queues an error, which is read after it returns.
            Some(Err(error)) if kafka::is_of_connection(&error) => {
                (self.in_doubt, self.doubted) = (true, Some(Stopwatch::start()));
                lanes.reopen(now);
            }
            Some(Ok(message)) => {
                let partition = message.partition();
                self.in_doubt = false;
                if let Some(position) = self.positions.get_mut(&partition) {
                    position.at_end = false;
                }
                if lanes.push(partition, message.offset(), message) {
                    kafka::pause(consumer, &self.settings.topic, partition)?;
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                lanes.end(partition);
                if let Some(position) = self.positions.get_mut(&partition) {
                    position.at_end = lanes.is_at_end(partition);
                }
            }
            Some(Err(error)) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Checks the brokers after a lost connection, when nothing is left to read. librdkafka reconnects by itself, so it is an
    /// error only if the brokers do not answer.
    fn resolve_doubt(&mut self, consumer: &KafkaConsumer) -> Result<(), Interrupted> {
        if std::mem::take(&mut self.in_doubt) {
            kafka::topic(consumer.client(), &self.settings.topic)
                .map_err(Interrupted::Unreachable)?;
        }
        Ok(())
    }

    /// Adds one message to the batch, unless it was consumed before.
    fn take(
        &mut self,
        consumer: &KafkaConsumer,
        topic: &Topic,
        message: &BorrowedMessage<'_>,
        parsed: Parsed<'_>,
        batch: &mut Batch,
        spans: &mut MessageSpans,
    ) -> Result<(), Interrupted> {
        let partition = message.partition();
        let Some(position) = self.positions.get_mut(&partition) else {
            return Ok(());
        };
        let here = StoredOffset {
            last_offset: message.offset(),
            last_timestamp_ms: message.timestamp().to_millis(),
        };
        if std::mem::take(&mut position.verify)
            && position.stored.last_offset == here.last_offset
            && position.stored != here
        {
            return Err(self.recreated(consumer, topic));
        }
        let next = position.next();
        if here.last_offset < next {
            return Ok(());
        }
        self.context
            .metrics
            .offsets_missing
            .inc_by((here.last_offset - next).unsigned_abs());
        let (reading, span) = self.reader.read(
            message,
            parsed,
            &batch.silences,
            batch.commit.now_ms,
            batch.messages == 0,
        )?;
        position.read = here;
        let alerts = batch.push(reading, &self.context.notify);
        if let Some(span) = span {
            spans.push(span, alerts);
        }
        Ok(())
    }
}
