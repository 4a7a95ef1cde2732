//! The one place that announces a recorded alert or event of an incident: its metric, its log line, and an event for those who listen in this process.

use std::sync::Arc;

use detection::{Severity, Suppression};
use prometheus::IntCounterVec;
use tokio::sync::{Notify, broadcast};
use tracing::Level;

use super::{
    Alert,
    incident::IncidentEventKind,
    incident_update::{EventSuppression, RecordedEvent},
};

/// Events that a slow listener may lag behind before it loses the oldest.
const MAX_LAG: usize = 256;

/// Announces recorded alerts. A clone announces to the same listeners.
#[derive(Clone, Debug)]
pub struct Announcer {
    recorded: IntCounterVec,
    recorded_events: IntCounterVec,
    events: broadcast::Sender<Arc<Alert>>,
    incidents: broadcast::Sender<Arc<RecordedEvent>>,
    openings: Arc<Notify>,
}

impl Announcer {
    /// An announcer that counts in the metrics `monitoring_alerts_total` and `monitoring_incident_events_total`.
    pub(crate) fn new(recorded: IntCounterVec, recorded_events: IntCounterVec) -> Self {
        Self {
            recorded,
            recorded_events,
            events: broadcast::channel(MAX_LAG).0,
            incidents: broadcast::channel(MAX_LAG).0,
            openings: Arc::default(),
        }
    }

    /// Announces an alert, once, after it was recorded.
    pub(crate) fn announce(&self, alert: &Alert) {
        self.count(alert);
        if !alert.is_muted() {
            log(alert);
        }
        if self.events.receiver_count() > 0 {
            // An error means that there is no listener.
            let _ = self.events.send(Arc::new(alert.clone()));
        }
    }

    /// Announces events of incidents, once, after they were recorded.
    pub(crate) fn announce_incidents(&self, events: &[RecordedEvent]) {
        for event in events {
            let (message, suppressed) = (&event.message, event.suppressed);
            let suppressed = suppressed.map_or("none", EventSuppression::reason);
            let labels = [
                message.kind.into(),
                message.event.into(),
                message.severity.name(),
                suppressed,
            ];
            self.recorded_events.with_label_values(&labels).inc();
            log_event(event);
            if self.incidents.receiver_count() > 0 {
                let _ = self.incidents.send(Arc::new(event.clone()));
            }
            if matches!(suppressed, "waiting" | "group") {
                self.openings.notify_one();
            }
        }
    }

    /// The alerts announced from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Alert>> {
        self.events.subscribe()
    }

    /// The events of incidents announced from now on.
    pub(crate) fn subscribe_incidents(&self) -> broadcast::Receiver<Arc<RecordedEvent>> {
        self.incidents.subscribe()
    }

    /// Waits until an opening waits for others, or a member of a group changes.
    pub(crate) async fn opening(&self) {
        self.openings.notified().await;
    }

    fn count(&self, alert: &Alert) {
        let key = alert.anomaly().map(|anomaly| &anomaly.key);
        self.recorded
            .with_label_values(&[
                alert.subject.origin().name(),
                key.map_or("none", |key| key.policy.name()),
                key.map_or("none", |key| key.status.name()),
                alert.severity().name(),
                alert.suppression.map_or("none", Suppression::reason),
            ])
            .inc();
    }
}

/// Logs an alert for people and for log collectors: CRITICAL as an error, WARNING as a warning, one of the policy in shadow as
/// information.
fn log(alert: &Alert) {
    // A macro because the level of a log line is a constant.
    macro_rules! line {
        ($level:expr) => {{
            let anomaly = alert.anomaly();
            let key = anomaly.map(|anomaly| &anomaly.key);
            let finding = anomaly.map(|anomaly| &anomaly.finding);
            let score = finding.and_then(|finding| finding.score);
            let baseline = finding.and_then(|finding| finding.evidence.baseline());
            let adaptive = finding.and_then(|finding| finding.evidence.adaptive());
            let streams = alert.subject.streams();
            tracing::event!(
                target: "monitoring_service::alerts",
                $level,
                alert_id = %alert.id,
                "type" = alert.subject.kind(),
                origin = alert.subject.origin().name(),
                severity = alert.severity().name(),
                stream = key.map(|key| key.stream.as_str()),
                policy = key.map(|key| key.policy.name()),
                status = key.map(|key| key.status.name()),
                direction = key.map(|key| key.direction.name()),
                count = anomaly.map(|anomaly| anomaly.count),
                minute = anomaly.map(|anomaly| tracing::field::display(anomaly.minute)),
                z_score = baseline.and(score),
                adaptive_score = adaptive.and(score),
                expected = adaptive.map(|adaptive| adaptive.expected),
                mean = baseline.and_then(|baseline| baseline.mean()),
                std_dev = baseline.and_then(|baseline| baseline.std_dev()),
                threshold = finding.and_then(|finding| finding.threshold),
                late = anomaly.map(|anomaly| anomaly.late),
                streams = (!streams.is_empty()).then(|| streams.join(",")),
                suppressed = alert.suppression.map(Suppression::reason),
                suppressed_before = alert.suppressed_before,
                trace_id = alert.trace_id.as_deref(),
                "{}",
                alert.message
            );
        }};
    }
    if alert.suppression == Some(Suppression::Shadow) {
        line!(Level::INFO);
    } else if alert.severity() == Severity::Critical {
        line!(Level::ERROR);
    } else {
        line!(Level::WARN);
    }
}

/// Logs an event of an incident: an opening or escalation that people are notified of as a warning, others as information.
fn log_event(event: &RecordedEvent) {
    let message = &event.message;
    macro_rules! line {
        ($level:expr) => {
            tracing::event!(
                target: "monitoring_service::alerts",
                $level,
                incident_id = %message.id,
                event = <&str>::from(message.event),
                sequence = message.sequence,
                kind = <&str>::from(message.kind),
                severity = message.severity.name(),
                stream = message.stream.as_deref(),
                policy = message.policy.map(detection::PolicyName::name),
                title = message.title,
                missing_approvals = message.missing_approvals,
                excess_problems = message.excess_problems,
                end_reason = message.end_reason.map(<&str>::from),
                suppressed = event.suppressed.map(EventSuppression::reason),
                trace_id = message.trace_id.as_deref(),
                "incident: {}",
                message.message
            )
        };
    }
    let is_trouble = matches!(
        message.event,
        IncidentEventKind::Opened | IncidentEventKind::Escalated
    );
    if is_trouble && event.suppressed.is_none() {
        line!(Level::WARN);
    } else {
        line!(Level::INFO);
    }
}

#[cfg(test)]
mod tests {
    use common::{metrics::MetricsRegistry, testing};
    use uuid::Uuid;

    use super::*;
    use crate::{
        alerts::Subject,
        metrics::ServiceMetrics,
        notify::json_examples::{example, of_monitor, with},
    };

    fn announcer() -> (Announcer, MetricsRegistry) {
        let registry = MetricsRegistry::new();
        let metrics = ServiceMetrics::new(&registry);
        (
            Announcer::new(metrics.alerts.clone(), metrics.incident_events.clone()),
            registry,
        )
    }

    #[test]
    fn an_alert_is_one_log_line_of_fields() {
        let (recorded, _guard) = testing::record_thread();
        log(&example());
        log(&with(|anomaly| anomaly.key.severity = Severity::Warning));
        let streams = vec!["a".to_owned(), "b".to_owned()];
        log(&of_monitor(Subject::StaleStreams { streams }, "stale"));
        let lines = recorded.logs();
        assert_eq!(lines.len(), 3);
        let critical = &lines[0];
        for (field, value) in [
            ("level", "ERROR".into()),
            ("target", "monitoring_service::alerts".into()),
            ("message", example().message.into()),
            ("alert_id", example().id.to_string().into()),
            ("type", "transaction.anomaly".into()),
            ("stream", "acquirer-7".into()),
            ("policy", "zscore".into()),
            ("status", "denied".into()),
            ("severity", "CRITICAL".into()),
            ("direction", "up".into()),
            ("count", serde_json::Value::from(30)),
            ("minute", "2025-07-12T13:59:00Z".into()),
            ("z_score", 9.6.into()),
            ("mean", 6.0.into()),
            ("std_dev", 2.5.into()),
            ("threshold", 4.0.into()),
            ("late", false.into()),
            ("suppressed_before", 2.into()),
            ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736".into()),
        ] {
            assert_eq!(critical[field], value, "{field} of {critical}");
        }
        assert_eq!(lines[1]["level"], "WARN");
        assert_eq!(
            (&lines[2]["streams"], &lines[2]["stream"]),
            (&"a,b".into(), &serde_json::Value::Null)
        );
    }

    #[test]
    fn a_muted_alert_is_counted_and_not_logged() {
        let ((announcer, registry), (recorded, _guard)) = (announcer(), testing::record_thread());
        let by = Uuid::from_u128(1);
        let muted = Alert {
            suppression: Some(Suppression::Cooldown { by }),
            ..example()
        };
        announcer.announce(&muted);
        announcer.announce(&example());
        assert_eq!(recorded.logs().len(), 1);
        for suppressed in ["cooldown", "none"] {
            let labels = [
                ("origin", "stream"),
                ("policy", "zscore"),
                ("status", "denied"),
                ("severity", "CRITICAL"),
                ("suppressed", suppressed),
            ];
            testing::assert_value(&registry, "monitoring_alerts_total", &labels, 1.0);
        }
    }

    #[test]
    fn listeners_hear_every_announced_alert() {
        let (announcer, _registry) = announcer();
        announcer.announce(&example());
        let mut events = announcer.subscribe();
        announcer.announce(&example());
        assert_eq!(*events.try_recv().expect("one event"), example());
        assert!(events.try_recv().is_err(), "the first came before");
    }
}
