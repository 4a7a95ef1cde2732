//! `GET /explain`: why a minute fired, or why it did not, in words and in numbers.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use detection::{Minute, State as Condition, Status, Stream, Suppression};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    AppState,
    error::Problem,
    extract::{Fields, QueryParams, missing},
    openapi, params,
    queries::stream_of,
    schema,
    views::{AlertView, RowView},
};
use crate::{
    alerts::{Alert, policy},
    store::Explained,
};

/// Which row.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExplainQuery {
    /// Which stream; without it the only one there is, else `default`.
    #[param(value_type = schema::StreamName, required = false)]
    stream: Option<Stream>,
    /// Which minute.
    #[param(value_type = schema::Timestamp, required = true)]
    minute: Option<Minute>,
    /// Which status.
    #[param(value_type = schema::StatusName, required = true)]
    status: Option<Status>,
}

impl Fields for ExplainQuery {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("stream", params::STREAM_FIX),
        ("minute", params::TIMESTAMP_FIX),
        ("status", "use a status name such as denied"),
    ];
}

#[derive(Serialize, ToSchema)]
struct ExplainView {
    stream: String,
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    status: String,
    /// In a word.
    #[schema(value_type = schema::Outcome)]
    outcome: &'static str,
    /// In words.
    explanation: String,
    row: Option<RowView>,
    /// What was recorded about it, oldest first.
    alerts: Vec<AlertView>,
    /// The observed minutes it was judged against, newest first.
    window: Vec<WindowMinuteView>,
}

#[derive(Serialize, ToSchema)]
struct WindowMinuteView {
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    count: u32,
}

/// Why a minute fired or why it did not, in words and with the minutes it was judged against.
#[utoipa::path(
    get,
    path = "/explain",
    operation_id = "explain",
    tag = "alerts",
    params(ExplainQuery),
    responses((status = 200, description = "What is known of the minute", body = ExplainView), openapi::OfOne)
)]
pub(super) async fn explain(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<ExplainQuery>,
) -> Result<impl IntoResponse, Problem> {
    let minute = query
        .minute
        .ok_or_else(|| missing::<ExplainQuery>("minute"))?;
    let status = query
        .status
        .ok_or_else(|| missing::<ExplainQuery>("status"))?;
    let stream = stream_of(&state.store, query.stream).await?;
    let found = state
        .store
        .explained(stream.as_str(), minute, status.name())
        .await?;
    let found = found.ok_or_else(|| params::unknown_stream(&stream))?;
    let (outcome, explanation) = in_words(&found, minute, &status);
    let window = match (&found.row, status.monitored()) {
        (Some(row), Some(status)) => {
            let evidence = row.judgement.evidence();
            let baseline = evidence.and_then(detection::Evidence::baseline);
            let minutes = baseline.map_or(0, |baseline| baseline.minutes() as usize);
            let known = state
                .store
                .observed_minutes(stream.as_str(), Some(minute.plus(-1)), minutes)
                .await?;
            let view = |known: &detection::ObservedMinute| WindowMinuteView {
                minute: known.minute,
                count: known.counts[status.index()],
            };
            known.iter().map(view).collect()
        }
        _ => Vec::new(),
    };
    Ok(Json(ExplainView {
        stream: stream.to_string(),
        minute,
        status: status.to_string(),
        outcome,
        explanation,
        row: found.row.map(RowView::from),
        alerts: found.alerts.iter().map(AlertView::from).collect(),
        window,
    }))
}

fn in_words(found: &Explained, minute: Minute, status: &Status) -> (&'static str, String) {
    let Some(row) = &found.row else {
        let why = if minute > found.newest_minute {
            format!(
                "the newest observed minute of the stream is {}: no batch has come for this one yet",
                found.newest_minute
            )
        } else {
            format!(
                "no batch came for {status} in this minute: that is silence, and never counts as zero"
            )
        };
        return ("unknown", why);
    };
    let mut reason = row.sentence();
    if let Some(judged) = row.judged_count {
        reason = format!(
            "{reason}; the verdict was given for {judged}, a correction to {} came after its time",
            row.count
        );
    }
    if row.implied {
        reason = format!("{reason}; no batch named the status in this minute, so its 0 is implied");
    }
    match found.alerts.last() {
        Some(alert) => with_alert(alert, &reason),
        None => (of_state(row.judgement.state()), reason),
    }
}

fn with_alert(alert: &Alert, reason: &str) -> (&'static str, String) {
    let late = if alert.anomaly().is_some_and(|anomaly| anomaly.late) {
        "; it was late"
    } else {
        ""
    };
    let Some(suppression) = alert.suppression else {
        return ("fired", format!("{reason}{late}; the alert was notified"));
    };
    let outcome = if suppression.is_muted() {
        "suppressed"
    } else {
        "fired"
    };
    let by = match suppression {
        Suppression::Cooldown { by } => format!(" (alert {by})"),
        Suppression::Silence { by } => format!(" (silence {by})"),
        Suppression::TooOld | Suppression::NoReceiver | Suppression::BelowCritical => String::new(),
    };
    let why = policy::in_words(suppression);
    (
        outcome,
        format!("{reason}{late}; the alert was not notified: {why}{by}"),
    )
}

/// An anomalous finding without an alert of its own is one that a correction made milder than the row once was.
const fn of_state(state: Condition) -> &'static str {
    match state {
        Condition::NotJudged => "not_judged",
        Condition::Learning => "learning",
        _ => "normal",
    }
}
