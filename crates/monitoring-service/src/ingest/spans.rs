//! The spans of a transaction and of what came of it: `store batch`, `judge`, and one `alert` each. They are made when a
//! batch is handed over, since only then is it known whether it is a live message or a piece of a backlog, which is not
//! to pay for what nobody reads.

use detection::{Judged, RowChange, Severity};
use opentelemetry::{
    Context, KeyValue,
    global::{BoxedSpan, BoxedTracer},
    trace::{Link, Span as _, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _},
};

use super::batch::Batch;
use crate::store::{AlertRecord, StoreError, SuppressedBy};

/// What ends when a batch is stored, or is not.
pub(super) struct Spans {
    store: BoxedSpan,
    alerts: Vec<BoxedSpan>,
}

impl Spans {
    /// Begins the spans of a batch, and gives each of its alerts the ids of its own.
    pub(super) fn begin(batch: &mut Batch) -> Self {
        let tracer = common::trace::tracer();
        let judge = judge(&tracer, batch);
        let alerts = batch.commit.alerts.iter_mut().zip(&batch.causes);
        let alerts = alerts
            .map(|(alert, cause)| begin_alert(&tracer, alert, judge.as_ref().unwrap_or(cause)));
        let alerts = alerts.collect();
        Self {
            store: store(&tracer, batch),
            alerts,
        }
    }

    /// Ends them all; an error is theirs too.
    pub(super) fn end(mut self, stored: &Result<(), StoreError>) {
        for span in std::iter::once(&mut self.store).chain(&mut self.alerts) {
            if let Err(error) = stored {
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
fn store(tracer: &BoxedTracer, batch: &Batch) -> BoxedSpan {
    let count = i64::try_from(batch.messages).unwrap_or(i64::MAX);
    let builder = tracer
        .span_builder("store batch")
        .with_kind(SpanKind::Client)
        .with_attributes([
            KeyValue::new("db.system.name", "sqlite"),
            KeyValue::new("db.operation.name", "INSERT"),
            KeyValue::new("messaging.batch.message_count", count),
        ]);
    match &batch.first {
        Some(only) if batch.messages == 1 => builder.start_with_context(tracer, &within(only)),
        _ => {
            let links = batch
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

/// The judging of the one message of a batch, a child of its span.
fn judge(tracer: &BoxedTracer, batch: &Batch) -> Option<SpanContext> {
    let (Some(message), Some(judging), [judged]) =
        (&batch.first, &batch.judging, &*batch.commit.judged)
    else {
        return None;
    };
    if batch.messages > 1 || !message.is_sampled() {
        return None;
    }
    let attributes = [
        KeyValue::new("monitoring.stream", judged.batch.stream().to_string()),
        KeyValue::new("monitoring.minute", judged.batch.minute().to_string()),
        KeyValue::new("monitoring.severity", worst(judged).name()),
    ];
    let builder = tracer
        .span_builder("judge")
        .with_start_time(judging.start)
        .with_attributes(attributes);
    let mut span = builder.start_with_context(tracer, &within(message));
    span.end_with_timestamp(judging.end);
    Some(span.span_context().clone())
}

fn worst(judged: &Judged) -> Severity {
    let severities = judged.rows.iter().filter_map(|row| match row.change {
        RowChange::Judged { verdict, .. } => Some(verdict.severity),
        RowChange::CountOnly => None,
    });
    severities.max().unwrap_or(Severity::NotJudged)
}

/// The span of one alert, from its verdict until it is recorded, and its ids in the record: what the delivery links to.
fn begin_alert(tracer: &BoxedTracer, alert: &mut AlertRecord, parent: &SpanContext) -> BoxedSpan {
    let mut attributes = vec![
        KeyValue::new("monitoring.alert.id", alert.id.to_string()),
        KeyValue::new(
            "monitoring.alert.disposition",
            alert
                .suppressed_by
                .map_or("dispatched", SuppressedBy::reason),
        ),
        KeyValue::new("monitoring.severity", alert.severity.name()),
    ];
    if let Some(anomaly) = &alert.anomaly {
        attributes.push(KeyValue::new("monitoring.stream", anomaly.stream.clone()));
        attributes.push(KeyValue::new("monitoring.status", anomaly.status.name()));
        attributes.extend(
            anomaly
                .z_score
                .map(|z_score| KeyValue::new("monitoring.z_score", z_score)),
        );
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
