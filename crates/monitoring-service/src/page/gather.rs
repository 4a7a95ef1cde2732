//! Gathers what the charts of a stream show: a long range in few steps, each with its lowest and highest count, so that no spike is lost.

use std::collections::BTreeMap;

use detection::{Evidence, Judgement, Minute, MonitoredStatus, Severity};

use super::{
    chart::{Chart, Step},
    parts::number,
    stream::Shown,
};
use crate::{
    alerts::{Alert, incident_record::IncidentRecord, json::At},
    routes::{AppState, error::Problem, timeseries::warning_limit},
    store::{IncidentFilter, SeriesFilter, SeriesPoint},
};

/// Steps of a chart at most.
const MAX_STEPS: i64 = 360;

/// Alerts of a range that are marked and listed.
const MAX_ALERTS: usize = 200;

/// Incidents that are shaded, the newest.
const MAX_INCIDENTS: u32 = 100;

/// Labels of the time axis.
const TICKS: i64 = 4;

/// Everything that the charts of one range show.
pub(super) struct Gathered {
    /// In the order of [`MonitoredStatus::ALL`].
    pub(super) charts: [Chart; MonitoredStatus::COUNT],
    /// The newest first.
    pub(super) alerts: Vec<Alert>,
    from: Minute,
    to: Minute,
    warning: f64,
}

impl Gathered {
    /// The usual counts by this evidence.
    pub(super) fn usual(&self, evidence: &Evidence) -> Option<(f64, f64)> {
        evidence.usual_range(self.warning)
    }

    /// The minutes that the axis labels, from one end to the other.
    pub(super) fn ticks(&self) -> impl Iterator<Item = Minute> {
        let (from, minutes) = (self.from, self.to.since(self.from));
        (0..=TICKS).map(move |tick| from.plus(minutes * tick / TICKS))
    }
}

/// Reads the counts of the range by the minute, and its alerts. `path`: the way from the view to that of the stream, empty in that view.
pub(super) async fn gather(
    state: &AppState,
    shown: &Shown,
    path: &str,
) -> Result<Gathered, Problem> {
    let minutes = shown.to.since(shown.from).max(1);
    let step_minutes = (minutes + MAX_STEPS - 1).div_euclid(MAX_STEPS).max(1);
    let filter = SeriesFilter {
        stream: shown.stream.name.clone(),
        policy: shown.policy,
        status: None,
        from: shown.from,
        to: shown.to,
        step_minutes: 1,
        max_points: usize::MAX,
    };
    let series = state.store.series(filter).await?.unwrap_or_default();
    let (name, policy) = (&shown.stream.name, shown.policy);
    let findings = state
        .store
        .findings(name, policy, shown.from, shown.to, MAX_ALERTS)
        .await?;
    let mut alerts = findings.alerts;
    alerts.reverse();
    let axis = Axis {
        shown,
        path,
        step_minutes,
        steps: usize::try_from((minutes + step_minutes - 1) / step_minutes).unwrap_or(1),
        warning: warning_limit(state),
    };
    let incidents = incidents(state, shown).await?;
    let charts = MonitoredStatus::ALL.map(|status| {
        let points = series.get(status.name()).map_or(&[][..], Vec::as_slice);
        axis.chart(status, points, &alerts, &incidents)
    });
    Ok(Gathered {
        charts,
        alerts,
        from: shown.from,
        to: shown.to,
        warning: axis.warning,
    })
}

/// The incidents of the stream and policy that touch the range, as [from, to).
async fn incidents(state: &AppState, shown: &Shown) -> Result<Vec<(Minute, Minute)>, Problem> {
    let filter = IncidentFilter {
        stream: Some(shown.stream.name.clone()),
        to: Some(shown.to),
        limit: MAX_INCIDENTS,
        ..IncidentFilter::default()
    };
    let minute = |at: At| Minute::from_epoch_minutes(at.0.div_euclid(60_000));
    let found = state.store.incidents(filter).await?.into_iter();
    let found =
        found.filter(|incident| incident.message.policy.is_none_or(|of| of == shown.policy));
    let span = |incident: IncidentRecord| {
        let ended = incident.message.ended_at.map_or(shown.to, minute);
        (minute(incident.message.opened_at), ended)
    };
    Ok(found
        .map(span)
        .filter(|(_, ended)| *ended > shown.from)
        .collect())
}

/// How a range is cut into steps.
struct Axis<'a> {
    shown: &'a Shown,
    path: &'a str,
    step_minutes: i64,
    steps: usize,
    warning: f64,
}

impl Axis<'_> {
    fn step(&self, minute: Minute) -> Option<usize> {
        let step = minute.since(self.shown.from).div_euclid(self.step_minutes);
        usize::try_from(step).ok().filter(|step| *step < self.steps)
    }

    fn chart(
        &self,
        status: MonitoredStatus,
        points: &[SeriesPoint],
        alerts: &[Alert],
        incidents: &[(Minute, Minute)],
    ) -> Chart {
        let mut of_step: BTreeMap<usize, Vec<&SeriesPoint>> = BTreeMap::new();
        for point in points {
            if let Some(step) = self.step(point.minute) {
                of_step.entry(step).or_default().push(point);
            }
        }
        let mut severities: BTreeMap<usize, Severity> = BTreeMap::new();
        for anomaly in alerts.iter().filter_map(Alert::anomaly) {
            if let (true, Some(step)) = (anomaly.key.status == status, self.step(anomaly.minute)) {
                let worst = severities.entry(step).or_insert(anomaly.key.severity);
                *worst = (*worst).max(anomaly.key.severity);
            }
        }
        let step = |at| {
            let points = of_step.get(&at)?;
            self.gather(status, points, severities.get(&at).copied())
        };
        Chart {
            first: self.shown.from,
            step_minutes: self.step_minutes,
            steps: (0..self.steps).map(step).collect(),
            incidents: incidents.to_vec(),
        }
    }

    /// One step. Its link leads to its highest count, or to the one in the worst state.
    fn gather(
        &self,
        status: MonitoredStatus,
        points: &[&SeriesPoint],
        alert: Option<Severity>,
    ) -> Option<Step> {
        let evidence = |point: &SeriesPoint| {
            let evidence = point.judgement.as_ref().and_then(Judgement::evidence)?;
            evidence.usual_range(self.warning)
        };
        let worst = points
            .iter()
            .max_by_key(|point| (point.state, point.count))?;
        let low = points.iter().map(|point| point.count).min()?;
        let high = points.iter().map(|point| point.count).max()?;
        let usual = points.iter().find_map(|point| evidence(point));
        let minute = worst.minute.to_string();
        let minute = minute.get(..16).unwrap_or_default();
        let counts = if low == high {
            high.to_string()
        } else {
            format!("{low} to {high}")
        };
        let range = usual.map_or_else(String::new, |(low, high)| {
            format!(", usual {} to {}", number(low.ceil()), number(high.floor()))
        });
        Some(Step {
            low,
            high,
            usual,
            alert,
            title: format!("{} UTC: {counts}{range}", minute.replace('T', " ")),
            link: format!(
                "{}?{}&amp;minute={minute}&amp;status={status}#explanation",
                self.path,
                self.shown.query().replace('&', "&amp;")
            ),
        })
    }
}
