//! One message: parsed and observed, or a dead letter with its reason. Either way the next message is read.

use std::collections::BTreeMap;

use common::propagation;
use detection::{
    Minute, MinuteCounts, Monitor, MonitorSettings, Observed, Silence, StoredStream,
    message::{MAX_PAYLOAD_BYTES, MessageError},
};
use opentelemetry::{
    Context, KeyValue,
    global::BoxedTracer,
    trace::{Span as _, SpanKind, Status, Tracer as _},
};
use rdkafka::{
    Message,
    message::{BorrowedHeaders, BorrowedMessage, Headers as _},
};

use super::{Settings, batch::Reading, spans::MessageSpan};
use crate::{
    clock,
    store::{DeadLetter, Store, StoreError},
};

/// A minute further ahead of the clock than this is refused, so that a wrong clock cannot move a watermark.
const MAX_AHEAD_MS: i64 = 5 * 60_000;

/// The reason why a message cannot be used.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the message has no payload (a tombstone)")]
    NullPayload,
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(
        "minute {minute} is more than 5 minutes ahead of the clock; check the clock of the producer"
    )]
    Future { minute: Minute },
    #[error(
        "stream {stream} exceeds MAX_STREAMS = {limit}; raise it, or check the stream names of the producers"
    )]
    TooManyStreams { stream: String, limit: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refusal {
    const fn code(&self) -> &'static str {
        match self {
            Self::NullPayload => "null_payload",
            Self::Message(error) => error.code(),
            Self::Future { .. } => "future",
            Self::TooManyStreams { .. } => "too_many_streams",
            Self::Store(_) => "store",
        }
    }
}

/// Reads messages with the fold, and restores streams from the store.
pub(super) struct Reader {
    pub(super) monitor: Monitor,
    store: Store,
    tracer: BoxedTracer,
    span_name: String,
    topic: String,
    max_streams: usize,
    /// Streams that are stored or in flight.
    streams: usize,
}

impl Reader {
    pub(super) fn new(store: Store, settings: &Settings, monitor: MonitorSettings) -> Self {
        Self {
            monitor: Monitor::new(monitor),
            store,
            tracer: common::trace::tracer(),
            span_name: format!("process {}", settings.topic),
            topic: settings.topic.clone(),
            max_streams: settings.max_streams,
            streams: 0,
        }
    }

    /// Clears the memory and counts the stored streams. After a failed commit the memory may be ahead of the store.
    pub(super) fn restart(&mut self) -> Result<(), StoreError> {
        self.monitor.forget();
        self.streams = self.store.count_streams()?;
        Ok(())
    }

    /// Reads one message. Its span is a child of the producer's. `timed`: measure its evaluation,
    /// since it may be the only message of its transaction. On an error of the store the message is not read.
    pub(super) fn read(
        &mut self,
        message: &BorrowedMessage<'_>,
        silences: &[Silence],
        now_ms: i64,
        timed: bool,
    ) -> Result<(Reading, MessageSpan), StoreError> {
        let parent = propagation::extract(message.headers());
        let mut span = self.span(message, &parent);
        let start = timed.then(clock::span_time);
        let observed = self.observe(message.payload(), silences, now_ms);
        let judged = start.map(|start| start..clock::span_time());
        let reading = match observed {
            Ok(observed) => Reading::Observed(observed),
            Err(Refusal::Store(error)) => return Err(error),
            Err(refusal) => {
                span.set_status(Status::error(refusal.to_string()));
                span.set_attribute(KeyValue::new("error.type", refusal.code()));
                Reading::DeadLetter(dead_letter(message, &refusal, now_ms))
            }
        };
        let context = span.span_context().clone();
        Ok((reading, MessageSpan { context, judged }))
    }

    fn span(
        &self,
        message: &BorrowedMessage<'_>,
        parent: &Context,
    ) -> opentelemetry::global::BoxedSpan {
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
            .start_with_context(&self.tracer, parent)
    }

    fn observe(
        &mut self,
        payload: Option<&[u8]>,
        silences: &[Silence],
        now_ms: i64,
    ) -> Result<Observed, Refusal> {
        let counts = MinuteCounts::from_json(payload.ok_or(Refusal::NullPayload)?)?;
        let minute = counts.minute();
        if minute.start().as_millisecond() > now_ms + MAX_AHEAD_MS {
            return Err(Refusal::Future { minute });
        }
        if !self.monitor.knows(counts.stream()) {
            self.restore(counts.stream())?;
        }
        Ok(self.monitor.observe(counts, silences))
    }

    /// Loads a stream into memory.
    fn restore(&mut self, stream: &detection::Stream) -> Result<(), Refusal> {
        let limit = self.max_streams;
        let settings = self.monitor.settings();
        let stored = match self.store.stored_stream(stream.as_str(), settings)? {
            Some(stored) => stored,
            None if self.streams >= limit => {
                return Err(Refusal::TooManyStreams {
                    stream: stream.to_string(),
                    limit,
                });
            }
            None => {
                self.streams += 1;
                StoredStream::default()
            }
        };
        self.monitor.restore(stream.clone(), stored);
        Ok(())
    }
}

fn dead_letter(message: &BorrowedMessage<'_>, refusal: &Refusal, now_ms: i64) -> DeadLetter {
    let payload = message.payload();
    DeadLetter {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        reason: refusal.code(),
        detail: refusal.to_string(),
        payload: payload.map(|payload| payload[..payload.len().min(MAX_PAYLOAD_BYTES)].to_vec()),
        payload_bytes: payload.map_or(0, <[u8]>::len),
        headers: message
            .headers()
            .map_or_else(|| "{}".to_owned(), headers_json),
        received_at_ms: now_ms,
    }
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
