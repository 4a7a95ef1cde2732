//! A finding, or the reason why a count was not evaluated, and the resulting state.

use serde::Serialize;
use strum::{Display, IntoStaticStr};

use crate::finding::{Direction, Evidence, Finding, PolicyName, Severity};

/// The reason why a count was not evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unjudged {
    /// Too few observed minutes.
    Learning {
        /// The score so far.
        score: Option<f64>,
        /// The evidence so far.
        evidence: Evidence,
    },
    /// The minute was older than the allowed lateness.
    TooLate,
    /// The status is stored and shown, but not monitored.
    NotMonitored,
    /// The policy that is asked for was off.
    PolicyOff,
}

/// A finding, or the reason why there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judgement {
    /// The count was evaluated.
    Finding(Finding),
    /// The count was not evaluated.
    Unjudged(Unjudged),
}

impl Judgement {
    /// The finding, if the count was evaluated.
    pub const fn finding(&self) -> Option<&Finding> {
        match self {
            Self::Finding(finding) => Some(finding),
            Self::Unjudged(_) => None,
        }
    }

    /// The severity, if the count was evaluated.
    pub const fn severity(&self) -> Option<Severity> {
        match self {
            Self::Finding(finding) => Some(finding.severity),
            Self::Unjudged(_) => None,
        }
    }

    /// The direction of an anomaly.
    pub const fn direction(&self) -> Option<Direction> {
        match self {
            Self::Finding(finding) => finding.direction,
            Self::Unjudged(_) => None,
        }
    }

    /// The evidence; `None` if the count was only stored.
    pub const fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Finding(Finding { evidence, .. })
            | Self::Unjudged(Unjudged::Learning { evidence, .. }) => Some(evidence),
            Self::Unjudged(Unjudged::TooLate | Unjudged::NotMonitored | Unjudged::PolicyOff) => {
                None
            }
        }
    }

    /// The policy that judged; none where the count was only stored.
    pub const fn policy(&self) -> Option<PolicyName> {
        match self.evidence() {
            Some(evidence) => Some(evidence.policy()),
            None => None,
        }
    }

    /// The score, if there is one.
    pub const fn score(&self) -> Option<f64> {
        match *self {
            Self::Finding(Finding { score, .. })
            | Self::Unjudged(Unjudged::Learning { score, .. }) => score,
            Self::Unjudged(Unjudged::TooLate | Unjudged::NotMonitored | Unjudged::PolicyOff) => {
                None
            }
        }
    }

    /// The resulting state of the status.
    pub const fn state(&self) -> State {
        match self {
            Self::Finding(finding) => State::of(finding.severity),
            Self::Unjudged(Unjudged::Learning { .. }) => State::Learning,
            Self::Unjudged(Unjudged::TooLate | Unjudged::NotMonitored | Unjudged::PolicyOff) => {
                State::NotJudged
            }
        }
    }

    /// The judgement in one sentence, for people.
    pub fn sentence(&self, status: &str, count: u32) -> String {
        match self {
            Self::Finding(finding) => finding.sentence(status, count),
            Self::Unjudged(Unjudged::PolicyOff) => format!(
                "{status} = {count} was not judged by this policy: it was off when the minute came"
            ),
            Self::Unjudged(unjudged) => {
                format!("{status} = {count} was not judged: {}", unjudged.reason())
            }
        }
    }

    /// Why the count was not evaluated; none if it was.
    pub fn why_not_judged(&self) -> Option<String> {
        match self {
            Self::Finding(_) => None,
            Self::Unjudged(unjudged) => Some(unjudged.reason()),
        }
    }
}

impl Unjudged {
    fn reason(&self) -> String {
        match self {
            Self::TooLate => "minute older than ALLOWED_LATENESS".to_owned(),
            Self::NotMonitored => "this status is not monitored".to_owned(),
            Self::PolicyOff => "the policy was off when the minute came".to_owned(),
            Self::Learning { evidence, .. } => match evidence.baseline() {
                None => "still learning".to_owned(),
                Some(baseline) => {
                    let minutes = baseline.minutes();
                    format!("still learning, {minutes} earlier minutes observed")
                }
            },
        }
    }
}

/// The state of a status, a minute or a stream, mildest first: the worst of several is their maximum.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Display, IntoStaticStr,
)]
#[serde(into = "&'static str")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// Stored and not evaluated: the status is not monitored, or the minute was too late.
    NotJudged,
    /// Too few observed minutes to evaluate.
    Learning,
    /// Within the thresholds.
    Normal,
    /// Beyond the warning threshold.
    Warning,
    /// The stream has no new minutes.
    Stale,
    /// Beyond the critical threshold.
    Critical,
}

impl State {
    /// All of them, mildest first, in the order of [`State::code`].
    pub const ALL: [Self; 6] = [
        Self::NotJudged,
        Self::Learning,
        Self::Normal,
        Self::Warning,
        Self::Stale,
        Self::Critical,
    ];

    /// The state of an evaluated count.
    pub const fn of(severity: Severity) -> Self {
        match severity {
            Severity::Normal => Self::Normal,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }

    /// The severity, if the state is that of an evaluated count.
    pub const fn severity(self) -> Option<Severity> {
        match self {
            Self::NotJudged | Self::Learning | Self::Stale => None,
            Self::Normal => Some(Severity::Normal),
            Self::Warning => Some(Severity::Warning),
            Self::Critical => Some(Severity::Critical),
        }
    }

    /// The name in answers.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Its stable number, which grows with the severity.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The state of this number.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_survive_their_codes_and_are_ordered() {
        for state in State::ALL {
            assert_eq!(State::from_code(state.code()), Some(state));
        }
        assert!(State::ALL.is_sorted());
        assert_eq!(State::from_code(6), None);
    }

    #[test]
    fn every_severity_is_a_state_of_the_same_name() {
        for severity in [Severity::Normal, Severity::Warning, Severity::Critical] {
            let state = State::of(severity);
            assert_eq!(state.severity(), Some(severity));
            assert_eq!(state.name(), severity.name());
        }
    }
}
