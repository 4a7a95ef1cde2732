//! `GET /transactions` and `GET /transactions/recent`: stored counts with their findings, row by row and minute by minute.

pub(super) mod observed;
pub(super) mod post;

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use detection::{Minute, Status};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState,
    error::Problem,
    extract::QueryParams,
    fields::fields,
    findings::Finding,
    openapi,
    parameters::{Cursor, Limit, OnePolicy, OneStream, Page, Range},
    schema,
};
use crate::store::{RowFilter, RowRecord};

fields! {
    /// Which rows.
    pub(super) struct RowsQuery {
        /// Only this status.
        status: Option<Status>,
        ..stream: OneStream,
        ..policy: OnePolicy,
        ..range: Range,
        ..page: Page,
    }
}

/// A page of rows, newest first. A status that is not monitored is searched 30 days at a time, so its page may be short or empty and
/// still have a next page.
#[derive(Serialize, ToSchema)]
struct Rows {
    stream: String,
    transactions: Vec<Row>,
    next_cursor: Option<String>,
}

/// A stored count with its finding.
#[derive(Serialize, ToSchema)]
pub(super) struct Row {
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    status: String,
    count: u32,
    /// True for the 0 of a status that was not sent for the minute.
    implied: bool,
    #[serde(flatten)]
    finding: Finding,
    /// The evaluated count, if a correction was too late to be evaluated.
    judged_count: Option<u32>,
    message: String,
}

impl From<RowRecord> for Row {
    fn from(row: RowRecord) -> Self {
        Self {
            message: row.sentence(),
            minute: row.minute,
            count: row.count,
            implied: row.implied,
            finding: (&row.judgement).into(),
            judged_count: row.judged_count,
            status: row.status,
        }
    }
}

/// Stored counts with their findings, row by row.
#[utoipa::path(
    get,
    path = "/transactions",
    operation_id = "list_transactions",
    tag = "transactions",
    params(RowsQuery),
    responses((status = 200, description = "A page of rows, newest first", body = Rows), openapi::OfOne)
)]
pub(super) async fn rows(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<RowsQuery>,
) -> Result<impl IntoResponse, Problem> {
    let (from, to) = query.range.ends()?;
    let stream = query.stream.find(&state.store).await?.to_string();
    let filter = RowFilter {
        stream: stream.clone(),
        policy: query.policy.of(&state),
        status: query.status.map(|status| status.to_string()),
        from,
        to,
        before: query.page.before(),
        limit: query.page.probe(),
    };
    let (rows, searched_to) = state.store.rows_of_page(filter).await?;
    let (rows, next_cursor) = query.page.cut(rows, RowRecord::place);
    Ok(Json(Rows {
        stream,
        transactions: rows.into_iter().map(Row::from).collect(),
        next_cursor: next_cursor.or(searched_to.map(|place| Cursor(place).text())),
    }))
}

fields! {
    /// The number of newest minutes.
    pub(super) struct RecentQuery {
        /// Number of minutes.
        limit: Limit<10>,
        ..stream: OneStream,
        ..policy: OnePolicy,
    }
}

/// The newest minutes.
#[derive(Serialize, ToSchema)]
struct Recent {
    stream: String,
    minutes: Vec<MinuteRows>,
}

/// One minute with the counts of all its statuses.
#[derive(Serialize, ToSchema)]
struct MinuteRows {
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    /// The worst of its statuses.
    #[schema(value_type = schema::StateName)]
    state: detection::State,
    statuses: Vec<Row>,
}

/// The newest minutes with all their statuses.
#[utoipa::path(
    get,
    path = "/transactions/recent",
    operation_id = "recent_transactions",
    tag = "transactions",
    params(RecentQuery),
    responses((status = 200, description = "Minutes, newest first", body = Recent), openapi::OfOne)
)]
pub(super) async fn recent(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<RecentQuery>,
) -> Result<impl IntoResponse, Problem> {
    let stream = query.stream.find(&state.store).await?.to_string();
    let Limit(limit) = query.limit;
    let policy = query.policy.of(&state);
    let observed = state
        .store
        .observed_minutes(&stream, None, limit as usize)
        .await?;
    let rows = match observed.last() {
        None => Vec::new(),
        Some(oldest) => {
            let (stream, from) = (stream.clone(), Some(oldest.minute));
            state
                .store
                .rows(RowFilter {
                    stream,
                    policy,
                    from,
                    limit: u32::MAX,
                    ..RowFilter::default()
                })
                .await?
        }
    };
    Ok(Json(Recent {
        stream,
        minutes: by_minute(rows),
    }))
}

/// Rows, newest first, as minutes; the statuses of each in the order of their numbers.
fn by_minute(rows: Vec<RowRecord>) -> Vec<MinuteRows> {
    let mut minutes: Vec<MinuteRows> = Vec::new();
    for row in rows {
        let (minute, state) = (row.minute, row.judgement.state());
        match minutes.last_mut().filter(|last| last.minute == minute) {
            Some(last) => {
                last.state = last.state.max(state);
                last.statuses.insert(0, row.into());
            }
            None => minutes.push(MinuteRows {
                minute,
                state,
                statuses: vec![row.into()],
            }),
        }
    }
    minutes
}
