//! The policy `zscore`: a count against its baseline gives a verdict. Knows no stream, no time and no memory.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, ZScore},
    status::MonitoredStatus,
};

/// How bad it is, mildest first: the worst of several is their maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    /// Stored without a verdict: the status is not monitored, or the minute came too late.
    NotJudged,
    /// Too few observed minutes to judge by.
    Learning,
    /// Within the thresholds.
    Normal,
    /// Beyond the warning threshold.
    Warning,
    /// The stream went quiet. A state of a stream, never the verdict of a row.
    Stale,
    /// Beyond the critical threshold.
    Critical,
}

impl Severity {
    /// All of them, mildest first, in the order of [`Severity::code`].
    pub const ALL: [Self; 6] = [
        Self::NotJudged,
        Self::Learning,
        Self::Normal,
        Self::Warning,
        Self::Stale,
        Self::Critical,
    ];

    /// The number it is stored as.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The severity stored as this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// True for the two that alert.
    pub const fn is_anomalous(self) -> bool {
        matches!(self, Self::Warning | Self::Critical)
    }

    /// The name in messages and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotJudged => "NOT_JUDGED",
            Self::Learning => "LEARNING",
            Self::Normal => "NORMAL",
            Self::Warning => "WARNING",
            Self::Stale => "STALE",
            Self::Critical => "CRITICAL",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which way a count left its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Above the baseline.
    Up,
    /// Below it.
    Down,
}

impl Direction {
    /// `up` or `down`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Which ways `approved` is judged. Problem statuses are always judged upwards only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApprovedDirection {
    /// A collapse of approvals and a rise.
    #[default]
    Both,
    /// Only a rise, as the classic policy.
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

/// Limits that could not order the severities.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "the warning threshold {warning} and the critical threshold {critical} must be 0 < warning < critical"
)]
pub struct ThresholdsError {
    warning: f64,
    critical: f64,
}

impl Thresholds {
    /// The limits, if they are in order.
    pub fn try_new(warning: f64, critical: f64) -> Result<Self, ThresholdsError> {
        if 0.0 < warning && warning < critical && critical.is_finite() {
            Ok(Self { warning, critical })
        } else {
            Err(ThresholdsError { warning, critical })
        }
    }

    /// The severity of a deviation: beyond a limit, not at it.
    fn severity(&self, deviation: f64) -> Severity {
        if deviation > self.critical {
            Severity::Critical
        } else if deviation > self.warning {
            Severity::Warning
        } else {
            Severity::Normal
        }
    }

    /// The limit that a verdict of this severity passed.
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

/// What the policy says of one count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// How bad it is; never [`Severity::Stale`].
    pub severity: Severity,
    /// Which way it left its range; none unless anomalous.
    pub direction: Option<Direction>,
    /// Its z-score, where one exists.
    pub z_score: Option<ZScore>,
    /// What it was judged against.
    pub baseline: Baseline,
}

impl Verdict {
    /// The verdict of a count that is stored and not judged.
    pub const NOT_JUDGED: Self = Self {
        severity: Severity::NotJudged,
        direction: None,
        z_score: None,
        baseline: Baseline::Missing { minutes: 0 },
    };

    /// The verdict in one sentence, for people.
    pub fn reason(&self, status: &str, count: u32) -> String {
        let (severity, minutes) = (self.severity, self.baseline.minutes());
        match (severity, self.baseline) {
            (Severity::NotJudged, _) => match MonitoredStatus::from_name(status) {
                Some(_) => {
                    format!("{status} = {count} was not judged: the minute came after its time")
                }
                None => format!("{status} = {count} was not judged: this status is not monitored"),
            },
            (Severity::Learning, _) => {
                format!(
                    "{status} = {count} was not judged: only {minutes} earlier minutes are known, still learning"
                )
            }
            (_, Baseline::Missing { .. }) if severity == Severity::Critical => format!(
                "{severity}: {status} = {count} with no established baseline (none in {minutes} observed minutes): any occurrence is critical"
            ),
            (_, Baseline::Missing { .. }) => {
                format!(
                    "{severity}: {status} = {count} with no established baseline (none in {minutes} observed minutes)"
                )
            }
            (_, Baseline::Flat { mean, .. }) => format!(
                "{severity}: {status} = {count} against a flat {mean:.1} in {minutes} observed minutes: {:+.1} from the mean, judged as if the deviation were 1.0",
                f64::from(count) - mean
            ),
            (_, Baseline::Spread { mean, std_dev, .. }) => format!(
                "{severity}: {status} = {count} is {:.1} standard deviations {} its mean of {mean:.1} (deviation {std_dev:.1}, {minutes} observed minutes)",
                self.z_score.map_or(0.0, |z| z.get().abs()),
                if f64::from(count) < mean {
                    "below"
                } else {
                    "above"
                },
            ),
        }
    }
}

/// The policy `zscore` with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZScoreDetector {
    /// The limits on |z|.
    pub thresholds: Thresholds,
    /// Fewer observed minutes than this in the window: [`Severity::Learning`].
    pub min_history: u32,
    /// Which ways `approved` is judged.
    pub approved_direction: ApprovedDirection,
}

impl Default for ZScoreDetector {
    fn default() -> Self {
        Self {
            thresholds: Thresholds::default(),
            min_history: 30,
            approved_direction: ApprovedDirection::Both,
        }
    }
}

impl ZScoreDetector {
    /// Judges a minute's count; [`Severity::Learning`] while the window is short.
    pub fn judge(&self, status: MonitoredStatus, count: u32, baseline: Baseline) -> Verdict {
        if baseline.minutes() < self.min_history {
            let z_score = baseline.z_score(count);
            return Verdict {
                severity: Severity::Learning,
                direction: None,
                z_score,
                baseline,
            };
        }
        self.judge_now(status, count, baseline)
    }

    /// Judges a count however short the window is: for a question asked explicitly.
    pub fn judge_now(&self, status: MonitoredStatus, count: u32, baseline: Baseline) -> Verdict {
        let z_score = baseline.z_score(count);
        let deviation = match baseline {
            Baseline::Missing { .. } if status.is_problem() && count > 0 => f64::INFINITY,
            Baseline::Missing { .. } => 0.0,
            Baseline::Flat { mean, .. } => f64::from(count) - mean,
            Baseline::Spread { .. } => z_score.map_or(0.0, ZScore::get),
        };
        let direction = if deviation > 0.0 {
            Direction::Up
        } else {
            Direction::Down
        };
        let severity = if self.judges(status, direction) {
            self.thresholds.severity(deviation.abs())
        } else {
            Severity::Normal
        };
        Verdict {
            severity,
            direction: severity.is_anomalous().then_some(direction),
            z_score,
            baseline,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let verdict = ZScoreDetector::default().judge(status, count, baseline);
        (verdict.severity, verdict.direction)
    }

    #[test]
    fn a_z_score_beyond_a_limit_is_anomalous_and_at_it_is_not() {
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
    fn problems_are_judged_upwards_and_approved_both_ways() {
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
    fn approved_direction_limits_which_way_approved_is_judged() {
        let judge = |approved_direction, count| {
            let detector = ZScoreDetector {
                approved_direction,
                ..ZScoreDetector::default()
            };
            detector
                .judge(MonitoredStatus::Approved, count, SPREAD)
                .severity
        };
        assert_eq!(judge(ApprovedDirection::Up, 0), Severity::Normal);
        assert_eq!(judge(ApprovedDirection::Up, 30), Severity::Critical);
        assert_eq!(judge(ApprovedDirection::Down, 0), Severity::Critical);
        assert_eq!(judge(ApprovedDirection::Down, 30), Severity::Normal);
    }

    #[test]
    fn without_an_established_baseline_any_problem_is_critical_at_once() {
        for status in MonitoredStatus::ALL {
            assert_eq!(judge(status, 0, MISSING), (Severity::Normal, None));
            let expected = if status.is_problem() {
                Severity::Critical
            } else {
                Severity::Normal
            };
            assert_eq!(judge(status, 1, MISSING).0, expected);
        }
        let verdict = ZScoreDetector::default().judge(MonitoredStatus::Failed, 1, MISSING);
        assert_eq!(verdict.z_score, None);
    }

    #[test]
    fn a_flat_baseline_is_judged_with_deviation_one_and_says_so() {
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
        let verdict = ZScoreDetector::default().judge(MonitoredStatus::Failed, 15, FLAT);
        assert_eq!(verdict.z_score, None);
        assert!(
            verdict
                .reason("failed", 15)
                .contains("as if the deviation were 1.0")
        );
    }

    #[test]
    fn a_short_window_is_learning_unless_asked_explicitly() {
        let short = Baseline::Missing { minutes: 29 };
        assert_eq!(
            judge(MonitoredStatus::Failed, 100, short),
            (Severity::Learning, None)
        );
        let now = ZScoreDetector::default().judge_now(MonitoredStatus::Failed, 100, short);
        assert_eq!(
            (now.severity, now.direction),
            (Severity::Critical, Some(Direction::Up))
        );
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

    #[test]
    fn severities_survive_their_codes_and_are_ordered_by_how_bad_they_are() {
        for severity in Severity::ALL {
            assert_eq!(Severity::from_code(severity.code()), Some(severity));
        }
        assert!(Severity::ALL.is_sorted());
        assert_eq!(Severity::from_code(6), None);
    }
}
