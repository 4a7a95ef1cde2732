//! Which alerts are notified.

use detection::{Minute, Severity, Suppression};

/// The settings that decide which alerts are notified.
#[derive(Clone, Copy, Debug, Default)]
pub struct NotifyPolicy {
    /// True if a receiver is configured.
    pub has_receiver: bool,
    /// Maximum age of a notified minute; `None`: no limit.
    pub max_age_ms: Option<i64>,
}

impl NotifyPolicy {
    /// The reason why an alert of this severity and minute is not notified; `None` if it is.
    pub fn suppression(
        &self,
        severity: Severity,
        minute: Option<Minute>,
        now_ms: i64,
    ) -> Option<Suppression> {
        let age_ms = minute.map_or(0, |minute| now_ms - minute.start().as_millisecond());
        if severity != Severity::Critical {
            Some(Suppression::BelowCritical)
        } else if !self.has_receiver {
            Some(Suppression::NoReceiver)
        } else if self.max_age_ms.is_some_and(|max| age_ms > max) {
            Some(Suppression::TooOld)
        } else {
            None
        }
    }
}

/// A reason in words.
pub const fn in_words(suppression: Suppression) -> &'static str {
    match suppression {
        Suppression::Cooldown { .. } => "an alert of the same key was raised within ALERT_COOLDOWN",
        Suppression::Silence { .. } => "a silence covers it",
        Suppression::TooOld => "its minute was older than PAGE_MAX_AGE when it was recorded",
        Suppression::NoReceiver => "no receiver is configured (ALERT_WEBHOOK_URL)",
        Suppression::BelowCritical => "only CRITICAL alerts are notified",
        Suppression::Shadow => "its policy runs in shadow (SHADOW_POLICY)",
    }
}
