//! The settings of the monitor.

use std::time::Duration;

use detection::{
    Detector, MonitorSettings, PolicyName, Thresholds, ZScoreDetector,
    detector::adaptive::AdaptiveSettings,
};

use super::{Config, Shadow};

impl Config {
    /// The settings of the monitor.
    ///
    /// # Panics
    /// If thresholds were set past the check of [`Action::load`](super::Action::load) and are out of order.
    pub fn monitor_settings(&self) -> MonitorSettings {
        let other = match self.detection_policy {
            PolicyName::ZScore => PolicyName::Adaptive,
            PolicyName::Adaptive => PolicyName::ZScore,
        };
        let Shadow(shadow) = self.shadow_policy.unwrap_or(Shadow(Some(other)));
        MonitorSettings {
            detector: self.detector(self.detection_policy),
            shadow: shadow.map(|policy| self.detector(policy)),
            allowed_lateness_minutes: minutes(self.allowed_lateness),
            cooldown_minutes: minutes(self.alert_cooldown),
            resolve_after_minutes: self.resolve_after,
        }
    }

    fn detector(&self, policy: PolicyName) -> Detector {
        match policy {
            PolicyName::ZScore => Detector::ZScore(ZScoreDetector {
                thresholds: Thresholds::try_new(self.warning_threshold, self.critical_threshold)
                    .expect("`load` refuses thresholds that are out of order"),
                window: self.baseline_window as usize,
                min_history: self.min_history,
                approved_direction: self.approved_direction,
                min_count_for_critical: self.min_count_for_critical,
            }),
            PolicyName::Adaptive => Detector::Adaptive(
                AdaptiveSettings::try_new(self.adaptive_critical)
                    .expect("`load` refuses other budgets"),
            ),
        }
    }
}

fn minutes(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs() / 60).unwrap_or(u32::MAX)
}
