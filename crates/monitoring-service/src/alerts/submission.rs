//! The cooldown of submissions to `POST /alerts/evaluate`: on the wall clock, apart from that of the streams. Pure.

use detection::Suppression;
use uuid::Uuid;

use super::Alert;

/// The last submission of a key that was not muted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PriorSubmission {
    /// Its alert.
    pub(crate) id: Uuid,
    /// When it was recorded, milliseconds since 1970.
    pub(crate) recorded_at_ms: i64,
}

/// Suppresses an alert if its key alerted less than `cooldown_ms` before. A silence has priority, as in the fold.
pub(crate) fn apply_cooldown(alert: &mut Alert, prior: Option<PriorSubmission>, cooldown_ms: i64) {
    let Some(prior) = prior.filter(|_| !alert.is_muted()) else {
        return;
    };
    // A submission in the future was recorded before the clock was set back; it suppresses nothing.
    if (0..cooldown_ms).contains(&(alert.recorded_at_ms - prior.recorded_at_ms)) {
        alert.suppression = Some(Suppression::Cooldown { by: prior.id });
    }
}
