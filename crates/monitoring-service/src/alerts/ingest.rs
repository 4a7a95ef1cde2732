//! The alerts for ingest down and ingest up, each recorded once. Pure.

use super::{Alert, NotifyPolicy, Subject};

/// The alert that ingest is down since `since_ms`; `None` if `newest`, the newest alert about ingest, is one already.
pub fn down(
    newest: Option<&Alert>,
    since_ms: i64,
    why: &str,
    policy: &NotifyPolicy,
    now_ms: i64,
) -> Option<Alert> {
    let message = format!("nothing is monitored: {why}");
    down_since(newest)
        .is_none()
        .then(|| Alert::of_monitor(Subject::IngestDown, message, since_ms, policy, now_ms))
}

/// The alert that ingest is up again; `None` unless `newest` is an alert that it is down.
pub fn up(newest: Option<&Alert>, policy: &NotifyPolicy, now_ms: i64) -> Option<Alert> {
    let since_ms = down_since(newest)?;
    let message = "minutes are read from Kafka again".to_owned();
    Some(Alert::of_monitor(
        Subject::IngestUp,
        message,
        since_ms,
        policy,
        now_ms,
    ))
}

fn down_since(newest: Option<&Alert>) -> Option<i64> {
    newest
        .filter(|alert| alert.subject == Subject::IngestDown)
        .map(|alert| alert.recorded_at_ms)
}
