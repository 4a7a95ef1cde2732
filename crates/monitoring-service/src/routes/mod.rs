//! The HTTP API: which path is answered by what, and what every answer goes through. What the answers say is up to
//! the modules below.

mod alerts;
mod analyze;
mod error;
mod evaluate;
mod explain;
mod extract;
mod guard;
mod health;
mod minutes;
mod params;
mod queries;
mod recovery;
mod sending;
mod silences;
mod status;
#[cfg(test)]
mod tests;
mod views;

use std::{sync::Arc, time::Duration};

use axum::{
    Router, middleware,
    routing::{get, post},
};
use common::{
    metrics::Metrics,
    middleware::{HttpMetrics, track},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::ApiToken,
    evaluate::{Evaluator, is_live},
    state::{FeedState, Heartbeats, Silences},
    store::{Store, StreamRecord},
};
use error::{Kind, Problem};
use guard::{Guard, guard};
use views::StreamView;

/// What the routes look at. A clone shares everything.
#[derive(Clone)]
pub struct AppState {
    /// What is stored.
    pub store: Store,
    /// Answers `POST /alerts/evaluate`.
    pub evaluator: Evaluator,
    /// The silences in force.
    pub silences: Silences,
    /// How the feed from Kafka stands.
    pub feed: FeedState,
    /// Signs of life of the tasks.
    pub heartbeats: Heartbeats,
    /// What `GET /metrics` shows; the metrics of the routes are registered here.
    pub metrics: Metrics,
    /// The time.
    pub clock: Clock,
    /// A stream whose newest minute was at most this old when it came is live.
    pub stale_after: Duration,
    /// Cancelled when a stop begins: from then on the service is not ready.
    pub draining: CancellationToken,
    /// What callers must show; none: nothing.
    pub api_token: Option<ApiToken>,
}

impl AppState {
    fn is_live(&self, stream: &StreamRecord) -> bool {
        is_live(stream.newest_minute, stream.arrived_at_ms, self.stale_after)
    }

    fn stream_view(&self, stream: StreamRecord) -> StreamView {
        let live = self.is_live(&stream);
        StreamView::new(stream, live, self.clock.now_ms())
    }
}

/// The API as one service. Once per registry: it registers the HTTP metrics.
pub fn router(state: AppState) -> Router {
    let http_metrics = HttpMetrics::new(&state.metrics);
    let guard = Guard::default().asking_for(state.api_token.as_ref());
    guarded(routes(), guard, http_metrics).with_state(Arc::new(state))
}

fn routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/alerts", get(alerts::list))
        .route("/alerts/analyze", get(analyze::analyze))
        .route("/alerts/evaluate", post(evaluate::post))
        .route("/alerts/test", post(silences::test_page))
        .route("/silences", get(silences::list).post(silences::add))
        .route("/silences/{id}", axum::routing::delete(silences::end))
        .route("/alerts/status", get(status::status))
        .route("/alerts/{id}", get(alerts::one))
        .route("/dead-letters", get(queries::dead_letters))
        .route("/deliveries", get(recovery::deliveries))
        .route("/deliveries/{id}/replay", post(recovery::replay))
        .route("/explain", get(explain::explain))
        .route("/gaps", get(recovery::gaps))
        .route("/health", get(health::health))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/streams", get(status::streams))
        .route("/transactions", get(minutes::rows))
        .route("/transactions/recent", get(minutes::recent))
        .route("/transactions/status-distribution", get(minutes::distribution))
        .route("/transactions/timeseries", get(minutes::series))
        .route("/transactions/summary", get(queries::summary))
}

/// Puts around routes what every answer goes through, the outermost last.
fn guarded<S: Clone + Send + Sync + 'static>(routes: Router<S>, bounds: Guard, http_metrics: HttpMetrics) -> Router<S> {
    routes
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(bounds, guard))
        .layer(middleware::from_fn_with_state(http_metrics, track))
}

async fn no_such_path() -> Problem {
    Problem::not_found("nothing is answered at this path").fix("check the path; it has no slash at its end")
}

async fn no_such_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "the path is there, but not with this method")
        .fix("use a method that the Allow header names")
}
