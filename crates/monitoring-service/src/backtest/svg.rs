//! One chart as inline SVG: usual range, counts, incidents and alerts of a status over time. The colours are in the style of the page.

use std::fmt::{self, Write as _};

use detection::{Minute, Severity};

use super::chart::{Axis, Point};

/// Size in units of the drawing.
const WIDTH: f64 = 960.0;
const PLOT_HEIGHT: f64 = 96.0;
/// The lane below the plot in which alerts are marked.
const LANE_HEIGHT: f64 = 12.0;
const LABEL_HEIGHT: f64 = 16.0;

/// Room for a label of the time axis.
const LABEL_WIDTH: f64 = 72.0;

/// Labels of the time axis at most.
const MAX_TICKS: i64 = 9;

/// Minutes between two labels of the time axis, the first that fits.
const TICK_MINUTES: [i64; 12] = [
    10, 30, 60, 180, 360, 720, 1440, 2880, 5760, 10_080, 40_320, 131_040,
];

/// How a label is shaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shade {
    Found,
    Missed,
    Harmless,
}

impl Shade {
    const fn class(self) -> &'static str {
        match self {
            Self::Found => "f",
            Self::Missed => "m",
            Self::Harmless => "h",
        }
    }
}

/// A labelled time: [start, end).
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: Minute,
    pub(super) end: Minute,
    pub(super) shade: Shade,
}

/// Appends the chart. `title` must be escaped.
pub(super) fn draw(
    out: &mut String,
    title: &str,
    axis: &Axis,
    points: &[Option<Point>],
    spans: &[Span],
) -> fmt::Result {
    let height = PLOT_HEIGHT + LANE_HEIGHT + LABEL_HEIGHT;
    let scale = Scale::new(axis, points);
    write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">"
    )?;
    for span in spans {
        draw_span(out, &scale, span)?;
    }
    draw_ticks(out, &scale)?;
    draw_area(out, &scale, "b", points, |point| point.usual)?;
    draw_area(out, &scale, "c", points, |point| {
        Some((f64::from(point.low), f64::from(point.high)))
    })?;
    for (class, severity, top) in [
        ("w", Severity::Warning, 4.0),
        ("k", Severity::Critical, 0.0),
    ] {
        draw_alerts(out, &scale, points, (class, severity, top))?;
    }
    writeln!(out, "<text x=\"4\" y=\"12\">{:.0}</text></svg>", scale.most)
}

/// From minutes and counts to units of the drawing.
struct Scale {
    axis: Axis,
    most: f64,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "steps and minutes of a chart are far below 2^53"
)]
impl Scale {
    /// The highest count is on the chart, and the usual range as far as it needs little more room.
    fn new(axis: &Axis, points: &[Option<Point>]) -> Self {
        let seen = || points.iter().flatten();
        let count = seen()
            .map(|point| f64::from(point.high))
            .fold(3.0, f64::max);
        let usual = seen().filter_map(|point| point.usual).map(|(_, high)| high);
        let usual = usual.fold(0.0, f64::max);
        Self {
            axis: *axis,
            most: count.max(usual.min(1.35 * count)).ceil(),
        }
    }

    fn x(&self, step: usize) -> f64 {
        step as f64 / self.axis.steps as f64 * WIDTH
    }

    fn x_of(&self, minute: Minute) -> f64 {
        let minutes = self.axis.steps as f64 * self.axis.step_minutes as f64;
        (minute.since(self.axis.first) as f64 / minutes * WIDTH).clamp(0.0, WIDTH)
    }

    fn y(&self, count: f64) -> f64 {
        PLOT_HEIGHT * (1.0 - (count / self.most).min(1.0))
    }
}

/// At least as wide as a line, so that a short incident is seen on a long chart.
fn draw_span(out: &mut String, scale: &Scale, span: &Span) -> fmt::Result {
    let (from, to) = (scale.x_of(span.start), scale.x_of(span.end));
    if to <= 0.0 || from >= WIDTH {
        return Ok(());
    }
    let (class, width) = (span.shade.class(), (to - from).max(2.0));
    let height = PLOT_HEIGHT + LANE_HEIGHT;
    write!(
        out,
        "<rect class=\"{class}\" x=\"{from:.1}\" width=\"{width:.1}\" height=\"{height}\"/>"
    )
}

/// Labels at round times, UTC.
fn draw_ticks(out: &mut String, scale: &Scale) -> fmt::Result {
    let axis = &scale.axis;
    let minutes = i64::try_from(axis.steps).unwrap_or(1) * axis.step_minutes;
    let fits = |tick: &&i64| minutes / **tick < MAX_TICKS;
    let step = TICK_MINUTES.iter().find(fits).copied().unwrap_or(minutes);
    let first = axis.first.epoch_minutes();
    let mut tick = first + (-first).rem_euclid(step);
    while tick < first + minutes {
        let minute = Minute::from_epoch_minutes(tick);
        let text = minute.to_string();
        let label = if step < 1440 {
            text.get(5..16)
        } else {
            text.get(5..10)
        };
        let (x, y) = (scale.x_of(minute), PLOT_HEIGHT + LANE_HEIGHT + 12.0);
        let label = label.unwrap_or_default().replace('T', " ");
        write!(out, "<path class=\"g\" d=\"M{x:.1} 0V{PLOT_HEIGHT}\"/>")?;
        if x < WIDTH - LABEL_WIDTH {
            write!(out, "<text x=\"{x:.1}\" y=\"{y}\">{label}</text>")?;
        }
        tick += step;
    }
    Ok(())
}

/// The area between two edges, interrupted where there is none: along the upper one, and back along the lower one.
fn draw_area(
    out: &mut String,
    scale: &Scale,
    class: &str,
    points: &[Option<Point>],
    edges: fn(&Point) -> Option<(f64, f64)>,
) -> fmt::Result {
    write!(out, "<path class=\"{class}\" d=\"")?;
    let edges: Vec<_> = points
        .iter()
        .enumerate()
        .map(|(step, point)| Some((step, edges(point.as_ref()?)?)))
        .collect();
    for run in edges.split(Option::is_none) {
        let run: Vec<_> = run.iter().flatten().collect();
        let upper = run.iter().map(|(step, (_, high))| (*step, *high));
        let lower = run.iter().rev().map(|(step, (low, _))| (*step, *low));
        let mut command = 'M';
        for (step, count) in upper.chain(lower) {
            write!(out, "{command}{:.1} {:.1}", scale.x(step), scale.y(count))?;
            command = 'L';
        }
        if !run.is_empty() {
            out.push('Z');
        }
    }
    out.push_str("\"/>");
    Ok(())
}

/// One mark for each step with an alert of this severity.
fn draw_alerts(
    out: &mut String,
    scale: &Scale,
    points: &[Option<Point>],
    (class, severity, top): (&str, Severity, f64),
) -> fmt::Result {
    write!(out, "<path class=\"{class}\" d=\"")?;
    for (step, point) in points.iter().enumerate() {
        if point.is_some_and(|point| point.alert == Some(severity)) {
            let (x, y) = (scale.x(step), PLOT_HEIGHT + top);
            write!(out, "M{x:.1} {y}V{}", PLOT_HEIGHT + LANE_HEIGHT)?;
        }
    }
    out.push_str("\"/>");
    Ok(())
}
