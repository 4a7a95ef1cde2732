//! The approval rate of a stream's newest hour as a small drawing. A minute without counts interrupts it: it is unknown, not zero.

use std::fmt::Write as _;

use detection::{History, Minute, MonitoredStatus};
use maud::{Markup, PreEscaped, html};

/// Minutes of the drawing, and of one step.
const MINUTES: i64 = 60;
const STEP: i64 = 3;

const HEIGHT: f64 = 12.0;

/// The lowest rate of the drawing, unless a step is below: so that usual noise looks flat and a fall does not.
const FLOOR: f64 = 0.75;

/// The approval rate of each step, oldest first; none where nothing is known.
pub(super) struct Rates(Vec<Option<f64>>);

impl Rates {
    /// Of the hour that ends with the newest minute.
    pub(super) fn of(history: &History, newest: Minute) -> Self {
        let rate = |step: i64| {
            let first = newest.plus(step * STEP - MINUTES + 1);
            let minutes = (0..STEP).filter_map(|at| history.get(first.plus(at)));
            let (approved, all) = minutes.fold((0_u64, 0_u64), |(approved, all), minute| {
                let total: u64 = minute.counts.iter().copied().map(u64::from).sum();
                let own = minute.counts[MonitoredStatus::Approved.index()];
                (approved + u64::from(own), all + total)
            });
            share(approved, all)
        };
        Self((0..MINUTES / STEP).map(rate).collect())
    }

    /// The rate of the newest step, in words; none where it is unknown.
    pub(super) fn newest(&self) -> Option<String> {
        let newest = (*self.0.last()?)?;
        Some(format!("{:.1} %", newest * 100.0))
    }

    /// For the eye only: the rate is beside it in words.
    pub(super) fn draw(&self) -> Markup {
        let floor = self.0.iter().flatten().copied().fold(FLOOR, f64::min);
        let mut path = String::new();
        let mut command = 'M';
        for (x, rate) in self.0.iter().enumerate() {
            let Some(rate) = rate else {
                command = 'M';
                continue;
            };
            let y = HEIGHT * (1.0 - (rate - floor) / (1.0 - floor));
            let _ = write!(path, "{command}{x} {y:.0}");
            command = 'L';
        }
        let width = self.0.len() - 1;
        html! {
            svg viewBox=(format!("0 -1 {width} 14")) preserveAspectRatio="none" aria-hidden="true" {
                path d=(PreEscaped(path)) {}
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of an hour are far below 2^53"
)]
fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}
