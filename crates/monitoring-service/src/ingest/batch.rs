//! What was read for one transaction, and its span.

use detection::Silence;
use opentelemetry::{
    Context, KeyValue,
    global::BoxedSpan,
    trace::{Link, SpanContext, TraceContextExt as _, Tracer as _},
};

use super::reader::Reading;
use crate::store::{AlertRecord, IngestCommit, Paging};

/// Links from the transaction of a backlog to the messages in it.
const MOST_LINKS: usize = 32;

/// What was read for one transaction.
pub(super) struct Batch {
    pub(super) commit: IngestCommit,
    pub(super) messages: usize,
    /// Those in force when its first message was read.
    pub(super) silences: Vec<Silence>,
    /// The spans of the first messages.
    pub(super) spans: Vec<SpanContext>,
}

impl Batch {
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            commit: IngestCommit { now_ms, ..IngestCommit::default() },
            messages: 0,
            silences: Vec::new(),
            spans: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, reading: Reading, span: SpanContext, paging: &Paging) {
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
pub(super) fn commit_span(messages: usize, spans: &[SpanContext]) -> BoxedSpan {
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
