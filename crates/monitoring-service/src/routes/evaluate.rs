//! `POST /alerts/evaluate`: from JSON to a [`Question`] and from its verdict to JSON.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use detection::{Direction, Minute, Severity, Status, Stream, ZScore};
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
    evaluate::{EvaluateError, Evaluation, Question},
    store::{AlertRecord, NotPaged, SuppressedBy},
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
    baseline: BaselineView,
    message: &'a str,
    alert_dispatched: bool,
    #[schema(value_type = Option<schema::Id>)]
    suppressed_by: Option<Uuid>,
    suppressed_before: u32,
    #[schema(value_type = Option<schema::NotPagedName>)]
    not_paged: Option<NotPaged>,
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
        verdict,
        message,
        threshold,
        record,
        trace_id,
    } = evaluation;
    let record = record.as_ref();
    EvaluationView {
        status: question.status.name(),
        count: question.count,
        timestamp: *minute,
        stream: question.stream.as_str(),
        severity: verdict.severity,
        direction: verdict.direction,
        z_score: verdict.z_score.map(ZScore::get),
        threshold: *threshold,
        baseline: verdict.baseline.into(),
        message,
        alert_dispatched: record.is_some_and(AlertRecord::is_dispatched),
        suppressed_by: record
            .and_then(|record| record.suppressed_by)
            .map(SuppressedBy::id),
        suppressed_before: record.map_or(0, |record| record.suppressed_before),
        not_paged: record.and_then(|record| record.not_paged),
        record_id: record.map(|record| record.id),
        trace_id: trace_id.as_deref(),
    }
}
