//! The result of evaluating one count: severity, direction, score and evidence. The policies are in [`crate::detector`].

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};

use crate::{
    baseline::Baseline,
    detector::{adaptive, adaptive::AdaptiveEvidence, zscore},
};

/// The policy that evaluated a count.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Default,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum PolicyName {
    /// Distance from a rolling mean, in standard deviations: [`crate::ZScoreDetector`].
    #[default]
    ZScore,
    /// Shares of traffic and usual volume, with a false-alarm budget.
    Adaptive,
}

impl PolicyName {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ZScore, Self::Adaptive];

    /// `zscore` or `adaptive`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The severity of an evaluated count, mildest first.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    /// Within the thresholds.
    Normal,
    /// Beyond the warning threshold.
    Warning,
    /// Beyond the critical threshold.
    Critical,
}

impl Severity {
    /// The name in messages, answers and metric labels.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// True for WARNING and CRITICAL.
    pub const fn is_anomalous(self) -> bool {
        matches!(self, Self::Warning | Self::Critical)
    }
}

/// The direction in which a count left its range.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Direction {
    /// Above it.
    Up,
    /// Below it.
    Down,
}

impl Direction {
    /// `up` or `down`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The evidence of a finding, one variant for each policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Evidence {
    /// Policy `zscore`.
    ZScore {
        /// The window that the count was compared with.
        baseline: Baseline,
    },
    /// Policy `adaptive`.
    Adaptive(AdaptiveEvidence),
}

impl Evidence {
    /// The policy that evaluated the count.
    pub const fn policy(&self) -> PolicyName {
        match self {
            Self::ZScore { .. } => PolicyName::ZScore,
            Self::Adaptive(_) => PolicyName::Adaptive,
        }
    }

    /// The expected count; `None` if nothing is known yet.
    pub const fn expected(&self) -> Option<f64> {
        match self {
            Self::ZScore { baseline } => baseline.mean(),
            Self::Adaptive(evidence) => Some(evidence.expected),
        }
    }

    /// The counts that stay within `threshold`, in the unit of policy `zscore`; policy `adaptive` has its own limit, CRITICAL. `None`
    /// where nothing is known.
    pub fn usual_range(&self, threshold: f64) -> Option<(f64, f64)> {
        match self {
            Self::ZScore { baseline } => baseline.usual_range(threshold),
            Self::Adaptive(evidence) => {
                let range = evidence.usual_range();
                Some((f64::from(*range.start()), f64::from(*range.end())))
            }
        }
    }

    /// The evidence of policy `adaptive`; none of another policy.
    pub const fn adaptive(&self) -> Option<&AdaptiveEvidence> {
        match self {
            Self::Adaptive(evidence) => Some(evidence),
            Self::ZScore { .. } => None,
        }
    }

    /// The baseline of policy `zscore`; `None` for other policies.
    pub const fn baseline(&self) -> Option<Baseline> {
        match *self {
            Self::ZScore { baseline } => Some(baseline),
            Self::Adaptive(_) => None,
        }
    }
}

/// The result of evaluating one count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Its severity.
    pub severity: Severity,
    /// The direction in which it left its range; `None` unless anomalous.
    pub direction: Option<Direction>,
    /// Its score, in the unit of the policy; `None` if there is none.
    pub score: Option<f64>,
    /// The limit that the deviation exceeded; `None` unless anomalous.
    pub threshold: Option<f64>,
    /// Its evidence.
    pub evidence: Evidence,
}

impl Finding {
    /// The policy that evaluated the count.
    pub const fn policy(&self) -> PolicyName {
        self.evidence.policy()
    }

    /// The finding in one sentence, for people.
    pub fn sentence(&self, status: &str, count: u32) -> String {
        match &self.evidence {
            Evidence::ZScore { baseline } => zscore::sentence(self, baseline, status, count),
            Evidence::Adaptive(evidence) => adaptive::sentence(self, evidence, status, count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_have_their_names() {
        assert_eq!(
            [PolicyName::ZScore, PolicyName::Adaptive].map(PolicyName::name),
            ["zscore", "adaptive"]
        );
    }
}
