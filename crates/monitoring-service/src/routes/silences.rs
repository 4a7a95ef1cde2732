//! `/silences`: silences of alerts, each with an end and a reason.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use detection::{MonitoredStatus, Stream, minute::instant};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, schema::Type},
};
use uuid::Uuid;

use super::{
    AppState,
    error::Problem,
    extract::{JsonBody, PathId, QueryParams},
    fields::{Field as _, fields, reference},
    openapi,
    parameters::values,
    schema::{self, Instant},
};
use crate::alerts::SilenceRecord;

/// Maximum length of a silence, milliseconds, so that a forgotten one does not hide an outage for long.
const MAX_SILENCE_MS: i64 = 24 * 3_600_000;

/// Maximum length of a reason, characters.
const MAX_REASON_CHARS: usize = 500;

fields! {
    /// What to silence.
    pub(super) struct SilenceBody {
        /// Only this stream; without it every stream.
        stream: Option<Stream>,
        /// Only this status; without it every status.
        status: Option<MonitoredStatus>,
        /// The end, in the next 24 hours.
        until: Until,
        /// The reason, for people who read it later.
        reason: Reason,
    }
}

/// The end of a silence.
#[derive(Clone, Copy)]
struct Until(Timestamp);

/// The reason of a silence, for people.
struct Reason(String);

values! {
    Until: reference::<schema::Timestamp>(),
        |text: &str| instant(text).map(Until).map_err(|error| format!("is not a timestamp: {error}")),
        "use an instant in the next 24 hours such as 2025-07-12T18:00:00Z";
    Reason: ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(MAX_REASON_CHARS)),
        Reason::read, format!("give a reason of 1 to {MAX_REASON_CHARS} characters");
}

impl Reason {
    fn read(text: &str) -> Result<Self, String> {
        let reason = text.trim();
        if reason.is_empty() || reason.chars().count() > MAX_REASON_CHARS {
            return Err(format!(
                "is empty or longer than {MAX_REASON_CHARS} characters"
            ));
        }
        Ok(Self(reason.to_owned()))
    }
}

/// The silences.
#[derive(Serialize, ToSchema)]
struct Silences {
    silences: Vec<Silence>,
}

/// A silence.
#[derive(Serialize, ToSchema)]
struct Silence {
    #[schema(value_type = schema::Id)]
    id: Uuid,
    stream: Option<String>,
    #[schema(value_type = Option<schema::MonitoredStatus>)]
    status: Option<MonitoredStatus>,
    created_at: Instant,
    until: Instant,
    reason: String,
}

impl From<SilenceRecord> for Silence {
    fn from(record: SilenceRecord) -> Self {
        Self {
            id: record.silence.id,
            stream: record.silence.stream.map(|stream| stream.to_string()),
            status: record.silence.status,
            created_at: Instant(record.created_at_ms),
            until: Instant(record.until_ms),
            reason: record.reason,
        }
    }
}

/// Suppresses alerts until the end; each suppressed alert names the silence.
#[utoipa::path(
    post,
    path = "/silences",
    operation_id = "add_silence",
    tag = "control",
    request_body(content = SilenceBody, example = json!({"status": "denied", "until": "2025-07-12T18:00:00Z", "reason": "planned test of the acquirer"})),
    responses((
        status = 201,
        description = "The silence; it covers alerts from now on",
        body = Silence,
        links(("end" = (operation_id = "end_silence", parameters(("id" = "$response.body#/id")))))
    ), openapi::WithBody)
)]
pub(super) async fn add(
    State(state): State<Arc<AppState>>,
    JsonBody(body): JsonBody<SilenceBody>,
) -> Result<impl IntoResponse, Problem> {
    let now_ms = state.clock.now_ms();
    let (Until(until), Reason(reason)) = (body.until, body.reason);
    let until_ms = until.as_millisecond();
    if until_ms <= now_ms || until_ms > now_ms + MAX_SILENCE_MS {
        let detail = "until is not in the next 24 hours";
        return Err(Problem::invalid("until", &*until.to_string(), detail).fix(Until::fix()));
    }
    let silence = detection::Silence {
        id: Uuid::new_v4(),
        stream: body.stream,
        status: body.status,
    };
    let record = SilenceRecord {
        silence,
        created_at_ms: now_ms,
        until_ms,
        reason,
    };
    state.store.add_silence(record.clone()).await?;
    refresh(&state).await;
    tracing::info!(silence_id = %record.silence.id, reason = record.reason, %until, "silence added");
    Ok((StatusCode::CREATED, Json(Silence::from(record))))
}

/// Applies the change now. If that fails, the scheduler applies it at its next check.
async fn refresh(state: &AppState) {
    if let Err(error) = state.refresh_silences().await {
        tracing::warn!(%error, "silences not refreshed");
    }
}

fields! {
    /// Which silences.
    pub(super) struct SilencesQuery {
        /// Only those that cover this stream.
        stream: Option<Stream>,
    }
}

/// The active silences.
#[utoipa::path(
    get,
    path = "/silences",
    operation_id = "list_silences",
    tag = "control",
    params(SilencesQuery),
    responses((status = 200, description = "The active silences, newest first", body = Silences), openapi::Query)
)]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<SilencesQuery>,
) -> Result<impl IntoResponse, Problem> {
    let active = state
        .store
        .silences(state.clock.now_ms())
        .await?
        .into_iter();
    // A silence without a stream covers every stream.
    let covers = |record: &SilenceRecord| {
        query.stream.is_none()
            || record.silence.stream.is_none()
            || record.silence.stream == query.stream
    };
    Ok(Json(Silences {
        silences: active.filter(covers).map(Silence::from).collect(),
    }))
}

/// Ends a silence early.
#[utoipa::path(
    delete,
    path = "/silences/{id}",
    operation_id = "end_silence",
    tag = "control",
    params(("id" = schema::Id, Path, description = "From GET /silences")),
    responses((status = 204, description = "The silence has ended"), openapi::OfOne)
)]
pub(super) async fn end(
    State(state): State<Arc<AppState>>,
    PathId(id): PathId<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    if !state.store.end_silence(id, state.clock.now_ms()).await? {
        return Err(Problem::not_found("id", "active silence", id)
            .fix("GET /silences lists the active silences"));
    }
    refresh(&state).await;
    tracing::info!(silence_id = %id, "silence ended");
    Ok(StatusCode::NO_CONTENT)
}
