//! PagerDuty's Events API v2 (<https://developer.pagerduty.com/docs/events-api-v2-overview>): an incident is triggered, acknowledged and
//! resolved under one `dedup_key`. An alert triggers under its key; the alert that ends a condition of the monitor resolves it.

use detection::Severity;
use serde::Serialize;
use serde_json::Value;

use crate::{
    alerts::{
        Alert, Subject,
        incident::{IncidentEventKind, IncidentMessage},
        json::{AlertView, At},
    },
    store::Content,
};

/// Characters of a summary.
const MAX_SUMMARY: usize = 1024;

/// Characters of a `dedup_key`.
const MAX_DEDUP_KEY: usize = 255;

const CLIENT: &str = "transaction-monitor";

pub(super) fn body(content: &Content, routing_key: &str, public_url: Option<&str>) -> Vec<u8> {
    let link = content.link(public_url);
    let event = match content {
        Content::Alert(alert) => of_alert(alert),
        Content::Incident(message) => of_incident(message),
    };
    let links = link.iter().map(|href| Link {
        href,
        text: "open it",
    });
    let event = Request {
        routing_key,
        client: CLIENT,
        client_url: public_url,
        links: links.collect(),
        event,
    };
    serde_json::to_vec(&event).expect("text and numbers can always be written")
}

#[derive(Serialize)]
struct Request<'a> {
    routing_key: &'a str,
    #[serde(flatten)]
    event: Event,
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_url: Option<&'a str>,
    links: Vec<Link<'a>>,
}

#[derive(Serialize)]
struct Link<'a> {
    href: &'a str,
    text: &'static str,
}

#[derive(Serialize)]
struct Event {
    #[serde(rename = "event_action")]
    action: &'static str,
    dedup_key: String,
    payload: Payload,
}

#[derive(Serialize)]
struct Payload {
    summary: String,
    source: String,
    severity: &'static str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<String>,
    group: &'static str,
    class: String,
    custom_details: Value,
}

fn of_incident(message: &IncidentMessage) -> Event {
    let action = match message.event {
        IncidentEventKind::Opened | IncidentEventKind::Escalated => "trigger",
        IncidentEventKind::Acknowledged => "acknowledge",
        IncidentEventKind::Resolved => "resolve",
    };
    Event {
        action,
        dedup_key: message.id.to_string(),
        payload: Payload {
            summary: cut(
                &format!("{}: {}", message.title, message.message),
                MAX_SUMMARY,
            ),
            source: message.stream.clone().unwrap_or_else(|| CLIENT.to_owned()),
            severity: severity(message.severity),
            timestamp: message.recorded_at.to_string(),
            component: message.stream.clone(),
            group: CLIENT,
            class: <&str>::from(message.kind).to_owned(),
            custom_details: details(message),
        },
    }
}

fn of_alert(alert: &Alert) -> Event {
    let (action, severity) = match alert.subject {
        Subject::StreamsResumed { .. } | Subject::IngestUp | Subject::IngestAccepting => {
            ("resolve", "info")
        }
        Subject::IngestSummary | Subject::ReceiverSummary | Subject::Test => ("trigger", "info"),
        _ => ("trigger", severity(alert.severity())),
    };
    let stream = alert
        .anomaly()
        .map(|anomaly| anomaly.key.stream.to_string());
    Event {
        action,
        dedup_key: cut(&alert.subject.key(), MAX_DEDUP_KEY),
        payload: Payload {
            summary: cut(&alert.message, MAX_SUMMARY),
            source: stream.clone().unwrap_or_else(|| CLIENT.to_owned()),
            severity,
            timestamp: At(alert.recorded_at_ms).to_string(),
            component: stream,
            group: CLIENT,
            class: alert.subject.kind().to_owned(),
            custom_details: details(&AlertView::from(alert)),
        },
    }
}

fn details(message: &impl Serialize) -> Value {
    serde_json::to_value(message).expect("text and numbers can always be written")
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        Severity::Normal => "info",
    }
}

fn cut(text: &str, max: usize) -> String {
    text.chars().take(max).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::notify::{
        incident_examples::{escalated, group, opened, resolved},
        json::tests::{example, of_monitor},
    };

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    fn event(content: &Content) -> Value {
        let body = body(content, KEY, Some("https://monitor.example"));
        serde_json::from_slice(&body).expect("JSON")
    }

    fn incident(message: IncidentMessage) -> Content {
        Content::Incident(Box::new(message))
    }

    fn alert(alert: Alert) -> Content {
        Content::Alert(Box::new(alert))
    }

    /// The rules of the published schema of Events v2: required members, values of enums, lengths. The schema itself
    /// (<https://github.com/PagerDuty/api-schema>) states no licence, so it is not repeated here.
    fn assert_valid(event: &Value) {
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        assert_eq!(text(&event["routing_key"]).len(), 32);
        let action = text(&event["event_action"]);
        assert!(
            ["trigger", "acknowledge", "resolve"].contains(&&*action),
            "{action}"
        );
        let key = text(&event["dedup_key"]).chars().count();
        assert!((1..=255).contains(&key), "{key}");
        let payload = &event["payload"];
        let summary = text(&payload["summary"]).chars().count();
        assert!((1..=1024).contains(&summary), "{summary}");
        assert!(!text(&payload["source"]).is_empty());
        let severity = text(&payload["severity"]);
        assert!(
            ["critical", "warning", "error", "info"].contains(&&*severity),
            "{severity}"
        );
        text(&payload["timestamp"])
            .parse::<jiff::Timestamp>()
            .expect("ISO 8601");
        assert!(payload["custom_details"].is_object());
        for link in event["links"].as_array().expect("a list") {
            assert!(text(&link["href"]).starts_with("https://"));
        }
        let known = [
            "routing_key",
            "event_action",
            "dedup_key",
            "payload",
            "client",
            "client_url",
            "links",
        ];
        let members = event.as_object().expect("an object").keys();
        assert!(
            members.into_iter().all(|name| known.contains(&&**name)),
            "{event}"
        );
        assert!(event.to_string().len() < 512 * 1024);
    }

    #[test]
    fn an_incident_is_triggered_acknowledged_and_resolved() {
        let acknowledged = IncidentMessage {
            event: IncidentEventKind::Acknowledged,
            ..opened()
        };
        let events = [
            (opened(), "trigger"),
            (escalated(), "trigger"),
            (acknowledged, "acknowledge"),
            (resolved(), "resolve"),
            (group(), "trigger"),
        ];
        for (message, action) in events {
            let event = event(&incident(message));
            assert_valid(&event);
            assert_eq!(event["event_action"], action);
            assert_eq!(event["dedup_key"], "0f8fad5b-d9cb-569f-a165-70867728950e");
        }
    }

    #[test]
    fn an_opening_looks_like_this() {
        let mut event = event(&incident(opened()));
        event["payload"]["custom_details"] = Value::Null;
        let expected = json!({
            "routing_key": KEY,
            "event_action": "trigger",
            "dedup_key": "0f8fad5b-d9cb-569f-a165-70867728950e",
            "payload": {
                "summary": "acquirer-7: denied up: 30 of 106 payments were denied at 13:59, 6.0 were expected.",
                "source": "acquirer-7", "severity": "critical", "timestamp": "2025-07-12T14:00:05.250Z",
                "component": "acquirer-7", "group": "transaction-monitor", "class": "anomaly", "custom_details": null,
            },
            "client": "transaction-monitor",
            "client_url": "https://monitor.example",
            "links": [{
                "href": "https://monitor.example/page/incidents/0f8fad5b-d9cb-569f-a165-70867728950e", "text": "open it",
            }],
        });
        assert_eq!(event, expected);
    }

    #[test]
    fn an_alert_triggers_under_its_key() {
        let event = event(&alert(example()));
        assert_valid(&event);
        assert_eq!(
            (&event["event_action"], &event["dedup_key"]),
            (&json!("trigger"), &json!("acquirer-7/denied/up"))
        );
        for (subject, action, key, severity) in [
            (Subject::IngestDown, "trigger", "monitor/ingest", "critical"),
            (Subject::IngestUp, "resolve", "monitor/ingest", "info"),
            (
                Subject::ReceiverSummary,
                "trigger",
                "monitor/summary",
                "info",
            ),
        ] {
            let event = self::event(&alert(of_monitor(subject, "one sentence")));
            assert_valid(&event);
            assert_eq!(
                (&event["event_action"], &event["dedup_key"]),
                (&json!(action), &json!(key))
            );
            assert_eq!(event["payload"]["severity"], severity);
        }
    }

    #[test]
    fn long_texts_are_cut_to_the_limits() {
        let long = IncidentMessage {
            message: "é".repeat(5000),
            ..opened()
        };
        assert_valid(&event(&incident(long)));
    }
}
