//! The alert: its subject, its text, whether it is notified. It is stored and sent elsewhere.

pub(crate) mod alike;
pub(crate) mod announcer;
pub(crate) mod incident;
pub(crate) mod incident_record;
pub(crate) mod incident_text;
pub(crate) mod incident_update;
pub(crate) mod ingest;
pub(crate) mod inputs;
pub(crate) mod json;
pub(crate) mod policy;
pub(crate) mod release;
pub(crate) mod silences;
pub(crate) mod stale;
pub(crate) mod subject;
pub(crate) mod submission;
pub(crate) mod summary;

pub(crate) use announcer::Announcer;
pub(crate) use policy::{
    DEFAULT_RECEIVER, FALLBACK_RECEIVER, Fallback, IncidentSettings, NotifyPolicy, Recipients,
    Route,
};
pub(crate) use silences::{SilenceRecord, Silences};
pub use subject::{Origin, Subject};

use detection::{Anomaly, Raised, Severity, Suppression};
use uuid::Uuid;

/// A recorded alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The same at every retry and every replay (random for a submission and a test).
    pub id: Uuid,
    /// Its subject.
    pub subject: Subject,
    /// One sentence for people.
    pub message: String,
    /// When it was recorded, milliseconds since 1970.
    pub recorded_at_ms: i64,
    /// The reason why it is not notified; `None` if it is.
    pub suppression: Option<Suppression>,
    /// Who gets it unless it is suppressed. Nobody once it is read back: its deliveries name them.
    pub recipients: Recipients,
    /// Alerts of the same key suppressed since the last one that was not.
    pub suppressed_before: u32,
    /// The trace of the message or request that caused it, 32 hex digits.
    pub trace_id: Option<String>,
    /// The span that recorded it, 16 hex digits; `None` if the trace is not sampled.
    pub span_id: Option<String>,
}

impl Alert {
    /// An alert raised by the fold.
    pub(crate) fn of_stream(raised: Raised, policy: &NotifyPolicy, now_ms: i64) -> Self {
        let message = raised.sentence();
        let Raised {
            anomaly,
            suppression,
            suppressed_before,
            ..
        } = raised;
        let (severity, stream) = (anomaly.key.severity, Some(anomaly.key.stream.as_str()));
        let minute = Some(anomaly.minute);
        Self {
            id: anomaly.id(),
            message,
            recorded_at_ms: now_ms,
            suppression: suppression
                .or_else(|| policy.suppression(severity, stream, minute, now_ms))
                .or_else(|| policy.alert_suppression()),
            recipients: policy.alert_recipients(severity, stream),
            suppressed_before,
            subject: Subject::Anomaly(anomaly),
            trace_id: None,
            span_id: None,
        }
    }

    /// The alert of a submission. Silences are applied already; the cooldown is applied when it is recorded.
    pub(crate) fn of_submission(
        anomaly: Anomaly,
        silence: Option<Suppression>,
        policy: &NotifyPolicy,
        now_ms: i64,
    ) -> Self {
        // A submission is evaluated now, for any minute, so it is never too old.
        let (severity, stream) = (anomaly.key.severity, Some(anomaly.key.stream.as_str()));
        let suppression = silence.or_else(|| policy.suppression(severity, stream, None, now_ms));
        Self {
            id: Uuid::new_v4(),
            recipients: policy.alert_recipients(severity, stream),
            message: anomaly
                .finding
                .sentence(anomaly.key.status.name(), anomaly.count),
            recorded_at_ms: now_ms,
            suppression,
            suppressed_before: 0,
            subject: Subject::Submission(anomaly),
            trace_id: None,
            span_id: None,
        }
    }

    /// An alert of the monitor about itself. Its id is a hash of its type and `since_ms`, so that it is recorded once.
    pub(crate) fn of_monitor(
        subject: Subject,
        message: String,
        since_ms: i64,
        policy: &NotifyPolicy,
        now_ms: i64,
    ) -> Self {
        let is_incident = matches!(
            subject,
            Subject::StaleStreams { .. }
                | Subject::StreamsResumed { .. }
                | Subject::IngestDown
                | Subject::IngestUp
                | Subject::IngestRejecting
                | Subject::IngestAccepting
        );
        Self {
            id: subject::monitor_alert_id(&subject, since_ms),
            suppression: policy
                .suppression(Severity::Critical, None, None, now_ms)
                .or_else(|| policy.alert_suppression().filter(|_| is_incident)),
            recipients: policy.alert_recipients(Severity::Critical, None),
            suppressed_before: 0,
            message,
            recorded_at_ms: now_ms,
            subject,
            trace_id: None,
            span_id: None,
        }
    }

    /// The same alert, suppressed by a silence. Its id differs from that of an alert about what no silence covers.
    #[must_use]
    pub(crate) fn silenced(self, by: Uuid) -> Self {
        Self {
            id: Uuid::new_v5(&self.id, by.as_bytes()),
            suppression: Some(Suppression::Silence { by }),
            ..self
        }
    }

    /// A test alert, for every receiver and the fallback.
    pub(crate) fn test(policy: &NotifyPolicy, now_ms: i64) -> Self {
        let message = "this is a test: alerts arrive here".to_owned();
        Self {
            id: Uuid::new_v4(),
            recipients: Recipients {
                receivers: policy.all_receivers(),
                fallback: None,
            },
            ..Self::of_monitor(Subject::Test, message, now_ms, policy, now_ms)
        }
    }

    /// Its severity. A summary is a WARNING; the other alerts of the monitor itself are CRITICAL.
    pub const fn severity(&self) -> Severity {
        match &self.subject {
            Subject::Anomaly(anomaly) | Subject::Submission(anomaly) => anomaly.key.severity,
            Subject::IngestSummary | Subject::ReceiverSummary => Severity::Warning,
            _ => Severity::Critical,
        }
    }

    /// Its anomaly, if it has one.
    pub const fn anomaly(&self) -> Option<&Anomaly> {
        match &self.subject {
            Subject::Anomaly(anomaly) | Subject::Submission(anomaly) => Some(anomaly),
            _ => None,
        }
    }

    /// True if it has a delivery to a receiver.
    pub const fn is_notified(&self) -> bool {
        self.suppression.is_none()
    }

    /// True if it repeats another alert or is silenced: it is recorded and not logged.
    pub fn is_muted(&self) -> bool {
        self.suppression.is_some_and(Suppression::is_muted)
    }
}
