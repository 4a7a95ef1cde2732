//! What the charts of a stream show of a range of any length: few steps, each with its lowest and highest count and its worst alert, so
//! that nothing is lost, and the incidents. The range is read once, and only its steps are kept.

use detection::{Judgement, Minute, MonitoredStatus, PolicyName, Severity, State};

use super::{
    Store, StoreError, alerts,
    engine::{self, Sql, params},
    findings::{policy_code, read_judgement, severity_from, state_from},
    names::stream_id,
    ranges::series_statement,
};
use crate::alerts::Alert;

/// The charts to read: a stream's minutes in [from, to), as this policy judges them.
#[derive(Clone, Debug)]
pub(crate) struct ChartFilter {
    pub(crate) stream: String,
    pub(crate) policy: PolicyName,
    pub(crate) from: Minute,
    pub(crate) to: Minute,
    /// Minutes of a step, at least 1.
    pub(crate) step_minutes: i64,
    /// Alerts to list, the newest.
    pub(crate) max_alerts: usize,
}

/// The observed minutes of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) low: u32,
    pub(crate) high: u32,
    /// The usual counts of its first minute that has such.
    pub(crate) usual: Option<(f64, f64)>,
    /// The minute in the worst state, and of several the one with the highest count.
    pub(crate) worst: Minute,
    worst_by: (State, u32),
    /// The worst alert in it.
    pub(crate) alert: Option<Severity>,
}

/// The charts of a range.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Charts {
    /// The steps of each monitored status, in order of time; none where no minute was observed.
    pub(crate) spans: [Vec<Option<Span>>; MonitoredStatus::COUNT],
    /// The incidents that touch the range, as [from, to).
    pub(crate) incidents: Vec<(Minute, Minute)>,
    /// The newest alerts, the newest first.
    pub(crate) alerts: Vec<Alert>,
    /// How many alerts the range has.
    pub(crate) alert_count: usize,
}

impl Store {
    /// The charts of a stream; empty ones of an unknown stream. `usual`: the usual counts by a judgement, if it has such.
    pub(crate) async fn charts(
        &self,
        filter: ChartFilter,
        usual: impl Fn(&Judgement) -> Option<(f64, f64)> + Send + 'static,
    ) -> Result<Charts, StoreError> {
        self.scan(move |sql| {
            let steps = usize::try_from(filter.steps()).unwrap_or(0);
            let mut charts = Charts {
                spans: std::array::from_fn(|_| vec![None; steps]),
                ..Charts::default()
            };
            if let Some(id) = stream_id(sql, &filter.stream)? {
                filter.read_counts(sql, id, &mut charts, &usual)?;
                filter.read_alerts(sql, &mut charts)?;
                charts.incidents = filter.incidents(sql)?;
            }
            Ok(charts)
        })
        .await
    }
}

impl ChartFilter {
    fn steps(&self) -> i64 {
        let minutes = self.to.since(self.from).max(0);
        (minutes + self.step_minutes - 1).div_euclid(self.step_minutes)
    }

    /// The place of a minute of the range.
    fn step(&self, minute: Minute) -> usize {
        let step = minute.since(self.from).div_euclid(self.step_minutes);
        usize::try_from(step).unwrap_or(0)
    }

    fn read_counts(
        &self,
        sql: Sql<'_>,
        stream_id: i64,
        charts: &mut Charts,
        usual: &impl Fn(&Judgement) -> Option<(f64, f64)>,
    ) -> Result<(), StoreError> {
        let mut statement = sql.prepare_cached(&series_statement(self.policy, false))?;
        let (from, to) = (self.from.epoch_minutes(), self.to.epoch_minutes());
        let mut rows = statement.query(params![stream_id, from, to])?;
        while let Some(row) = rows.next()? {
            let Some(&status) = MonitoredStatus::ALL.get(row.get::<_, usize>(1)?) else {
                continue;
            };
            let minute = Minute::from_epoch_minutes(row.get(0)?);
            let count: u32 = row.get("count")?;
            let state = state_from(row.get::<_, Option<u8>>("state")?.unwrap_or(0));
            let span = charts.spans[status.index()][self.step(minute)]
                .get_or_insert_with(|| Span::new(minute, count, state));
            span.add(minute, count, state);
            if span.usual.is_none() {
                span.usual = usual(&read_judgement(&row, self.policy, Some(status))?);
            }
        }
        Ok(())
    }

    fn read_alerts(&self, sql: Sql<'_>, charts: &mut Charts) -> Result<(), StoreError> {
        let range = params![
            self.stream,
            self.from.epoch_minutes(),
            self.to.epoch_minutes(),
            policy_code(self.policy)
        ];
        let text = format!("SELECT status_id, minute, severity {}", alerts::IN_RANGE);
        let mut statement = sql.prepare_cached(&text)?;
        let mut rows = statement.query(range)?;
        while let Some(row) = rows.next()? {
            let step = self.step(Minute::from_epoch_minutes(row.get(1)?));
            let severity = severity_from(row.get(2)?);
            charts.alert_count += 1;
            if let Some(span) = &mut charts.spans[row.get::<_, usize>(0)?][step] {
                span.alert = span.alert.max(Some(severity));
            }
        }
        charts.alerts = alerts::newest_of_range(sql, range, self.max_alerts)?;
        Ok(())
    }

    /// Those of the policy, and those of the whole stream. An incident that is open ends with the range.
    fn incidents(&self, sql: Sql<'_>) -> engine::Result<Vec<(Minute, Minute)>> {
        let (from, to) = (self.from.start(), self.to.start());
        let mut statement = sql.prepare_cached(
            "SELECT opened_at_ms, coalesce(ended_at_ms, ?4) FROM incidents WHERE stream = ?1 AND (policy IS NULL OR policy = ?2)
             AND (ended_at_ms IS NULL OR ended_at_ms > ?3) AND opened_at_ms < ?4 ORDER BY seq",
        )?;
        let (from_ms, to_ms) = (from.as_millisecond(), to.as_millisecond());
        let incidents = statement.query_map(
            params![self.stream, policy_code(self.policy), from_ms, to_ms],
            |row| Ok((minute_of(row.get(0)?), minute_of(row.get(1)?))),
        )?;
        incidents.collect()
    }
}

const fn minute_of(at_ms: i64) -> Minute {
    Minute::from_epoch_minutes(at_ms.div_euclid(60_000))
}

impl Span {
    const fn new(minute: Minute, count: u32, state: State) -> Self {
        Self {
            low: count,
            high: count,
            usual: None,
            worst: minute,
            worst_by: (state, count),
            alert: None,
        }
    }

    fn add(&mut self, minute: Minute, count: u32, state: State) {
        self.low = self.low.min(count);
        self.high = self.high.max(count);
        if (state, count) > self.worst_by {
            (self.worst, self.worst_by) = (minute, (state, count));
        }
    }
}
