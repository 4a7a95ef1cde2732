//! Evaluates one submitted count against the history of its stream and records it if it is anomalous
//! (`POST /alerts/evaluate`, without HTTP).
//!
//! A submission enters no baseline and no total, and its cooldown never suppresses an alert of the stream.

use std::sync::Arc;

use detection::{
    AlertKey, Anomaly, Detector, Finding, History, Minute, MonitoredStatus, Severity, Stream,
    Suppression, detector::adaptive::AdaptiveState, silence,
};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::{Instrument as _, Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{
    alerts::{Alert, stale::is_live, submission},
    context::Context,
    store::StoreError,
};

/// A timestamp this far ahead of the clock is refused, minutes.
const MAX_AHEAD_MINUTES: i64 = 5;

/// Evaluates submissions. A clone shares everything.
#[derive(Clone)]
pub(crate) struct Evaluator {
    /// The context of the service.
    pub(crate) context: Context,
    /// Cooldown of the same submission, milliseconds.
    pub(crate) cooldown_ms: i64,
}

/// A count to evaluate.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// The status.
    pub(crate) status: MonitoredStatus,
    /// The count.
    pub(crate) count: u32,
    /// The minute to evaluate for; `None`: now for a live stream, else its newest minute.
    pub(crate) minute: Option<Minute>,
    /// The stream to compare with.
    pub(crate) stream: Stream,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug)]
pub(crate) struct Evaluation {
    /// The minute it was evaluated for.
    pub(crate) minute: Minute,
    /// The finding.
    pub(crate) finding: Finding,
    /// The finding in one sentence.
    pub(crate) message: String,
    /// The limit that was exceeded; for a NORMAL count, the WARNING limit.
    pub(crate) threshold: f64,
    /// The recorded alert; `None` if the count is not anomalous.
    pub(crate) alert: Option<Alert>,
    /// The trace of the request, 32 hex digits.
    pub(crate) trace_id: Option<String>,
}

/// The reason why a submission has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvaluateError {
    /// The minute is in the future.
    #[error("{minute} is more than {MAX_AHEAD_MINUTES} minutes ahead of the clock ({now})")]
    Future {
        /// The minute asked for.
        minute: Minute,
        /// The minute of the clock.
        now: Minute,
    },
    /// The history could not be read or the alert not be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Evaluator {
    /// Evaluates a submission and records it if it is anomalous. A NORMAL count of a stream in memory needs no database.
    pub(crate) async fn evaluate(&self, question: &Question) -> Result<Evaluation, EvaluateError> {
        let now = Minute::containing(self.context.clock.now());
        if let Some(minute) = question.minute
            && minute.since(now) > MAX_AHEAD_MINUTES
        {
            return Err(EvaluateError::Future { minute, now });
        }
        let span = current_span();
        let (minute, history, adaptive) = {
            // The database is only queried if the history in memory is too short.
            let span = info_span!(
                "history fetch",
                db.system.name = Empty,
                db.operation.name = Empty
            );
            self.history(question, now).instrument(span).await?
        };
        let detector = &self.context.monitor.detector;
        let finding = info_span!("evaluate").in_scope(|| {
            detector.judge_submission(&history, &adaptive, minute, question.status, question.count)
        });
        self.context
            .metrics
            .evaluations
            .with_label_values(&[finding.severity.name()])
            .inc();
        let mut evaluation = Evaluation {
            minute,
            finding,
            message: finding.sentence(question.status.name(), question.count),
            threshold: finding
                .threshold
                .unwrap_or_else(|| detector.threshold(Severity::Warning)),
            alert: None,
            trace_id: span.is_valid().then(|| span.trace_id().to_string()),
        };
        if let Some(mut alert) = self.alert(question, minute, finding) {
            alert.trace_id.clone_from(&evaluation.trace_id);
            alert.span_id = span.is_sampled().then(|| span.span_id().to_string());
            evaluation.alert = Some(self.record(alert).await?);
        }
        Ok(evaluation)
    }

    /// The minute to judge for, a history that covers it, and what the policy `adaptive` remembers, where it alerts.
    async fn history(
        &self,
        question: &Question,
        now: Minute,
    ) -> Result<(Minute, Arc<History>, Arc<AdaptiveState>), StoreError> {
        let (store, stream) = (&self.context.store, question.stream.as_str());
        let snapshot = self.context.snapshots.get(stream);
        let minute = match (question.minute, &snapshot) {
            (Some(minute), _) => minute,
            (None, Some(snapshot)) => {
                self.default_minute(snapshot.newest, snapshot.arrived_at_ms, now)
            }
            (None, None) => match store.stream(stream, self.context.alerting()).await? {
                Some(stored) => {
                    self.default_minute(stored.newest_minute, stored.arrived_at_ms, now)
                }
                None => now,
            },
        };
        if let Detector::Adaptive(settings) = self.context.monitor.detector {
            let in_memory = snapshot.and_then(|snapshot| snapshot.adaptive);
            let adaptive = if let Some(adaptive) = in_memory {
                adaptive
            } else {
                mark_query();
                let monitor = self.context.monitor;
                Arc::new(store.adaptive_state(stream, monitor, settings).await?)
            };
            return Ok((minute, Arc::new(self.context.monitor.history([])), adaptive));
        }
        let no_state = Arc::default();
        if let Some(snapshot) = snapshot
            && snapshot.history.covers(minute)
        {
            return Ok((minute, snapshot.history, no_state));
        }
        let before = Some(minute.plus(-1));
        mark_query();
        let settings = &self.context.monitor;
        let minutes = store
            .observed_minutes(stream, before, settings.history_capacity())
            .await?;
        Ok((minute, Arc::new(settings.history(minutes)), no_state))
    }

    fn default_minute(&self, newest: Minute, arrived_at_ms: i64, now: Minute) -> Minute {
        if is_live(newest, arrived_at_ms, self.context.stale_after_ms) {
            now
        } else {
            newest
        }
    }

    /// The alert of an anomalous submission, before its cooldown is applied.
    fn alert(&self, question: &Question, minute: Minute, finding: Finding) -> Option<Alert> {
        let now_ms = self.context.clock.now_ms();
        let key = AlertKey {
            stream: question.stream.clone(),
            policy: finding.policy(),
            status: question.status,
            direction: finding.direction?,
            severity: finding.severity,
        };
        let silences = self.context.silences.active(now_ms);
        let silence = silence::matching(&silences, key.stream.as_str(), Some(key.status))
            .map(|silence| Suppression::Silence { by: silence.id });
        let anomaly = Anomaly {
            key,
            minute,
            count: question.count,
            finding,
            late: false,
        };
        Some(Alert::of_submission(
            anomaly,
            silence,
            &self.context.notify,
            now_ms,
        ))
    }

    /// Records the alert, then announces it. Continues if the client disconnects, since a recorded alert must be announced.
    #[expect(
        clippy::disallowed_methods,
        reason = "a short job that ends by itself needs no supervision"
    )]
    async fn record(&self, alert: Alert) -> Result<Alert, StoreError> {
        let evaluator = self.clone();
        let job = async move {
            let Self {
                context,
                cooldown_ms,
            } = evaluator;
            let insert = info_span!(
                "insert",
                db.system.name = "sqlite",
                db.operation.name = "INSERT"
            );
            let recorded = context
                .store
                .record_submission(alert, move |alert, prior| {
                    submission::apply_cooldown(alert, prior, cooldown_ms);
                })
                .instrument(insert)
                .await;
            match &recorded {
                Ok(alert) => {
                    info_span!("dispatch").in_scope(|| context.announcer.announce(alert));
                }
                Err(_) => context
                    .metrics
                    .store_errors
                    .with_label_values(&["evaluate"])
                    .inc(),
            }
            recorded
        };
        let recorded = tokio::spawn(job.in_current_span()).await;
        recorded
            .unwrap_or_else(|_| Err(StoreError::Broken("recording a submission panicked".into())))
    }
}

/// Says in the current span that the database is queried.
fn mark_query() {
    Span::current()
        .record("db.system.name", "sqlite")
        .record("db.operation.name", "SELECT");
}

/// The current span; not valid without tracing.
fn current_span() -> SpanContext {
    Span::current().context().span().span_context().clone()
}
