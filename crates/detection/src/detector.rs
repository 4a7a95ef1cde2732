//! The detector of a stream, one variant for each policy: a count against the observed minutes gives a finding.
//! Knows no stream name, no clock, no cooldown.

pub mod zscore;

use self::zscore::ZScoreDetector;
use crate::{
    finding::{Finding, Severity},
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
}

impl Default for Detector {
    fn default() -> Self {
        Self::ZScore(ZScoreDetector::default())
    }
}

impl Detector {
    /// Observed minutes before the judged one that the policy needs in memory.
    pub const fn window(&self) -> usize {
        match self {
            Self::ZScore(detector) => detector.window,
        }
    }

    /// The limit beyond which a count is a WARNING or CRITICAL, in the unit of the policy's score.
    pub const fn threshold(&self, severity: Severity) -> f64 {
        match self {
            Self::ZScore(detector) => detector.thresholds.limit(severity),
        }
    }

    /// Judges the counts of a minute that is newer than all in the history, in the order of [`MonitoredStatus::ALL`].
    /// O(1) amortised.
    pub(crate) fn judge_next(
        &self,
        history: &mut History,
        observed: &ObservedMinute,
    ) -> [Judgement; MonitoredStatus::COUNT] {
        match self {
            Self::ZScore(detector) => {
                let baselines = history.baselines_for_next(observed.minute);
                MonitoredStatus::ALL.map(|status| {
                    let i = status.index();
                    detector.judge(status, observed.counts[i], baselines[i])
                })
            }
        }
    }

    /// Judges one count of a minute that is late or corrected. O(window).
    pub(crate) fn judge_late(
        &self,
        history: &History,
        observed: &ObservedMinute,
        status: MonitoredStatus,
    ) -> Judgement {
        match self {
            Self::ZScore(detector) => detector.judge(
                status,
                observed.counts[status.index()],
                history.baseline(observed.minute, status),
            ),
        }
    }

    /// Judges a submitted count for a minute, however short the window is. O(window).
    pub fn judge_submission(
        &self,
        history: &History,
        minute: Minute,
        status: MonitoredStatus,
        count: u32,
    ) -> Finding {
        match self {
            Self::ZScore(detector) => {
                detector.judge_now(status, count, history.baseline(minute, status))
            }
        }
    }
}
