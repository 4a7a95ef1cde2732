//! The points of the charts, gathered while a history is folded: a long range is gathered into at most [`MAX_POINTS`] steps, each with
//! its lowest and highest count, so that no spike is lost. Draws nothing.

use std::collections::BTreeMap;

use detection::{
    Detector, Judgement, Minute, MonitoredStatus, Observed, RowChange, Severity, Stream,
    backtest::LabelledIncident,
};

use super::{History, LabelFile};

/// Steps of a chart at most.
const MAX_POINTS: i64 = 720;

/// Minutes on either side of an incident in its close-up.
const AROUND_MINUTES: i64 = 60;

/// The time of the charts, in steps of some minutes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub(super) first: Minute,
    pub(super) step_minutes: i64,
    /// How many steps.
    pub(super) steps: usize,
}

impl Axis {
    /// Both minutes belong to it.
    fn over(first: Minute, last: Minute) -> Self {
        let minutes = last.since(first) + 1;
        let step_minutes = (minutes + MAX_POINTS - 1).div_euclid(MAX_POINTS).max(1);
        let steps = (minutes + step_minutes - 1).div_euclid(step_minutes);
        Self {
            first,
            step_minutes,
            steps: usize::try_from(steps).unwrap_or(1),
        }
    }

    fn step(&self, minute: Minute) -> Option<usize> {
        let step = minute.since(self.first).div_euclid(self.step_minutes);
        usize::try_from(step).ok().filter(|step| *step < self.steps)
    }
}

/// The observed minutes of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) low: u32,
    pub(super) high: u32,
    /// The usual counts at its first judged minute: those that would not be CRITICAL.
    pub(super) usual: Option<(f64, f64)>,
    /// The worst alert.
    pub(super) alert: Option<Severity>,
}

/// The steps of each status; none where no minute was observed.
pub(super) type StreamPoints = [Vec<Option<Point>>; MonitoredStatus::COUNT];

/// The charts of one policy.
#[derive(Debug)]
pub(super) struct Charts {
    pub(super) axis: Axis,
    pub(super) streams: BTreeMap<Stream, StreamPoints>,
    pub(super) closeups: Vec<Closeup>,
}

/// One incident and the hour on either side of it.
#[derive(Debug)]
pub(super) struct Closeup {
    pub(super) incident: LabelledIncident,
    pub(super) stream: Stream,
    pub(super) axis: Axis,
    pub(super) points: StreamPoints,
}

fn no_points(axis: &Axis) -> StreamPoints {
    std::array::from_fn(|_| vec![None; axis.steps])
}

impl Closeup {
    /// None where the label is about several streams.
    fn new(incident: &LabelledIncident, history: &History) -> Option<Self> {
        let mut streams = history.streams.iter();
        let stream = match (&incident.stream, streams.next(), streams.next()) {
            (Some(stream), ..) | (None, Some(stream), None) => stream.clone(),
            _ => return None,
        };
        let (first, last) = (
            incident.start.plus(-AROUND_MINUTES),
            incident.end.plus(AROUND_MINUTES - 1),
        );
        let axis = Axis::over(first, last);
        Some(Self {
            incident: incident.clone(),
            stream,
            points: no_points(&axis),
            axis,
        })
    }
}

/// Gathers the points of one fold.
pub(super) struct Recorder {
    /// The CRITICAL threshold.
    critical: f64,
    charts: Charts,
}

impl Recorder {
    pub(super) fn new(detector: Detector, history: &History, labels: Option<&LabelFile>) -> Self {
        let axis = Axis::over(history.first(), history.last());
        let streams = history.streams.iter();
        let incidents = labels.iter().flat_map(|file| file.incidents());
        Self {
            critical: detector.threshold(Severity::Critical),
            charts: Charts {
                axis,
                streams: streams
                    .map(|stream| (stream.clone(), no_points(&axis)))
                    .collect(),
                closeups: incidents
                    .filter_map(|incident| Closeup::new(incident, history))
                    .collect(),
            },
        }
    }

    pub(super) fn observe(&mut self, observed: &Observed) {
        let (minute, stream) = (observed.counts.minute(), observed.counts.stream());
        let charts = &mut self.charts;
        if let (Some(step), Some(points)) =
            (charts.axis.step(minute), charts.streams.get_mut(stream))
        {
            add(self.critical, points, step, observed);
        }
        for closeup in &mut charts.closeups {
            if let Some(step) = closeup.axis.step(minute)
                && closeup.stream == *stream
            {
                add(self.critical, &mut closeup.points, step, observed);
            }
        }
    }

    pub(super) fn finish(self) -> Charts {
        self.charts
    }
}

/// Adds the rows and the alerts of a minute to their step.
fn add(critical: f64, points: &mut StreamPoints, step: usize, observed: &Observed) {
    for row in &observed.rows {
        let point = points[row.status.index()][step].get_or_insert(Point {
            low: row.count,
            high: row.count,
            usual: None,
            alert: None,
        });
        point.low = point.low.min(row.count);
        point.high = point.high.max(row.count);
        if let RowChange::Judged {
            judgement: Judgement::Finding(finding),
            ..
        } = row.change
            && point.usual.is_none()
        {
            point.usual = finding.evidence.usual_range(critical);
        }
    }
    for raised in &observed.alerts {
        let key = &raised.anomaly.key;
        if let Some(point) = &mut points[key.status.index()][step] {
            point.alert = point.alert.max(Some(key.severity));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_covers_every_minute_in_few_steps() {
        for (minutes, steps, step_minutes) in
            [(1, 1, 1), (720, 720, 1), (721, 361, 2), (40_320, 720, 56)]
        {
            let first = Minute::from_epoch_minutes(29_000_000);
            let last = first.plus(minutes - 1);
            let axis = Axis::over(first, last);
            assert_eq!((axis.steps, axis.step_minutes), (steps, step_minutes));
            assert_eq!(axis.step(last), Some(steps - 1));
            assert_eq!(axis.step(first.plus(-1)), None);
        }
    }
}
