//! One message: parsed and observed, or a dead letter with its reason. Either way the next message is read.

use std::collections::{BTreeMap, HashSet};

use common::propagation;
use detection::{
    Mapping, Minute, MinuteCounts, Monitor, Observed, Silence, StoredStream, Stream,
    mapping::{Pointer, ReadMinute, Transaction},
    message::{MAX_PAYLOAD_BYTES, MessageError},
    open_minutes::{self, Merge, OpenMinutes},
};
use opentelemetry::{
    KeyValue,
    global::BoxedTracer,
    trace::{Span as _, SpanKind, Status, Tracer as _},
};
use rdkafka::{
    Message,
    message::{BorrowedHeaders, BorrowedMessage, Headers as _},
};

use super::{
    KafkaInput, Settings, batch::Reading, kafka::Topic, notes::Notes, requests::Refused,
    spans::MessageSpan, versions::Versions,
};
use crate::{
    clock,
    context::Context,
    store::{DeadLetter, Store, StoreError},
};

/// A minute further ahead of the clock than this is refused, so that a wrong clock cannot move a watermark.
const MAX_AHEAD_MS: i64 = 5 * 60_000;

/// Longest key of a dead letter that is stored, in bytes.
const MAX_KEY_BYTES: usize = 1024;

/// The reason why a message cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the message has no payload (a tombstone)")]
    NullPayload,
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(
        "minute {minute} is more than 5 minutes ahead of the clock; check the clock of the producer"
    )]
    Future { minute: Minute },
    #[error(transparent)]
    Stream(#[from] detection::StreamError),
    #[error(transparent)]
    Statuses(#[from] detection::message::TransactionsError),
    #[error(
        "stream {stream} exceeds MAX_STREAMS = {limit}; raise it, or check the stream names of the producers"
    )]
    TooManyStreams { stream: String, limit: usize },
    #[error(
        "stream {stream} is also on partition {partition}, which another instance reads; use the stream as the Kafka key, or run one instance"
    )]
    Split { stream: Stream, partition: i32 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refusal {
    /// Why a request is refused.
    pub(super) fn into_refused(self) -> Refused {
        match self {
            Self::Store(error) => Refused::Store(error),
            other => Refused::NotPossible(other.to_string()),
        }
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Message(error) => error.hint(),
            _ => None,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NullPayload => "null_payload",
            Self::Message(error) => error.code(),
            Self::Future { .. } => "future",
            Self::Stream(_) | Self::Statuses(_) => "invalid_message",
            Self::TooManyStreams { .. } => "too_many_streams",
            Self::Split { .. } => "split_stream",
            Self::Store(_) => "store",
        }
    }
}

/// What a message says, or why it cannot be used.
pub(super) struct Parsed<'m>(Result<Content<'m>, Refusal>);

enum Content<'m> {
    Counts(ReadMinute),
    Transaction(Minute, Transaction<'m>),
}

impl Parsed<'_> {
    /// Its minute; none if it cannot be used.
    pub(super) fn minute(&self) -> Option<Minute> {
        match self.0.as_ref().ok()? {
            Content::Counts(read) => Some(read.counts.minute()),
            Content::Transaction(minute, _) => Some(*minute),
        }
    }
}

/// Reads messages with the fold, and restores streams from the store.
pub(super) struct Reader {
    pub(super) monitor: Monitor,
    /// Empty if messages are closed minutes.
    pub(super) open: OpenMinutes,
    pub(super) notes: Notes,
    input: KafkaInput,
    mapping: Mapping,
    open_minutes: open_minutes::Settings,
    store: Store,
    tracer: BoxedTracer,
    span_name: String,
    topic: String,
    max_streams: usize,
    /// Streams that are stored or in flight.
    streams: usize,
    pub(super) versions: Versions,
    /// The partitions of this instance in its group.
    held: Option<Vec<i32>>,
}

impl Reader {
    pub(super) fn new(context: &Context, settings: &Settings) -> Self {
        Self {
            monitor: Monitor::new(context.monitor),
            open: OpenMinutes::new(settings.open_minutes, merge(settings.input)),
            notes: Notes::new(context.metrics.messages_noted.clone()),
            input: settings.input,
            mapping: settings.mapping.clone(),
            open_minutes: settings.open_minutes,
            store: context.store.clone(),
            tracer: common::trace::tracer(),
            span_name: format!("process {}", settings.topic),
            topic: settings.topic.clone(),
            max_streams: settings.max_streams,
            streams: 0,
            versions: Versions::new(context.store.clone()),
            held: None,
        }
    }

    /// How counts of open minutes are put together.
    pub(super) const fn merge(&self) -> Merge {
        merge(self.input)
    }

    /// Clears the memory and counts the stored streams. After a failed commit the memory may be ahead of the store.
    pub(super) fn restart(&mut self) -> Result<(), StoreError> {
        self.monitor.forget();
        self.versions.forget_all();
        self.streams = self.store.count_streams()?;
        Ok(())
    }

    /// Loads the open minutes of the topic. Those of another topic or input close at once. `held`: the partitions of this instance in its
    /// group; others have the open minutes of the rest.
    pub(super) fn resume(&mut self, topic: &Topic, held: Option<&[i32]>) -> Result<(), StoreError> {
        let mut stored = self.store.open_minutes(&topic.cluster_id, &self.topic)?;
        self.held = held.map(<[i32]>::to_vec);
        if let Some(held) = held {
            let of_topic: Vec<_> = stored.partitions.iter().map(|(id, _)| *id).collect();
            let is_first = held.first() == topic.partitions.first();
            stored.partitions.retain(|(id, _)| held.contains(id));
            stored.streams.retain(|(_, state)| {
                let mut partitions = state.partitions.iter();
                match partitions.find(|id| of_topic.contains(id)) {
                    Some(owner) => held.contains(owner),
                    // What no partition holds any more is closed by one instance.
                    None => is_first,
                }
            });
            let kept: HashSet<_> = stored.streams.iter().map(|(of, _)| of.clone()).collect();
            stored.minutes.retain(|(stream, ..)| kept.contains(stream));
        }
        if self.input == KafkaInput::Minutes {
            stored.partitions.clear();
        }
        self.open = OpenMinutes::restore(self.open_minutes, self.merge(), stored);
        Ok(())
    }

    /// Forgets these streams, and loads the open minutes of the topic that is being read again.
    pub(super) fn reload(
        &mut self,
        streams: &[Stream],
        topic: Option<&Topic>,
    ) -> Result<(), StoreError> {
        for stream in streams {
            self.monitor.forget_stream(stream);
            self.versions.forget(stream);
        }
        self.streams = self.store.count_streams()?;
        let held = self.held.take();
        topic.map_or(Ok(()), |topic| self.resume(topic, held.as_deref()))
    }

    /// Parses one message. Nothing is changed, so it may be parsed again.
    pub(super) fn parse<'m>(&self, message: &'m BorrowedMessage<'_>, now_ms: i64) -> Parsed<'m> {
        let payload = message.payload().ok_or(Refusal::NullPayload);
        Parsed(payload.and_then(|payload| self.content(payload, now_ms)))
    }

    fn content<'m>(&self, payload: &'m [u8], now_ms: i64) -> Result<Content<'m>, Refusal> {
        match self.input {
            KafkaInput::Minutes | KafkaInput::Updates => {
                Ok(Content::Counts(self.read_minute(payload, now_ms)?))
            }
            KafkaInput::Transactions => {
                let transaction = self.mapping.transaction(payload)?;
                let minute = Minute::from_epoch_minutes(transaction.at_ms.div_euclid(60_000));
                refuse_future(minute, now_ms)?;
                Ok(Content::Transaction(minute, transaction))
            }
        }
    }

    /// Reads a minute and changes nothing.
    pub(super) fn read_minute(&self, payload: &[u8], now_ms: i64) -> Result<ReadMinute, Refusal> {
        let read = self.mapping.minute(payload)?;
        refuse_future(read.counts.minute(), now_ms)?;
        Ok(read)
    }

    /// Reads one message. Its span is a child of the producer's; a single transaction has none. `timed`: measure its evaluation,
    /// since it may be the only message of its transaction. On an error of the store the message is not read.
    pub(super) fn read(
        &mut self,
        message: &BorrowedMessage<'_>,
        parsed: Parsed<'_>,
        silences: &[Silence],
        now_ms: i64,
        timed: bool,
    ) -> Result<(Reading, Option<MessageSpan>), StoreError> {
        let traced = self.input != KafkaInput::Transactions;
        let mut span = traced.then(|| self.span(message));
        let start = (timed && self.input == KafkaInput::Minutes).then(clock::span_time);
        let taken = parsed
            .0
            .and_then(|content| self.take(message, content, silences, now_ms));
        let judged = start.map(|start| start..clock::span_time());
        let reading = match taken {
            Ok(reading) => reading,
            Err(Refusal::Store(error)) => return Err(error),
            Err(refusal) => {
                let span = span.get_or_insert_with(|| self.span(message));
                span.set_status(Status::error(refusal.to_string()));
                span.set_attribute(KeyValue::new("error.type", refusal.code()));
                Reading::DeadLetter(dead_letter(message, &refusal, now_ms))
            }
        };
        let span = span.map(|span| MessageSpan {
            context: span.span_context().clone(),
            judged,
        });
        Ok((reading, span))
    }

    fn span(&self, message: &BorrowedMessage<'_>) -> opentelemetry::global::BoxedSpan {
        let parent = propagation::extract(message.headers());
        let attributes = [
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "process"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", self.topic.clone()),
            KeyValue::new(
                "messaging.destination.partition.id",
                i64::from(message.partition()),
            ),
            KeyValue::new("messaging.kafka.offset", message.offset()),
        ];
        let span = self
            .tracer
            .span_builder(self.span_name.clone())
            .with_kind(SpanKind::Consumer);
        span.with_attributes(attributes)
            .start_with_context(&self.tracer, &parent)
    }

    fn take(
        &mut self,
        message: &BorrowedMessage<'_>,
        content: Content<'_>,
        silences: &[Silence],
        now_ms: i64,
    ) -> Result<Reading, Refusal> {
        let read = match content {
            Content::Counts(read) => read,
            Content::Transaction(_, transaction) => {
                self.transaction(message.partition(), &transaction)?;
                return Ok(Reading::Open);
            }
        };
        let counts = self.note_minute(read);
        self.accept(counts.stream())?;
        if self.input == KafkaInput::Updates {
            self.open.add_minute(message.partition(), &counts)?;
            return Ok(Reading::Open);
        }
        let observed = self.monitor.observe(counts, silences);
        let newest = self.monitor.history(observed.counts.stream());
        let newest = newest.and_then(|history| Some(history.newest()?.minute));
        let is_newest = newest == Some(observed.counts.minute());
        self.notes
            .observed(message.key(), &observed, is_newest, now_ms);
        Ok(Reading::Observed(observed))
    }

    /// Adds the counts of a message to their open minute, which is returned; none if its status is ignored.
    pub(super) fn reopen(
        &mut self,
        partition: i32,
        payload: &[u8],
        now_ms: i64,
    ) -> Result<Option<(Stream, Minute)>, Refusal> {
        let read = match self.content(payload, now_ms)? {
            Content::Counts(read) => read,
            Content::Transaction(_, transaction) => {
                return self.transaction(partition, &transaction);
            }
        };
        let counts = self.note_minute(read);
        self.accept(counts.stream())?;
        self.open.add_minute(partition, &counts)?;
        Ok(Some((counts.stream().clone(), counts.minute())))
    }

    /// Loads the streams of requested minutes if each of these can be taken; else nothing changes.
    pub(super) fn admit(&mut self, minutes: &[ReadMinute], now_ms: i64) -> Result<(), Refused> {
        let (mut loaded, mut new) = (BTreeMap::new(), 0);
        for (index, minute) in minutes.iter().enumerate() {
            let refuse = |field: &Pointer, refusal: Refusal| Refused::Minute {
                index,
                field: field.to_string(),
                detail: refusal.to_string(),
            };
            refuse_future(minute.counts.minute(), now_ms)
                .map_err(|refusal| refuse(&self.mapping.timestamp, refusal))?;
            let stream = minute.counts.stream();
            let is_known = self.monitor.knows(stream);
            if loaded.contains_key(stream) || is_known && self.versions.is_current(stream)? {
                continue;
            }
            let settings = self.monitor.settings();
            let stored = self.store.stored_stream(stream.as_str(), settings)?;
            if stored.is_none() && self.open.stream(stream.as_str()).is_none() {
                if self.streams + new >= self.max_streams {
                    return Err(refuse(&self.mapping.stream, self.too_many(stream)));
                }
                new += 1;
            }
            loaded.insert(stream.clone(), stored.unwrap_or_default());
        }
        self.streams += new;
        for (stream, stored) in loaded {
            self.put(stream, stored);
        }
        Ok(())
    }

    /// Notes what is odd about a minute, and returns its counts.
    pub(super) fn note_minute(&mut self, read: ReadMinute) -> MinuteCounts {
        self.notes.unknown_fields(read.unknown_fields);
        self.notes.ignored_statuses(read.ignored);
        self.notes.time(read.occurs_twice);
        read.counts
    }

    /// Adds a transaction to its open minute, which is returned; none if its status is ignored.
    fn transaction(
        &mut self,
        partition: i32,
        transaction: &Transaction<'_>,
    ) -> Result<Option<(Stream, Minute)>, Refusal> {
        self.notes.time(transaction.occurs_twice);
        if transaction.has_unread_count {
            self.notes.unread_count();
        }
        let Some(status) = &transaction.status else {
            self.notes.ignored_statuses(transaction.count.into());
            return Ok(None);
        };
        let name = transaction.stream.as_deref().unwrap_or(Stream::DEFAULT);
        let stream = if let Some(known) = self.open.stream(name) {
            known.clone()
        } else {
            let new = name.parse()?;
            self.accept(&new)?;
            new
        };
        self.open.add(
            partition,
            transaction.at_ms,
            &stream,
            status,
            transaction.count,
        )?;
        let minute = Minute::from_epoch_minutes(transaction.at_ms.div_euclid(60_000));
        Ok(Some((stream, minute)))
    }

    pub(super) fn note_split_streams(&mut self) {
        for stream in self.open.take_split() {
            self.notes.split_stream(&stream);
        }
    }

    /// Observes the counts of a stream that was accepted before.
    pub(super) fn observe(
        &mut self,
        counts: MinuteCounts,
        silences: &[Silence],
    ) -> Result<Observed, StoreError> {
        if !self.monitor.knows(counts.stream()) {
            let (name, settings) = (counts.stream().as_str(), self.monitor.settings());
            let stored = self
                .store
                .stored_stream(name, settings)?
                .unwrap_or_default();
            self.put(counts.stream().clone(), stored);
        }
        Ok(self.monitor.observe(counts, silences))
    }

    /// Loads a new stream into memory, if there is room for it.
    fn accept(&mut self, stream: &Stream) -> Result<(), Refusal> {
        if self.monitor.knows(stream) || self.open.stream(stream.as_str()).is_some() {
            return Ok(());
        }
        if let (Some(held), true) = (&self.held, self.input != KafkaInput::Minutes) {
            let partitions = self.store.open_partitions_of(stream.as_str())?;
            let elsewhere = partitions.into_iter().find(|id| !held.contains(id));
            if let Some(partition) = elsewhere {
                let stream = stream.clone();
                return Err(Refusal::Split { stream, partition });
            }
        }
        self.restore(stream)
    }

    /// Loads a stream into memory.
    fn restore(&mut self, stream: &Stream) -> Result<(), Refusal> {
        let settings = self.monitor.settings();
        let stored = match self.store.stored_stream(stream.as_str(), settings)? {
            Some(stored) => stored,
            None if self.streams >= self.max_streams => return Err(self.too_many(stream)),
            None => {
                self.streams += 1;
                Default::default()
            }
        };
        self.put(stream.clone(), stored);
        Ok(())
    }

    /// Puts a stream into memory, with its version.
    fn put(&mut self, stream: Stream, (stored, version): (StoredStream, i64)) {
        self.versions.set(stream.clone(), version);
        self.monitor.restore(stream, stored);
    }

    fn too_many(&self, stream: &Stream) -> Refusal {
        Refusal::TooManyStreams {
            stream: stream.to_string(),
            limit: self.max_streams,
        }
    }
}

const fn merge(input: KafkaInput) -> Merge {
    match input {
        KafkaInput::Transactions => Merge::Add,
        KafkaInput::Minutes | KafkaInput::Updates => Merge::Replace,
    }
}

fn refuse_future(minute: Minute, now_ms: i64) -> Result<(), Refusal> {
    if minute.start().as_millisecond() > now_ms + MAX_AHEAD_MS {
        return Err(Refusal::Future { minute });
    }
    Ok(())
}

fn dead_letter(message: &BorrowedMessage<'_>, refusal: &Refusal, now_ms: i64) -> DeadLetter {
    let payload = message.payload();
    DeadLetter {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        reason: refusal.code(),
        detail: refusal.to_string(),
        hint: refusal.hint().map(ToOwned::to_owned),
        key: message.key().map(|key| start_of(key, MAX_KEY_BYTES)),
        payload: payload.map(|payload| start_of(payload, MAX_PAYLOAD_BYTES)),
        payload_bytes: payload.map_or(0, <[u8]>::len),
        headers: message
            .headers()
            .map_or_else(|| "{}".to_owned(), headers_json),
        received_at_ms: now_ms,
    }
}

fn start_of(bytes: &[u8], max: usize) -> Vec<u8> {
    bytes[..bytes.len().min(max)].to_vec()
}

/// The headers as a JSON object; bytes that are not UTF-8 are replaced.
fn headers_json(headers: &BorrowedHeaders) -> String {
    let text =
        |value: Option<&[u8]>| value.map(|value| String::from_utf8_lossy(value).into_owned());
    let headers: BTreeMap<_, _> = headers
        .iter()
        .map(|header| (header.key, text(header.value)))
        .collect();
    serde_json::to_string(&headers).unwrap_or_default()
}
