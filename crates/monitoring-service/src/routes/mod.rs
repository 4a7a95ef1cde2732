//! The HTTP API: which path is answered by what, and what every answer goes through. What the answers say is up to
//! the modules below.

mod alerts;
mod analyze;
mod docs;
mod error;
mod evaluate;
mod explain;
mod extract;
mod guard;
mod health;
mod minutes;
mod openapi;
mod params;
mod queries;
mod recovery;
pub(crate) mod schema;
mod silences;
mod status;
#[cfg(test)]
mod tests;
mod views;

use std::{ops::Deref, sync::Arc};

use axum::{Router, middleware};
use common::{
    metrics::MetricsRegistry,
    middleware::{HttpMetrics, track},
};
use tokio_util::sync::CancellationToken;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    alerts::stale::is_live, config::ApiToken, context::Context, evaluate::Evaluator,
    store::StreamRecord,
};
use error::{Kind, Problem};
use guard::{Guard, guard};
use views::StreamView;

/// What the routes read. A clone shares everything.
#[derive(Clone)]
pub struct AppState {
    /// What the service shares.
    pub context: Context,
    /// Answers `POST /alerts/evaluate`.
    pub evaluator: Evaluator,
    /// What `GET /metrics` shows; the metrics of the routes are registered here.
    pub registry: MetricsRegistry,
    /// Cancelled when a stop begins: from then on the service is not ready.
    pub draining: CancellationToken,
    /// What callers must show; none: nothing.
    pub api_token: Option<ApiToken>,
}

/// So that a handler says `state.store`, as every part of the service does.
impl Deref for AppState {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

impl AppState {
    fn is_live(&self, stream: &StreamRecord) -> bool {
        is_live(
            stream.newest_minute,
            stream.arrived_at_ms,
            self.stale_after_ms,
        )
    }

    fn stream_view(&self, stream: StreamRecord) -> StreamView {
        let live = self.is_live(&stream);
        StreamView::new(stream, live, self.clock.now_ms())
    }
}

/// The API as one service. Once per registry: it registers the HTTP metrics.
pub fn router(state: AppState) -> Router {
    let http_metrics = HttpMetrics::new(&state.registry).without_spans_of(&guard::PROBES);
    let guard = Guard::default().asking_for(state.api_token.as_ref());
    let (routes, document) = routes().split_for_parts();
    let routes = routes.merge(docs::routes(openapi::complete(document)));
    guarded(routes, guard, http_metrics).with_state(Arc::new(state))
}

/// Every path but those of the contract itself; each stands at its handler.
fn routes() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::with_openapi(openapi::preamble())
        .routes(routes!(evaluate::post))
        .routes(routes!(status::status))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::one))
        .routes(routes!(analyze::analyze))
        .routes(routes!(explain::explain))
        .routes(routes!(status::streams))
        .routes(routes!(minutes::rows))
        .routes(routes!(minutes::recent))
        .routes(routes!(queries::summary))
        .routes(routes!(minutes::distribution))
        .routes(routes!(minutes::series))
        .routes(routes!(silences::test_page))
        .routes(routes!(silences::list, silences::add))
        .routes(routes!(silences::end))
        .routes(routes!(recovery::deliveries))
        .routes(routes!(recovery::replay))
        .routes(routes!(queries::dead_letters))
        .routes(routes!(recovery::gaps))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// Puts around routes what every answer goes through, the outermost last.
fn guarded<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    bounds: Guard,
    http_metrics: HttpMetrics,
) -> Router<S> {
    routes
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(bounds, guard))
        .layer(middleware::from_fn_with_state(http_metrics, track))
}

async fn no_such_path() -> Problem {
    Problem::not_found("nothing is answered at this path")
        .fix("check the path; it has no slash at its end")
}

async fn method_not_allowed() -> Problem {
    no_such_method()
}

fn no_such_method() -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        "the path is there, but not with this method",
    )
    .fix("use a method that the Allow header names")
}
