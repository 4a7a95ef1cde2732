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
        for (from, to) in &self.incidents {
            let (from, to) = (self.x(*from), self.x(*to));
            let width = (to - from).max(1.0);
            write!(
                out,
                "<rect class=\"inc\" x=\"{from}\" width=\"{width}\" height=\"{height}\"/>"
            )?;
        }
        self.area(out, "band", |step| step.usual)?;
        self.area(out, "count", |step| Some((real(step.low), real(step.high))))?;
        self.holes(out)?;
        for (class, severity) in [("w", Severity::Warning), ("c", Severity::Critical)] {
            self.alerts(out, class, severity)?;
        }
        self.targets(out)?;
        out.push_str("</svg>");
        Ok(())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "minutes and steps of a chart are far below 2^53"
    )]
    fn x(&self, minute: Minute) -> f64 {
        let steps = minute.since(self.first) as f64 / self.step_minutes as f64;
        steps.clamp(0.0, self.steps.len() as f64)
    }

    /// The runs of steps that `is_in`, as [from, to).
    fn runs(&self, is_in: impl Fn(Option<&Step>) -> bool) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for at in (0..self.steps.len()).filter(|at| is_in(self.steps[*at].as_ref())) {
            match runs.last_mut() {
                Some((_, to)) if *to == at => *to += 1,
                _ => runs.push((at, at + 1)),
            }
        }
        runs
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

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a chart are far below 2^53"
)]
fn real(count: u64) -> f64 {
    count as f64
}
