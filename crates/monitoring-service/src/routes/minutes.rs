//! Stored minutes: row by row, the newest ones, the share of each status, and series for charts with the band of what is usual.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, response::IntoResponse};
use detection::{Minute, State as Condition, Status, Stream};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use utoipa::{IntoParams, ToSchema};

use super::{
    AppState,
    error::Problem,
    extract::{Fields, QueryParams},
    openapi,
    params::{self, Cursor, Limit, page},
    queries::stream_of,
    schema,
    views::{BaselineView, RowView},
};
use crate::store::{RowFilter, RowRecord, SeriesFilter, SeriesPoint};

/// Minutes of `/transactions/recent` where nobody says how many.
const RECENT_MINUTES: u32 = 10;

/// Points that the series of one answer may have: three days of every status by the minute, and some more.
const MAX_POINTS: usize = 50_000;

/// What a series shows where no range is given: the day before the newest minute.
const SERIES_MINUTES: i64 = 1440;

const STATUS_FIX: &str = "use a status name: a-z, 0-9 and _, starting with a letter";
const STEP_FIX: &str = "use whole minutes up to a day, such as 1m, 5m or 1h";
const RANGE_FIX: &str = "give a longer step, a shorter range, or one status";

/// Which rows to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RowsQuery {
    /// Which stream; without it the only one there is, else `default`.
    #[param(value_type = schema::StreamName, required = false)]
    stream: Option<Stream>,
    /// Only this status.
    #[param(value_type = schema::StatusName, required = false)]
    status: Option<Status>,
    /// From this minute on.
    #[param(value_type = schema::Timestamp, required = false)]
    from: Option<Minute>,
    /// Before this minute.
    #[param(value_type = schema::Timestamp, required = false)]
    to: Option<Minute>,
    /// Entries of a page.
    #[param(value_type = u32, minimum = 1, maximum = 500, default = 50, required = false)]
    #[serde(default)]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = schema::CursorText, required = false)]
    cursor: Option<Cursor>,
}

impl Fields for RowsQuery {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("stream", params::STREAM_FIX),
        ("status", STATUS_FIX),
        ("from", params::TIMESTAMP_FIX),
        ("to", params::TIMESTAMP_FIX),
        ("limit", params::LIMIT_FIX),
        ("cursor", params::CURSOR_FIX),
    ];
}

/// A page of rows, newest first. One of a status that is not monitored is looked for in 30 days of minutes, so it may be short,
/// or empty, and yet have a next page.
#[derive(Serialize, ToSchema)]
struct RowsView {
    stream: String,
    transactions: Vec<RowView>,
    next_cursor: Option<String>,
}

/// Stored counts with their verdicts, row by row.
#[utoipa::path(
    get,
    path = "/transactions",
    operation_id = "list_transactions",
    tag = "transactions",
    params(RowsQuery),
    responses((status = 200, description = "A page of rows, newest first", body = RowsView), openapi::OfOne)
)]
pub(super) async fn rows(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<RowsQuery>,
) -> Result<impl IntoResponse, Problem> {
    params::require_order(query.from, query.to)?;
    let stream = stream_of(&state.store, query.stream).await?.to_string();
    let filter = RowFilter {
        stream: stream.clone(),
        status: query.status.map(|status| status.to_string()),
        from: query.from,
        to: query.to,
        before: query.cursor.map(|Cursor(place)| place),
        limit: query.limit.probe(),
    };
    let (rows, looked_to) = state.store.rows_of_page(filter).await?;
    let (rows, next_cursor) = page(rows, query.limit, RowRecord::place);
    let next_cursor = next_cursor.or(looked_to.map(|place| Cursor(place).text()));
    Ok(Json(RowsView {
        stream,
        transactions: rows.into_iter().map(RowView::from).collect(),
        next_cursor,
    }))
}

/// How many of the newest minutes.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RecentQuery {
    /// Which stream; without it the only one there is, else `default`.
    #[param(value_type = schema::StreamName, required = false)]
    stream: Option<Stream>,
    /// How many minutes.
    #[param(value_type = u32, minimum = 1, maximum = 500, default = 10, required = false)]
    limit: Option<Limit>,
}

impl Fields for RecentQuery {
    const FIELDS: &'static [(&'static str, &'static str)] =
        &[("stream", params::STREAM_FIX), ("limit", params::LIMIT_FIX)];
}

#[derive(Serialize, ToSchema)]
struct RecentView {
    stream: String,
    minutes: Vec<MinuteView>,
}

/// One minute with the counts of all its statuses.
#[derive(Serialize, ToSchema)]
struct MinuteView {
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    #[schema(value_type = schema::SeverityName)]
    severity: Condition,
    statuses: Vec<RowView>,
}

/// The newest minutes with all their statuses.
#[utoipa::path(
    get,
    path = "/transactions/recent",
    operation_id = "recent_transactions",
    tag = "transactions",
    params(RecentQuery),
    responses((status = 200, description = "Minutes, newest first", body = RecentView), openapi::OfOne)
)]
pub(super) async fn recent(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<RecentQuery>,
) -> Result<impl IntoResponse, Problem> {
    let stream = stream_of(&state.store, query.stream).await?.to_string();
    let minutes = query.limit.map_or(RECENT_MINUTES, |Limit(minutes)| minutes);
    let known = state
        .store
        .observed_minutes(&stream, None, minutes as usize)
        .await?;
    let from = known.last().map(|oldest| oldest.minute);
    let filter = RowFilter {
        stream: stream.clone(),
        from,
        limit: u32::MAX,
        ..RowFilter::default()
    };
    let rows = if from.is_some() {
        state.store.rows(filter).await?
    } else {
        Vec::new()
    };
    let mut minutes: Vec<MinuteView> = Vec::new();
    for row in rows {
        if minutes.last().is_none_or(|last| last.minute != row.minute) {
            minutes.push(MinuteView {
                minute: row.minute,
                severity: Condition::NotJudged,
                statuses: Vec::new(),
            });
        }
        if let Some(last) = minutes.last_mut() {
            last.severity = last.severity.max(row.judgement.state());
            last.statuses.insert(0, row.into());
        }
    }
    Ok(Json(RecentView { stream, minutes }))
}

/// Which minutes: [from, to).
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DistributionQuery {
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

impl Fields for DistributionQuery {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("stream", params::STREAM_FIX),
        ("from", params::TIMESTAMP_FIX),
        ("to", params::TIMESTAMP_FIX),
    ];
}

#[derive(Serialize, ToSchema)]
struct DistributionView {
    stream: String,
    total: u64,
    statuses: Vec<ShareView>,
}

#[derive(Serialize, ToSchema)]
struct ShareView {
    status: String,
    count: u64,
    /// Of the total, 0 to 1; null where nothing was counted.
    share: Option<f64>,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share needs no more than a double has"
)]
/// The share of each status over a range.
#[utoipa::path(
    get,
    path = "/transactions/status-distribution",
    operation_id = "status_distribution",
    tag = "transactions",
    params(DistributionQuery),
    responses((status = 200, description = "The shares", body = DistributionView), openapi::OfOne)
)]
pub(super) async fn distribution(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<DistributionQuery>,
) -> Result<impl IntoResponse, Problem> {
    params::require_order(query.from, query.to)?;
    let stream = stream_of(&state.store, query.stream).await?.to_string();
    let summary = state.store.summary(&stream, query.from, query.to).await?;
    let total: u64 = summary.statuses.iter().map(|status| status.count).sum();
    let share = |count: u64| (total > 0).then(|| count as f64 / total as f64);
    let statuses = summary.statuses.into_iter();
    let statuses = statuses
        .map(|s| ShareView {
            share: share(s.count),
            status: s.status,
            count: s.count,
        })
        .collect();
    Ok(Json(DistributionView {
        stream,
        total,
        statuses,
    }))
}

/// Which series: minutes in [from, to), `step` of them to a point.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SeriesQuery {
    /// Which stream; without it the only one there is, else `default`.
    #[param(value_type = schema::StreamName, required = false)]
    stream: Option<Stream>,
    /// Only this status.
    #[param(value_type = schema::StatusName, required = false)]
    status: Option<Status>,
    /// From this minute on; without it a day before `to`.
    #[param(value_type = schema::Timestamp, required = false)]
    from: Option<Minute>,
    /// Before this minute; without it the newest one is the last.
    #[param(value_type = schema::Timestamp, required = false)]
    to: Option<Minute>,
    /// Minutes of a point, such as `1m`, `5m` or `1h`: whole ones up to a day.
    #[param(value_type = schema::StepText, default = "1m", required = false)]
    #[serde(default)]
    step: Step,
}

impl Fields for SeriesQuery {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("stream", params::STREAM_FIX),
        ("status", STATUS_FIX),
        ("from", params::TIMESTAMP_FIX),
        ("to", params::TIMESTAMP_FIX),
        ("step", STEP_FIX),
    ];
}

/// Minutes of a point: whole ones, up to a day.
#[derive(Clone, Copy)]
struct Step(i64);

impl Default for Step {
    fn default() -> Self {
        Self(1)
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let step =
            humantime::parse_duration(&text).map_err(|_| D::Error::custom("is not a duration"))?;
        let whole = step.as_secs().is_multiple_of(60) && step.subsec_nanos() == 0;
        match i64::try_from(step.as_secs() / 60) {
            Ok(minutes) if whole && step <= Duration::from_hours(24) && minutes > 0 => {
                Ok(Self(minutes))
            }
            _ => Err(D::Error::custom("is not whole minutes up to a day")),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct SeriesView {
    stream: String,
    #[schema(value_type = schema::Minute)]
    from: Minute,
    #[schema(value_type = schema::Minute)]
    to: Minute,
    step_minutes: i64,
    series: Vec<StatusSeriesView>,
}

#[derive(Serialize, ToSchema)]
struct StatusSeriesView {
    status: String,
    /// Oldest first. A minute that no batch came for has no point: it is silence, not zero.
    points: Vec<PointView>,
}

/// One step of a series.
#[derive(Serialize, ToSchema)]
struct PointView {
    /// The first minute of the step.
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    /// Transactions in its observed minutes.
    count: u64,
    minutes_observed: u32,
    /// The worst verdict in it.
    #[schema(value_type = schema::SeverityName)]
    severity: Condition,
    z_score: Option<f64>,
    /// What its minute was judged against; null where a point has several minutes.
    baseline: Option<BaselineView>,
}

/// Series for charts: counts, verdicts, and the band of what is usual.
#[utoipa::path(
    get,
    path = "/transactions/timeseries",
    operation_id = "timeseries",
    tag = "transactions",
    params(SeriesQuery),
    responses((status = 200, description = "A series for each status, oldest first", body = SeriesView), openapi::OfOne)
)]
pub(super) async fn series(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<SeriesQuery>,
) -> Result<impl IntoResponse, Problem> {
    params::require_order(query.from, query.to)?;
    let stream = stream_of(&state.store, query.stream).await?.to_string();
    let newest = state
        .store
        .stream(&stream)
        .await?
        .map(|stream| stream.newest_minute);
    let to = query.to.or(newest.map(|newest| newest.plus(1)));
    let to = to.unwrap_or_else(|| Minute::containing(state.clock.now()));
    let from = query.from.unwrap_or_else(|| to.plus(-SERIES_MINUTES));
    let Step(step_minutes) = query.step;
    let filter = SeriesFilter {
        stream: stream.clone(),
        status: query.status.map(|status| status.to_string()),
        from,
        to,
        step_minutes,
        max_points: MAX_POINTS,
    };
    let Some(series) = state.store.series(filter).await? else {
        let detail = format!("the range from {from} to {to} has more than {MAX_POINTS} points");
        return Err(Problem::invalid("from", &from.to_string(), detail).fix(RANGE_FIX));
    };
    let series = series.into_iter().map(|(status, points)| StatusSeriesView {
        status,
        points: points.into_iter().map(PointView::from).collect(),
    });
    Ok(Json(SeriesView {
        stream,
        from,
        to,
        step_minutes,
        series: series.collect(),
    }))
}

impl From<SeriesPoint> for PointView {
    fn from(point: SeriesPoint) -> Self {
        let SeriesPoint {
            minute,
            count,
            minutes_observed,
            state,
            judgement,
        } = point;
        let evidence = judgement.as_ref().and_then(detection::Judgement::evidence);
        Self {
            minute,
            count,
            minutes_observed,
            severity: state,
            z_score: judgement.as_ref().and_then(detection::Judgement::score),
            baseline: evidence
                .and_then(detection::Evidence::baseline)
                .map(BaselineView::from),
        }
    }
}
