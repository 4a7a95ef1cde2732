//! The detector: compares a count with the observed minutes of its stream and returns a finding. One variant for each policy.
//! It knows no stream name, clock or cooldown.

pub mod adaptive;
pub mod zscore;

use self::{
    adaptive::{AdaptiveObserved, AdaptiveSettings, AdaptiveState, EpisodeEvent},
    zscore::ZScoreDetector,
};
use crate::{
    finding::{Evidence, Finding, PolicyName, Severity},
    history::{History, ObservedMinute},
    judgement::Judgement,
    minute::Minute,
    status::MonitoredStatus,
};

/// A policy with its settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Detector {
    /// Distance from a rolling mean, in standard deviations.
    ZScore(ZScoreDetector),
    /// Shares of traffic and usual volume, with a false-alarm budget.
    Adaptive(AdaptiveSettings),
}

/// The judgements of a minute and the changes of the policy's episode, where the policy has episodes.
pub(crate) struct Judged {
    pub(crate) judgements: [Judgement; MonitoredStatus::COUNT],
    pub(crate) episode_events: Vec<EpisodeEvent>,
}

impl From<AdaptiveObserved> for Judged {
    fn from(observed: AdaptiveObserved) -> Self {
        Self {
            judgements: observed.judgements,
            episode_events: observed.events().copied().collect(),
        }
    }
}

impl Default for Detector {
    fn default() -> Self {
        Self::ZScore(ZScoreDetector::default())
    }
}

impl Detector {
    /// The policy.
    pub const fn policy(&self) -> PolicyName {
        match self {
            Self::ZScore(_) => PolicyName::ZScore,
            Self::Adaptive(_) => PolicyName::Adaptive,
        }
    }

    /// Number of earlier observed minutes that the policy needs in memory.
    pub(crate) const fn window(&self) -> usize {
        match self {
            Self::ZScore(detector) => detector.window,
            // Its memory is `AdaptiveState`; the history only serves corrections.
            Self::Adaptive(_) => 1,
        }
    }

    /// The limit beyond which a count is a WARNING or CRITICAL, in the unit of the policy's score.
    pub const fn threshold(&self, severity: Severity) -> f64 {
        match self {
            Self::ZScore(detector) => detector.thresholds.limit(severity),
            Self::Adaptive(settings) => settings.threshold(severity),
        }
    }

    /// The score of an evaluated count in the direction that alerts, and the score that CRITICAL needs. `None` without a baseline.
    pub(crate) fn pressure(
        &self,
        status: MonitoredStatus,
        count: u32,
        finding: &Finding,
    ) -> Option<(f64, f64)> {
        match (self, finding.evidence) {
            (Self::ZScore(detector), Evidence::ZScore { baseline }) => {
                let deviation = detector.deviation_to_alert(status, count, baseline)?;
                Some((deviation, self.threshold(Severity::Critical)))
            }
            (_, Evidence::Adaptive(evidence)) => {
                Some((adaptive::bad(status, finding.score?), evidence.bar))
            }
            (Self::Adaptive(_), Evidence::ZScore { .. }) => None,
        }
    }

    /// Evaluates the counts of a minute that is newer than all in the history, in the order of [`MonitoredStatus::ALL`].
    /// O(1) amortised.
    pub(crate) fn judge_next(
        &self,
        history: &mut History,
        adaptive: &mut AdaptiveState,
        observed: &ObservedMinute,
    ) -> Judged {
        match self {
            Self::ZScore(detector) => {
                let baselines = history.baselines_for_next(observed.minute);
                let judgements = MonitoredStatus::ALL.map(|status| {
                    let i = status.index();
                    detector.judge(status, observed.counts[i], baselines[i])
                });
                Judged {
                    judgements,
                    episode_events: Vec::new(),
                }
            }
            Self::Adaptive(settings) => {
                history.slide_to(observed.minute);
                adaptive
                    .observe(*settings, observed.minute, observed.counts)
                    .into()
            }
        }
    }

    /// Evaluates one count of a late or corrected minute. O(window).
    pub(crate) fn judge_late(
        &self,
        history: &History,
        adaptive: &AdaptiveState,
        observed: &ObservedMinute,
        status: MonitoredStatus,
    ) -> Judgement {
        match self {
            Self::ZScore(detector) => detector.judge(
                status,
                observed.counts[status.index()],
                history.baseline(observed.minute, status),
            ),
            Self::Adaptive(settings) => {
                adaptive.judge(*settings, observed.minute, observed.counts)[status.index()]
            }
        }
    }

    /// Evaluates a submitted count for a minute, even with few observed minutes. O(window).
    pub fn judge_submission(
        &self,
        history: &History,
        adaptive: &AdaptiveState,
        minute: Minute,
        status: MonitoredStatus,
        count: u32,
    ) -> Finding {
        match self {
            Self::ZScore(detector) => {
                detector.judge_now(status, count, history.baseline(minute, status))
            }
            Self::Adaptive(settings) => adaptive.judge_now(*settings, minute, status, count),
        }
    }
}
