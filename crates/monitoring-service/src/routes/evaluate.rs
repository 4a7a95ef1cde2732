//! `POST /alerts/evaluate`: from JSON to a [`Question`] and from its verdict to JSON.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use detection::{Direction, Minute, Severity, Status, Stream, ZScore};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    AppState,
    error::Problem,
    extract::{self, Fields, JsonBody},
    params,
    views::BaselineView,
};
use crate::{
    evaluate::{EvaluateError, Evaluation, Question},
    store::{AlertRecord, NotPaged, SuppressedBy},
};

/// The body. Members it does not know are ignored.
#[derive(Deserialize)]
#[serde(expecting = "a JSON object")]
pub(super) struct Submission {
    status: Option<Status>,
    count: Option<u32>,
    timestamp: Option<Minute>,
    stream: Option<Stream>,
}

impl Fields for Submission {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("body", "send a JSON object such as {\"status\":\"failed\",\"count\":100}"),
        ("status", params::STATUS_FIX),
        ("count", "send a whole number from 0 to 4294967295"),
        ("timestamp", params::TIMESTAMP_FIX),
        ("stream", params::STREAM_FIX),
    ];
}

impl Submission {
    fn question(self) -> Result<Question, Problem> {
        let status = self.status.ok_or_else(|| extract::missing::<Self>("status"))?;
        Ok(Question {
            status: status.monitored().ok_or_else(|| unmonitored(&status))?,
            count: self.count.ok_or_else(|| extract::missing::<Self>("count"))?,
            minute: self.timestamp,
            stream: self.stream.unwrap_or_default(),
        })
    }
}

fn unmonitored(status: &Status) -> Problem {
    Problem::invalid("status", status.name(), format!("the status {status} is not monitored, so it is never judged"))
        .fix(params::STATUS_FIX)
}

impl From<EvaluateError> for Problem {
    fn from(error: EvaluateError) -> Self {
        match error {
            EvaluateError::Future { minute, .. } => Self::invalid("timestamp", &minute.to_string(), error.to_string())
                .fix("send a minute of the past, or leave timestamp out"),
            EvaluateError::Store(error) => error.into(),
        }
    }
}

/// The answer.
#[derive(Serialize)]
struct EvaluationView<'a> {
    status: &'static str,
    count: u32,
    timestamp: Minute,
    stream: &'a str,
    severity: Severity,
    direction: Option<Direction>,
    z_score: Option<f64>,
    threshold: f64,
    baseline: BaselineView,
    message: &'a str,
    alert_dispatched: bool,
    suppressed_by: Option<Uuid>,
    suppressed_before: u32,
    not_paged: Option<NotPaged>,
    record_id: Option<Uuid>,
    trace_id: Option<&'a str>,
}

pub(super) async fn post(
    State(state): State<Arc<AppState>>,
    JsonBody(submission): JsonBody<Submission>,
) -> Result<impl IntoResponse, Problem> {
    let question = submission.question()?;
    let evaluation = state.evaluator.evaluate(&question).await?;
    Ok(Json(view(&question, &evaluation)).into_response())
}

fn view<'a>(question: &'a Question, evaluation: &'a Evaluation) -> EvaluationView<'a> {
    let Evaluation { minute, verdict, message, threshold, record, trace_id } = evaluation;
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
        suppressed_by: record.and_then(|record| record.suppressed_by).map(SuppressedBy::id),
        suppressed_before: record.map_or(0, |record| record.suppressed_before),
        not_paged: record.and_then(|record| record.not_paged),
        record_id: record.map(|record| record.id),
        trace_id: trace_id.as_deref(),
    }
}
