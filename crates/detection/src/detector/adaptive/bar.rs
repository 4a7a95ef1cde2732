//! The setting of the policy, and the score that each status needs for a severity. It does not see counts.

use crate::Severity;

/// Episodes per day that a status may open before its bar rises: by a factor of `e^0.4` for each further one, at most `e^3`.
const FREE_EPISODES: f64 = 2.0;
const HEAT_STEP: f64 = 0.4;
const MAX_LOG_HEAT: f64 = 3.0;

/// The setting of the policy `adaptive`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveSettings {
    critical: f64,
}

/// A critical score that is too low for a warning below it, or too high for any count.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "ADAPTIVE_CRITICAL {0} must be above 1 and at most 100: it counts decades, so 5 is a chance of 1 in 100,000"
)]
pub struct AdaptiveSettingsError(pub f64);

impl AdaptiveSettings {
    /// `critical` is `ADAPTIVE_CRITICAL`, the false-alarm budget in decades: above 1, at most 100. WARNING is one decade less.
    pub fn try_new(critical: f64) -> Result<Self, AdaptiveSettingsError> {
        if 1.0 < critical && critical <= 100.0 {
            Ok(Self { critical })
        } else {
            Err(AdaptiveSettingsError(critical))
        }
    }

    /// The score that CRITICAL needs before any heat, in decades.
    pub(crate) const fn critical(self) -> f64 {
        self.critical
    }

    /// The score that this severity needs before any heat: one decade less for a WARNING.
    pub(crate) const fn threshold(self, severity: Severity) -> f64 {
        match severity {
            Severity::Critical => self.critical,
            Severity::Warning | Severity::Normal => self.critical - 1.0,
        }
    }

    /// The severity of a score in the alerting direction.
    pub(super) fn severity(self, bad: f64, heat: f64) -> Severity {
        if bad >= self.threshold(Severity::Critical) * heat {
            Severity::Critical
        } else if bad >= self.threshold(Severity::Warning) * heat {
            Severity::Warning
        } else {
            Severity::Normal
        }
    }
}

impl Default for AdaptiveSettings {
    fn default() -> Self {
        Self { critical: 5.0 }
    }
}

/// The factor on both limits of a status that opened or joined this many episodes in about the last day; 1 up to two.
pub(super) fn heat(episodes: f64) -> f64 {
    if episodes <= FREE_EPISODES {
        return 1.0;
    }
    let above = episodes - FREE_EPISODES;
    (HEAT_STEP * above).min(MAX_LOG_HEAT).exp()
}

/// The number of episodes for a heat above 1: the inverse of [`heat`], or its lowest value if the heat is at its limit.
pub(super) fn episodes(heat: f64) -> f64 {
    FREE_EPISODES + heat.ln() / HEAT_STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_critical_score_must_allow_a_warning() {
        for bad in [f64::NAN, f64::INFINITY, -5.0, 0.0, 1.0, 100.5] {
            let error = AdaptiveSettings::try_new(bad).unwrap_err().to_string();
            assert!(error.contains("ADAPTIVE_CRITICAL"), "{error}");
        }
        assert_eq!(
            AdaptiveSettings::try_new(5.0),
            Ok(AdaptiveSettings::default())
        );
    }

    #[test]
    fn limits_are_one_decade_apart_and_inclusive() {
        let severity = |bad| AdaptiveSettings::default().severity(bad, 1.0);
        let expected = [
            (3.99, Severity::Normal),
            (4.0, Severity::Warning),
            (4.99, Severity::Warning),
            (5.0, Severity::Critical),
        ];
        for (bad, wanted) in expected {
            assert_eq!(severity(bad), wanted, "{bad}");
        }
    }

    #[test]
    fn the_third_episode_of_a_day_raises_the_bar() {
        assert_eq!((heat(0.0), heat(2.0)), (1.0, 1.0));
        assert!((heat(3.0) - 0.4_f64.exp()).abs() < 1e-12);
        assert!((heat(1e9) - 3.0_f64.exp()).abs() < 1e-12);
        assert!((episodes(heat(4.5)) - 4.5).abs() < 1e-9);
    }
}
