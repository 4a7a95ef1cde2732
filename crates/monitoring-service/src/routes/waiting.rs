//! What an instance answers while it waits for the database: that it is alive, its metrics, and that it is not ready, with the reason.

use std::{future::ready, sync::Arc};

use axum::{
    Json, Router, extract::State, middleware::from_fn_with_state, response::Response, routing::get,
};
use common::metrics::MetricsRegistry;
use tokio::sync::watch;

use super::{
    error::{Kind, Problem},
    guard::{Guard, guard},
    probes::{self, Probe, ProbeStatus},
};

/// The state of an instance that waits.
struct Waiting {
    registry: MetricsRegistry,
    /// Why it waits.
    reason: watch::Receiver<String>,
}

/// The routes while `reason` holds.
pub(crate) fn router(registry: MetricsRegistry, reason: watch::Receiver<String>) -> Router {
    let alive = || ready(Json(Probe::of(ProbeStatus::Alive)));
    Router::new()
        .route("/health/live", get(alive))
        .route("/metrics", get(metrics))
        .fallback(refuse)
        .layer(from_fn_with_state(Guard::default(), guard))
        .with_state(Arc::new(Waiting { registry, reason }))
}

async fn metrics(State(waiting): State<Arc<Waiting>>) -> Response {
    probes::rendered(&waiting.registry)
}

async fn refuse(State(waiting): State<Arc<Waiting>>) -> Problem {
    let reason = waiting.reason.borrow().clone();
    Problem::new(Kind::Unavailable, reason).fix("use another instance, or try again")
}
