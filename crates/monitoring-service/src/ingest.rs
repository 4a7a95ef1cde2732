//! Kafka → fold → store, on one thread that owns the consumer and the fold.
//!
//! One transaction for each consumed batch; memory is a cache of what is committed. Whatever goes wrong, the cure is the
//! same: forget, read the stored offsets, look at the broker's log, assign again. No consumer group: one replica owns its
//! database and all partitions, and is back at once after a kill.

mod kafka;
mod plan;
mod reader;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use anyhow::anyhow;
use detection::{Policy, Stream, Timeliness};
use opentelemetry::{
    Context, KeyValue,
    global::BoxedSpan,
    trace::{Link, Span as _, SpanContext, TraceContextExt as _, Tracer as _},
};
use rdkafka::{
    Message as _,
    consumer::Consumer as _,
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::{
    kafka::{KafkaConsumer, Topic},
    plan::{Lost, Start},
    reader::{Reader, Reading},
};
use crate::{
    alerting::log_alert,
    clock::{Clock, Stopwatch},
    config::KafkaProperties,
    state::{Feed, FeedState, Heartbeats, Snapshot, Snapshots, Task},
    store::{AlertRecord, Gap, GapReason, IngestCommit, OffsetAdvance, Paging, Store, StoreError, StoredOffset},
    telemetry::Telemetry,
};

/// Messages of one transaction.
const MOST_MESSAGES: usize = 1000;

/// How long messages of one transaction are gathered while more are waiting.
const GATHER: Duration = Duration::from_millis(20);

/// How long the first message of a transaction is waited for.
const WAIT: Duration = Duration::from_millis(100);

/// How often the topic is asked about: it may have new partitions, or be another one of the same name.
const REFRESH: Duration = Duration::from_secs(30);

/// How often Kafka is told the offsets.
const TELL: Duration = Duration::from_secs(1);

/// Between attempts, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Links from the transaction of a backlog to the messages in it.
const MOST_LINKS: usize = 32;

/// What ingest is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Brokers to start from.
    pub bootstrap_servers: String,
    /// Topic to read.
    pub topic: String,
    /// What the offsets told to Kafka are filed under.
    pub group_id: String,
    /// More librdkafka properties.
    pub properties: KafkaProperties,
    /// The policy of the fold.
    pub policy: Policy,
    /// Streams that are accepted.
    pub max_streams: usize,
    /// Who is paged.
    pub paging: Paging,
}

/// What ingest works with.
pub struct Deps {
    /// Where everything goes.
    pub store: Store,
    /// Where committed histories are published.
    pub snapshots: Snapshots,
    /// Where the state of the feed is published.
    pub feed: FeedState,
    /// Where signs of life go.
    pub heartbeats: Heartbeats,
    /// Where it is counted.
    pub telemetry: Telemetry,
    /// The time.
    pub clock: Clock,
    /// To wait on, from the thread.
    pub runtime: Handle,
}

/// Why a session with the broker ended.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error("the Kafka brokers cannot be reached: {0}")]
    Unreachable(KafkaError),
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("the topic does not exist yet")]
    NoTopic,
    #[error("the topic changed: {0}")]
    TopicChanged(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What to do about it.
enum Cure {
    /// Assign again from the store.
    StartOver,
    /// End the service.
    Stop(anyhow::Error),
}

impl Interrupted {
    fn cure(self) -> Cure {
        match self {
            Self::Store(error @ (StoreError::Broken(_) | StoreError::Closed)) => Cure::Stop(error.into()),
            Self::Kafka(KafkaError::MessageConsumption(RDKafkaErrorCode::NotImplemented)) => Cure::Stop(anyhow!(
                "the topic has messages compressed with a codec that this build cannot read (it reads gzip, snappy, lz4 and zstd)"
            )),
            Self::Kafka(KafkaError::MessageConsumptionFatal(code)) => Cure::Stop(anyhow!("Kafka: fatal error: {code}")),
            Self::Unreachable(_) | Self::Kafka(_) | Self::NoTopic | Self::TopicChanged(_) | Self::Store(_) => {
                Cure::StartOver
            }
        }
    }
}

/// Consumes until it is told to stop. Blocks: for a thread of its own.
pub fn run(settings: Settings, deps: Deps, stop: &CancellationToken) -> anyhow::Result<()> {
    let consumer = kafka::consumer(&settings)?;
    let reader = Reader::new(deps.store.clone(), &settings);
    let mut ingest = Ingest { settings, deps, reader, positions: BTreeMap::new(), told_late: HashSet::new() };
    let mut backoff = BACKOFF.0;
    while !stop.is_cancelled() {
        let session = Stopwatch::start();
        let Err(interrupted) = ingest.session(&consumer, stop) else { break };
        if session.elapsed() > REFRESH {
            backoff = BACKOFF.0;
        }
        ingest.note(&interrupted);
        if let Cure::Stop(error) = interrupted.cure() {
            return Err(error);
        }
        ingest.pause(backoff, stop);
        backoff = (backoff * 2).min(BACKOFF.1);
    }
    Ok(())
}

struct Ingest {
    settings: Settings,
    deps: Deps,
    reader: Reader,
    positions: BTreeMap<i32, Position>,
    /// Streams of which it was said that minutes come too late.
    told_late: HashSet<Stream>,
}

/// How far a partition was read.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// What is stored.
    stored: Option<StoredOffset>,
    /// What was read, and is stored with the next commit.
    read: Option<StoredOffset>,
    /// The next record is the last one consumed, to be compared.
    verify: bool,
    /// Read to the end.
    at_end: bool,
}

impl Position {
    fn next(&self) -> i64 {
        self.read.map_or(0, |read| read.last_offset + 1)
    }
}

/// What was read for one transaction.
struct Batch {
    commit: IngestCommit,
    messages: usize,
    /// The spans of the first messages.
    spans: Vec<SpanContext>,
}

impl Ingest {
    /// From the assignment to the first thing that goes wrong, or the stop.
    fn session(&mut self, consumer: &KafkaConsumer, stop: &CancellationToken) -> Result<(), Interrupted> {
        self.beat();
        self.reader.start_over()?;
        let topic = kafka::topic(consumer.client(), &self.settings.topic).map_err(Interrupted::Unreachable)?;
        self.publish(|feed| (feed.connected, feed.topic_exists) = (true, !topic.partitions.is_empty()));
        if topic.partitions.is_empty() {
            return Err(Interrupted::NoTopic);
        }
        self.assign(consumer, &topic)?;
        let (mut refreshed, mut told) = (Stopwatch::start(), Stopwatch::start());
        while !stop.is_cancelled() {
            self.beat();
            self.gather(consumer, &topic)?;
            self.publish_progress(consumer);
            if told.elapsed() > TELL {
                told = Stopwatch::start();
                self.tell_offsets(consumer);
            }
            if refreshed.elapsed() > REFRESH {
                refreshed = Stopwatch::start();
                let now = kafka::topic(consumer.client(), &self.settings.topic).map_err(Interrupted::Unreachable)?;
                if now != topic {
                    return Err(Interrupted::TopicChanged(format!("{topic:?} is now {now:?}")));
                }
            }
        }
        self.tell_offsets(consumer);
        Ok(())
    }

    /// Decides where to go on in each partition, records what is lost, and assigns.
    fn assign(&mut self, consumer: &KafkaConsumer, topic: &Topic) -> Result<(), Interrupted> {
        let name = self.settings.topic.clone();
        let stored = self.deps.store.offsets(&topic.cluster_id, &name)?;
        let mut offsets = Vec::new();
        self.positions.clear();
        for &partition in &topic.partitions {
            self.beat();
            let stored = stored.get(&partition).copied();
            let start = plan::start(stored, kafka::log(consumer.client(), &name, partition)?);
            self.record_loss(topic, partition, stored, &start)?;
            offsets.push((partition, start.offset));
            let (stored, read) = (start.consumed, start.consumed);
            self.positions.insert(partition, Position { stored, read, verify: start.verify, at_end: false });
        }
        kafka::assign(consumer, &name, offsets)?;
        let partitions = self.positions.len();
        self.publish(|feed| (feed.partitions, feed.error) = (partitions, None));
        tracing::info!(topic = name, partitions, "consuming");
        Ok(())
    }

    /// Stores where to go on after a loss, with the gap: from then on it is known.
    fn record_loss(
        &self,
        topic: &Topic,
        partition: i32,
        stored: Option<StoredOffset>,
        start: &Start,
    ) -> Result<(), StoreError> {
        let (Some(lost), Some(consumed)) = (start.lost, start.consumed) else { return Ok(()) };
        let Lost { from: from_offset, to: to_offset, reason } = lost;
        let (name, now_ms) = (self.settings.topic.clone(), self.deps.clock.now_ms());
        tracing::error!(topic = name, partition, from_offset, to_offset, reason = reason.name(), "offsets lost");
        let offsets = vec![self.advance(topic, partition, stored, consumed)];
        let gap = Gap { topic: name, partition, from_offset, to_offset, reason, detected_at_ms: now_ms };
        let commit = IngestCommit { gaps: vec![gap], offsets, now_ms, ..IngestCommit::default() };
        self.deps.store.commit_ingest(Arc::new(commit))?;
        self.deps.telemetry.offset_gaps.with_label_values(&[reason.name()]).inc();
        Ok(())
    }

    fn advance(&self, topic: &Topic, partition: i32, from: Option<StoredOffset>, to: StoredOffset) -> OffsetAdvance {
        let (cluster_id, name) = (topic.cluster_id.clone(), self.settings.topic.clone());
        OffsetAdvance { cluster_id, topic: name, partition, from, to }
    }

    /// Reads the messages of one transaction and commits them: one at once when live, many while there is a backlog.
    fn gather(&mut self, consumer: &KafkaConsumer, topic: &Topic) -> Result<(), Interrupted> {
        let mut batch = Batch::new(self.deps.clock.now_ms());
        let mut watch = Stopwatch::start();
        while batch.messages < MOST_MESSAGES && watch.elapsed() < GATHER {
            let wait = if batch.messages == 0 { WAIT } else { Duration::ZERO };
            match consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => {
                    if batch.messages == 0 {
                        watch = Stopwatch::start();
                        batch.commit.now_ms = self.deps.clock.now_ms();
                    }
                    self.take(consumer, topic, &message, &mut batch)?;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(position) = self.positions.get_mut(&partition) {
                        position.at_end = true;
                    }
                }
                Some(Err(error)) => return Err(error.into()),
            }
        }
        if batch.messages > 0 {
            self.commit(topic, batch)?;
            self.deps.telemetry.batch_duration.observe(watch.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Takes one message into the batch, unless it was consumed before.
    fn take(
        &mut self,
        consumer: &KafkaConsumer,
        topic: &Topic,
        message: &BorrowedMessage<'_>,
        batch: &mut Batch,
    ) -> Result<(), Interrupted> {
        let partition = message.partition();
        let Some(position) = self.positions.get_mut(&partition) else { return Ok(()) };
        let here = StoredOffset { last_offset: message.offset(), last_timestamp_ms: message.timestamp().to_millis() };
        position.at_end = false;
        if std::mem::take(&mut position.verify)
            && let Some(stored) = position.stored
            && stored.last_offset == here.last_offset
            && stored != here
        {
            return Err(self.recreated(consumer, topic, partition, stored));
        }
        let (next, first) = (position.next(), position.read.is_none());
        if here.last_offset < next {
            return Ok(());
        }
        if !first {
            self.deps.telemetry.offsets_missing.inc_by((here.last_offset - next).unsigned_abs());
        }
        let (reading, span) = self.reader.read(message, batch.commit.now_ms)?;
        position.read = Some(here);
        batch.push(reading, span, &self.settings.paging);
        Ok(())
    }

    /// Another record stands where the last one consumed was: the topic was made again and filled beyond it.
    fn recreated(&self, consumer: &KafkaConsumer, topic: &Topic, partition: i32, stored: StoredOffset) -> Interrupted {
        let record = || -> Result<(), Interrupted> {
            let log = kafka::log(consumer.client(), &self.settings.topic, partition)?;
            let start = plan::anew(stored.last_offset + 1, log, GapReason::Recreated);
            Ok(self.record_loss(topic, partition, Some(stored), &start)?)
        };
        match record() {
            Ok(()) => Interrupted::TopicChanged(format!("partition {partition} was made again")),
            Err(interrupted) => interrupted,
        }
    }

    /// Stores the batch, then, and only then, tells of it.
    fn commit(&mut self, topic: &Topic, batch: Batch) -> Result<(), Interrupted> {
        let Batch { mut commit, messages, spans } = batch;
        let moved = self.positions.iter().filter(|(_, position)| position.read != position.stored);
        let offsets = moved
            .filter_map(|(partition, position)| Some(self.advance(topic, *partition, position.stored, position.read?)));
        commit.offsets = offsets.collect();
        let commit = Arc::new(commit);
        let mut span = commit_span(messages, &spans);
        let watch = Stopwatch::start();
        let committed = self.deps.store.commit_ingest(Arc::clone(&commit));
        span.end();
        if let Err(error) = committed {
            self.deps.telemetry.store_errors.with_label_values(&["ingest"]).inc();
            return Err(error.into());
        }
        self.deps.telemetry.insert_duration.observe(watch.elapsed().as_secs_f64());
        self.positions.values_mut().for_each(|position| position.stored = position.read);
        self.announce(&commit, messages);
        Ok(())
    }

    /// Publishes what is stored now: histories, figures, log lines.
    fn announce(&mut self, commit: &IngestCommit, messages: usize) {
        let Deps { telemetry, snapshots, .. } = &self.deps;
        let mut newest: HashMap<&Stream, bool> = HashMap::new();
        for judged in &commit.judged {
            *newest.entry(judged.batch.stream()).or_default() |= judged.timeliness == Timeliness::Fresh;
            if judged.timeliness == Timeliness::TooLate && self.told_late.insert(judged.batch.stream().clone()) {
                let (stream, minute) = (judged.batch.stream().as_str(), judged.batch.minute().to_string());
                tracing::warn!(stream, minute, "minutes older than ALLOWED_LATENESS are stored and not judged");
            }
        }
        let snapshot = |(stream, fresh): (&Stream, bool)| {
            let history = self.reader.monitor.history(stream)?;
            let before = if fresh { None } else { Some(snapshots.get(stream.as_str())?.arrived_at_ms) };
            let arrived_at_ms = before.unwrap_or(commit.now_ms);
            let newest = history.newest()?.minute;
            Some((stream.clone(), Snapshot { history: Arc::new(history.clone()), newest, arrived_at_ms }))
        };
        snapshots.publish(newest.into_iter().filter_map(snapshot).collect::<Vec<_>>());
        telemetry.committed(&commit.judged);
        let dead = commit.dead_letters.len();
        telemetry.messages_consumed.with_label_values(&["stored"]).inc_by((messages - dead) as u64);
        telemetry.messages_consumed.with_label_values(&["dead_letter"]).inc_by(dead as u64);
        for letter in &commit.dead_letters {
            telemetry.dead_letters.with_label_values(&[letter.reason]).inc();
            let (topic, partition, offset) = (&letter.topic, letter.partition, letter.offset);
            tracing::warn!(topic, partition, offset, reason = letter.reason, detail = letter.detail, "dead letter");
        }
        for alert in &commit.alerts {
            telemetry.alert(alert);
            if alert.is_dispatched() {
                log_alert(alert);
            }
        }
    }

    /// Says what went wrong: in the log when it is news, in the health always.
    fn note(&self, interrupted: &Interrupted) {
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
            // A topic that is not there has nothing to catch up with.
            feed.caught_up = feed.connected && matches!(interrupted, Interrupted::NoTopic);
            (feed.lag, feed.error) = (None, Some(text));
        });
    }

    fn publish_progress(&self, consumer: &KafkaConsumer) {
        let caught_up = self.positions.values().all(|position| position.at_end);
        let next = self.positions.iter().map(|(partition, position)| (*partition, position.next()));
        let lag = if caught_up { 0 } else { consumer.context().lag(next) };
        self.publish(|feed| (feed.caught_up, feed.lag) = (caught_up, Some(lag)));
    }

    fn publish(&self, change: impl FnOnce(&mut Feed)) {
        self.deps.feed.update(self.deps.clock.now_ms(), change);
    }

    fn tell_offsets(&self, consumer: &KafkaConsumer) {
        let read = self.positions.iter().filter(|(_, position)| position.stored.is_some());
        let next = read.map(|(partition, position)| (*partition, position.next()));
        if let Err(error) = kafka::tell_offsets(consumer, &self.settings.topic, next) {
            tracing::debug!(%error, "Kafka was not told the offsets; lag tools show old ones");
        }
    }

    fn beat(&self) {
        self.deps.heartbeats.beat(Task::Ingest, self.deps.clock.now_ms());
    }

    fn pause(&self, length: Duration, stop: &CancellationToken) {
        self.beat();
        // Either way the loop goes on and looks whether to stop.
        drop(self.deps.runtime.block_on(async { tokio::time::timeout(length, stop.cancelled()).await }));
    }
}

impl Batch {
    fn new(now_ms: i64) -> Self {
        Self { commit: IngestCommit { now_ms, ..IngestCommit::default() }, messages: 0, spans: Vec::new() }
    }

    fn push(&mut self, reading: Reading, span: SpanContext, paging: &Paging) {
        self.messages += 1;
        match reading {
            Reading::DeadLetter(letter) => self.commit.dead_letters.push(letter),
            Reading::Judged(mut judged) => {
                for alert in judged.alerts.drain(..) {
                    self.commit.cooldowns.push((alert.key.clone(), alert.cooldown));
                    let trace_id = Some(span.trace_id().to_string());
                    self.commit.alerts.push(AlertRecord::of_stream(alert, paging, self.commit.now_ms, trace_id));
                }
                self.commit.judged.push(judged);
            }
        }
        if self.spans.len() < MOST_LINKS && span.is_sampled() {
            self.spans.push(span);
        }
    }
}

/// The span of a transaction: a child of its one message's span, or one of its own with links to the first of many.
fn commit_span(messages: usize, spans: &[SpanContext]) -> BoxedSpan {
    let tracer = common::trace::tracer();
    let links = spans.iter().map(|span| Link::with_context(span.clone())).collect();
    let count = i64::try_from(messages).unwrap_or(i64::MAX);
    let builder = tracer.span_builder("store batch").with_attributes([
        KeyValue::new("db.system.name", "sqlite"),
        KeyValue::new("messaging.batch.message_count", count),
    ]);
    match spans {
        [only] if messages == 1 => {
            builder.start_with_context(&tracer, &Context::new().with_remote_span_context(only.clone()))
        }
        _ => builder.with_links(links).start_with_context(&tracer, &Context::new()),
    }
}
