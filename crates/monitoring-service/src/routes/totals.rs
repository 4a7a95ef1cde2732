//! `GET /transactions/summary` and `GET /transactions/status-distribution`: totals and shares of each status over a range.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState,
    error::Problem,
    extract::QueryParams,
    fields::fields,
    openapi,
    parameters::{OneStream, Range},
};
use crate::store::{StatusTotal, Summary};

fields! {
    /// Which minutes.
    pub(super) struct TotalsQuery {
        ..stream: OneStream,
        ..range: Range,
    }
}

/// The totals of a range.
#[derive(Serialize, ToSchema)]
struct Totals {
    stream: String,
    #[serde(flatten)]
    summary: Summary,
}

/// Totals per status over a range.
#[utoipa::path(
    get,
    path = "/transactions/summary",
    operation_id = "summarize_transactions",
    tag = "transactions",
    params(TotalsQuery),
    responses((status = 200, description = "The totals", body = Totals), openapi::OfOne)
)]
pub(super) async fn summary(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<TotalsQuery>,
) -> Result<impl IntoResponse, Problem> {
    let (stream, summary) = query.read(&state).await?;
    Ok(Json(Totals { stream, summary }))
}

impl TotalsQuery {
    async fn read(self, state: &AppState) -> Result<(String, Summary), Problem> {
        let (from, to) = self.range.ends()?;
        let stream = self.stream.find(&state.store).await?.to_string();
        let summary = state.store.summary(&stream, from, to).await?;
        Ok((stream, summary))
    }
}

/// The shares of a range.
#[derive(Serialize, ToSchema)]
struct Distribution {
    stream: String,
    total: u64,
    statuses: Vec<StatusShare>,
}

/// The share of a status.
#[derive(Serialize, ToSchema)]
struct StatusShare {
    status: String,
    count: u64,
    /// Part of the total, 0 to 1; null if the total is 0.
    share: Option<f64>,
}

/// The share of each status over a range.
#[utoipa::path(
    get,
    path = "/transactions/status-distribution",
    operation_id = "status_distribution",
    tag = "transactions",
    params(TotalsQuery),
    responses((status = 200, description = "The shares", body = Distribution), openapi::OfOne)
)]
pub(super) async fn distribution(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<TotalsQuery>,
) -> Result<impl IntoResponse, Problem> {
    let (stream, summary) = query.read(&state).await?;
    let total = summary.statuses.iter().map(|status| status.count).sum();
    let share = |status: StatusTotal| StatusShare {
        share: share(status.count, total),
        status: status.status,
        count: status.count,
    };
    let statuses = summary.statuses.into_iter().map(share).collect();
    Ok(Json(Distribution {
        stream,
        total,
        statuses,
    }))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share needs no more precision than a double has"
)]
fn share(count: u64, total: u64) -> Option<f64> {
    (total > 0).then(|| count as f64 / total as f64)
}
