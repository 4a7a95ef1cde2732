//! The HTTP API: one file for each resource, with each operation documented at its handler, and the middleware around them.

mod alerts;
mod analyze;
mod dead_letters;
pub(crate) mod deliveries;
mod docs;
pub(crate) mod error;
mod evaluate;
pub(crate) mod explain;
pub(crate) mod extract;
pub(crate) mod fields;
mod findings;
pub(crate) mod given;
pub(crate) mod guard;
pub(crate) mod health;
pub(crate) mod incidents;
mod offset_gaps;
mod openapi;
pub(crate) mod parameters;
mod place;
mod probes;
pub(crate) mod schema;
pub(crate) mod session;
pub(crate) mod silences;
pub(crate) mod streams;
#[cfg(test)]
pub(crate) use tests::harness;
#[cfg(test)]
mod tests;
pub(crate) mod timeseries;
mod totals;
mod transactions;
pub(crate) mod waiting;

use std::{ops::Deref, sync::Arc};

use axum::{Router, middleware};
use common::{
    metrics::MetricsRegistry,
    middleware::{HttpMetrics, track},
};
use tokio_util::sync::CancellationToken;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    config::ApiToken, context::Context, evaluate::Evaluator, ingest::Requests, page,
    page::events::Feed,
};
use error::{Kind, Problem};
use guard::{Access, Guard, guard};
use openapi::Served;
use session::Sessions;

/// The state of the routes. A clone shares everything.
#[derive(Clone)]
pub(crate) struct AppState {
    /// The context of the service.
    pub(crate) context: Context,
    /// The way to ingest.
    pub(crate) requests: Requests,
    /// Answers `POST /alerts/evaluate`.
    pub(crate) evaluator: Evaluator,
    /// The metrics of `GET /metrics`. The router registers its own here.
    pub(crate) registry: MetricsRegistry,
    /// Cancelled when a stop begins; then the service is no longer ready.
    pub(crate) draining: CancellationToken,
    /// The token that requests need; `None`: requests need none.
    pub(crate) api_token: Option<ApiToken>,
    /// The public address of the service, for the contract and for cookies.
    pub(crate) public_url: Option<String>,
    /// The address of Grafana, for links of the page.
    pub(crate) grafana_url: Option<String>,
    /// The events of the page.
    pub(crate) feed: Feed,
}

impl AppState {
    /// Checks tokens and sessions; `None`: requests need none.
    pub(crate) fn sessions(&self) -> Option<Sessions> {
        self.api_token.as_ref().map(Sessions::new)
    }
}

/// Lets handlers use `state.store`, like the rest of the service.
impl Deref for AppState {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.context
    }
}

/// Builds the router. Call it once per registry, since it registers the HTTP metrics.
pub(crate) fn router(state: AppState) -> Router {
    let http_metrics = HttpMetrics::new(&state.registry).without_spans_of(&guard::PROBES);
    let guard = Guard::default().only_for(Access {
        sessions: state.sessions(),
        public_url: state.public_url.clone(),
        clock: state.clock.clone(),
    });
    let (routes, document) = routes().split_for_parts();
    let served = Served {
        token: state.api_token.is_some(),
        public_url: state.public_url.as_deref(),
    };
    let routes = routes
        .merge(docs::routes(openapi::complete(document, &served)))
        .merge(page::routes());
    guarded(routes, guard, http_metrics).with_state(Arc::new(state))
}

/// All operations except those that serve the contract.
fn routes() -> OpenApiRouter<Arc<AppState>> {
    OpenApiRouter::with_openapi(openapi::preamble())
        .routes(routes!(evaluate::post))
        .routes(routes!(streams::status))
        .routes(routes!(incidents::list))
        .routes(routes!(incidents::one))
        .routes(routes!(incidents::acknowledge))
        .routes(routes!(incidents::resolve))
        .routes(routes!(incidents::feedback))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::one))
        .routes(routes!(analyze::analyze))
        .routes(routes!(explain::explain))
        .routes(routes!(streams::list))
        .routes(routes!(streams::retire))
        .routes(routes!(transactions::rows, transactions::post::post))
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
        .routes(routes!(dead_letters::replay))
        .routes(routes!(offset_gaps::list))
        .routes(routes!(health::health))
        .routes(routes!(probes::live))
        .routes(routes!(probes::ready))
        .routes(routes!(probes::metrics))
}

/// Adds the middleware; the last one is the outermost.
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
