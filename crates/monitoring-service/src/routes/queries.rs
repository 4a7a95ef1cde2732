//! Queries over what is stored: totals and dead letters.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use detection::{Minute, Stream};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    AppState,
    error::Problem,
    extract::{Fields, QueryParams},
    openapi,
    params::{self, Cursor, Limit, page},
    schema,
    views::DeadLetterView,
};
use crate::store::{StatusTotal, Store};

/// Which minutes: [from, to).
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SummaryQuery {
    /// Which stream; without it the only one there is, else `default`.
    #[param(value_type = schema::StreamName, required = false)]
    stream: Option<Stream>,
    /// From this minute on.
    #[param(value_type = schema::Timestamp, required = false)]
    from: Option<Minute>,
    /// Before this minute.
    #[param(value_type = schema::Timestamp, required = false)]
    to: Option<Minute>,
}

impl Fields for SummaryQuery {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("stream", params::STREAM_FIX),
        ("from", params::TIMESTAMP_FIX),
        ("to", params::TIMESTAMP_FIX),
    ];
}

#[derive(Serialize, ToSchema)]
struct SummaryView {
    stream: String,
    statuses: Vec<TotalView>,
    #[schema(value_type = Option<schema::Minute>)]
    first_minute: Option<Minute>,
    #[schema(value_type = Option<schema::Minute>)]
    last_minute: Option<Minute>,
    minutes_observed: u64,
}

#[derive(Serialize, ToSchema)]
struct TotalView {
    status: String,
    count: u64,
    /// Minutes with a row of the status.
    minutes: u64,
}

/// Totals per status over a range.
#[utoipa::path(
    get,
    path = "/transactions/summary",
    operation_id = "summarize_transactions",
    tag = "transactions",
    params(SummaryQuery),
    responses((status = 200, description = "The totals", body = SummaryView), openapi::OfOne)
)]
pub(super) async fn summary(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<SummaryQuery>,
) -> Result<impl IntoResponse, Problem> {
    let SummaryQuery { stream, from, to } = query;
    params::require_order(from, to)?;
    let stream = stream_of(&state.store, stream).await?;
    let summary = state.store.summary(stream.as_str(), from, to).await?;
    let total = |StatusTotal {
                     status,
                     count,
                     minutes,
                 }| TotalView {
        status,
        count,
        minutes,
    };
    Ok(Json(SummaryView {
        stream: stream.to_string(),
        statuses: summary.statuses.into_iter().map(total).collect(),
        first_minute: summary.first_minute,
        last_minute: summary.last_minute,
        minutes_observed: summary.minutes_observed,
    }))
}

/// The stream that is meant: the one named, else the only one there is, else `default`, which need not exist while there is none at all.
pub(super) async fn stream_of(store: &Store, asked: Option<Stream>) -> Result<Stream, Problem> {
    let known = store.stream_names().await?;
    match asked {
        Some(stream) if known.iter().any(|name| name == stream.as_str()) => Ok(stream),
        Some(stream) => Err(params::unknown_stream(&stream)),
        None => match known.as_slice() {
            [] => Ok(Stream::default()),
            [only] => only.parse().map_err(|_| params::ambiguous_stream(1)),
            several if several.iter().any(|name| name == Stream::DEFAULT) => Ok(Stream::default()),
            several => Err(params::ambiguous_stream(several.len())),
        },
    }
}

/// Which dead letters.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadLettersQuery {
    /// Entries of a page.
    #[param(value_type = u32, minimum = 1, maximum = 500, default = 50, required = false)]
    #[serde(default)]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = schema::CursorText, required = false)]
    cursor: Option<Cursor>,
}

impl Fields for DeadLettersQuery {
    const FIELDS: &'static [(&'static str, &'static str)] =
        &[("limit", params::LIMIT_FIX), ("cursor", params::CURSOR_FIX)];
}

/// A page of dead letters, newest first.
#[derive(Serialize, ToSchema)]
struct DeadLettersView {
    dead_letters: Vec<DeadLetterView>,
    next_cursor: Option<String>,
}

/// Messages that could not be used, and why.
#[utoipa::path(
    get,
    path = "/dead-letters",
    operation_id = "list_dead_letters",
    tag = "faults",
    params(DeadLettersQuery),
    responses((status = 200, description = "A page, newest first", body = DeadLettersView), openapi::Query)
)]
pub(super) async fn dead_letters(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<DeadLettersQuery>,
) -> Result<impl IntoResponse, Problem> {
    let letters = state
        .store
        .dead_letters(query.cursor.map(|Cursor(id)| id), query.limit.probe())
        .await?;
    let (letters, next_cursor) = page(letters, query.limit, |letter| letter.id);
    Ok(Json(DeadLettersView {
        dead_letters: letters.into_iter().map(DeadLetterView::from).collect(),
        next_cursor,
    }))
}
