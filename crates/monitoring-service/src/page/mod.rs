//! The page: HTML for people at `/` and `/page/...`, from this binary alone. One file for each view. The views ask the same functions as the
//! API and compute nothing twice; charts are drawn here, and one small script swaps what changed.
//!
//! Views have paths of their own instead of sharing those of the API by `Accept`: no answer of the API depends on a header, metrics and
//! traces name each view, and a browser still shows the JSON of `/alerts`.

mod assets;
mod chart;
mod deliveries;
pub(crate) mod events;
mod frame;
mod gather;
mod grafana;
mod health;
mod incident;
mod incidents;
mod labels;
mod login;
mod overview;
mod parts;
mod policies;
mod ranges;
mod reader;
mod silences;
mod sparkline;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};

use crate::routes::AppState;

pub(crate) use assets::is_asset;
pub(crate) use reader::Reader;

/// The views, their forms and their files.
pub(crate) fn routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/", get(overview::view))
        .route("/page/streams/{name}", get(stream::view))
        .route("/page/incidents/{id}", get(incident::view))
        .route(
            "/page/incidents/{id}/acknowledge",
            post(incident::acknowledge),
        )
        .route("/page/incidents/{id}/resolve", post(incident::resolve))
        .route("/page/incidents/{id}/feedback", post(incident::feedback))
        .route("/page/alerts/{id}", get(stream::alert))
        .route("/page/policies", get(policies::view))
        .route("/page/deliveries", get(deliveries::view))
        .route("/page/deliveries/{id}/replay", post(deliveries::replay))
        .route("/page/silences", get(silences::view).post(silences::add))
        .route("/page/silences/{id}/end", post(silences::end))
        .route("/login", get(login::view).post(login::submit))
        .route("/logout", post(login::end))
        .route("/events", get(events::events))
        .route("/page/assets/{name}", get(assets::file))
}
