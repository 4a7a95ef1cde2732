//! `POST /alerts/evaluate`: converts JSON to a [`Question`] and its finding to JSON.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use detection::{Direction, Minute, MonitoredStatus, PolicyName, Severity, Stream, Suppression};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    AppState,
    error::Problem,
    extract::JsonBody,
    fields::fields,
    openapi,
    parameters::{Whole, unknown_stream},
    schema,
};
use crate::{
    alerts::json::EvidenceView,
    evaluate::{EvaluateError, Evaluation, Question},
};

fields! {
    /// A count to evaluate.
    pub(super) struct Submission {
        /// The status.
        status: MonitoredStatus,
        /// Transactions in the minute.
        count: Whole<0, { u32::MAX }>,
        /// The minute to evaluate for; default: now for a live stream, else its newest minute. At most 5 minutes ahead of the clock.
        timestamp: Option<Minute>,
        /// The stream to compare with; default: `default`. An unknown one is refused, unless there is no stream yet.
        stream: Option<Stream>,
    }
}

impl From<EvaluateError> for Problem {
    fn from(error: EvaluateError) -> Self {
        match error {
            EvaluateError::Future { minute, .. } => {
                Self::invalid("timestamp", &*minute.to_string(), error.to_string())
                    .fix("send a past minute, or omit timestamp")
            }
            EvaluateError::Store(error) => error.into(),
        }
    }
}

/// The finding.
#[derive(Serialize, ToSchema)]
struct Evaluated<'a> {
    #[schema(value_type = schema::MonitoredStatus)]
    status: MonitoredStatus,
    count: u32,
    #[schema(value_type = schema::Minute)]
    timestamp: Minute,
    stream: &'a str,
    #[schema(value_type = schema::Policy)]
    policy: PolicyName,
    #[schema(value_type = schema::SeverityName)]
    severity: Severity,
    #[schema(value_type = Option<schema::DirectionName>)]
    direction: Option<Direction>,
    #[serde(flatten)]
    evidence: EvidenceView,
    /// The limit that was exceeded; for a NORMAL count, the WARNING limit.
    threshold: f64,
    message: &'a str,
    /// True if an alert was recorded that neither a silence nor the cooldown suppressed.
    alert_dispatched: bool,
    /// The reason why the alert is not notified; null if it is.
    #[schema(value_type = Option<schema::SuppressionReason>)]
    suppressed: Option<&'static str>,
    #[schema(value_type = Option<schema::Id>)]
    suppressed_by: Option<Uuid>,
    suppressed_before: u32,
    /// The id of the recorded alert; null if the count is NORMAL.
    #[schema(value_type = Option<schema::Id>)]
    record_id: Option<Uuid>,
    trace_id: Option<&'a str>,
}

/// Evaluates one count now. An anomalous count is recorded, and notified if it is CRITICAL. No submission enters a baseline or a total.
#[utoipa::path(
    post,
    path = "/alerts/evaluate",
    operation_id = "evaluate",
    tag = "alerts",
    request_body(content = Submission, example = json!({"status": "failed", "count": 100})),
    responses(
        (status = 200, description = "The finding", body = Evaluated<'_>),
        openapi::Evaluate
    )
)]
pub(super) async fn post(
    State(state): State<Arc<AppState>>,
    JsonBody(submission): JsonBody<Submission>,
) -> Result<impl IntoResponse, Problem> {
    let question = Question {
        status: submission.status,
        count: submission.count.0,
        minute: submission.timestamp,
        stream: known(&state, submission.stream).await?,
    };
    let evaluation = state.evaluator.evaluate(&question).await?;
    Ok(Json(evaluated(&question, &evaluation)).into_response())
}

/// The stream to compare with. One in memory needs no query; without any stream each name is accepted, since nothing is known yet.
async fn known(state: &AppState, named: Option<Stream>) -> Result<Stream, Problem> {
    let stream = named.unwrap_or_default();
    let store = &state.store;
    let is_known = state.snapshots.get(stream.as_str()).is_some()
        || store.has_stream(stream.as_str()).await?
        || store.stream_names().await?.is_empty();
    is_known
        .then_some(stream.clone())
        .ok_or_else(|| unknown_stream(&stream))
}

fn evaluated<'a>(question: &'a Question, evaluation: &'a Evaluation) -> Evaluated<'a> {
    let (finding, alert) = (&evaluation.finding, evaluation.alert.as_ref());
    let suppression = alert.and_then(|alert| alert.suppression);
    Evaluated {
        status: question.status,
        count: question.count,
        timestamp: evaluation.minute,
        stream: question.stream.as_str(),
        policy: finding.policy(),
        severity: finding.severity,
        direction: finding.direction,
        evidence: EvidenceView::new(Some(&finding.evidence), finding.score),
        threshold: evaluation.threshold,
        message: &evaluation.message,
        alert_dispatched: alert.is_some_and(|alert| !alert.is_muted()),
        suppressed: suppression.map(Suppression::reason),
        suppressed_by: suppression.and_then(Suppression::by),
        suppressed_before: alert.map_or(0, |alert| alert.suppressed_before),
        record_id: alert.map(|alert| alert.id),
        trace_id: evaluation.trace_id.as_deref(),
    }
}
