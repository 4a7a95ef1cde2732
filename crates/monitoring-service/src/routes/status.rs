//! `GET /alerts/status` and `GET /streams`: how things stand now.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, response::IntoResponse};
use detection::{State as Condition, Stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    AppState,
    error::Problem,
    extract::{Fields, QueryParams},
    openapi, params, schema,
    views::{FreshnessView, StatusView, StreamView},
};
use crate::store::StreamRecord;

/// Streams that the status of all names.
const MAX_WORST: usize = 20;

/// Whose status.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// Which stream; without it the only one there is, else all of them in short.
    #[param(value_type = schema::StreamName, required = false)]
    stream: Option<Stream>,
}

impl Fields for StatusQuery {
    const FIELDS: &'static [(&'static str, &'static str)] = &[("stream", params::STREAM_FIX)];
}

/// One stream.
#[derive(Serialize, ToSchema)]
struct OneView {
    #[schema(value_type = schema::SeverityName)]
    severity: Condition,
    stream: Option<String>,
    freshness: Option<FreshnessView>,
    statuses: Vec<StatusView>,
}

/// Several streams, none named.
#[derive(Serialize, ToSchema)]
struct AllView {
    #[schema(value_type = schema::SeverityName)]
    severity: Condition,
    streams: usize,
    /// Streams per severity; every severity is there.
    counts: BTreeMap<&'static str, usize>,
    /// The worst streams, the worst first.
    worst: Vec<StreamView>,
}

/// Whether one stream is meant or all of them.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum StatusAnswer {
    One(OneView),
    All(AllView),
}

#[derive(Serialize, ToSchema)]
struct StreamsView {
    streams: Vec<StreamView>,
}

/// The streams: how fresh each is, its worst severity, its last alert.
#[utoipa::path(
    get,
    path = "/streams",
    operation_id = "list_streams",
    tag = "transactions",
    responses((status = 200, description = "Every stream, in the order in which they first came", body = StreamsView), openapi::Any)
)]
pub(super) async fn streams(
    State(state): State<Arc<AppState>>,
) -> Result<impl IntoResponse, Problem> {
    let streams = state.store.streams().await?;
    Ok(Json(StreamsView {
        streams: streams
            .into_iter()
            .map(|stream| state.stream_view(stream))
            .collect(),
    }))
}

/// How everything stands now: the newest verdicts, the last alerts, how fresh it is.
#[utoipa::path(
    get,
    path = "/alerts/status",
    operation_id = "alert_status",
    tag = "alerts",
    params(StatusQuery),
    responses((status = 200, description = "One stream, or all of them in short", body = StatusAnswer), openapi::OfOne)
)]
pub(super) async fn status(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<StatusQuery>,
) -> Result<impl IntoResponse, Problem> {
    if let Some(name) = query.stream {
        let stream = state
            .store
            .stream(name.as_str())
            .await?
            .ok_or_else(|| params::unknown_stream(&name))?;
        return Ok(Json(StatusAnswer::One(one(&state, stream).await?)));
    }
    let mut streams = state.store.streams().await?;
    match streams.pop() {
        None => Ok(Json(StatusAnswer::One(nothing()))),
        Some(only) if streams.is_empty() => Ok(Json(StatusAnswer::One(one(&state, only).await?))),
        Some(last) => {
            streams.push(last);
            Ok(Json(StatusAnswer::All(all(&state, streams))))
        }
    }
}

fn nothing() -> OneView {
    OneView {
        severity: Condition::NotJudged,
        stream: None,
        freshness: None,
        statuses: Vec::new(),
    }
}

async fn one(state: &AppState, stream: StreamRecord) -> Result<OneView, Problem> {
    let rows = state.store.newest_rows(&stream.name).await?;
    let quiet = stream.stale_since_ms.is_some();
    Ok(OneView {
        severity: stream.state(),
        freshness: Some(FreshnessView::new(
            &stream,
            state.is_live(&stream),
            state.clock.now_ms(),
        )),
        statuses: rows
            .into_iter()
            .map(|row| StatusView::new(row, quiet))
            .collect(),
        stream: Some(stream.name),
    })
}

fn all(state: &AppState, mut streams: Vec<StreamRecord>) -> AllView {
    let mut counts = BTreeMap::from(Condition::ALL.map(|state| (state.name(), 0)));
    for stream in &streams {
        *counts.entry(stream.state().name()).or_default() += 1;
    }
    // Stable: of equals, the stream that came first.
    streams.sort_by_key(|stream| Reverse(stream.state()));
    AllView {
        severity: streams
            .first()
            .map_or(Condition::NotJudged, StreamRecord::state),
        streams: streams.len(),
        counts,
        worst: streams
            .into_iter()
            .take(MAX_WORST)
            .map(|stream| state.stream_view(stream))
            .collect(),
    }
}
