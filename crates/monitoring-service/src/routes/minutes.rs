//! Stored minutes: row by row, the newest ones, the share of each status, and series for charts with the band of what is usual.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, response::IntoResponse};
use detection::{Minute, Severity, Status, Stream, ZScore};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{
    AppState,
    error::Problem,
    extract::{Fields, QueryParams},
    params::{self, Cursor, Limit, page},
    queries::stream_of,
    views::{BaselineView, RowView},
};
use crate::store::{RowFilter, RowRecord, SeriesFilter, SeriesPoint};

/// Minutes of `/transactions/recent` where nobody says how many.
const RECENT_MINUTES: u32 = 10;

/// Points that the series of one answer may have: three days of every status by the minute, and some more.
const MOST_POINTS: usize = 50_000;

/// What a series shows where no range is given: the day before the newest minute.
const SERIES_MINUTES: i64 = 1440;

const STATUS_FIX: &str = "use a status name: a-z, 0-9 and _, starting with a letter";
const STEP_FIX: &str = "use whole minutes up to a day, such as 1m, 5m or 1h";
const RANGE_FIX: &str = "give a longer step, a shorter range, or one status";

/// Which rows to list.
#[derive(Deserialize)]
pub(super) struct RowsQuery {
    stream: Option<Stream>,
    status: Option<Status>,
    from: Option<Minute>,
    to: Option<Minute>,
    #[serde(default)]
    limit: Limit,
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
#[derive(Serialize)]
struct RowsView {
    stream: String,
    transactions: Vec<RowView>,
    next_cursor: Option<String>,
}

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
    Ok(Json(RowsView { stream, transactions: rows.into_iter().map(RowView::from).collect(), next_cursor }))
}

/// How many of the newest minutes.
#[derive(Deserialize)]
pub(super) struct RecentQuery {
    stream: Option<Stream>,
    limit: Option<Limit>,
}

impl Fields for RecentQuery {
    const FIELDS: &'static [(&'static str, &'static str)] =
        &[("stream", params::STREAM_FIX), ("limit", params::LIMIT_FIX)];
}

#[derive(Serialize)]
struct RecentView {
    stream: String,
    minutes: Vec<MinuteView>,
}

/// One minute with the counts of all its statuses.
#[derive(Serialize)]
struct MinuteView {
    minute: Minute,
    severity: Severity,
    statuses: Vec<RowView>,
}

pub(super) async fn recent(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<RecentQuery>,
) -> Result<impl IntoResponse, Problem> {
    let stream = stream_of(&state.store, query.stream).await?.to_string();
    let minutes = query.limit.map_or(RECENT_MINUTES, |Limit(minutes)| minutes);
    let known = state.store.known_minutes(&stream, None, minutes as usize).await?;
    let from = known.last().map(|oldest| oldest.minute);
    let filter = RowFilter { stream: stream.clone(), from, limit: u32::MAX, ..RowFilter::default() };
    let rows = if from.is_some() { state.store.rows(filter).await? } else { Vec::new() };
    let mut minutes: Vec<MinuteView> = Vec::new();
    for row in rows {
        if minutes.last().is_none_or(|last| last.minute != row.minute) {
            minutes.push(MinuteView { minute: row.minute, severity: Severity::NotJudged, statuses: Vec::new() });
        }
        if let Some(last) = minutes.last_mut() {
            last.severity = last.severity.max(row.verdict.severity);
            last.statuses.insert(0, row.into());
        }
    }
    Ok(Json(RecentView { stream, minutes }))
}

/// Which minutes: [from, to).
#[derive(Deserialize)]
pub(super) struct DistributionQuery {
    stream: Option<Stream>,
    from: Option<Minute>,
    to: Option<Minute>,
}

impl Fields for DistributionQuery {
    const FIELDS: &'static [(&'static str, &'static str)] =
        &[("stream", params::STREAM_FIX), ("from", params::TIMESTAMP_FIX), ("to", params::TIMESTAMP_FIX)];
}

#[derive(Serialize)]
struct DistributionView {
    stream: String,
    total: u64,
    statuses: Vec<ShareView>,
}

#[derive(Serialize)]
struct ShareView {
    status: String,
    count: u64,
    /// Of the total, 0 to 1; null where nothing was counted.
    share: Option<f64>,
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more than a double has")]
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
    let statuses = statuses.map(|s| ShareView { share: share(s.count), status: s.status, count: s.count }).collect();
    Ok(Json(DistributionView { stream, total, statuses }))
}

/// Which series: minutes in [from, to), `step` of them to a point.
#[derive(Deserialize)]
pub(super) struct SeriesQuery {
    stream: Option<Stream>,
    status: Option<Status>,
    from: Option<Minute>,
    to: Option<Minute>,
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
        let step = humantime::parse_duration(&text).map_err(|_| D::Error::custom("is not a duration"))?;
        let whole = step.as_secs().is_multiple_of(60) && step.subsec_nanos() == 0;
        match i64::try_from(step.as_secs() / 60) {
            Ok(minutes) if whole && step <= Duration::from_hours(24) && minutes > 0 => Ok(Self(minutes)),
            _ => Err(D::Error::custom("is not whole minutes up to a day")),
        }
    }
}

#[derive(Serialize)]
struct SeriesView {
    stream: String,
    from: Minute,
    to: Minute,
    step_minutes: i64,
    series: Vec<StatusSeriesView>,
}

#[derive(Serialize)]
struct StatusSeriesView {
    status: String,
    /// Oldest first. A minute that no batch came for has no point: it is silence, not zero.
    points: Vec<PointView>,
}

/// One step of a series.
#[derive(Serialize)]
struct PointView {
    /// The first minute of the step.
    minute: Minute,
    /// Transactions in its known minutes.
    count: u64,
    minutes_known: u32,
    /// The worst verdict in it.
    severity: Severity,
    z_score: Option<f64>,
    /// What its minute was judged against; null where a point has several minutes.
    baseline: Option<BaselineView>,
}

pub(super) async fn series(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<SeriesQuery>,
) -> Result<impl IntoResponse, Problem> {
    params::require_order(query.from, query.to)?;
    let stream = stream_of(&state.store, query.stream).await?.to_string();
    let newest = state.store.stream(&stream).await?.map(|stream| stream.newest_minute);
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
        most_points: MOST_POINTS,
    };
    let Some(series) = state.store.series(filter).await? else {
        let detail = format!("the range from {from} to {to} has more than {MOST_POINTS} points");
        return Err(Problem::invalid("from", &from.to_string(), detail).fix(RANGE_FIX));
    };
    let series = series
        .into_iter()
        .map(|(status, points)| StatusSeriesView { status, points: points.into_iter().map(PointView::from).collect() });
    Ok(Json(SeriesView { stream, from, to, step_minutes, series: series.collect() }))
}

impl From<SeriesPoint> for PointView {
    fn from(point: SeriesPoint) -> Self {
        let SeriesPoint { minute, count, minutes_known, severity, judged } = point;
        let (baseline, z_score) = judged.unzip();
        Self {
            minute,
            count,
            minutes_known,
            severity,
            z_score: z_score.flatten().map(ZScore::get),
            baseline: baseline.map(BaselineView::from),
        }
    }
}
