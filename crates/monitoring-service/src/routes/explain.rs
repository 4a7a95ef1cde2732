//! `GET /explain`: the reason why a minute raised an alert or none, in words and in numbers.

use std::sync::Arc;

use axum::{Json, extract, response::IntoResponse};
use detection::{
    Evidence, Minute, MonitoredStatus, PolicyName, Severity, State, Status, Stream, Suppression,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState,
    error::Problem,
    extract::QueryParams,
    fields::fields,
    openapi,
    parameters::{self, OnePolicy, OneStream},
    schema,
    transactions::Row,
};
use crate::{
    alerts::{Alert, json::AlertView, policy::in_words},
    store::{Explained, RowRecord},
};

fields! {
    /// Which count.
    pub(super) struct ExplainQuery {
        /// The minute.
        minute: Minute = "2025-07-12T13:45:00Z",
        /// The status.
        status: Status,
        ..stream: OneStream,
        ..policy: OnePolicy,
    }
}

/// Everything that is stored about a count.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExplainedCount {
    stream: String,
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    status: String,
    outcome: Outcome,
    /// The outcome in words.
    pub(crate) explanation: String,
    row: Option<Row>,
    /// Its alerts, oldest first.
    alerts: Vec<AlertView>,
    /// The observed minutes it was compared with, newest first.
    pub(crate) window: Vec<WindowMinute>,
}

/// `fired`: an alert that no cooldown and no silence suppressed; `suppressed`: an alert that one did; `in_episode`: a finding in an
/// episode of the policy `adaptive`, which alerts when an episode opens or worsens; `unknown`: no counts arrived; else there is no alert.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Fired,
    Suppressed,
    InEpisode,
    Normal,
    Learning,
    NotJudged,
    Unknown,
}

/// A count of a window.
#[derive(Serialize, ToSchema)]
pub(crate) struct WindowMinute {
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    pub(crate) count: u32,
}

/// The reason why a minute raised an alert or none, in words and with the minutes it was compared with.
#[utoipa::path(
    get,
    path = "/explain",
    operation_id = "explain",
    tag = "alerts",
    params(ExplainQuery),
    responses((status = 200, description = "What is stored about the count", body = ExplainedCount), openapi::OfOne)
)]
pub(super) async fn explain(
    extract::State(state): extract::State<Arc<AppState>>,
    QueryParams(query): QueryParams<ExplainQuery>,
) -> Result<impl IntoResponse, Problem> {
    let stream = query.stream.find(&state.store).await?;
    let policy = query.policy.of(&state);
    let explained = explained(&state, stream, query.minute, query.status, policy).await?;
    Ok(Json(explained))
}

/// What is stored about a count, and why it raised an alert or none.
pub(crate) async fn explained(
    state: &AppState,
    stream: Stream,
    minute: Minute,
    status: Status,
    policy: PolicyName,
) -> Result<ExplainedCount, Problem> {
    let found = state
        .store
        .explained(stream.as_str(), minute, status.name(), policy)
        .await?
        .ok_or_else(|| parameters::unknown_stream(&stream))?;
    let window = match (&found.row, status.monitored()) {
        (Some(row), Some(status)) => window(state, stream.as_str(), row, status).await?,
        _ => Vec::new(),
    };
    let (outcome, explanation) = outcome(&found, minute, &status);
    Ok(ExplainedCount {
        stream: stream.to_string(),
        minute,
        status: status.to_string(),
        outcome,
        explanation,
        row: found.row.map(Row::from),
        alerts: found.alerts.iter().map(AlertView::from).collect(),
        window,
    })
}

/// The counts that a row was compared with.
async fn window(
    state: &AppState,
    stream: &str,
    row: &RowRecord,
    status: MonitoredStatus,
) -> Result<Vec<WindowMinute>, Problem> {
    let baseline = row.judgement.evidence().and_then(Evidence::baseline);
    let minutes = baseline.map_or(0, |baseline| baseline.minutes()) as usize;
    let observed = state
        .store
        .observed_minutes(stream, Some(row.minute.plus(-1)), minutes)
        .await?;
    let count = |observed: &detection::ObservedMinute| WindowMinute {
        minute: observed.minute,
        count: observed.counts[status.index()],
    };
    Ok(observed.iter().map(count).collect())
}

fn outcome(found: &Explained, minute: Minute, status: &Status) -> (Outcome, String) {
    let Some(row) = &found.row else {
        let newest = found.newest_minute;
        let why = if minute > newest {
            format!(
                "this minute has not arrived: the newest observed minute of the stream is {newest}"
            )
        } else {
            format!(
                "no counts of {status} arrived for this minute: it is unknown, which never counts as zero"
            )
        };
        return (Outcome::Unknown, why);
    };
    let mut reason = row.sentence();
    if let Some(judged) = row.judged_count {
        let corrected = row.count;
        reason =
            format!("{reason}; {judged} was evaluated, the correction to {corrected} was too late");
    }
    if row.implied {
        reason = format!("{reason}; the status was not sent for this minute, so its 0 is implied");
    }
    match found.alerts.last() {
        Some(alert) => of_alert(alert, &reason),
        None if is_in_episode(row) => (
            Outcome::InEpisode,
            format!("{reason} The episode that it belongs to alerts when it opens or worsens."),
        ),
        None => (of_state(row.judgement.state()), reason),
    }
}

/// The policy `adaptive` alerts about its episode, not about each count in it.
fn is_in_episode(row: &RowRecord) -> bool {
    row.judgement.policy() == Some(PolicyName::Adaptive)
        && row.judgement.severity().is_some_and(Severity::is_anomalous)
}

fn of_alert(alert: &Alert, reason: &str) -> (Outcome, String) {
    let late = if alert.anomaly().is_some_and(|anomaly| anomaly.late) {
        "; it was late"
    } else {
        ""
    };
    let Some(suppression) = alert.suppression else {
        let notified = format!("{reason}{late}; the alert was notified");
        return (Outcome::Fired, notified);
    };
    let outcome = if suppression.is_muted() {
        Outcome::Suppressed
    } else {
        Outcome::Fired
    };
    let by = match suppression {
        Suppression::Cooldown { by } => format!(" (alert {by})"),
        Suppression::Silence { by } => format!(" (silence {by})"),
        Suppression::TooOld
        | Suppression::NoReceiver
        | Suppression::BelowCritical
        | Suppression::Shadow
        | Suppression::Incident => String::new(),
    };
    let why = in_words(suppression);
    let suppressed = format!("{reason}{late}; the alert was not notified: {why}{by}");
    (outcome, suppressed)
}

/// The outcome of a count without an alert. It can be anomalous if a correction lowered its severity.
const fn of_state(state: State) -> Outcome {
    match state {
        State::NotJudged => Outcome::NotJudged,
        State::Learning => Outcome::Learning,
        State::Normal | State::Warning | State::Stale | State::Critical => Outcome::Normal,
    }
}
