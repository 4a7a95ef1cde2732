//! What machines request every few seconds: whether the service lives and is ready, and its metrics.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use common::metrics::MetricsRegistry;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState,
    error::{Kind, Problem},
    health::in_time,
    openapi,
};
use crate::store::StoreError;

/// The answer of a probe.
#[derive(Serialize, ToSchema)]
pub(super) struct Probe {
    status: ProbeStatus,
}

impl Probe {
    pub(super) const fn of(status: ProbeStatus) -> Self {
        Self { status }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProbeStatus {
    Alive,
    Ready,
}

/// Alive while all tasks report. Other faults do not count, because a restart does not fix them.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "live",
    tag = "operations",
    security(()),
    responses((status = 200, description = "The tasks report", body = Probe), openapi::Probe)
)]
pub(super) async fn live(State(state): State<Arc<AppState>>) -> Result<impl IntoResponse, Problem> {
    let Some((task, unreported_ms)) = state.liveness.hung(state.clock.now_ms()) else {
        return Ok(Json(Probe::of(ProbeStatus::Alive)));
    };
    let detail = format!(
        "the task {} has not reported for {} s",
        task.name(),
        unreported_ms / 1000
    );
    Err(Problem::new(Kind::Unavailable, detail).fix("restart the service"))
}

/// Ready while the database answers and can be written, and the service is not stopping; Kafka may be down.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "ready",
    tag = "operations",
    security(()),
    responses((status = 200, description = "The service answers requests", body = Probe), openapi::Probe)
)]
pub(super) async fn ready(
    State(state): State<Arc<AppState>>,
) -> Result<impl IntoResponse, Problem> {
    if state.draining.is_cancelled() {
        return Err(
            Problem::new(Kind::Unavailable, "the service is stopping").fix("use another instance")
        );
    }
    in_time(state.store.next_delivery_at()).await?;
    if let Some(error) = state.store.write_error() {
        return Err(StoreError::Unavailable(error).into());
    }
    Ok(Json(Probe::of(ProbeStatus::Ready)))
}

/// The metrics.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "operations",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain; version=0.0.4"), openapi::Metrics)
)]
pub(super) async fn metrics(State(state): State<Arc<AppState>>) -> Response {
    rendered(&state.registry)
}

/// The metrics of a registry.
pub(super) fn rendered(registry: &MetricsRegistry) -> Response {
    let headers = [(header::CONTENT_TYPE, common::metrics::CONTENT_TYPE)];
    (headers, registry.render()).into_response()
}
