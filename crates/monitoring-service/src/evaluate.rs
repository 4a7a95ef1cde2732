//! The use case of `POST /alerts/evaluate`: judges one submitted count against what is known, and records it if it is
//! anomalous.
//!
//! A submission is a question: its count enters no baseline and no total, and its cooldown never silences the stream.
//! Knows nothing of HTTP.

use std::time::Duration;

use detection::{
    AlertKey, Baseline, Minute, MonitorSettings, MonitoredStatus, Stream, Verdict, ZScore,
};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tracing::{Instrument as _, Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

use crate::{
    alerting::log_alert,
    clock::Clock,
    metrics::ServiceMetrics,
    state::{Silences, Snapshots},
    store::{AlertRecord, AlertType, Anomaly, Origin, Paging, Store, StoreError, SuppressedBy},
};

/// A timestamp this far ahead of the clock is refused, minutes.
const MAX_AHEAD_MINUTES: i64 = 5;

/// Judges submissions. A clone shares everything.
#[derive(Clone)]
pub struct Evaluator {
    /// Where baselines are looked up that no snapshot holds, and where anomalous submissions are recorded.
    pub store: Store,
    /// The newest observed minutes of each stream in memory.
    pub snapshots: Snapshots,
    /// What people do not want to hear of.
    pub silences: Silences,
    /// How counts are judged.
    pub policy: MonitorSettings,
    /// Who gets a page.
    pub paging: Paging,
    /// A stream whose newest minute was at most this old when it came is live.
    pub stale_after: Duration,
    /// How long the same submission is held back.
    pub cooldown: Duration,
    /// The time.
    pub clock: Clock,
    /// What is counted.
    pub metrics: ServiceMetrics,
}

/// A count to judge.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which status.
    pub status: MonitoredStatus,
    /// How many.
    pub count: u32,
    /// Which minute's baseline; where none is given, now for a live stream, else its newest minute.
    pub minute: Option<Minute>,
    /// Whose baseline.
    pub stream: Stream,
}

/// What is said of a [`Question`].
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The minute it was judged for.
    pub minute: Minute,
    /// The verdict.
    pub verdict: Verdict,
    /// The verdict in words.
    pub message: String,
    /// The limit that was passed; of a NORMAL count, the one that was not.
    pub threshold: f64,
    /// What was recorded; none where the count is not anomalous.
    pub record: Option<AlertRecord>,
    /// The trace of the request, 32 hex digits.
    pub trace_id: Option<String>,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// Nothing can be known of that minute.
    #[error(
        "{minute} is more than {MAX_AHEAD_MINUTES} minutes ahead of the clock, which says {now}"
    )]
    Future {
        /// The minute asked for.
        minute: Minute,
        /// The minute it is.
        now: Minute,
    },
    /// The baseline could not be read or the verdict not be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// True if a stream's newest minute was at most `stale_after` old when it came, so that its time is the clock's.
pub fn is_live(newest: Minute, arrived_at_ms: i64, stale_after: Duration) -> bool {
    let age_ms = arrived_at_ms.saturating_sub(newest.start().as_millisecond());
    age_ms <= i64::try_from(stale_after.as_millis()).unwrap_or(i64::MAX)
}

impl Evaluator {
    /// Judges and, if anomalous, records. A NORMAL verdict of a stream in memory touches no database.
    pub async fn evaluate(&self, question: &Question) -> Result<Evaluation, EvaluateError> {
        let now = Minute::containing(self.clock.now());
        if let Some(minute) = question.minute
            && minute.since(now) > MAX_AHEAD_MINUTES
        {
            return Err(EvaluateError::Future { minute, now });
        }
        let span = current_span();
        let (minute, baseline) = {
            // The database is only asked where memory does not know.
            let span = info_span!(
                "history fetch",
                db.system.name = Empty,
                db.operation.name = Empty
            );
            self.baseline(question, now).instrument(span).await?
        };
        let verdict = info_span!("evaluate").in_scope(|| {
            self.policy
                .detector
                .judge_now(question.status, question.count, baseline)
        });
        self.metrics
            .evaluations
            .with_label_values(&[verdict.severity.name()])
            .inc();
        let mut evaluation = Evaluation {
            minute,
            verdict,
            message: verdict.reason(question.status.name(), question.count),
            threshold: self.policy.detector.thresholds.limit(verdict.severity),
            record: None,
            trace_id: span.is_valid().then(|| span.trace_id().to_string()),
        };
        let span_id = span.is_sampled().then(|| span.span_id().to_string());
        if let Some(record) = self.record_of(question, &evaluation, span_id) {
            evaluation.record = Some(self.record(record).await?);
        }
        Ok(evaluation)
    }

    /// The minute to judge for and its baseline.
    async fn baseline(
        &self,
        question: &Question,
        now: Minute,
    ) -> Result<(Minute, Baseline), StoreError> {
        let stream = question.stream.as_str();
        let snapshot = self.snapshots.get(stream);
        let minute = match (question.minute, &snapshot) {
            (Some(minute), _) => minute,
            (None, Some(snapshot)) => {
                self.default_minute(snapshot.newest, snapshot.arrived_at_ms, now)
            }
            (None, None) => match self.store.stream(stream).await? {
                Some(known) => self.default_minute(known.newest_minute, known.arrived_at_ms, now),
                None => now,
            },
        };
        if let Some(snapshot) = snapshot
            && snapshot.history.covers(minute)
        {
            return Ok((minute, snapshot.history.baseline(minute, question.status)));
        }
        let before = Some(minute.plus(-1));
        let span = Span::current();
        span.record("db.system.name", "sqlite")
            .record("db.operation.name", "SELECT");
        let known = self
            .store
            .observed_minutes(stream, before, self.policy.history_capacity())
            .await?;
        Ok((
            minute,
            self.policy.history(known).baseline(minute, question.status),
        ))
    }

    fn default_minute(&self, newest: Minute, arrived_at_ms: i64, now: Minute) -> Minute {
        if is_live(newest, arrived_at_ms, self.stale_after) {
            now
        } else {
            newest
        }
    }

    /// The record of an anomalous submission.
    fn record_of(
        &self,
        question: &Question,
        evaluation: &Evaluation,
        span_id: Option<String>,
    ) -> Option<AlertRecord> {
        let Evaluation {
            minute,
            verdict,
            message,
            threshold,
            trace_id,
            ..
        } = evaluation;
        let now_ms = self.clock.now_ms();
        let direction = verdict.direction?;
        let (stream, status, severity) =
            (question.stream.clone(), question.status, verdict.severity);
        let key = AlertKey {
            stream,
            status,
            direction,
            severity,
        };
        let in_force = self.silences.in_force(now_ms);
        let suppressed_by = in_force
            .iter()
            .find(|silence| silence.covers(&key))
            .map(|s| SuppressedBy::Silence(s.id));
        Some(AlertRecord {
            id: Uuid::new_v4(),
            alert_type: AlertType::Anomaly,
            origin: Origin::Evaluate,
            recorded_at_ms: now_ms,
            severity: verdict.severity,
            message: message.clone(),
            anomaly: Some(Anomaly {
                stream: question.stream.to_string(),
                status: question.status,
                direction,
                minute: *minute,
                count: question.count,
                z_score: verdict.z_score.map(ZScore::get),
                baseline: verdict.baseline,
                threshold: *threshold,
                late: false,
            }),
            streams: Vec::new(),
            suppressed_by,
            suppressed_before: 0,
            // Asked now, about whatever minute: it is never too old to page.
            not_paged: if suppressed_by.is_some() {
                None
            } else {
                self.paging.refuses(severity, None, now_ms)
            },
            trace_id: trace_id.clone(),
            span_id,
        })
    }

    /// Records first and tells afterwards: what was not recorded was not said. Goes on if the client hangs up, since what
    /// is recorded must be told.
    #[expect(
        clippy::disallowed_methods,
        reason = "a short job with an end of its own, not a task to supervise"
    )]
    async fn record(&self, record: AlertRecord) -> Result<AlertRecord, StoreError> {
        let evaluator = self.clone();
        let job = async move {
            let cooldown_ms = i64::try_from(evaluator.cooldown.as_millis()).unwrap_or(i64::MAX);
            let insert = info_span!(
                "insert",
                db.system.name = "sqlite",
                db.operation.name = "INSERT"
            );
            let recorded = evaluator
                .store
                .record_submission(record, cooldown_ms)
                .instrument(insert)
                .await;
            match &recorded {
                Ok(record) => info_span!("dispatch").in_scope(|| evaluator.tell(record)),
                Err(_) => evaluator
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

    /// The log line of an alert that goes out. Its page is on its way since it was recorded.
    fn tell(&self, record: &AlertRecord) {
        self.metrics.alert(record);
        if record.is_dispatched() {
            log_alert(record);
        }
    }
}

/// The span that this code runs in; not valid where nothing is traced.
fn current_span() -> SpanContext {
    Span::current().context().span().span_context().clone()
}
