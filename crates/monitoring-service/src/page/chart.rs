//! The chart of one status: its counts, the usual band, holes, incidents and alerts, and a target for each step to hover and to follow.
//!
//! The drawing is stretched to the width of the screen, so it has no text; labels are HTML beside it. That is why it is not the drawing of
//! the backtest report, which has a fixed size and is read without the service.

use std::fmt::{self, Write as _};

use detection::{Minute, Severity};

/// Height of the plot and of the lane for alerts below it, in units of the drawing. One step is one unit wide.
const PLOT: f64 = 100.0;
const LANE: f64 = 10.0;

/// The observed minutes of one step.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) low: u64,
    pub(super) high: u64,
    pub(super) usual: Option<(f64, f64)>,
    pub(super) alert: Option<Severity>,
    /// What a hover shows, and where a click leads.
    pub(super) title: String,
    pub(super) link: String,
}

/// The steps of one status in order of time; none where no minute was observed.
pub(super) struct Chart {
    pub(super) first: Minute,
    pub(super) step_minutes: i64,
    pub(super) steps: Vec<Option<Step>>,
    /// Incidents, [from, to).
    pub(super) incidents: Vec<(Minute, Minute)>,
}

/// The pattern of holes, once in a document.
pub(super) const HATCH: &str = "<svg class=\"defs\" aria-hidden=\"true\"><defs>\
    <pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
    <path class=\"hatch\" d=\"M0 0V6\"/></pattern></defs></svg>";

impl Chart {
    /// The count at the top of the chart: the highest one, and the usual band as far as it needs little more room.
    pub(super) fn top(&self) -> f64 {
        let steps = || self.steps.iter().flatten();
        let count = steps().map(|step| real(step.high)).fold(4.0, f64::max);
        let usual = steps().filter_map(|step| step.usual).map(|(_, high)| high);
        count
            .max(usual.fold(0.0, f64::max).min(1.35 * count))
            .ceil()
    }

    /// The drawing, as SVG.
    pub(super) fn draw(&self) -> String {
        let mut out = String::new();
        self.write(&mut out)
            .expect("writing to a string cannot fail");
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let (width, height) = (self.steps.len(), PLOT + LANE);
        write!(
            out,
            "<svg viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\">"
        )?;
        self.area(out, "band", |step| step.usual)?;
        let in_incident = self.in_incident();
        for (from, to) in runs(in_incident.len(), |at| in_incident[at]) {
            write!(
                out,
                "<rect class=\"inc\" x=\"{from}\" width=\"{}\" height=\"{height}\"/>",
                to - from
            )?;
        }
        self.area(out, "count", |step| Some((real(step.low), real(step.high))))?;
        self.holes(out)?;
        for (class, severity) in [("w", Severity::Warning), ("c", Severity::Critical)] {
            self.alerts(out, class, severity)?;
        }
        self.targets(out)?;
        out.push_str("</svg>");
        Ok(())
    }

    /// Whether each step touches an incident.
    fn in_incident(&self) -> Vec<bool> {
        let steps = self.steps.len();
        let step = |minutes: i64| {
            let step = minutes.div_euclid(self.step_minutes).max(0);
            usize::try_from(step).map_or(steps, |step| step.min(steps))
        };
        let mut in_incident = vec![false; steps];
        for (from, to) in &self.incidents {
            let first = step(from.since(self.first));
            // The last minute is before `to`; what ends as it begins touches one step.
            let after = step(to.since(self.first) - 1).max(first) + 1;
            if let Some(touched) = in_incident.get_mut(first..after.min(steps)) {
                touched.fill(true);
            }
        }
        in_incident
    }

    /// The runs of steps that `is_in`, as [from, to).
    fn runs(&self, is_in: impl Fn(Option<&Step>) -> bool) -> Vec<(usize, usize)> {
        runs(self.steps.len(), |at| is_in(self.steps[at].as_ref()))
    }

    /// The area between two edges: along the upper one, and back along the lower one. Interrupted where there is none.
    fn area(
        &self,
        out: &mut String,
        class: &str,
        edges: fn(&Step) -> Option<(f64, f64)>,
    ) -> fmt::Result {
        let top = self.top();
        let y = |count: f64| PLOT * (1.0 - (count / top).min(1.0));
        write!(out, "<path class=\"{class}\" d=\"")?;
        for (from, to) in self.runs(|step| step.is_some_and(|step| edges(step).is_some())) {
            let run = self.steps[from..to].iter().flatten();
            let run: Vec<_> = run.filter_map(edges).collect();
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            write!(out, "M{from} {:.0}", y(first.1))?;
            for (at, (_, high)) in (from..).zip(&run) {
                write!(out, "L{at}.5 {:.0}", y(*high))?;
            }
            write!(out, "L{to} {:.0}V{:.0}", y(last.1), y(last.0))?;
            for (at, (low, _)) in (from..to).zip(&run).rev() {
                write!(out, "L{at}.5 {:.0}", y(*low))?;
            }
            write!(out, "L{from} {:.0}Z", y(first.0))?;
        }
        out.push_str("\"/>");
        Ok(())
    }

    /// Steps without an observed minute.
    fn holes(&self, out: &mut String) -> fmt::Result {
        for (from, to) in self.runs(|step| step.is_none()) {
            let width = to - from;
            write!(
                out,
                "<rect class=\"hole\" fill=\"url(#hatch)\" x=\"{from}\" width=\"{width}\" height=\"{PLOT}\"><title>no minute arrived</title></rect>"
            )?;
        }
        Ok(())
    }

    /// One mark in the lane for each step with an alert; those of CRITICAL fill it.
    fn alerts(&self, out: &mut String, class: &str, severity: Severity) -> fmt::Result {
        let top = if severity == Severity::Critical {
            PLOT
        } else {
            PLOT + LANE / 2.0
        };
        write!(out, "<path class=\"mark {class}\" d=\"")?;
        for (at, step) in self.steps.iter().enumerate() {
            if step
                .as_ref()
                .is_some_and(|step| step.alert == Some(severity))
            {
                write!(out, "M{at}.5 {top}V{}", PLOT + LANE)?;
            }
        }
        out.push_str("\"/>");
        Ok(())
    }

    /// Not in the order of the keyboard: the list of alerts leads to the same places.
    fn targets(&self, out: &mut String) -> fmt::Result {
        out.push_str("<g class=\"to\">");
        for (at, step) in self.steps.iter().enumerate() {
            if let Some(step) = step {
                write!(
                    out,
                    "<a href=\"{}\" tabindex=\"-1\"><path d=\"M{at}.5 0V{PLOT}\"/><title>{}</title></a>",
                    step.link, step.title
                )?;
            }
        }
        out.push_str("</g>");
        Ok(())
    }
}

/// The runs of places below `end` that are in, as [from, to).
fn runs(end: usize, is_in: impl Fn(usize) -> bool) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for at in (0..end).filter(|at| is_in(*at)) {
        match runs.last_mut() {
            Some((_, to)) if *to == at => *to += 1,
            _ => runs.push((at, at + 1)),
        }
    }
    runs
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a chart are far below 2^53"
)]
fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_incident_shades_the_steps_that_it_touches() {
        let minute = Minute::from_epoch_minutes;
        let shaded = |incidents: &[(i64, i64)]| {
            let incidents = incidents.iter();
            let chart = Chart {
                first: minute(100),
                step_minutes: 10,
                steps: vec![None; 4],
                incidents: incidents
                    .map(|(from, to)| (minute(*from), minute(*to)))
                    .collect(),
            };
            chart.in_incident()
        };
        assert_eq!(shaded(&[(115, 120)]), [false, true, false, false]);
        assert_eq!(shaded(&[(115, 121)]), [false, true, true, false]);
        assert_eq!(shaded(&[(50, 101), (139, 139)]), [true, false, false, true]);
        assert_eq!(shaded(&[(0, 1000)]), [true; 4]);
    }
}
