//! Mean and deviation over a window of counts, from exact sums, and the distance of a count from them. It sets no thresholds.
//!
//! Sums are integers, so neither the order of observations nor a restart can change any bit of a finding.

use strum::IntoStaticStr;

/// The number of counts, their sum and the sum of their squares, all exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    minutes: u32,
    sum: u64,
    squares: u128,
}

impl Sums {
    /// Adds a count.
    pub(crate) fn add(&mut self, count: u32) {
        self.minutes += 1;
        self.sum += u64::from(count);
        self.squares += u128::from(count) * u128::from(count);
    }

    /// Removes a count that was added before.
    pub(crate) fn remove(&mut self, count: u32) {
        self.minutes -= 1;
        self.sum -= u64::from(count);
        self.squares -= u128::from(count) * u128::from(count);
    }

    /// Mean and sample standard deviation: `s² = (n·Σx² − (Σx)²) / (n·(n−1))`, with an exact numerator, so that
    /// a flat window never looks spread because of a rounding error.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the one rounding, after the exact part"
    )]
    pub fn baseline(&self) -> Baseline {
        let Self {
            minutes,
            sum,
            squares,
        } = *self;
        if sum == 0 {
            return Baseline::Missing { minutes };
        }
        let n = u128::from(minutes);
        let mean = sum as f64 / f64::from(minutes);
        let numerator = n * squares - u128::from(sum) * u128::from(sum);
        if numerator == 0 {
            return Baseline::Flat { mean, minutes };
        }
        let std_dev = (numerator as f64 / (n * (n - 1)) as f64).sqrt();
        Baseline::Spread {
            mean,
            std_dev,
            minutes,
        }
    }
}

impl FromIterator<u32> for Sums {
    fn from_iter<I: IntoIterator<Item = u32>>(counts: I) -> Self {
        let mut sums = Self::default();
        counts.into_iter().for_each(|count| sums.add(count));
        sums
    }
}

/// Mean and deviation of a window of observed minutes. `minutes` is their number.
#[derive(Clone, Copy, Debug, PartialEq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Baseline {
    /// No established baseline: no minute, or only zeros.
    Missing {
        /// Observed minutes in the window.
        minutes: u32,
    },
    /// Every count is the same, so there is no deviation to divide by.
    Flat {
        /// That count per minute.
        mean: f64,
        /// Observed minutes in the window.
        minutes: u32,
    },
    /// The usual case.
    Spread {
        /// Mean count per minute.
        mean: f64,
        /// Sample standard deviation (n-1) of the counts, above 0.
        std_dev: f64,
        /// Observed minutes in the window.
        minutes: u32,
    },
}

impl Baseline {
    /// Observed minutes in the window.
    pub const fn minutes(&self) -> u32 {
        match *self {
            Self::Missing { minutes }
            | Self::Flat { minutes, .. }
            | Self::Spread { minutes, .. } => minutes,
        }
    }

    /// Mean count per minute; `None` without an established baseline.
    pub const fn mean(&self) -> Option<f64> {
        match *self {
            Self::Missing { .. } => None,
            Self::Flat { mean, .. } | Self::Spread { mean, .. } => Some(mean),
        }
    }

    /// Sample standard deviation: 0 if flat, `None` without an established baseline.
    pub const fn std_dev(&self) -> Option<f64> {
        match *self {
            Self::Missing { .. } => None,
            Self::Flat { .. } => Some(0.0),
            Self::Spread { std_dev, .. } => Some(std_dev),
        }
    }

    /// `missing`, `flat` or `spread`.
    pub fn kind(&self) -> &'static str {
        self.into()
    }

    /// The baseline of these stored figures: the inverse of [`Self::mean`], [`Self::std_dev`] and [`Self::minutes`].
    pub fn from_figures(mean: Option<f64>, std_dev: Option<f64>, minutes: u32) -> Self {
        match (mean, std_dev) {
            (Some(mean), Some(std_dev)) if std_dev > 0.0 => Self::Spread {
                mean,
                std_dev,
                minutes,
            },
            (Some(mean), _) => Self::Flat { mean, minutes },
            (None, _) => Self::Missing { minutes },
        }
    }

    /// The counts whose deviation stays within this many standard deviations, not below 0; none where nothing is known.
    pub(crate) fn usual_range(&self, threshold: f64) -> Option<(f64, f64)> {
        let (mean, unit) = match *self {
            Self::Missing { .. } => return None,
            Self::Flat { mean, .. } => (mean, 1.0),
            Self::Spread { mean, std_dev, .. } => (mean, std_dev),
        };
        let width = threshold * unit;
        Some(((mean - width).max(0.0), mean + width))
    }

    /// The z-score of a count: its distance above the mean in sample standard deviations (negative: below it). `None`
    /// unless the window has a spread, so there is no division by zero.
    pub fn z_score(&self, count: u32) -> Option<f64> {
        match *self {
            Self::Spread { mean, std_dev, .. } => Some((f64::from(count) - mean) / std_dev),
            Self::Missing { .. } | Self::Flat { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_or_zero_window_has_no_baseline() {
        assert_eq!(Sums::default().baseline(), Baseline::Missing { minutes: 0 });
        assert_eq!(
            Sums::from_iter([0; 60]).baseline(),
            Baseline::Missing { minutes: 60 }
        );
    }

    #[test]
    fn equal_minutes_are_flat_and_have_no_z_score() {
        for (counts, minutes) in [(vec![7], 1), (vec![u32::MAX; 60], 60)] {
            let baseline = counts.iter().copied().collect::<Sums>().baseline();
            assert_eq!(
                baseline,
                Baseline::Flat {
                    mean: f64::from(counts[0]),
                    minutes
                }
            );
            assert_eq!(baseline.z_score(u32::MAX), None);
        }
    }

    #[test]
    fn a_textbook_sample_has_its_known_deviation() {
        let baseline = Sums::from_iter([2, 4, 4, 4, 5, 5, 7, 9]).baseline();
        assert_eq!(
            baseline,
            Baseline::Spread {
                mean: 5.0,
                std_dev: (32.0_f64 / 7.0).sqrt(),
                minutes: 8
            }
        );
        assert_eq!(baseline.z_score(5), Some(0.0));
    }

    #[test]
    fn the_largest_counts_do_not_overflow() {
        let counts = (0..1440).map(|i| if i % 2 == 0 { u32::MAX } else { 0 });
        assert!(matches!(
            counts.collect::<Sums>().baseline(),
            Baseline::Spread { .. }
        ));
    }

    proptest! {
        #[test]
        fn rolling_sums_agree_with_the_naive_formula(
            counts in prop::collection::vec(prop_oneof![0..5_u32, 0..1000_u32, any::<u32>()], 2..200),
            window in 2..100_usize,
        ) {
            let mut rolling = Sums::default();
            for (i, &count) in counts.iter().enumerate() {
                rolling.add(count);
                if i >= window {
                    rolling.remove(counts[i - window]);
                }
            }
            let last = &counts[counts.len().saturating_sub(window)..];
            prop_assert_eq!(rolling, last.iter().copied().collect::<Sums>());
            #[expect(clippy::cast_precision_loss, reason = "the naive formula, in floats")]
            let n = last.len() as f64;
            let mean = last.iter().map(|&c| f64::from(c)).sum::<f64>() / n;
            let variance = last.iter().map(|&c| (f64::from(c) - mean).powi(2)).sum::<f64>() / (n - 1.0);
            if let Baseline::Spread { mean: exact, std_dev, .. } = rolling.baseline() {
                prop_assert!((exact - mean).abs() <= 1e-9 * mean.max(1.0));
                prop_assert!((std_dev - variance.sqrt()).abs() <= 1e-6 * std_dev.max(1.0));
            }
        }

        #[test]
        fn a_baseline_survives_its_stored_figures(counts in prop::collection::vec(0..50_u32, 0..60)) {
            let baseline = counts.into_iter().collect::<Sums>().baseline();
            prop_assert_eq!(Baseline::from_figures(baseline.mean(), baseline.std_dev(), baseline.minutes()), baseline);
        }
    }
}
