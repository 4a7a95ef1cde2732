//! Steering the alerts: silences, and one marked page to prove the way to the receiver.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use detection::{MonitoredStatus, Silence, Stream};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    AppState,
    error::Problem,
    extract::{Fields, JsonBody, PathId, QueryParams, missing},
    openapi,
    params::{self, named},
    schema,
    views::{AlertView, At},
};
use crate::alerts::{Alert, SilenceRecord};

/// The longest silence: one forgotten must not hide an outage for ever.
const MAX_MS: i64 = 24 * 3_600_000;

/// The longest reason, in characters.
const MAX_REASON: usize = 500;

const UNTIL_FIX: &str = "use an instant in the next 24 hours such as 2025-07-12T18:00:00Z";
const REASON_FIX: &str = "say in 1 to 500 characters why";

/// What to silence.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"status": "denied", "until": "2025-07-12T18:00:00Z", "reason": "planned test of the acquirer"}))]
pub(super) struct SilenceBody {
    /// Only this stream; without it every stream.
    #[schema(value_type = Option<schema::StreamName>)]
    stream: Option<Stream>,
    /// Only this status; without it every status.
    #[schema(value_type = Option<schema::MonitoredStatus>)]
    #[serde(default, deserialize_with = "status")]
    status: Option<MonitoredStatus>,
    /// Until then: in the next 24 hours.
    #[serde(default, deserialize_with = "instant")]
    #[schema(value_type = schema::Timestamp)]
    until: Option<Timestamp>,
    /// Why, for those who ask later.
    #[schema(value_type = String, min_length = 1, max_length = 500)]
    reason: Option<String>,
}

impl Fields for SilenceBody {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        (
            "body",
            r#"send {"until": "...", "reason": "..."} with stream and status where only they are meant"#,
        ),
        ("stream", params::STREAM_FIX),
        ("status", params::STATUS_FIX),
        ("until", UNTIL_FIX),
        ("reason", REASON_FIX),
    ];
}

fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| detection::minute::instant(&text).map_err(D::Error::custom))
        .transpose()
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<MonitoredStatus>, D::Error> {
    named(deserializer, "a monitored status", |name| name.parse().ok())
}

/// A silence.
#[derive(Serialize, ToSchema)]
struct SilenceView {
    #[schema(value_type = schema::Id)]
    id: Uuid,
    stream: Option<String>,
    #[schema(value_type = Option<schema::MonitoredStatus>)]
    status: Option<&'static str>,
    #[schema(value_type = schema::Instant)]
    created_at: At,
    #[schema(value_type = schema::Instant)]
    until: At,
    reason: String,
}

impl From<SilenceRecord> for SilenceView {
    fn from(record: SilenceRecord) -> Self {
        let SilenceRecord {
            silence,
            created_at_ms,
            until_ms,
            reason,
        } = record;
        Self {
            id: silence.id,
            stream: silence.stream.map(|stream| stream.to_string()),
            status: silence.status.map(MonitoredStatus::name),
            created_at: At(created_at_ms),
            until: At(until_ms),
            reason,
        }
    }
}

/// Holds back alerts for a while; each one held back says so.
#[utoipa::path(
    post,
    path = "/silences",
    operation_id = "add_silence",
    tag = "steering",
    request_body = SilenceBody,
    responses((status = 201, description = "The silence, in force from now on", body = SilenceView, links(("end" = (operation_id = "end_silence", parameters(("id" = "$response.body#/id")))))), openapi::WithBody)
)]
pub(super) async fn add(
    State(state): State<Arc<AppState>>,
    JsonBody(body): JsonBody<SilenceBody>,
) -> Result<impl IntoResponse, Problem> {
    let now_ms = state.clock.now_ms();
    let until = body.until.ok_or_else(|| missing::<SilenceBody>("until"))?;
    let until_ms = until.as_millisecond();
    if until_ms <= now_ms || until_ms > now_ms + MAX_MS {
        let detail = "until is not in the next 24 hours";
        return Err(Problem::invalid("until", &until.to_string(), detail).fix(UNTIL_FIX));
    }
    let reason = body
        .reason
        .ok_or_else(|| missing::<SilenceBody>("reason"))?
        .trim()
        .to_owned();
    if reason.is_empty() || reason.chars().count() > MAX_REASON {
        return Err(
            Problem::invalid("reason", &reason, "reason is empty or too long").fix(REASON_FIX),
        );
    }
    let silence = Silence {
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
    publish(&state).await;
    tracing::info!(silence_id = %record.silence.id, reason = record.reason, until = %until, "silenced");
    Ok((StatusCode::CREATED, Json(SilenceView::from(record))))
}

/// Has those who decide about alerts see what was stored. If that fails the silence is there all the same: the scheduler
/// sees to it.
async fn publish(state: &AppState) {
    if let Err(error) = state.refresh_silences().await {
        tracing::warn!(%error, "a silence is stored, and is heeded from the next pass of the scheduler on");
    }
}

/// Which silences in force.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SilencesQuery {
    /// Only those that cover this stream.
    #[param(value_type = schema::StreamName, required = false)]
    stream: Option<Stream>,
}

impl Fields for SilencesQuery {
    const FIELDS: &'static [(&'static str, &'static str)] = &[("stream", params::STREAM_FIX)];
}

#[derive(Serialize, ToSchema)]
struct SilencesView {
    silences: Vec<SilenceView>,
}

/// The silences in force.
#[utoipa::path(
    get,
    path = "/silences",
    operation_id = "list_silences",
    tag = "steering",
    params(SilencesQuery),
    responses((status = 200, description = "The silences in force", body = SilencesView), openapi::Query)
)]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<SilencesQuery>,
) -> Result<impl IntoResponse, Problem> {
    let in_force = state
        .store
        .silences(state.clock.now_ms())
        .await?
        .into_iter();
    // One that names no stream silences every stream.
    let meant = |record: &SilenceRecord| {
        query.stream.is_none()
            || record.silence.stream.is_none()
            || record.silence.stream == query.stream
    };
    Ok(Json(SilencesView {
        silences: in_force.filter(meant).map(SilenceView::from).collect(),
    }))
}

/// Ends a silence before its time.
#[utoipa::path(
    delete,
    path = "/silences/{id}",
    operation_id = "end_silence",
    tag = "steering",
    params(("id" = schema::Id, Path, description = "From a list of them")),
    responses((status = 204, description = "It is over"), openapi::OfOne)
)]
pub(super) async fn end(
    State(state): State<Arc<AppState>>,
    PathId(id): PathId<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let now_ms = state.clock.now_ms();
    if !state.store.end_silence(id, now_ms).await? {
        return Err(
            Problem::not_found(format!("there is no silence {id} in force"))
                .field("id")
                .value(&*id.to_string())
                .fix("GET /silences lists those in force"),
        );
    }
    publish(&state).await;
    tracing::info!(silence_id = %id, "silence ended");
    Ok(StatusCode::NO_CONTENT)
}

/// Sends one page that is marked as a test, to prove the way to the receiver.
#[utoipa::path(
    post,
    path = "/alerts/test",
    operation_id = "send_test_alert",
    tag = "steering",
    responses((status = 202, description = "The alert, to follow through /alerts/{id}", body = AlertView), openapi::Any)
)]
pub(super) async fn test_page(
    State(state): State<Arc<AppState>>,
) -> Result<impl IntoResponse, Problem> {
    let alert = Alert::test(&state.notify, state.clock.now_ms());
    state.store.record_alert(alert.clone()).await?;
    state.announcer.announce(&alert);
    Ok((StatusCode::ACCEPTED, Json(AlertView::from(&alert))))
}
