//! `POST /alerts/evaluate`: from JSON to a [`Question`] and from its verdict to JSON.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use detection::{Direction, Minute, Severity, Status, Stream, Suppression};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    AppState,
    error::Problem,
    extract::{self, Fields, JsonBody},
    openapi, params, schema,
    views::BaselineView,
};
use crate::{
    alerts::Alert,
    evaluate::{EvaluateError, Evaluation, Question},
};

/// The body. Members it does not know are ignored.
#[derive(Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
#[schema(example = json!({"status": "failed", "count": 100}))]
pub(super) struct Submission {
    /// Which status.
    #[schema(value_type = schema::MonitoredStatus)]
    status: Option<Status>,
    /// How many in a minute.
    #[schema(value_type = u32, maximum = 4_294_967_295_u32)]
    count: Option<u32>,
    /// Which minute's baseline; without it now for a live stream, else its newest minute. At most 5 minutes ahead of the clock.
    #[schema(value_type = Option<schema::Timestamp>)]
    timestamp: Option<Minute>,
    /// Whose baseline; without it that of `default`. A stream that is not known has none.
    #[schema(value_type = Option<schema::StreamName>)]
    stream: Option<Stream>,
}

impl Fields for Submission {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        (
            "body",
            "send a JSON object such as {\"status\":\"failed\",\"count\":100}",
        ),
        ("status", params::STATUS_FIX),
        ("count", "send a whole number from 0 to 4294967295"),
        ("timestamp", params::TIMESTAMP_FIX),
        ("stream", params::STREAM_FIX),
    ];
}

impl Submission {
    fn question(self) -> Result<Question, Problem> {
        let status = self
            .status
            .ok_or_else(|| extract::missing::<Self>("status"))?;
        Ok(Question {
            status: status.monitored().ok_or_else(|| unmonitored(&status))?,
            count: self
                .count
                .ok_or_else(|| extract::missing::<Self>("count"))?,
            minute: self.timestamp,
            stream: self.stream.unwrap_or_default(),
        })
    }
}

fn unmonitored(status: &Status) -> Problem {
    Problem::invalid(
        "status",
        status.name(),
        format!("the status {status} is not monitored, so it is never judged"),
    )
    .fix(params::STATUS_FIX)
}

impl From<EvaluateError> for Problem {
    fn from(error: EvaluateError) -> Self {
        match error {
            EvaluateError::Future { minute, .. } => {
                Self::invalid("timestamp", &minute.to_string(), error.to_string())
                    .fix("send a minute of the past, or leave timestamp out")
            }
            EvaluateError::Store(error) => error.into(),
        }
    }
}

/// The answer.
#[derive(Serialize, ToSchema)]
struct EvaluationView<'a> {
    #[schema(value_type = schema::MonitoredStatus)]
    status: &'static str,
    count: u32,
    #[schema(value_type = schema::Minute)]
    timestamp: Minute,
    stream: &'a str,
    #[schema(value_type = schema::SeverityName)]
    severity: Severity,
    #[schema(value_type = Option<schema::DirectionName>)]
    direction: Option<Direction>,
    z_score: Option<f64>,
    threshold: f64,
    baseline: Option<BaselineView>,
    message: &'a str,
    /// True if the receiver of alerts gets it.
    notified: bool,
    /// Why an anomalous count is not notified.
    #[schema(value_type = Option<schema::SuppressionReason>)]
    suppressed: Option<&'static str>,
    #[schema(value_type = Option<schema::Id>)]
    suppressed_by: Option<Uuid>,
    suppressed_before: u32,
    #[schema(value_type = Option<schema::Id>)]
    record_id: Option<Uuid>,
    trace_id: Option<&'a str>,
}

/// Judges one count now. An anomalous one is recorded, and sent if it is CRITICAL; none enters a baseline or a total.
#[utoipa::path(
    post,
    path = "/alerts/evaluate",
    operation_id = "evaluate",
    tag = "alerts",
    request_body = Submission,
    responses((status = 200, description = "The verdict", body = EvaluationView<'_>), openapi::WithBody)
)]
pub(super) async fn post(
    State(state): State<Arc<AppState>>,
    JsonBody(submission): JsonBody<Submission>,
) -> Result<impl IntoResponse, Problem> {
    let question = submission.question()?;
    let evaluation = state.evaluator.evaluate(&question).await?;
    Ok(Json(view(&question, &evaluation)).into_response())
}

fn view<'a>(question: &'a Question, evaluation: &'a Evaluation) -> EvaluationView<'a> {
    let Evaluation {
        minute,
        finding,
        message,
        threshold,
        alert,
        trace_id,
    } = evaluation;
    let alert = alert.as_ref();
    let suppression = alert.and_then(|alert| alert.suppression);
    EvaluationView {
        status: question.status.name(),
        count: question.count,
        timestamp: *minute,
        stream: question.stream.as_str(),
        severity: finding.severity,
        direction: finding.direction,
        z_score: finding.score,
        threshold: *threshold,
        baseline: finding.evidence.baseline().map(Into::into),
        message,
        notified: alert.is_some_and(Alert::is_notified),
        suppressed: suppression.map(Suppression::reason),
        suppressed_by: suppression.and_then(Suppression::by),
        suppressed_before: alert.map_or(0, |alert| alert.suppressed_before),
        record_id: alert.map(|alert| alert.id),
        trace_id: trace_id.as_deref(),
    }
}
