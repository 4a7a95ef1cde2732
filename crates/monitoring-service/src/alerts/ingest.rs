//! The alerts about ingest, each recorded once: down and up, and most messages rejected and accepted again. Pure.

use super::{Alert, NotifyPolicy, Subject};

/// The alert that ingest is down since `since_ms`; `None` if `newest`, the newest alert of this kind, is one already.
pub(crate) fn down(
    newest: Option<&Alert>,
    since_ms: i64,
    message: &str,
    policy: &NotifyPolicy,
    now_ms: i64,
) -> Option<Alert> {
    begun(newest, &Subject::IngestDown).is_none().then(|| {
        let message = message.to_owned();
        Alert::of_monitor(Subject::IngestDown, message, since_ms, policy, now_ms)
    })
}

/// The alert that ingest is up again; `None` unless `newest` is an alert that it is down.
pub(crate) fn up(newest: Option<&Alert>, policy: &NotifyPolicy, now_ms: i64) -> Option<Alert> {
    let since_ms = begun(newest, &Subject::IngestDown)?;
    let message = "minutes are read from Kafka again".to_owned();
    Some(Alert::of_monitor(
        Subject::IngestUp,
        message,
        since_ms,
        policy,
        now_ms,
    ))
}

/// The alert that most of the newest messages are dead letters; `None` if `newest` is one already.
pub(crate) fn rejecting(
    newest: Option<&Alert>,
    why: &str,
    policy: &NotifyPolicy,
    now_ms: i64,
) -> Option<Alert> {
    let message = format!("{why}; GET /dead-letters lists them");
    let subject = Subject::IngestRejecting;
    begun(newest, &subject)
        .is_none()
        .then(|| Alert::of_monitor(subject, message, now_ms, policy, now_ms))
}

/// The alert that messages are used again; `None` unless `newest` is an alert that most are dead letters.
pub(crate) fn accepting(
    newest: Option<&Alert>,
    policy: &NotifyPolicy,
    now_ms: i64,
) -> Option<Alert> {
    let since_ms = begun(newest, &Subject::IngestRejecting)?;
    let message = "most of the newest messages can be used again".to_owned();
    Some(Alert::of_monitor(
        Subject::IngestAccepting,
        message,
        since_ms,
        policy,
        now_ms,
    ))
}

/// Since when the condition of `subject` lasts, if the newest alert is about its begin.
fn begun(newest: Option<&Alert>, subject: &Subject) -> Option<i64> {
    newest
        .filter(|alert| alert.subject == *subject)
        .map(|alert| alert.recorded_at_ms)
}
