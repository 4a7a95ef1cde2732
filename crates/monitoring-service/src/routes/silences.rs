//! Steering the alerts: silences, and one marked page to prove the way to the receiver.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use detection::{Monitored, Silence, Stream};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::{
    AppState,
    error::Problem,
    extract::{Fields, JsonBody, PathId, QueryParams, missing},
    params::{self, named},
    views::{AlertView, At},
};
use crate::{alerting::log_alert, store::SilenceRecord};

/// The longest silence: one forgotten must not hide an outage for ever.
const LONGEST_MS: i64 = 24 * 3_600_000;

/// The longest reason, in characters.
const LONGEST_REASON: usize = 500;

const UNTIL_FIX: &str = "use an instant in the next 24 hours such as 2025-07-12T18:00:00Z";
const REASON_FIX: &str = "say in 1 to 500 characters why";

/// What to silence.
#[derive(Deserialize)]
pub(super) struct SilenceBody {
    stream: Option<Stream>,
    #[serde(default, deserialize_with = "status")]
    status: Option<Monitored>,
    until: Option<Timestamp>,
    reason: Option<String>,
}

impl Fields for SilenceBody {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("body", r#"send {"until": "...", "reason": "..."} with stream and status where only they are meant"#),
        ("stream", params::STREAM_FIX),
        ("status", params::STATUS_FIX),
        ("until", UNTIL_FIX),
        ("reason", REASON_FIX),
    ];
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Monitored>, D::Error> {
    named(deserializer, "a monitored status", Monitored::from_name)
}

/// A silence.
#[derive(Serialize)]
struct SilenceView {
    id: Uuid,
    stream: Option<String>,
    status: Option<&'static str>,
    created_at: At,
    until: At,
    reason: String,
}

impl From<SilenceRecord> for SilenceView {
    fn from(record: SilenceRecord) -> Self {
        let SilenceRecord { silence, created_at_ms, until_ms, reason } = record;
        Self {
            id: silence.id,
            stream: silence.stream.map(|stream| stream.to_string()),
            status: silence.status.map(Monitored::name),
            created_at: At(created_at_ms),
            until: At(until_ms),
            reason,
        }
    }
}

pub(super) async fn add(
    State(state): State<Arc<AppState>>,
    JsonBody(body): JsonBody<SilenceBody>,
) -> Result<impl IntoResponse, Problem> {
    let now_ms = state.clock.now_ms();
    let until = body.until.ok_or_else(|| missing::<SilenceBody>("until"))?;
    let until_ms = until.as_millisecond();
    if until_ms <= now_ms || until_ms > now_ms + LONGEST_MS {
        let detail = "until is not in the next 24 hours";
        return Err(Problem::invalid("until", &until.to_string(), detail).fix(UNTIL_FIX));
    }
    let reason = body.reason.ok_or_else(|| missing::<SilenceBody>("reason"))?.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > LONGEST_REASON {
        return Err(Problem::invalid("reason", &reason, "reason is empty or too long").fix(REASON_FIX));
    }
    let silence = Silence { id: Uuid::new_v4(), stream: body.stream, status: body.status };
    let record = SilenceRecord { silence, created_at_ms: now_ms, until_ms, reason };
    state.store.add_silence(record.clone()).await?;
    state.silences.publish(state.store.silences(now_ms).await?);
    tracing::info!(silence_id = %record.silence.id, reason = record.reason, until = %until, "silenced");
    Ok((StatusCode::CREATED, Json(SilenceView::from(record))))
}

/// Which silences in force.
#[derive(Deserialize)]
pub(super) struct SilencesQuery {
    stream: Option<Stream>,
}

impl Fields for SilencesQuery {
    const FIELDS: &'static [(&'static str, &'static str)] = &[("stream", params::STREAM_FIX)];
}

#[derive(Serialize)]
struct SilencesView {
    silences: Vec<SilenceView>,
}

pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<SilencesQuery>,
) -> Result<impl IntoResponse, Problem> {
    let in_force = state.store.silences(state.clock.now_ms()).await?.into_iter();
    // One that names no stream silences every stream.
    let meant = |record: &SilenceRecord| {
        query.stream.is_none() || record.silence.stream.is_none() || record.silence.stream == query.stream
    };
    Ok(Json(SilencesView { silences: in_force.filter(meant).map(SilenceView::from).collect() }))
}

pub(super) async fn end(State(state): State<Arc<AppState>>, PathId(id): PathId) -> Result<impl IntoResponse, Problem> {
    let now_ms = state.clock.now_ms();
    if !state.store.end_silence(id, now_ms).await? {
        return Err(Problem::not_found(format!("there is no silence {id} in force"))
            .field("id")
            .value(&*id.to_string())
            .fix("GET /silences lists those in force"));
    }
    state.silences.publish(state.store.silences(now_ms).await?);
    tracing::info!(silence_id = %id, "silence ended");
    Ok(StatusCode::NO_CONTENT)
}

/// Sends one page that is marked as a test: 202, with the alert to follow through `/alerts/{id}`.
pub(super) async fn test_page(State(state): State<Arc<AppState>>) -> Result<impl IntoResponse, Problem> {
    let alert = state.store.record_test(state.clock.now_ms(), state.evaluator.paging).await?;
    state.evaluator.telemetry.alert(&alert);
    log_alert(&alert);
    Ok((StatusCode::ACCEPTED, Json(AlertView::from(alert))))
}
