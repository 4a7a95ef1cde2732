//! Summaries: one message instead of many about what is over or old. What they count is decided elsewhere. Pure.

use detection::Minute;
use uuid::Uuid;

use super::{Alert, NotifyPolicy, Recipients, Subject, subject::monitor_alert_id};

/// What was too old is summed up when nothing of it has been recorded for this long, milliseconds: more may follow.
const SETTLED_AFTER_MS: i64 = 60_000;

/// What a summary counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Incidents.
    pub(crate) incidents: u64,
    /// Those of them that are open.
    pub(crate) open: u64,
    /// Alerts.
    pub(crate) alerts: u64,
    /// The streams of the alerts.
    pub(crate) streams: u64,
    /// The beginning of the first, milliseconds since 1970.
    pub(crate) from_ms: i64,
    /// The end of the last, milliseconds since 1970.
    pub(crate) to_ms: i64,
    /// When the newest was recorded, milliseconds since 1970.
    pub(crate) recorded_ms: i64,
}

impl Tally {
    /// True if there is nothing to sum up.
    pub(crate) const fn is_empty(&self) -> bool {
        self.incidents == 0 && self.alerts == 0
    }

    /// `14 incidents (all over) between ... and ... were not sent one by one`.
    fn were_not(&self, sent: &str) -> String {
        let mut parts = Vec::new();
        if self.incidents > 0 {
            let over = match (self.incidents, self.open) {
                (1, 0) => "over".to_owned(),
                (_, 0) => "all over".to_owned(),
                (_, open) => format!("{open} still open"),
            };
            parts.push(format!("{} ({over})", number(self.incidents, "incident")));
        }
        if self.alerts > 0 {
            let (alerts, streams) = (number(self.alerts, "alert"), number(self.streams, "stream"));
            parts.push(format!("{alerts} of {streams}"));
        }
        let minute = |ms: i64| Minute::from_epoch_minutes(ms.div_euclid(60_000));
        let (from, to) = (minute(self.from_ms), minute(self.to_ms));
        let things = parts.join(" and ");
        match self.incidents + self.alerts {
            1 => format!("{things} between {from} and {to} was not {sent} by itself"),
            _ => format!("{things} between {from} and {to} were not {sent} one by one"),
        }
    }
}

fn number(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}

/// The summary of what was too old to be notified when it was read from Kafka; `None` while there is nothing, more may follow, or the
/// last summary is younger than `PAGE_MAX_AGE`.
pub(crate) fn of_ingest(
    tally: &Tally,
    last_ms: Option<i64>,
    policy: &NotifyPolicy,
    now_ms: i64,
) -> Option<Alert> {
    let pause_ms = policy.max_age_ms?;
    let settled = now_ms - tally.recorded_ms >= SETTLED_AFTER_MS;
    let due = last_ms.is_none_or(|last| now_ms - last >= pause_ms);
    if tally.is_empty() || !settled || !due || !policy.has_receiver() {
        return None;
    }
    let list = if tally.incidents > 0 {
        "/incidents"
    } else {
        "/alerts"
    };
    let message = format!(
        "{}: the minutes were older than PAGE_MAX_AGE when they were read; GET {list} lists them",
        tally.were_not("notified")
    );
    let subject = Subject::IngestSummary;
    let since_ms = tally.recorded_ms;
    Some(Alert::of_monitor(
        subject, message, since_ms, policy, now_ms,
    ))
}

/// The summary for a receiver of what was over or too old before it accepted it.
pub(crate) fn of_receiver(tally: &Tally, receiver: &str, now_ms: i64) -> Alert {
    let message = format!(
        "{}: the receiver {receiver} did not accept deliveries in time; GET /deliveries?state=summarized lists them",
        tally.were_not("sent")
    );
    let subject = Subject::ReceiverSummary;
    Alert {
        id: Uuid::new_v5(&monitor_alert_id(&subject, now_ms), receiver.as_bytes()),
        subject,
        message,
        recorded_at_ms: now_ms,
        suppression: None,
        recipients: Recipients {
            receivers: vec![receiver.to_owned()],
            fallback: None,
        },
        suppressed_before: 0,
        trace_id: None,
        span_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn tally(incidents: u64, open: u64, alerts: u64) -> Tally {
        Tally {
            incidents,
            open,
            alerts,
            streams: 2,
            from_ms: 0,
            to_ms: HOUR_MS,
            recorded_ms: HOUR_MS,
        }
    }

    #[test]
    fn a_summary_says_how_many_when_and_whether_they_are_over() {
        let range = "between 1970-01-01T00:00:00Z and 1970-01-01T01:00:00Z";
        for (tally, things) in [
            (tally(14, 0, 0), "14 incidents (all over)"),
            (tally(14, 2, 0), "14 incidents (2 still open)"),
            (tally(0, 0, 116), "116 alerts of 2 streams"),
            (
                tally(3, 0, 1),
                "3 incidents (all over) and 1 alert of 2 streams",
            ),
        ] {
            let words = format!("{things} {range} were not sent one by one");
            assert_eq!(tally.were_not("sent"), words);
        }
        let one = tally(1, 0, 0).were_not("sent");
        let words = format!("1 incident (over) {range} was not sent by itself");
        assert_eq!(one, words);
        let alert = of_receiver(&tally(14, 0, 0), "on-call", HOUR_MS);
        assert_eq!(alert.recipients.receivers, ["on-call"]);
        assert!(alert.message.contains("14 incidents"), "{}", alert.message);
        assert_eq!(alert.severity(), detection::Severity::Warning);
    }

    #[test]
    fn what_was_read_is_summed_up_once_nothing_follows() {
        let policy = NotifyPolicy::with_default_receiver(Some(HOUR_MS));
        let summary = |tally, last_ms, now_ms| of_ingest(&tally, last_ms, &policy, now_ms);
        let some = tally(14, 0, 0);
        assert_eq!(summary(some.clone(), None, HOUR_MS + 59_999), None);
        assert_eq!(summary(Tally::default(), None, 2 * HOUR_MS), None);
        let now_ms = HOUR_MS + 60_000;
        let alert = summary(some.clone(), None, now_ms).expect("settled");
        assert_eq!(alert.recipients.receivers, ["default"]);
        assert!(alert.is_notified());
        // At most one for each PAGE_MAX_AGE, also where every minute is too old.
        assert_eq!(summary(some.clone(), Some(60_001), now_ms), None);
        assert!(summary(some.clone(), Some(60_000), now_ms).is_some());
        assert_eq!(
            of_ingest(&some, None, &NotifyPolicy::default(), now_ms),
            None
        );
    }
}
