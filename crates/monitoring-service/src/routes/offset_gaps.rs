//! `GET /offset-gaps`: Kafka offsets that were deleted before they were read, or whose commits the database lost.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AppState, error::Problem, extract::QueryParams, openapi, parameters::Page};
use crate::store::OffsetGapRecord;

/// A page of offset gaps, newest first.
#[derive(Serialize, ToSchema)]
struct OffsetGaps {
    offset_gaps: Vec<OffsetGapRecord>,
    next_cursor: Option<String>,
}

/// Kafka offsets that were deleted before they were read, or whose commits the database lost.
#[utoipa::path(
    get,
    path = "/offset-gaps",
    operation_id = "list_offset_gaps",
    tag = "faults",
    params(Page),
    responses((status = 200, description = "A page, newest first", body = OffsetGaps), openapi::Query)
)]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    QueryParams(page): QueryParams<Page>,
) -> Result<impl IntoResponse, Problem> {
    let offset_gaps = state.store.gaps(page.before(), page.probe()).await?;
    let (offset_gaps, next_cursor) = page.cut(offset_gaps, |gap| gap.id);
    Ok(Json(OffsetGaps {
        offset_gaps,
        next_cursor,
    }))
}
