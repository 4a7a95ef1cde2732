//! `GET /streams` and `GET /alerts/status`: the state of streams now.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use axum::{Json, extract, http::StatusCode, response::IntoResponse};
use detection::{Minute, MonitoredStatus, State, Stream};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState,
    error::Problem,
    extract::{PathId, QueryParams},
    fields::fields,
    findings::Finding,
    openapi,
    parameters::{self, OnePolicy},
    schema::{self, Instant},
};
use crate::{
    alerts::{
        incident::EndReason,
        incident_update::Now,
        json::AlertView,
        stale::{is_live, limit_ms},
    },
    store::{NewestRow, StreamRecord},
};

/// Maximum streams in one `/alerts/status`.
const MAX_STREAMS: usize = 20;

/// The streams.
#[derive(Serialize, ToSchema)]
struct Streams {
    streams: Vec<StreamSummary>,
}

/// A stream: its state, its newest minute, its last alert.
#[derive(Serialize, ToSchema)]
struct StreamSummary {
    stream: String,
    /// STALE without new minutes, else the worst of its newest minute.
    #[schema(value_type = schema::StateName)]
    state: State,
    #[schema(value_type = schema::Minute)]
    newest_minute: Minute,
    arrived_at: Instant,
    /// From the start of the newest minute to now.
    age_seconds: i64,
    live: bool,
    /// Without a new minute for this long it is stale: STALE_AFTER, or twice its usual pause.
    stale_after_seconds: i64,
    stale_since: Option<Instant>,
    /// Whole hours that its minutes come behind the clock: its producer sends local times without their zone. Null if they do not.
    hours_off: Option<i64>,
    /// Since when it is switched off; null while it is monitored.
    retired_at: Option<Instant>,
    /// Since when only minutes older than ALLOWED_LATENESS arrive, such as those of an old file; null if newer ones arrive.
    only_old_minutes_since: Option<Instant>,
    last_alert: Option<AlertView>,
}

fields! {
    /// Which streams.
    pub(super) struct StreamsQuery {
        /// `true`: those that were retired; without it those that are monitored.
        retired: Option<bool>,
    }
}

/// Every stream: its state, its newest minute, its last alert.
#[utoipa::path(
    get,
    path = "/streams",
    operation_id = "list_streams",
    tag = "transactions",
    params(StreamsQuery),
    responses((status = 200, description = "Every stream, in the order of their first minutes' arrival", body = Streams), openapi::Query)
)]
pub(super) async fn list(
    extract::State(state): extract::State<Arc<AppState>>,
    QueryParams(query): QueryParams<StreamsQuery>,
) -> Result<impl IntoResponse, Problem> {
    let retired = query.retired.unwrap_or(false);
    let streams = state.store.streams(state.alerting(), retired).await?;
    let streams = streams
        .iter()
        .map(|stream| summary(&state, stream))
        .collect();
    Ok(Json(Streams { streams }))
}

/// Switches a stream off: it is in no list, never stale, its open incidents end, and minutes that are still open are dropped. Its history
/// stays until its retention ends; its next minute switches it on again.
#[utoipa::path(
    delete,
    path = "/streams/{id}",
    operation_id = "retire_stream",
    tag = "control",
    params(("id" = schema::StreamName, Path, description = "From GET /streams")),
    responses((status = 204, description = "The stream is retired"), openapi::OfOne)
)]
pub(super) async fn retire(
    extract::State(state): extract::State<Arc<AppState>>,
    PathId(stream): PathId<Stream>,
) -> Result<impl IntoResponse, Problem> {
    let (now_ms, policy) = (state.clock.now_ms(), state.notify.clone());
    let end = move |incident: &_| {
        Now::without_silences(&policy, now_ms).ended(incident, EndReason::Retired, None)
    };
    let (store, name) = (&state.store, stream.as_str());
    let Some(events) = store
        .retire_stream(name, state.monitor, now_ms, end)
        .await?
    else {
        return Err(parameters::unknown_stream(&stream));
    };
    state.retired.push(stream.clone());
    state.metrics.forget_stream(stream.as_str());
    state.announcer.announce_incidents(&events);
    tracing::info!(stream = stream.as_str(), "stream retired");
    Ok(StatusCode::NO_CONTENT)
}

fn summary(state: &AppState, stream: &StreamRecord) -> StreamSummary {
    let now_s = state.clock.now_ms().div_euclid(1000);
    StreamSummary {
        stream: stream.name.clone(),
        state: stream.state(),
        newest_minute: stream.newest_minute,
        arrived_at: Instant(stream.arrived_at_ms),
        age_seconds: now_s.saturating_sub(stream.newest_minute.start().as_second()),
        live: is_live(
            stream.newest_minute,
            stream.arrived_at_ms,
            state.stale_after_ms,
        ),
        stale_after_seconds: limit_ms(&stream.pauses, stream.newest_minute, state.stale_after_ms)
            / 1000,
        stale_since: stream.stale_since_ms.map(Instant),
        hours_off: stream.hours_off,
        retired_at: stream.retired_at_ms.map(Instant),
        only_old_minutes_since: stream.old_since_ms.map(Instant),
        last_alert: stream.last_alert.as_ref().map(AlertView::from),
    }
}

fields! {
    /// Which stream.
    pub(super) struct StatusQuery {
        /// Only this stream; without it the 20 worst.
        stream: Option<Stream>,
        ..policy: OnePolicy,
    }
}

/// The state of the monitored streams.
#[derive(Serialize, ToSchema)]
struct Status {
    /// The worst state of the streams; NOT_JUDGED without streams.
    #[schema(value_type = schema::StateName)]
    state: State,
    /// Number of streams; `streams` lists the worst of them.
    streams_total: usize,
    /// Number of streams in each state.
    streams_by_state: BTreeMap<&'static str, usize>,
    /// The worst first.
    streams: Vec<StreamStatus>,
}

/// A stream with the newest finding of each status.
#[derive(Serialize, ToSchema)]
struct StreamStatus {
    #[serde(flatten)]
    summary: StreamSummary,
    statuses: Vec<StatusNow>,
}

/// A status of a stream: its finding in the newest minute, and its last alert.
#[derive(Serialize, ToSchema)]
struct StatusNow {
    #[schema(value_type = schema::MonitoredStatus)]
    status: MonitoredStatus,
    count: u32,
    /// True for the 0 of a status that was not sent for the minute.
    implied: bool,
    /// True if no message of the stream ever named the status: its count says nothing.
    never_sent: bool,
    #[serde(flatten)]
    finding: Finding,
    message: String,
    last_alert: Option<AlertView>,
}

/// The state of the streams now: their newest findings and last alerts, the worst stream first.
#[utoipa::path(
    get,
    path = "/alerts/status",
    operation_id = "alert_status",
    tag = "alerts",
    params(StatusQuery),
    responses((status = 200, description = "The streams, the worst first", body = Status), openapi::OfOne)
)]
pub(super) async fn status(
    extract::State(state): extract::State<Arc<AppState>>,
    QueryParams(query): QueryParams<StatusQuery>,
) -> Result<impl IntoResponse, Problem> {
    let policy = query.policy.of(&state);
    let mut streams = match &query.stream {
        None => state.store.streams(policy, false).await?,
        Some(name) => {
            let stream = state.store.stream(name.as_str(), policy).await?;
            vec![stream.ok_or_else(|| parameters::unknown_stream(name))?]
        }
    };
    let mut streams_by_state = BTreeMap::from(State::ALL.map(|state| (state.name(), 0)));
    for stream in &streams {
        *streams_by_state.entry(stream.state().name()).or_default() += 1;
    }
    let streams_total = streams.len();
    // The sort is stable: streams of the same state keep their order of arrival.
    streams.sort_by_key(|stream| Reverse(stream.state()));
    streams.truncate(MAX_STREAMS);
    let names = streams.iter().map(|stream| stream.name.clone()).collect();
    let findings = state.store.newest_rows(names, policy).await?;
    let with_statuses = |(stream, findings): (&StreamRecord, Vec<NewestRow>)| StreamStatus {
        summary: summary(&state, stream),
        statuses: findings.iter().map(StatusNow::from).collect(),
    };
    Ok(Json(Status {
        state: streams
            .first()
            .map_or(State::NotJudged, StreamRecord::state),
        streams_total,
        streams_by_state,
        streams: streams.iter().zip(findings).map(with_statuses).collect(),
    }))
}

impl From<&NewestRow> for StatusNow {
    fn from(row: &NewestRow) -> Self {
        Self {
            status: row.status,
            count: row.count,
            implied: row.implied,
            never_sent: !row.sent,
            finding: (&row.judgement).into(),
            message: if row.sent {
                row.judgement.sentence(row.status.name(), row.count)
            } else {
                format!(
                    "{}: not sent; this stream never named it.",
                    row.status.name()
                )
            },
            last_alert: row.last_alert.as_ref().map(AlertView::from),
        }
    }
}
