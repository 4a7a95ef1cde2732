//! Alerts for the API v2 of an Alertmanager (`POST /api/v2/alerts`).
//!
//! Alertmanager expects its clients to send an alert again and again, and else ends it after `resolve_timeout`. Here each message is sent
//! once: an open incident has an end far in the future, and the resolve replaces it. The labels of an incident are the same in all its
//! messages, because they are its identity: its severity, which may rise, is an annotation.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    alerts::{
        Alert, Subject,
        incident::{IncidentKind, IncidentMessage},
        json::At,
    },
    store::Content,
};

/// How long after its beginning an open incident ends by itself, milliseconds: a year.
const OPEN_FOR_MS: i64 = 365 * 24 * 3_600_000;

pub(super) fn body(content: &Content, public_url: Option<&str>) -> Vec<u8> {
    let alert = match content {
        Content::Alert(alert) => of_alert(alert),
        Content::Incident(message) => of_incident(message),
    };
    let alert = PostableAlert {
        generator_url: content.link(public_url),
        ..alert
    };
    serde_json::to_vec(&[alert]).expect("text can always be written")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PostableAlert {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    /// Without it, Alertmanager ends the alert after its `resolve_timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    #[serde(rename = "generatorURL", skip_serializing_if = "Option::is_none")]
    generator_url: Option<String>,
}

fn of_incident(message: &IncidentMessage) -> PostableAlert {
    let name = match message.kind {
        IncidentKind::Anomaly => "TransactionAnomaly",
        IncidentKind::StaleStream => "StaleStream",
        IncidentKind::IngestDown => "IngestDown",
        IncidentKind::IngestRejecting => "IngestRejecting",
        IncidentKind::Group => "TransactionAnomalyGroup",
    };
    let mut labels = BTreeMap::from([
        ("alertname", name.to_owned()),
        ("incident", message.id.to_string()),
        ("kind", <&str>::from(message.kind).to_owned()),
    ]);
    labels.extend(message.stream.clone().map(|stream| ("stream", stream)));
    labels.extend(
        message
            .policy
            .map(|policy| ("policy", policy.name().to_owned())),
    );
    let mut annotations = BTreeMap::from([
        ("summary", message.title.clone()),
        ("description", message.message.clone()),
        ("severity", message.severity.name().to_owned()),
    ]);
    if !message.streams.is_empty() {
        annotations.insert("streams", message.streams.join(", "));
    }
    annotations.extend(
        message
            .acknowledged_by
            .clone()
            .map(|by| ("acknowledged_by", by)),
    );
    let ends_at = message
        .ended_at
        .unwrap_or(At(message.opened_at.0 + OPEN_FOR_MS));
    PostableAlert {
        labels,
        annotations,
        starts_at: message.opened_at.to_string(),
        ends_at: Some(ends_at.to_string()),
        generator_url: None,
    }
}

fn of_alert(alert: &Alert) -> PostableAlert {
    let recorded_at = At(alert.recorded_at_ms);
    let open = Some(At(alert.recorded_at_ms + OPEN_FOR_MS));
    // The end of a condition has the labels of its beginning.
    let (name, ends_at) = match alert.subject {
        Subject::Anomaly(_) | Subject::Submission(_) => ("TransactionAnomaly", None),
        Subject::StaleStreams { .. } => ("StaleStreams", open),
        Subject::StreamsResumed { .. } => ("StaleStreams", Some(recorded_at)),
        Subject::IngestDown => ("IngestDown", open),
        Subject::IngestUp => ("IngestDown", Some(recorded_at)),
        Subject::IngestRejecting => ("IngestRejecting", open),
        Subject::IngestAccepting => ("IngestRejecting", Some(recorded_at)),
        Subject::IngestSummary | Subject::ReceiverSummary => ("NotificationSummary", None),
        Subject::Test => ("TestAlert", None),
    };
    let mut labels = BTreeMap::from([
        ("alertname", name.to_owned()),
        ("severity", alert.severity().name().to_lowercase()),
    ]);
    if let Some(anomaly) = alert.anomaly() {
        labels.extend([
            ("stream", anomaly.key.stream.to_string()),
            ("status", anomaly.key.status.to_string()),
            ("direction", anomaly.key.direction.to_string()),
            ("policy", anomaly.key.policy.to_string()),
        ]);
    }
    let mut annotations = BTreeMap::from([("summary", alert.message.clone())]);
    if !alert.subject.streams().is_empty() {
        annotations.insert("streams", alert.subject.streams().join(", "));
    }
    PostableAlert {
        labels,
        annotations,
        starts_at: recorded_at.to_string(),
        ends_at: ends_at.map(|at| at.to_string()),
        generator_url: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::notify::{
        incident_examples::{escalated, opened, resolved},
        json::tests::{example, of_monitor},
    };

    fn incident(message: IncidentMessage) -> Value {
        of(&Content::Incident(Box::new(message)))
    }

    fn alert(alert: Alert) -> Value {
        of(&Content::Alert(Box::new(alert)))
    }

    fn of(content: &Content) -> Value {
        let body = body(content, Some("https://monitor.example"));
        let alerts: Value = serde_json::from_slice(&body).expect("JSON");
        alerts[0].clone()
    }

    #[test]
    fn an_open_incident_lasts_until_its_resolve() {
        let expected = json!({
            "labels": {
                "alertname": "TransactionAnomaly", "incident": "0f8fad5b-d9cb-569f-a165-70867728950e",
                "kind": "anomaly", "policy": "adaptive", "stream": "acquirer-7",
            },
            "annotations": {
                "description": "30 of 106 payments were denied at 13:59, 6.0 were expected.",
                "severity": "CRITICAL",
                "summary": "acquirer-7: denied up",
            },
            "startsAt": "2025-07-12T13:59:00.000Z",
            "endsAt": "2026-07-12T13:59:00.000Z",
            "generatorURL": "https://monitor.example/page/incidents/0f8fad5b-d9cb-569f-a165-70867728950e",
        });
        let opened = incident(opened());
        assert_eq!(opened, expected);
        let resolved = incident(resolved());
        assert_eq!(resolved["endsAt"], "2025-07-12T14:45:00.000Z");
        for message in [incident(escalated()), resolved] {
            assert_eq!(
                (&message["labels"], &message["startsAt"]),
                (&opened["labels"], &opened["startsAt"])
            );
        }
    }

    #[test]
    fn an_alert_ends_by_the_timeout_of_alertmanager() {
        let message = alert(example());
        assert_eq!(message["endsAt"], Value::Null);
        let labels = json!({
            "alertname": "TransactionAnomaly", "direction": "up", "policy": "zscore", "severity": "critical",
            "status": "denied", "stream": "acquirer-7",
        });
        assert_eq!(message["labels"], labels);
    }

    #[test]
    fn the_end_of_a_condition_has_the_labels_of_its_beginning() {
        let down = alert(of_monitor(Subject::IngestDown, "down"));
        let up = alert(of_monitor(Subject::IngestUp, "up"));
        assert_eq!(down["labels"], up["labels"]);
        assert_eq!(down["endsAt"], "2026-07-12T14:00:05.250Z");
        assert_eq!(up["endsAt"], "2025-07-12T14:00:05.250Z");
    }
}
