//! The settings of the fold: which policy alerts, which runs in shadow, lateness and cooldown. Judges nothing.

use crate::{
    detector::{Detector, adaptive::AdaptiveSettings, zscore::ZScoreDetector},
    finding::PolicyName,
    history::{History, ObservedMinute},
};

/// The settings of the fold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MonitorSettings {
    /// Judges the counts and alerts.
    pub detector: Detector,
    /// Judges the same counts in shadow: its findings are stored and its alerts recorded, and nobody is notified. One of the same
    /// policy as `detector` is ignored.
    pub shadow: Option<Detector>,
    /// A minute is evaluated if it is older than the newest one by at most this much.
    pub allowed_lateness_minutes: u32,
    /// An alert is suppressed if its key fired for a minute less than this before.
    pub cooldown_minutes: u32,
    /// Policy `zscore`: an incident is over after this many observed minutes in a row without a finding.
    pub resolve_after_minutes: u32,
}

impl Default for MonitorSettings {
    fn default() -> Self {
        Self {
            detector: Detector::default(),
            shadow: None,
            allowed_lateness_minutes: 10,
            cooldown_minutes: 5,
            resolve_after_minutes: 5,
        }
    }
}

impl MonitorSettings {
    /// The detector in shadow, unless it has the policy of the alerting one.
    pub(crate) fn second(&self) -> Option<&Detector> {
        let policy = self.detector.policy();
        self.shadow
            .as_ref()
            .filter(|shadow| shadow.policy() != policy)
    }

    /// The detectors that judge every minute: the alerting one, then the one in shadow.
    pub fn detectors(&self) -> impl Iterator<Item = &Detector> {
        std::iter::once(&self.detector).chain(self.second())
    }

    /// The settings with this policy alone: as it is set here, or at its defaults.
    #[must_use]
    pub fn only(&self, policy: PolicyName) -> Self {
        let mut detectors = self.detectors();
        let detector = detectors.find(|detector| detector.policy() == policy);
        Self {
            detector: detector.copied().unwrap_or_else(|| match policy {
                PolicyName::ZScore => Detector::ZScore(ZScoreDetector::default()),
                PolicyName::Adaptive => Detector::Adaptive(AdaptiveSettings::default()),
            }),
            shadow: None,
            ..*self
        }
    }

    /// The settings of the policy `zscore`, if it judges.
    pub fn zscore(&self) -> Option<ZScoreDetector> {
        self.detectors().find_map(|detector| match detector {
            Detector::ZScore(detector) => Some(*detector),
            Detector::Adaptive(_) => None,
        })
    }

    /// The settings of the policy `adaptive`, if it judges.
    pub fn adaptive(&self) -> Option<AdaptiveSettings> {
        self.detectors().find_map(|detector| match detector {
            Detector::Adaptive(settings) => Some(*settings),
            Detector::ZScore(_) => None,
        })
    }

    fn window(&self) -> usize {
        self.detectors().map(Detector::window).max().unwrap_or(1)
    }

    /// Number of newest observed minutes that [`crate::Monitor::restore`] needs.
    pub fn history_capacity(&self) -> usize {
        History::capacity(self.window(), self.allowed_lateness_minutes as usize)
    }

    /// A history of stored minutes.
    pub fn history(&self, minutes: impl IntoIterator<Item = ObservedMinute>) -> History {
        History::from_observed(
            self.window(),
            self.allowed_lateness_minutes as usize,
            minutes,
        )
    }
}
