//! `GET /transactions/timeseries`: counts for charts, each minute with its baseline.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State, response::IntoResponse};
use detection::{Evidence, Judgement, Minute, Severity, State as Judged, Status};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState,
    error::Problem,
    extract::QueryParams,
    fields::fields,
    openapi,
    parameters::{OnePolicy, OneStream, Range, values},
    schema,
};
use crate::{
    alerts::json::{Band, EvidenceView},
    store::{SeriesFilter, SeriesPoint},
};

/// Maximum points of one answer: enough for three days of every status by the minute.
const MAX_POINTS: usize = 50_000;

/// The default range, minutes.
const DEFAULT_MINUTES: i64 = 1440;

/// Maximum step.
const MAX_STEP: Duration = Duration::from_hours(24);

fields! {
    /// Which series. Without `from` it starts a day before `to`; without `to` it ends with the newest minute.
    pub(super) struct SeriesQuery {
        /// Only this status.
        status: Option<Status>,
        /// Minutes of a point, such as `1m`, `5m` or `1h`: whole minutes up to a day.
        step: Option<Step>,
        ..stream: OneStream,
        ..policy: OnePolicy,
        ..range: Range,
    }
}

/// Minutes of a point.
#[derive(Clone, Copy)]
pub(crate) struct Step(i64);

values! {
    Step: schema::pattern(r"^[0-9 a-z]+$", "5m").default(Some("1m".into())),
        Step::read, "use whole minutes up to a day, such as 1m, 5m or 1h";
}

impl Step {
    fn read(text: &str) -> Result<Self, String> {
        let step = humantime::parse_duration(text).map_err(|_| "is not a duration".to_owned())?;
        let whole = step.as_secs().is_multiple_of(60) && step.subsec_nanos() == 0;
        match i64::try_from(step.as_secs() / 60) {
            Ok(minutes) if whole && step <= MAX_STEP && minutes > 0 => Ok(Self(minutes)),
            _ => Err("is not whole minutes up to a day".to_owned()),
        }
    }
}

/// Series of a range.
#[derive(Serialize, ToSchema)]
struct Timeseries {
    stream: String,
    #[schema(value_type = schema::Minute)]
    from: Minute,
    #[schema(value_type = schema::Minute)]
    to: Minute,
    step_minutes: i64,
    series: Vec<StatusSeries>,
}

/// The series of a status.
#[derive(Serialize, ToSchema)]
struct StatusSeries {
    status: String,
    /// Oldest first. A minute without counts has no point: it is unknown, not zero.
    points: Vec<Point>,
}

/// One step of a series.
#[derive(Serialize, ToSchema)]
struct Point {
    /// The first minute of the step.
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    /// Transactions in its observed minutes.
    count: u64,
    minutes_observed: u32,
    /// The worst state in it.
    #[schema(value_type = schema::StateName)]
    state: Judged,
    /// The evidence of its minute; null if a step has several minutes, as are `expected` and `band`.
    #[serde(flatten)]
    evidence: EvidenceView,
    expected: Option<f64>,
    /// The usual range of the count.
    band: Option<Band>,
}

/// Series for charts: counts, findings and baselines.
#[utoipa::path(
    get,
    path = "/transactions/timeseries",
    operation_id = "timeseries",
    tag = "transactions",
    params(SeriesQuery),
    responses((status = 200, description = "A series for each status, oldest first", body = Timeseries), openapi::OfOne)
)]
pub(super) async fn series(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<SeriesQuery>,
) -> Result<impl IntoResponse, Problem> {
    let (from, to) = query.range.ends()?;
    let stream = query.stream.find(&state.store).await?.to_string();
    let to = match to {
        Some(to) => to,
        None => end_of(&state, &stream).await?,
    };
    let from = from.unwrap_or_else(|| to.plus(-DEFAULT_MINUTES));
    let step_minutes = query.step.map_or(1, |Step(minutes)| minutes);
    let policy = query.policy.of(&state);
    let filter = SeriesFilter {
        stream: stream.clone(),
        policy,
        status: query.status.map(|status| status.to_string()),
        from,
        to,
        step_minutes,
        max_points: MAX_POINTS,
    };
    let Some(series) = state.store.series(filter).await? else {
        let detail = format!("the range from {from} to {to} has more than {MAX_POINTS} points");
        return Err(Problem::invalid("from", &*from.to_string(), detail)
            .fix("use a longer step, a shorter range, or one status"));
    };
    let warning = warning_limit(&state);
    let series = series.into_iter().map(|(status, points)| StatusSeries {
        status,
        points: points
            .iter()
            .map(|point| Point::new(point, warning))
            .collect(),
    });
    Ok(Json(Timeseries {
        stream,
        from,
        to,
        step_minutes,
        series: series.collect(),
    }))
}

/// The WARNING threshold of the policy `zscore`.
pub(crate) fn warning_limit(state: &AppState) -> f64 {
    let zscore = state.monitor.zscore().unwrap_or_default();
    zscore.thresholds.limit(Severity::Warning)
}

/// The minute after the newest one of the stream; now, if it has none.
async fn end_of(state: &AppState, stream: &str) -> Result<Minute, Problem> {
    let stream = state.store.stream(stream, state.alerting()).await?;
    Ok(stream.map_or_else(
        || Minute::containing(state.clock.now()),
        |stream| stream.newest_minute.plus(1),
    ))
}

impl Point {
    /// `warning`: the WARNING threshold of the policy `zscore`, for its band.
    fn new(point: &SeriesPoint, warning: f64) -> Self {
        let judgement = point.judgement.as_ref();
        let evidence = judgement.and_then(Judgement::evidence);
        let view = EvidenceView::new(evidence, judgement.and_then(Judgement::score));
        let usual = evidence.and_then(|evidence| evidence.usual_range(warning));
        Self {
            band: usual.map(|(low, high)| Band { low, high }),
            expected: evidence.and_then(Evidence::expected),
            minute: point.minute,
            count: point.count,
            minutes_observed: point.minutes_observed,
            state: point.state,
            evidence: view,
        }
    }
}
