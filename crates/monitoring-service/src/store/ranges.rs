//! Scans over ranges of minutes of any length: totals, findings, series. Each reads its rows once in stored
//! order and sums them here: a GROUP BY would sort them all first, which takes several times as long.

use std::collections::BTreeMap;

use detection::{Judgement, Minute, MonitoredStatus, PolicyName, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::engine::{self, Sql, params};
use super::{
    Store, StoreError, alerts,
    findings::{judgement_columns, read_judgement, state_column, state_from},
    names::{status_id, stream_id},
};
use crate::{alerts::Alert, routes::schema};

/// Totals over a range of minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Summary {
    /// Totals per status, monitored ones first.
    pub statuses: Vec<StatusTotal>,
    /// The first observed minute of the range.
    #[schema(value_type = Option<schema::Minute>)]
    pub first_minute: Option<Minute>,
    /// The last one.
    #[schema(value_type = Option<schema::Minute>)]
    pub last_minute: Option<Minute>,
    /// The number of observed minutes in the range.
    pub minutes_observed: u64,
}

/// The total of a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StatusTotal {
    /// Which status.
    pub status: String,
    /// Transactions.
    pub count: u64,
    /// Minutes with a row of the status.
    pub minutes: u64,
}

/// Findings and alerts of a range of minutes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RangeFindings {
    /// The number of rows of each monitored status in each state.
    pub(crate) counts: Vec<(MonitoredStatus, State, u64)>,
    /// Alerts about minutes of the range that were not muted: neither in a cooldown nor silenced.
    pub(crate) unmuted: usize,
    /// Those that were.
    pub(crate) muted: usize,
    /// The first alerts, by minute.
    pub(crate) alerts: Vec<Alert>,
}

/// Minutes without counts between two that were observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Hole {
    /// Its first minute.
    #[schema(value_type = schema::Minute)]
    pub(crate) from: Minute,
    /// The first minute after it.
    #[schema(value_type = schema::Minute)]
    pub(crate) to: Minute,
}

/// The series to read: a stream's minutes in [from, to).
#[derive(Clone, Debug)]
pub(crate) struct SeriesFilter {
    /// The stream.
    pub(crate) stream: String,
    /// With what this policy says.
    pub(crate) policy: PolicyName,
    /// Of this status only.
    pub(crate) status: Option<String>,
    /// From this minute on.
    pub(crate) from: Minute,
    /// Before this minute.
    pub(crate) to: Minute,
    /// Minutes of a point.
    pub(crate) step_minutes: i64,
    /// Maximum number of points.
    pub(crate) max_points: usize,
}

/// One step of one status.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SeriesPoint {
    /// The first minute of the step.
    pub(crate) minute: Minute,
    /// Transactions in its observed minutes.
    pub(crate) count: u64,
    /// How many of its minutes were observed.
    pub(crate) minutes_observed: u32,
    /// The worst state in it.
    pub(crate) state: State,
    /// The judgement of its minute; `None` if points may have several minutes.
    pub(crate) judgement: Option<Judgement>,
}

/// The points of each status, oldest first.
pub(crate) type Series = BTreeMap<String, Vec<SeriesPoint>>;

impl Store {
    /// Totals per status of a stream's minutes in [from, to); empty for an unknown stream.
    pub async fn summary(
        &self,
        stream: &str,
        from: Option<Minute>,
        to: Option<Minute>,
    ) -> Result<Summary, StoreError> {
        let stream = stream.to_owned();
        let from = from.map_or(i64::MIN, Minute::epoch_minutes);
        let to = to.map_or(i64::MAX, Minute::epoch_minutes);
        self.scan(move |sql| match stream_id(sql, &stream)? {
            Some(id) => summary(sql, id, from, to),
            None => Ok(Summary::default()),
        })
        .await
    }

    /// Findings of a policy for a stream's minutes in [from, to), with the first of its alerts; none of an unknown stream.
    pub(crate) async fn findings(
        &self,
        stream: &str,
        policy: PolicyName,
        from: Minute,
        to: Minute,
        max_alerts: usize,
    ) -> Result<RangeFindings, StoreError> {
        let stream = stream.to_owned();
        self.scan(move |sql| {
            let Some(stream_id) = stream_id(sql, &stream)? else {
                return Ok(RangeFindings::default());
            };
            let (unmuted, muted) = alerts::count_range(sql, &stream, policy, from, to)?;
            Ok(RangeFindings {
                counts: states(sql, stream_id, policy, from, to)?,
                unmuted,
                muted,
                alerts: alerts::of_range(sql, &stream, policy, from, to, max_alerts)?,
            })
        })
        .await
    }

    /// The holes of a stream in [from, to), the first of them and how many minutes all of them have.
    pub(crate) async fn holes(
        &self,
        stream: &str,
        from: Minute,
        to: Minute,
        max_holes: usize,
    ) -> Result<(Vec<Hole>, u64), StoreError> {
        let stream = stream.to_owned();
        self.scan(move |sql| {
            let Some(stream_id) = stream_id(sql, &stream)? else {
                return Ok((Vec::new(), 0));
            };
            let mut statement = sql.prepare_cached(OBSERVED)?;
            let range = params![stream_id, from.epoch_minutes(), to.epoch_minutes()];
            let mut rows = statement.query(range)?;
            let (mut holes, mut missing, mut next) = (Vec::new(), 0, None);
            while let Some(row) = rows.next()? {
                let minute = Minute::from_epoch_minutes(row.get(0)?);
                if let Some(from) = next.filter(|next| minute > *next) {
                    missing += minute.since(from).unsigned_abs();
                    if holes.len() < max_holes {
                        holes.push(Hole { from, to: minute });
                    }
                }
                next = Some(minute.plus(1));
            }
            Ok((holes, missing))
        })
        .await
    }

    /// Series of a stream, empty for an unknown one; none if they have too many points.
    pub(crate) async fn series(&self, filter: SeriesFilter) -> Result<Option<Series>, StoreError> {
        self.scan(move |sql| series(sql, &filter)).await
    }
}

/// The observed minutes of a range in order: each has a row of the first monitored status.
const OBSERVED: &str = "SELECT minute FROM minute_counts WHERE stream_id = ?1 AND minute >= ?2 AND minute < ?3 AND status_id = 0 ORDER BY minute";

pub(super) const TOTALS: &str = "SELECT minute, status_id, count FROM minute_counts WHERE stream_id = ?1 AND minute >= ?2 AND minute < ?3 ORDER BY minute, status_id";

fn summary(sql: Sql<'_>, stream_id: i64, from: i64, to: i64) -> Result<Summary, StoreError> {
    struct Total {
        count: u64,
        minutes: u64,
        first: i64,
        last: i64,
    }
    let mut statement = sql.prepare_cached(TOTALS)?;
    let mut rows = statement.query(params![stream_id, from, to])?;
    let mut totals: BTreeMap<i64, Total> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let minute = row.get(0)?;
        let total = totals.entry(row.get(1)?).or_insert(Total {
            count: 0,
            minutes: 0,
            first: minute,
            last: minute,
        });
        total.count += row.get::<_, u64>(2)?;
        total.minutes += 1;
        total.last = minute;
    }
    let mut summary = Summary::default();
    let names = names(sql)?;
    for (
        status_id,
        Total {
            count,
            minutes,
            first,
            last,
        },
    ) in totals
    {
        let status = names.get(&status_id).cloned().unwrap_or_default();
        // Every observed minute has a row of every monitored status, so each of them counts the observed minutes.
        summary.minutes_observed = summary.minutes_observed.max(minutes);
        summary.first_minute = summary
            .first_minute
            .into_iter()
            .chain([Minute::from_epoch_minutes(first)])
            .min();
        summary.last_minute = summary
            .last_minute
            .into_iter()
            .chain([Minute::from_epoch_minutes(last)])
            .max();
        summary.statuses.push(StatusTotal {
            status,
            count,
            minutes,
        });
    }
    Ok(summary)
}

/// Names of statuses by their numbers.
fn names(sql: Sql<'_>) -> engine::Result<BTreeMap<i64, String>> {
    sql.prepare_cached("SELECT id, name FROM statuses")?
        .query_map(params![], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

pub(super) fn states_statement(policy: PolicyName) -> String {
    format!(
        "SELECT status_id, coalesce({}, 0) FROM minute_counts
         WHERE stream_id = ?1 AND minute >= ?2 AND minute < ?3 AND status_id < 5",
        state_column(policy)
    )
}

fn states(
    sql: Sql<'_>,
    stream_id: i64,
    policy: PolicyName,
    from: Minute,
    to: Minute,
) -> engine::Result<Vec<(MonitoredStatus, State, u64)>> {
    let mut statement = sql.prepare_cached(&states_statement(policy))?;
    let mut rows = statement.query(params![stream_id, from.epoch_minutes(), to.epoch_minutes()])?;
    let mut counts: BTreeMap<(usize, u8), u64> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        *counts.entry((row.get(0)?, row.get(1)?)).or_default() += 1;
    }
    let counts = counts.into_iter();
    Ok(counts
        .map(|((status, state), count)| (MonitoredStatus::ALL[status], state_from(state), count))
        .collect())
}

/// Of every status, or of one.
pub(super) fn series_statement(policy: PolicyName, of_one: bool) -> String {
    let of_status = if of_one { " AND status_id = ?4" } else { "" };
    format!(
        "SELECT minute, status_id, {} FROM minute_counts WHERE stream_id = ?1 AND minute >= ?2 AND minute < ?3{of_status} ORDER BY minute, status_id",
        judgement_columns(policy)
    )
}

fn series(sql: Sql<'_>, filter: &SeriesFilter) -> Result<Option<Series>, StoreError> {
    let Some(stream_id) = stream_id(sql, &filter.stream)? else {
        return Ok(Some(Series::new()));
    };
    let status_id = match &filter.status {
        None => None,
        Some(name) => match status_id(sql, name)? {
            None => return Ok(Some(Series::new())),
            known => known,
        },
    };
    let mut statement =
        sql.prepare_cached(&series_statement(filter.policy, status_id.is_some()))?;
    let range = params![
        stream_id,
        filter.from.epoch_minutes(),
        filter.to.epoch_minutes(),
        status_id
    ];
    let given = range.len() - usize::from(status_id.is_none());
    let mut rows = statement.query(&range[..given])?;
    let mut series: BTreeMap<i64, Vec<SeriesPoint>> = BTreeMap::new();
    let mut points = 0;
    while let Some(row) = rows.next()? {
        let minute = row.get::<_, i64>(0)?.div_euclid(filter.step_minutes) * filter.step_minutes;
        let minute = Minute::from_epoch_minutes(minute);
        let (status, count) = (row.get::<_, i64>(1)?, row.get("count")?);
        let state = state_from(row.get::<_, Option<u8>>("state")?.unwrap_or(0));
        let of_status = series.entry(status).or_default();
        if let Some(last) = of_status.last_mut().filter(|last| last.minute == minute) {
            last.count += count;
            last.minutes_observed += 1;
            last.state = last.state.max(state);
            continue;
        }
        points += 1;
        if points > filter.max_points {
            return Ok(None);
        }
        let judgement = if filter.step_minutes == 1 {
            Some(read_judgement(&row, filter.policy, monitored(status))?)
        } else {
            None
        };
        of_status.push(SeriesPoint {
            minute,
            count,
            minutes_observed: 1,
            state,
            judgement,
        });
    }
    let names = names(sql)?;
    let name = |id| names.get(&id).cloned().unwrap_or_default();
    Ok(Some(
        series
            .into_iter()
            .map(|(id, points)| (name(id), points))
            .collect(),
    ))
}

fn monitored(status_id: i64) -> Option<MonitoredStatus> {
    let id = usize::try_from(status_id).ok()?;
    MonitoredStatus::ALL.get(id).copied()
}
