//! The spans of a transaction: `store batch`, `judge`, and one `alert` each. They start when a batch is handed to the writer,
//! because only then it is known whether it is a live message. A backlog has fewer spans, since they would slow it down.

use std::{ops::Range, time::SystemTime};

use detection::{Observed, RowChange, State};
use opentelemetry::{
    Context, KeyValue,
    global::{BoxedSpan, BoxedTracer},
    trace::{Link, Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _},
};

use super::batch::Batch;
use crate::{alerts::Alert, store::StoreError};

/// Links from the transaction of a backlog to the messages in it.
const MAX_LINKS: usize = 32;

/// The span of one message, which has ended.
pub(super) struct MessageSpan {
    pub(super) context: SpanContext,
    /// Start and end of its evaluation, if measured.
    pub(super) judged: Option<Range<SystemTime>>,
}

/// The spans of the messages of one batch.
#[derive(Default)]
pub(super) struct MessageSpans {
    /// The first message.
    first: Option<MessageSpan>,
    /// The first sampled messages.
    sampled: Vec<SpanContext>,
    /// For each alert of the batch, the span of its message; none for one of a minute that closed.
    causes: Vec<Option<SpanContext>>,
}

impl MessageSpans {
    /// Adds the span of a message with this many alerts.
    pub(super) fn push(&mut self, span: MessageSpan, alerts: usize) {
        let causes = std::iter::repeat_n(Some(&span.context), alerts);
        self.causes.extend(causes.map(Option::<&_>::cloned));
        if self.sampled.len() < MAX_LINKS && span.context.is_sampled() {
            self.sampled.push(span.context.clone());
        }
        self.first.get_or_insert(span);
    }

    /// Adds alerts of a minute that closed: many messages caused them.
    pub(super) fn push_alerts(&mut self, alerts: usize) {
        self.causes.extend(std::iter::repeat_n(None, alerts));
    }
}

/// The spans that end with the commit of a batch or its failure.
pub(super) struct Spans {
    store: BoxedSpan,
    alerts: Vec<BoxedSpan>,
}

impl Spans {
    /// Begins the spans of a batch, and gives each of its alerts the ids of its own.
    pub(super) fn begin(batch: &mut Batch, messages: &MessageSpans) -> Self {
        let tracer = common::trace::tracer();
        let judge = judge(&tracer, batch, messages);
        let store = store(&tracer, batch, messages);
        let alerts = batch.commit.alerts.iter_mut().zip(&messages.causes);
        let alerts = alerts.map(|(alert, cause)| {
            let cause = judge.as_ref().or(cause.as_ref());
            begin_alert(&tracer, alert, cause.unwrap_or(store.span_context()))
        });
        let alerts = alerts.collect();
        Self { store, alerts }
    }

    /// Ends them all, with the error of a failed batch.
    pub(super) fn end(mut self, failed: Option<&StoreError>) {
        for span in std::iter::once(&mut self.store).chain(&mut self.alerts) {
            if let Some(error) = failed {
                span.set_status(Status::error(error.to_string()));
            }
            span.end();
        }
    }
}

fn within(span: &SpanContext) -> Context {
    Context::new().with_remote_span_context(span.clone())
}

/// The span of the transaction: a child of its one message's span, or one of its own with links to the first of many.
fn store(tracer: &BoxedTracer, batch: &Batch, messages: &MessageSpans) -> BoxedSpan {
    let count = i64::try_from(batch.messages).unwrap_or(i64::MAX);
    let builder = tracer
        .span_builder("store batch")
        .with_kind(SpanKind::Client)
        .with_attributes([
            KeyValue::new("db.system.name", "sqlite"),
            KeyValue::new("db.operation.name", "INSERT"),
            KeyValue::new("messaging.batch.message_count", count),
        ]);
    match &messages.first {
        Some(only) if batch.is_single() => {
            builder.start_with_context(tracer, &within(&only.context))
        }
        _ => {
            let links = messages
                .sampled
                .iter()
                .map(|span| Link::with_context(span.clone()))
                .collect();
            builder
                .with_links(links)
                .start_with_context(tracer, &Context::new())
        }
    }
}

/// The span of the evaluation of a single message, a child of its span.
fn judge(tracer: &BoxedTracer, batch: &Batch, messages: &MessageSpans) -> Option<SpanContext> {
    let (Some(message), [observed]) = (&messages.first, &*batch.commit.observed) else {
        return None;
    };
    let judged = message.judged.as_ref()?;
    if !batch.is_single() || !message.context.is_sampled() {
        return None;
    }
    let attributes = [
        KeyValue::new("monitoring.stream", observed.counts.stream().to_string()),
        KeyValue::new("monitoring.minute", observed.counts.minute().to_string()),
        KeyValue::new("monitoring.severity", worst(observed).name()),
    ];
    let builder = tracer
        .span_builder("judge")
        .with_start_time(judged.start)
        .with_attributes(attributes);
    let mut span = builder.start_with_context(tracer, &within(&message.context));
    span.end_with_timestamp(judged.end);
    Some(span.span_context().clone())
}

fn worst(observed: &Observed) -> State {
    let states = observed.rows.iter().filter_map(|row| match row.change {
        RowChange::Judged { judgement, .. } => Some(judgement.state()),
        RowChange::CountOnly => None,
    });
    states.max().unwrap_or(State::NotJudged)
}

/// The span of one alert, from its finding until it is recorded. The alert takes its ids: its delivery links to it.
fn begin_alert(tracer: &BoxedTracer, alert: &mut Alert, parent: &SpanContext) -> BoxedSpan {
    let mut attributes = vec![
        KeyValue::new("monitoring.alert.id", alert.id.to_string()),
        KeyValue::new(
            "monitoring.alert.suppressed",
            alert
                .suppression
                .map_or("none", detection::Suppression::reason),
        ),
        KeyValue::new("monitoring.severity", alert.severity().name()),
    ];
    if let Some(anomaly) = alert.anomaly() {
        let key = &anomaly.key;
        attributes.push(KeyValue::new("monitoring.stream", key.stream.to_string()));
        attributes.push(KeyValue::new("monitoring.status", key.status.name()));
        attributes.push(KeyValue::new("monitoring.policy", key.policy.name()));
        let score = anomaly.finding.score;
        attributes.extend(score.map(|score| KeyValue::new("monitoring.score", score)));
    }
    let span = tracer
        .span_builder("alert")
        .with_attributes(attributes)
        .start_with_context(tracer, &within(parent));
    let context = span.span_context();
    alert.trace_id = context.is_valid().then(|| context.trace_id().to_string());
    alert.span_id = context.is_sampled().then(|| context.span_id().to_string());
    span
}
