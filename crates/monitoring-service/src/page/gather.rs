//! Gathers what the charts of a stream show: a long range in few steps, each with its lowest and highest count, so that no spike is lost.

use detection::{Evidence, Minute, MonitoredStatus};

use super::{
    chart::{Chart, Step},
    parts::number,
    stream::Shown,
};
use crate::{
    alerts::Alert,
    routes::{AppState, error::Problem, timeseries::warning_limit},
    store::{ChartFilter, Charts, Span},
};

/// Steps of a chart at most.
const MAX_STEPS: i64 = 360;

/// Alerts of a range that are listed, the newest.
pub(super) const MAX_ALERTS: usize = 200;

/// Labels of the time axis.
const TICKS: i64 = 4;

/// Everything that the charts of one range show.
pub(super) struct Gathered {
    /// In the order of [`MonitoredStatus::ALL`].
    pub(super) charts: [Chart; MonitoredStatus::COUNT],
    /// The newest first.
    pub(super) alerts: Vec<Alert>,
    /// How many there are, listed or not.
    pub(super) alert_count: usize,
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

/// Reads the counts of the range, its alerts and incidents. `path`: the way from the view to that of the stream, empty in that view.
pub(super) async fn gather(
    state: &AppState,
    shown: &Shown,
    path: &str,
) -> Result<Gathered, Problem> {
    let minutes = shown.to.since(shown.from).max(1);
    let step_minutes = (minutes + MAX_STEPS - 1).div_euclid(MAX_STEPS).max(1);
    let filter = ChartFilter {
        stream: shown.stream.name.clone(),
        policy: shown.policy,
        from: shown.from,
        to: shown.to,
        step_minutes,
        max_alerts: MAX_ALERTS,
    };
    let warning = warning_limit(state);
    let Charts {
        mut spans,
        incidents,
        alerts,
        alert_count,
    } = state
        .store
        .charts(filter, move |judgement| {
            judgement.evidence()?.usual_range(warning)
        })
        .await?;
    let charts = MonitoredStatus::ALL.map(|status| {
        let spans = std::mem::take(&mut spans[status.index()]);
        let step = |span: Option<Span>| Some(step(&span?, status.name(), shown, path));
        Chart {
            first: shown.from,
            step_minutes,
            steps: spans.into_iter().map(step).collect(),
            incidents: incidents.clone(),
        }
    });
    Ok(Gathered {
        charts,
        alerts,
        alert_count,
        from: shown.from,
        to: shown.to,
        warning,
    })
}

/// One step. Its link leads to its highest count, or to the one in the worst state.
fn step(span: &Span, status: &str, shown: &Shown, path: &str) -> Step {
    let minute = span.worst.to_string();
    let minute = minute.get(..16).unwrap_or_default();
    let counts = if span.low == span.high {
        span.high.to_string()
    } else {
        format!("{} to {}", span.low, span.high)
    };
    let range = span.usual.map_or_else(String::new, |(low, high)| {
        format!(", usual {} to {}", number(low.ceil()), number(high.floor()))
    });
    Step {
        low: span.low.into(),
        high: span.high.into(),
        usual: span.usual,
        alert: span.alert,
        title: format!("{} UTC: {counts}{range}", minute.replace('T', " ")),
        link: format!(
            "{path}?{}&amp;minute={minute}&amp;status={status}#explanation",
            shown.query().replace('&', "&amp;")
        ),
    }
}
