//! The HTTP API: one file for each resource, each operation documented at its handler, and what every request passes through.

mod alerts;
mod analyze;
mod dead_letters;
mod deliveries;
mod docs;
mod error;
mod evaluate;
mod explain;
mod extract;
mod fields;
mod findings;
mod given;
mod guard;
mod health;
mod offset_gaps;
mod openapi;
mod parameters;
pub(crate) mod schema;
mod silences;
mod streams;
#[cfg(test)]
mod tests;
mod timeseries;
mod totals;
mod transactions;

use std::{ops::Deref, sync::Arc};

use axum::{Router, middleware};
use common::{
    metrics::MetricsRegistry,
    middleware::{HttpMetrics, track},
};
use tokio_util::sync::CancellationToken;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{config::ApiToken, context::Context, evaluate::Evaluator};
use error::{Kind, Problem};
use guard::{Guard, guard};
use openapi::Served;

/// What the routes use. A clone shares everything.
#[derive(Clone)]
pub struct AppState {
    /// The context of the service.
    pub context: Context,
    /// Answers `POST /alerts/evaluate`.
    pub evaluator: Evaluator,
    /// What `GET /metrics` shows; the metrics of the routes are registered here.
    pub registry: MetricsRegistry,
    /// Cancelled when a stop begins: from then on the service is not ready.
    pub draining: CancellationToken,
    /// The token that requests need; none: no token.
    pub api_token: Option<ApiToken>,
    /// The address of the service for its users, for the contract.
    pub public_url: Option<String>,
}

/// A handler writes `state.store`, like every part of the service.
impl Deref for AppState {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

/// The API as one service. Once per registry: it registers the HTTP metrics.
pub fn router(state: AppState) -> Router {
    let http_metrics = HttpMetrics::new(&state.registry).without_spans_of(&guard::PROBES);
    let guard = Guard::default().requiring(state.api_token.as_ref());
    let (routes, document) = routes().split_for_parts();
    let served = Served {
        token: state.api_token.is_some(),
        public_url: state.public_url.as_deref(),
    };
    let routes = routes.merge(docs::routes(openapi::complete(document, &served)));
    guarded(routes, guard, http_metrics).with_state(Arc::new(state))
}

/// Every operation but those that serve the contract itself.
fn routes() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::with_openapi(openapi::preamble())
        .routes(routes!(evaluate::post))
        .routes(routes!(streams::status))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::one))
        .routes(routes!(analyze::analyze))
        .routes(routes!(explain::explain))
        .routes(routes!(streams::list))
        .routes(routes!(transactions::rows))
        .routes(routes!(transactions::recent))
        .routes(routes!(totals::summary))
        .routes(routes!(totals::distribution))
        .routes(routes!(timeseries::series))
        .routes(routes!(alerts::test))
        .routes(routes!(silences::list, silences::add))
        .routes(routes!(silences::end))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::replay))
        .routes(routes!(dead_letters::list))
        .routes(routes!(offset_gaps::list))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// Adds to routes what every request passes through, the outermost last.
fn guarded<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    bounds: Guard,
    http_metrics: HttpMetrics,
) -> Router<S> {
    routes
        .fallback(no_such_path)
        .method_not_allowed_fallback(async || no_such_method())
        .layer(middleware::from_fn_with_state(bounds, guard))
        .layer(middleware::from_fn_with_state(http_metrics, track))
}

async fn no_such_path() -> Problem {
    Problem::new(Kind::NotFound, "there is nothing at this path")
        .fix("check the path; GET /openapi.json lists all of them, none ends with a slash")
}

fn no_such_method() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "the path does not have this method")
        .fix("use a method that the Allow header names")
}
