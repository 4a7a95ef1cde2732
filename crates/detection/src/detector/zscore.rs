//! The policy `zscore`: compares a count with mean and deviation of the observed minutes before it. It has no state.

use strum::{Display, EnumString, IntoStaticStr};

use crate::{
    baseline::Baseline,
    finding::{Direction, Evidence, Finding, Severity},
    judgement::{Judgement, Unjudged},
    number::decimal,
    status::MonitoredStatus,
};

/// The directions in which `approved` alerts. Problem statuses alert on rises only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ApprovedDirection {
    /// A collapse and a rise.
    #[default]
    Both,
    /// Only a rise.
    Up,
    /// Only a collapse.
    Down,
}

/// The two limits on |z|: 0 < warning < critical, both finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    warning: f64,
    critical: f64,
}

/// The limits are not in order.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "the warning threshold {warning} and the critical threshold {critical} must be 0 < warning < critical"
)]
pub struct ThresholdsError {
    warning: f64,
    critical: f64,
}

impl Thresholds {
    /// Creates the limits; an error unless 0 < warning < critical.
    pub fn try_new(warning: f64, critical: f64) -> Result<Self, ThresholdsError> {
        if 0.0 < warning && warning < critical && critical.is_finite() {
            Ok(Self { warning, critical })
        } else {
            Err(ThresholdsError { warning, critical })
        }
    }

    /// The severity of a deviation. A deviation equal to a limit does not exceed it.
    fn severity(&self, deviation: f64) -> Severity {
        if deviation > self.critical {
            Severity::Critical
        } else if deviation > self.warning {
            Severity::Warning
        } else {
            Severity::Normal
        }
    }

    /// The WARNING limit.
    pub(crate) const fn warning(&self) -> f64 {
        self.warning
    }

    /// The CRITICAL limit.
    pub(crate) const fn critical(&self) -> f64 {
        self.critical
    }

    /// The CRITICAL limit for CRITICAL, else the WARNING limit.
    pub const fn limit(&self, severity: Severity) -> f64 {
        match severity {
            Severity::Critical => self.critical,
            _ => self.warning,
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            warning: 2.5,
            critical: 4.0,
        }
    }
}

/// The policy `zscore` with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZScoreDetector {
    /// The limits on |z|.
    pub thresholds: Thresholds,
    /// Observed minutes in a baseline.
    pub window: usize,
    /// Fewer observed minutes than this in the window: [`Unjudged::Learning`].
    pub min_history: u32,
    /// The directions in which `approved` alerts.
    pub approved_direction: ApprovedDirection,
    /// `MIN_COUNT_FOR_CRITICAL`: a rise to fewer transactions than this is a WARNING at most.
    pub min_count_for_critical: u32,
}

impl Default for ZScoreDetector {
    fn default() -> Self {
        Self {
            thresholds: Thresholds::default(),
            window: 60,
            min_history: 30,
            approved_direction: ApprovedDirection::Both,
            min_count_for_critical: 1,
        }
    }
}

impl ZScoreDetector {
    /// Evaluates a minute's count; [`Unjudged::Learning`] while the window is too short.
    pub fn judge(&self, status: MonitoredStatus, count: u32, baseline: Baseline) -> Judgement {
        if baseline.minutes() < self.min_history {
            return Judgement::Unjudged(Unjudged::Learning {
                score: baseline.z_score(count),
                evidence: Evidence::ZScore { baseline },
            });
        }
        Judgement::Finding(self.judge_now(status, count, baseline))
    }

    /// Evaluates a count with any length of window.
    pub fn judge_now(&self, status: MonitoredStatus, count: u32, baseline: Baseline) -> Finding {
        let score = baseline.z_score(count);
        let deviation = match deviation(count, baseline) {
            Some(deviation) => deviation,
            None if status.is_problem() && count > 0 => f64::INFINITY,
            None => 0.0,
        };
        let direction = if deviation > 0.0 {
            Direction::Up
        } else {
            Direction::Down
        };
        let few = direction == Direction::Up && count < self.min_count_for_critical;
        let severity = match self.thresholds.severity(deviation.abs()) {
            _ if !self.judges(status, direction) => Severity::Normal,
            Severity::Critical if few => Severity::Warning,
            severity => severity,
        };
        let anomalous = severity.is_anomalous();
        Finding {
            severity,
            direction: anomalous.then_some(direction),
            score,
            threshold: anomalous.then(|| self.thresholds.limit(severity)),
            evidence: Evidence::ZScore { baseline },
        }
    }

    /// Distance of a count from its baseline in a direction that alerts, in deviations; `None` without a baseline.
    pub(crate) fn deviation_to_alert(
        &self,
        status: MonitoredStatus,
        count: u32,
        baseline: Baseline,
    ) -> Option<f64> {
        let deviation = deviation(count, baseline)?;
        let judged = |direction, deviation: f64| {
            if self.judges(status, direction) {
                deviation
            } else {
                f64::NEG_INFINITY
            }
        };
        Some(judged(Direction::Up, deviation).max(judged(Direction::Down, -deviation)))
    }

    const fn judges(&self, status: MonitoredStatus, direction: Direction) -> bool {
        match (direction, self.approved_direction) {
            (Direction::Up, _) if status.is_problem() => true,
            (Direction::Down, _) if status.is_problem() => false,
            (_, ApprovedDirection::Both)
            | (Direction::Up, ApprovedDirection::Up)
            | (Direction::Down, ApprovedDirection::Down) => true,
            (Direction::Up, ApprovedDirection::Down) | (Direction::Down, ApprovedDirection::Up) => {
                false
            }
        }
    }
}

/// Distance of a count from its baseline in deviations, where a flat baseline has the deviation 1. `None` without a baseline.
fn deviation(count: u32, baseline: Baseline) -> Option<f64> {
    match baseline {
        Baseline::Missing { .. } => None,
        Baseline::Flat { mean, .. } => Some(f64::from(count) - mean),
        Baseline::Spread { .. } => baseline.z_score(count),
    }
}

/// A finding of this policy in one sentence, for people.
pub(crate) fn sentence(finding: &Finding, baseline: &Baseline, status: &str, count: u32) -> String {
    let (severity, minutes) = (finding.severity, baseline.minutes());
    match *baseline {
        Baseline::Missing { .. } => {
            let rule = match severity {
                Severity::Critical => ": any occurrence is critical",
                Severity::Warning => ": fewer than MIN_COUNT_FOR_CRITICAL",
                Severity::Normal => "",
            };
            format!(
                "{severity}: {status} = {count} with no established baseline (none in {minutes} observed minutes){rule}"
            )
        }
        Baseline::Flat { mean, .. } => format!(
            "{severity}: {status} = {count} against a flat {} in {minutes} observed minutes: {:+.1} from the mean, judged as if the deviation were 1.0",
            decimal(mean),
            f64::from(count) - mean
        ),
        Baseline::Spread { mean, std_dev, .. } => format!(
            "{severity}: {status} = {count} is {:.1} standard deviations {} its mean of {} (deviation {}, {minutes} observed minutes)",
            finding.score.map_or(0.0, f64::abs),
            if f64::from(count) < mean {
                "below"
            } else {
                "above"
            },
            decimal(mean),
            decimal(std_dev),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judgement::State;

    const SPREAD: Baseline = Baseline::Spread {
        mean: 10.0,
        std_dev: 2.0,
        minutes: 60,
    };
    const FLAT: Baseline = Baseline::Flat {
        mean: 10.0,
        minutes: 60,
    };
    const MISSING: Baseline = Baseline::Missing { minutes: 60 };

    fn judge(
        status: MonitoredStatus,
        count: u32,
        baseline: Baseline,
    ) -> (Severity, Option<Direction>) {
        let finding = ZScoreDetector::default().judge_now(status, count, baseline);
        (finding.severity, finding.direction)
    }

    #[test]
    fn a_z_score_at_a_limit_is_not_anomalous() {
        use Severity::{Critical, Normal, Warning};
        for (count, severity) in [
            (10, Normal),
            (15, Normal),
            (16, Warning),
            (18, Warning),
            (19, Critical),
        ] {
            let direction = severity.is_anomalous().then_some(Direction::Up);
            assert_eq!(
                judge(MonitoredStatus::Denied, count, SPREAD),
                (severity, direction),
                "count {count}"
            );
        }
    }

    #[test]
    fn problems_alert_on_rises_approved_both_ways() {
        assert_eq!(
            judge(MonitoredStatus::Denied, 0, SPREAD),
            (Severity::Normal, None)
        );
        assert_eq!(
            judge(MonitoredStatus::Approved, 0, SPREAD),
            (Severity::Critical, Some(Direction::Down))
        );
        assert_eq!(
            judge(MonitoredStatus::Approved, 30, SPREAD),
            (Severity::Critical, Some(Direction::Up))
        );
    }

    #[test]
    fn approved_direction_limits_the_alerts() {
        let judge = |approved_direction, count| {
            let detector = ZScoreDetector {
                approved_direction,
                ..ZScoreDetector::default()
            };
            detector
                .judge_now(MonitoredStatus::Approved, count, SPREAD)
                .severity
        };
        assert_eq!(judge(ApprovedDirection::Up, 0), Severity::Normal);
        assert_eq!(judge(ApprovedDirection::Up, 30), Severity::Critical);
        assert_eq!(judge(ApprovedDirection::Down, 0), Severity::Critical);
        assert_eq!(judge(ApprovedDirection::Down, 30), Severity::Normal);
    }

    #[test]
    fn any_problem_without_a_baseline_is_critical() {
        for status in MonitoredStatus::ALL {
            assert_eq!(judge(status, 0, MISSING), (Severity::Normal, None));
            let expected = if status.is_problem() {
                Severity::Critical
            } else {
                Severity::Normal
            };
            assert_eq!(judge(status, 1, MISSING).0, expected);
        }
        let finding = ZScoreDetector::default().judge_now(MonitoredStatus::Failed, 1, MISSING);
        assert_eq!(finding.score, None);
    }

    #[test]
    fn flat_baseline_uses_unit_deviation() {
        assert_eq!(
            judge(MonitoredStatus::Failed, 12, FLAT),
            (Severity::Normal, None)
        );
        assert_eq!(
            judge(MonitoredStatus::Failed, 13, FLAT).0,
            Severity::Warning
        );
        assert_eq!(
            judge(MonitoredStatus::Failed, 15, FLAT).0,
            Severity::Critical
        );
        assert_eq!(
            judge(MonitoredStatus::Approved, 5, FLAT),
            (Severity::Critical, Some(Direction::Down))
        );
        let finding = ZScoreDetector::default().judge_now(MonitoredStatus::Failed, 15, FLAT);
        assert_eq!(finding.score, None);
        assert!(
            finding
                .sentence("failed", 15)
                .contains("as if the deviation were 1.0")
        );
    }

    #[test]
    fn a_short_window_is_learning_unless_submitted() {
        let short = Baseline::Missing { minutes: 29 };
        let judged = ZScoreDetector::default().judge(MonitoredStatus::Failed, 100, short);
        assert_eq!(
            (judged.state(), judged.direction()),
            (State::Learning, None)
        );
        let now = ZScoreDetector::default().judge_now(MonitoredStatus::Failed, 100, short);
        assert_eq!(
            (now.severity, now.direction),
            (Severity::Critical, Some(Direction::Up))
        );
    }

    #[test]
    fn few_transactions_are_a_warning_at_most() {
        let detector = ZScoreDetector {
            min_count_for_critical: 3,
            ..ZScoreDetector::default()
        };
        let severity =
            |status, count, baseline| detector.judge_now(status, count, baseline).severity;
        for (count, expected) in [(2, Severity::Warning), (3, Severity::Critical)] {
            assert_eq!(severity(MonitoredStatus::Failed, count, MISSING), expected);
        }
        assert_eq!(
            severity(MonitoredStatus::Approved, 0, SPREAD),
            Severity::Critical,
            "a collapse always has few transactions"
        );
        let capped = detector.judge_now(MonitoredStatus::Failed, 2, MISSING);
        assert_eq!(capped.threshold, Some(2.5));
        let sentence = capped.sentence("failed", 2);
        assert!(
            sentence.contains("fewer than MIN_COUNT_FOR_CRITICAL"),
            "{sentence}"
        );
    }

    #[test]
    fn sentences_show_digits_of_small_means() {
        let rare = Baseline::Spread {
            mean: 0.0167,
            std_dev: 0.1291,
            minutes: 60,
        };
        let sentence = |count, baseline| {
            let finding =
                ZScoreDetector::default().judge_now(MonitoredStatus::Failed, count, baseline);
            finding.sentence("failed", count)
        };
        let text = sentence(1, rare);
        assert!(
            text.contains("its mean of 0.017 (deviation 0.13,"),
            "{text}"
        );
        let text = sentence(19, SPREAD);
        assert!(text.contains("its mean of 10.0 (deviation 2.0,"), "{text}");
    }

    #[test]
    fn thresholds_must_be_in_order() {
        for (warning, critical) in [
            (0.0, 1.0),
            (-1.0, 1.0),
            (2.0, 2.0),
            (3.0, 2.0),
            (f64::NAN, 1.0),
            (1.0, f64::INFINITY),
        ] {
            assert!(
                Thresholds::try_new(warning, critical).is_err(),
                "{warning} {critical}"
            );
        }
        assert!(Thresholds::try_new(2.5, 4.0).is_ok());
    }
}
