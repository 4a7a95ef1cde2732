//! The JSON of a webhook: version 2 is the alert as in the API, or an incident as it was at an event, with the version, a type and a
//! link. Fields may be added; renaming, removing or redefining a field needs another version.

use serde::Serialize;

use crate::{
    alerts::{
        incident::{IncidentEventKind, IncidentMessage},
        json::AlertView,
    },
    store::Content,
};

/// The version of the payload.
const VERSION: u32 = 2;

/// The body of the POST. Links are added where the public address of this service is known.
pub(super) fn body(content: &Content, public_url: Option<&str>) -> Vec<u8> {
    let link = content.link(public_url);
    let payload = match content {
        Content::Alert(alert) => serde_json::to_vec(&AlertPayload {
            version: VERSION,
            alert: AlertView::from(&**alert),
            links: link.map(|alert| AlertLinks { alert }),
        }),
        Content::Incident(message) => serde_json::to_vec(&IncidentPayload {
            version: VERSION,
            kind: event_type(message.event),
            message,
            links: link.map(|incident| IncidentLinks { incident }),
        }),
    };
    payload.expect("text and numbers can always be written")
}

/// The type of an incident's event, as alerts have one.
pub(super) const fn event_type(event: IncidentEventKind) -> &'static str {
    match event {
        IncidentEventKind::Opened => "incident.opened",
        IncidentEventKind::Escalated => "incident.escalated",
        IncidentEventKind::Acknowledged => "incident.acknowledged",
        IncidentEventKind::Resolved => "incident.resolved",
    }
}

#[derive(Serialize)]
struct AlertPayload {
    version: u32,
    #[serde(flatten)]
    alert: AlertView,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<AlertLinks>,
}

#[derive(Serialize)]
struct AlertLinks {
    alert: String,
}

#[derive(Serialize)]
struct IncidentPayload<'a> {
    version: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    message: &'a IncidentMessage,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<IncidentLinks>,
}

#[derive(Serialize)]
struct IncidentLinks {
    incident: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use detection::{
        AlertKey, Anomaly, Baseline, Direction, Evidence, Finding, MonitoredStatus, PolicyName,
        Severity,
    };
    use uuid::Uuid;

    use super::*;
    use crate::alerts::{Alert, Recipients, Subject};

    /// A typical alert.
    pub(crate) fn example() -> Alert {
        let baseline = Baseline::Spread {
            mean: 6.0,
            std_dev: 2.5,
            minutes: 60,
        };
        let finding = Finding {
            severity: Severity::Critical,
            direction: Some(Direction::Up),
            score: Some(9.6),
            threshold: Some(4.0),
            evidence: Evidence::ZScore { baseline },
        };
        Alert {
            id: Uuid::from_u128(0x6f1d_7ed0_1111_5222_8333_4444_5555_6666),
            recorded_at_ms: 1_752_328_805_250,
            message: "CRITICAL: denied = 30 is 9.6 standard deviations above its mean of 6.0"
                .to_owned(),
            subject: Subject::Anomaly(Anomaly {
                key: AlertKey {
                    stream: "acquirer-7".parse().expect("a name"),
                    policy: PolicyName::ZScore,
                    status: MonitoredStatus::Denied,
                    direction: Direction::Up,
                    severity: Severity::Critical,
                },
                minute: "2025-07-12 13:59".parse().expect("a minute"),
                count: 30,
                finding,
                late: false,
            }),
            suppression: None,
            recipients: Recipients::default(),
            suppressed_before: 2,
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
            span_id: Some("00f067aa0ba902b7".to_owned()),
        }
    }

    /// The same alert about another anomaly.
    pub(crate) fn with(change: impl FnOnce(&mut Anomaly)) -> Alert {
        let mut alert = example();
        if let Subject::Anomaly(anomaly) = &mut alert.subject {
            change(anomaly);
        }
        alert
    }

    /// An alert of the monitor about itself.
    pub(crate) fn of_monitor(subject: Subject, message: &str) -> Alert {
        Alert {
            subject,
            message: message.to_owned(),
            suppressed_before: 0,
            trace_id: None,
            ..example()
        }
    }

    fn text(alert: &Alert, public_url: Option<&str>) -> String {
        let content = Content::Alert(Box::new(alert.clone()));
        String::from_utf8(body(&content, public_url)).expect("JSON is UTF-8")
    }

    /// Receivers parse this, so any changed byte needs a new version.
    #[test]
    fn version_2_of_an_anomaly_is_these_bytes() {
        let expected = concat!(
            r#"{"version":2,"id":"6f1d7ed0-1111-5222-8333-444455556666","type":"transaction.anomaly","origin":"stream","#,
            r#""key":"acquirer-7/denied/up","stream":"acquirer-7","status":"denied","policy":"zscore","severity":"CRITICAL","#,
            r#""direction":"up","count":30,"minute":"2025-07-12T13:59:00Z","#,
            r#""z_score":9.6,"baseline":{"kind":"spread","mean":6.0,"std_dev":2.5,"minutes":60},"adaptive":null,"threshold":4.0,"late":false,"#,
            r#""message":"CRITICAL: denied = 30 is 9.6 standard deviations above its mean of 6.0","streams":[],"#,
            r#""suppressed":null,"suppressed_by":null,"suppressed_before":2,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","#,
            r#""recorded_at":"2025-07-12T14:00:05.250Z","#,
            r#""links":{"alert":"https://monitor.example/page/alerts/6f1d7ed0-1111-5222-8333-444455556666"}}"#,
        );
        assert_eq!(text(&example(), Some("https://monitor.example")), expected);
    }

    #[test]
    fn without_a_public_address_there_are_no_links() {
        assert!(!text(&example(), None).contains("links"));
    }

    #[test]
    fn a_baseline_without_a_score_has_nulls() {
        let alert = with(|anomaly| {
            let baseline = Baseline::Missing { minutes: 0 };
            anomaly.finding.score = None;
            anomaly.finding.evidence = Evidence::ZScore { baseline };
        });
        assert!(text(&alert, None).contains(
            r#""z_score":null,"baseline":{"kind":"missing","mean":null,"std_dev":null,"minutes":0}"#
        ));
    }

    /// Receivers parse this, so any changed byte needs a new version.
    #[test]
    fn version_2_of_stale_streams_is_these_bytes() {
        let streams = vec!["a".to_owned(), "b".to_owned()];
        let alert = of_monitor(Subject::StaleStreams { streams }, "2 streams are stale");
        let expected = concat!(
            r#"{"version":2,"id":"6f1d7ed0-1111-5222-8333-444455556666","type":"stream.stale","origin":"monitor","#,
            r#""key":"monitor/streams","stream":null,"status":null,"policy":null,"severity":"CRITICAL","direction":null,"#,
            r#""count":null,"minute":null,"z_score":null,"baseline":null,"adaptive":null,"threshold":null,"late":false,"#,
            r#""message":"2 streams are stale","streams":["a","b"],"suppressed":null,"suppressed_by":null,"#,
            r#""suppressed_before":0,"trace_id":null,"recorded_at":"2025-07-12T14:00:05.250Z"}"#,
        );
        assert_eq!(text(&alert, None), expected);
    }
}
