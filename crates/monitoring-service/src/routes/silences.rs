//! `/silences`: silences of alerts, each with an end and a reason.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use detection::{
    MonitoredStatus, Stream, StreamPattern,
    minute::instant,
    silence::{Period, Weekly, WeeklyError},
};
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
    fields::{fields, reference},
    openapi,
    parameters::values,
    schema::{self, Instant},
};
use crate::alerts::SilenceRecord;

/// Maximum length of a silence, milliseconds, so that a forgotten one does not hide an outage for long. One with weekly times may
/// last longer: it is silent only for some hours at a time.
const MAX_SILENCE_MS: i64 = 24 * 3_600_000;

/// Maximum time from now to the start of a silence, and to the end of one with weekly times, milliseconds.
const MAX_AHEAD_MS: i64 = 366 * 24 * 3_600_000;

/// Maximum length of a reason, characters.
const MAX_REASON_CHARS: usize = 500;

fields! {
    /// What to silence, and when.
    pub(super) struct SilenceBody {
        /// Only this stream, or these (`day*`); without it every stream.
        stream: Option<StreamPattern>,
        /// Only this status; without it everything about a stream, also that it is stale.
        status: Option<MonitoredStatus>,
        /// The start, at most 366 days ahead; without it now.
        from: Option<When>,
        /// The end: at most 24 hours after the start; with weekly times, at most 366 days ahead.
        until: When,
        /// Only at these times of each week; without it all of the time.
        weekly: Option<Weekly>,
        /// The reason, for people who read it later.
        reason: Reason,
    }
}

/// The start or the end of a silence.
#[derive(Clone, Copy)]
pub(crate) struct When(pub(crate) Timestamp);

/// The reason of a silence, for people.
pub(crate) struct Reason(String);

values! {
    When: reference::<schema::Timestamp>(),
        |text: &str| instant(text).map(When).map_err(|error| format!("is not a timestamp: {error}")),
        "use an instant such as 2025-07-12T18:00:00Z";
    Weekly: reference::<schema::WeeklyTimes>(),
        |text: &str| text.parse().map_err(|error: WeeklyError| error.to_string()),
        "use days and a time such as sat,sun 01:00-03:00, or daily 22:00-08:00 -03:00 with an offset from UTC";
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
    /// A stream or a pattern; null for every stream.
    #[schema(value_type = Option<schema::StreamPattern>)]
    stream: Option<String>,
    /// Null for everything about the streams.
    #[schema(value_type = Option<schema::MonitoredStatus>)]
    status: Option<MonitoredStatus>,
    created_at: Instant,
    from: Instant,
    until: Instant,
    /// The times of each week at which it is active; null for all of the time.
    #[schema(value_type = Option<schema::WeeklyTimes>)]
    weekly: Option<String>,
    /// True if it suppresses alerts now.
    active: bool,
    reason: String,
}

impl Silence {
    fn at(record: SilenceRecord, now_ms: i64) -> Self {
        let SilenceRecord {
            silence,
            created_at_ms,
            period,
            reason,
        } = record;
        Self {
            id: silence.id,
            stream: silence.streams.map(|pattern| pattern.to_string()),
            status: silence.status,
            created_at: Instant(created_at_ms),
            from: Instant(period.from_ms),
            until: Instant(period.until_ms),
            weekly: period.weekly.map(|weekly| weekly.to_string()),
            active: period.contains(now_ms),
            reason,
        }
    }
}

/// Suppresses alerts until the end; each suppressed alert names the silence.
#[utoipa::path(
    post,
    path = "/silences",
    operation_id = "add_silence",
    tag = "control",
    request_body(content = SilenceBody, example = json!({"stream": "day*", "until": "2025-07-12T18:00:00Z", "reason": "planned test of the acquirer"})),
    responses((
        status = 201,
        description = "The silence; it covers alerts from its start on",
        body = Silence,
        links(("end" = (operation_id = "end_silence", parameters(("id" = "$response.body#/id")))))
    ), openapi::WithBody)
)]
pub(super) async fn add(
    State(state): State<Arc<AppState>>,
    JsonBody(body): JsonBody<SilenceBody>,
) -> Result<impl IntoResponse, Problem> {
    let record = add_silence(&state, body).await?;
    let silence = Silence::at(record, state.clock.now_ms());
    Ok((StatusCode::CREATED, Json(silence)))
}

/// Stores a silence and applies it.
pub(crate) async fn add_silence(
    state: &AppState,
    body: SilenceBody,
) -> Result<SilenceRecord, Problem> {
    let now_ms = state.clock.now_ms();
    let record = SilenceRecord {
        created_at_ms: now_ms,
        period: body.period(now_ms)?,
        silence: detection::Silence {
            id: Uuid::new_v4(),
            streams: body.stream,
            status: body.status,
        },
        reason: body.reason.0,
    };
    state.store.add_silence(record.clone()).await?;
    refresh(state).await;
    tracing::info!(silence_id = %record.silence.id, reason = record.reason, until = %body.until.0, "silence added");
    Ok(record)
}

impl SilenceBody {
    /// The time of the silence, within its limits.
    fn period(&self, now_ms: i64) -> Result<Period, Problem> {
        let refuse = |name: &'static str, When(at): When, why: &str| {
            Problem::invalid(name, &*at.to_string(), format!("{name} is not {why}"))
                .fix(format!("use an instant {why}"))
        };
        let until_ms = self.until.0.as_millisecond();
        let from_ms = self.from.map_or(now_ms, |When(from)| from.as_millisecond());
        if let Some(from) = self.from
            && from_ms > now_ms + MAX_AHEAD_MS
        {
            return Err(refuse("from", from, "in the next 366 days"));
        }
        let is_over = until_ms <= now_ms || until_ms <= from_ms;
        let (latest_ms, why) = if self.weekly.is_some() {
            (now_ms + MAX_AHEAD_MS, "in the next 366 days and after from")
        } else if self.from.is_some() {
            (from_ms + MAX_SILENCE_MS, "in the 24 hours after from")
        } else {
            (from_ms + MAX_SILENCE_MS, "in the next 24 hours")
        };
        if is_over || until_ms > latest_ms {
            return Err(refuse("until", self.until, why));
        }
        Ok(Period {
            from_ms,
            until_ms,
            weekly: self.weekly,
        })
    }
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

/// The silences that have not ended, also those that begin later or recur.
#[utoipa::path(
    get,
    path = "/silences",
    operation_id = "list_silences",
    tag = "control",
    params(SilencesQuery),
    responses((status = 200, description = "The silences that have not ended, newest first", body = Silences), openapi::Query)
)]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<SilencesQuery>,
) -> Result<impl IntoResponse, Problem> {
    let now_ms = state.clock.now_ms();
    let silences = state.store.silences(now_ms).await?.into_iter();
    let covers = |record: &SilenceRecord| {
        let stream = query.stream.as_ref();
        stream.is_none_or(|stream| record.silence.covers_stream(stream.as_str()))
    };
    Ok(Json(Silences {
        silences: silences
            .filter(covers)
            .map(|record| Silence::at(record, now_ms))
            .collect(),
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
    end_silence(&state, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a silence now.
pub(crate) async fn end_silence(state: &AppState, id: Uuid) -> Result<(), Problem> {
    if !state.store.end_silence(id, state.clock.now_ms()).await? {
        return Err(Problem::not_found("id", "silence that has not ended", id)
            .fix("GET /silences lists the silences"));
    }
    refresh(state).await;
    tracing::info!(silence_id = %id, "silence ended");
    Ok(())
}
