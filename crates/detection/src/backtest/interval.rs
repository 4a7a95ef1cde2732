//! The exact confidence interval of a rate of rare events.

use serde::Serialize;

/// The probability of each tail outside a 95 % interval.
const TAIL: f64 = 0.025;
/// Halvings of a bisection: more than the bits of an f64.
const MAX_HALVINGS: usize = 80;

/// A rate per day with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Events per day.
    pub rate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The rate of `events` in `days`, which must be above 0, as a Poisson rate with its exact interval: the means at which as many
    /// or more, and as many or fewer, events have a chance of 2.5 %.
    ///
    /// Source: Garwood (1936), Fiducial limits for the Poisson distribution, Biometrika 28, 437-442. The equations are solved by bisection.
    pub(crate) fn of_rate(events: u32, days: f64) -> Self {
        let low = if events == 0 {
            0.0
        } else {
            bisect(0.0, f64::from(events), |mean| at_least(events, mean) < TAIL)
        };
        // Above this mean, so few events are far less likely than the tail.
        let most = 2.0 * f64::from(events) + 20.0;
        let high = bisect(f64::from(events), most, |mean| at_most(events, mean) > TAIL);
        Self {
            rate: f64::from(events) / days,
            low: low / days,
            high: high / days,
        }
    }
}

/// The point between `low` and `high` at which `before` turns false.
fn bisect(mut low: f64, mut high: f64, before: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..MAX_HALVINGS {
        let middle = low.midpoint(high);
        if before(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low.midpoint(high)
}

/// P(X >= events) for a Poisson mean below `events`: each term is smaller than the one before.
fn at_least(events: u32, mean: f64) -> f64 {
    let (mut term, mut sum, mut at) = (1.0, 1.0, f64::from(events));
    while term > sum * f64::EPSILON {
        at += 1.0;
        term *= mean / at;
        sum += term;
    }
    sum * ln_mass(events, mean).exp()
}

/// P(X <= events) for a Poisson mean of `events` or above.
fn at_most(events: u32, mean: f64) -> f64 {
    let (mut term, mut sum, mut at) = (1.0, 1.0, f64::from(events));
    while at > 0.0 && term > sum * f64::EPSILON {
        term *= at / mean;
        sum += term;
        at -= 1.0;
    }
    sum * ln_mass(events, mean).exp()
}

fn ln_mass(events: u32, mean: f64) -> f64 {
    let ln_factorial: f64 = (2..=events).map(|n| f64::from(n).ln()).sum();
    f64::from(events) * mean.ln() - mean - ln_factorial
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_match_the_tables() {
        // Garwood's table of 95 % limits.
        for (events, low, high) in [
            (0, 0.0, 3.689),
            (1, 0.0253, 5.572),
            (5, 1.623, 11.668),
            (10, 4.795, 18.390),
            (50, 37.111, 65.919),
            (100, 81.364, 121.627),
        ] {
            let interval = Interval::of_rate(events, 1.0);
            assert!((interval.low - low).abs() < 6e-4, "{events}: {interval:?}");
            assert!(
                (interval.high - high).abs() < 6e-4,
                "{events}: {interval:?}"
            );
        }
    }

    #[test]
    fn many_events_have_the_normal_interval() {
        let interval = Interval::of_rate(20_000, 1.0);
        let reach = 1.96 * 20_000_f64.sqrt();
        assert!(
            (interval.high - 20_000.0 - reach).abs() < 5.0,
            "{interval:?}"
        );
        assert!(
            (20_000.0 - interval.low - reach).abs() < 5.0,
            "{interval:?}"
        );
    }

    #[test]
    fn rates_are_per_day() {
        let interval = Interval::of_rate(0, 420.0);
        assert!(interval.rate < 1e-12 && (interval.high - 0.008_78).abs() < 1e-4);
    }
}
