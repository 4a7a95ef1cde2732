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

    /// In steps from point to point, because 500 of these are in one page: a flat run is one of them.
    fn path(&self) -> String {
        let floor = self.0.iter().flatten().copied().fold(FLOOR, f64::min);
        let (mut path, mut last, mut flat) = (String::new(), None, 0);
        for (x, rate) in self.0.iter().enumerate() {
            let y = rate.map(|rate| height(rate, floor));
            if y.is_some() && y == last {
                flat += 1;
                continue;
            }
            if flat > 0 {
                let _ = write!(path, "h{flat}");
                flat = 0;
            }
            let _ = match (last, y) {
                (Some(last), Some(y)) => write!(path, "l1{:+}", y - last),
                (None, Some(y)) => write!(path, "M{x} {y}"),
                (_, None) => Ok(()),
            };
            last = y;
        }
        if flat > 0 {
            let _ = write!(path, "h{flat}");
        }
        path
    }

    /// For the eye only: the rate is beside it in words.
    pub(super) fn draw(&self) -> Markup {
        let path = self.path();
        let width = self.0.len() - 1;
        html! {
            svg viewBox=(format!("0 -1 {width} 14")) preserveAspectRatio="none" aria-hidden="true" {
                path d=(PreEscaped(path)) {}
            }
        }
    }
}

/// From the top of the drawing, in whole units.
#[expect(
    clippy::cast_possible_truncation,
    reason = "from 0 to the height of the drawing"
)]
fn height(rate: f64, floor: f64) -> i32 {
    (HEIGHT * (1.0 - (rate - floor) / (1.0 - floor))).round() as i32
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of an hour are far below 2^53"
)]
fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| part as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_is_its_steps_and_holes() {
        let of = |rates: &[Option<f64>]| Rates(rates.to_vec()).path();
        let (high, low) = (Some(1.0), Some(0.75));
        assert_eq!(
            of(&[high, high, high, low, low, high]),
            "M0 0h2l1+12h1l1-12"
        );
        assert_eq!(of(&[None, high, None, low, low]), "M1 0M3 12h1");
        assert_eq!(
            of(&[Some(0.5), high]),
            "M0 12l1-12",
            "the floor is below the lowest"
        );
        assert_eq!(of(&[None, None]), "");
    }
}
