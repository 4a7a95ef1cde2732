//! What a receiver gets: stable JSON of version 1. Fields may be added; none is renamed, removed or given another
//! meaning without another version.

use detection::Minute;
use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::store::{AlertRecord, AlertType, Anomaly, Origin};

/// The version of the payload.
const VERSION: u32 = 1;

/// The body of the POST for this alert. Links are added where the address of this service is known.
pub(super) fn json(alert: &AlertRecord, public_url: Option<&str>) -> Vec<u8> {
    let payload = Payload {
        version: VERSION,
        alert_type: alert.alert_type,
        id: alert.id,
        key: key(alert),
        origin: alert.origin,
        severity: alert.severity,
        message: &alert.message,
        anomaly: alert.anomaly.as_ref().map(AnomalyPart::of),
        streams: &alert.streams,
        suppressed: alert.suppressed_before,
        trace_id: alert.trace_id.as_deref(),
        recorded_at: Timestamp::from_millisecond(alert.recorded_at_ms).unwrap_or(Timestamp::MAX),
        links: public_url.map(|base| Links {
            alert: format!("{base}/alerts/{}", alert.id),
        }),
    };
    serde_json::to_vec(&payload).expect("text and numbers can always be written")
}

/// What belongs together for a pager. The end of a silence has the key of its beginning.
fn key(alert: &AlertRecord) -> String {
    match (&alert.anomaly, alert.alert_type) {
        (Some(anomaly), _) => anomaly.key(),
        (None, AlertType::StreamStale | AlertType::StreamResumed) => "monitor/streams".to_owned(),
        (None, AlertType::IngestDown | AlertType::IngestUp) => "monitor/feed".to_owned(),
        (None, AlertType::Test) => "monitor/test".to_owned(),
        (None, AlertType::Anomaly) => "monitor/anomaly".to_owned(),
    }
}

#[derive(Serialize)]
struct Payload<'a> {
    version: u32,
    #[serde(rename = "type")]
    alert_type: AlertType,
    id: Uuid,
    key: String,
    origin: Origin,
    severity: detection::Severity,
    message: &'a str,
    #[serde(flatten)]
    anomaly: Option<AnomalyPart<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    streams: &'a [String],
    /// Alerts of the same key held back since the last one that went out.
    suppressed: u32,
    trace_id: Option<&'a str>,
    recorded_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Links>,
}

#[derive(Serialize)]
struct AnomalyPart<'a> {
    stream: &'a str,
    status: &'static str,
    direction: detection::Direction,
    minute: Minute,
    count: u32,
    z_score: Option<f64>,
    baseline: BaselinePart,
    /// The limit that was passed, in standard deviations.
    threshold: f64,
    late: bool,
}

#[derive(Serialize)]
struct BaselinePart {
    kind: &'static str,
    mean: Option<f64>,
    std_dev: Option<f64>,
    minutes: u32,
}

#[derive(Serialize)]
struct Links {
    alert: String,
}

impl<'a> AnomalyPart<'a> {
    fn of(anomaly: &'a Anomaly) -> Self {
        let Anomaly {
            stream,
            status,
            direction,
            minute,
            count,
            z_score,
            baseline,
            threshold,
            late,
        } = anomaly;
        Self {
            stream,
            status: status.name(),
            direction: *direction,
            minute: *minute,
            count: *count,
            z_score: *z_score,
            baseline: BaselinePart {
                kind: baseline.kind(),
                mean: baseline.mean(),
                std_dev: baseline.std_dev(),
                minutes: baseline.minutes(),
            },
            threshold: *threshold,
            late: *late,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use detection::{Baseline, Direction, MonitoredStatus, Severity};

    use super::*;

    /// An alert as an incident makes it.
    pub(in crate::alerting) fn anomaly() -> AlertRecord {
        AlertRecord {
            id: Uuid::from_u128(0x6f1d_7ed0_1111_5222_8333_4444_5555_6666),
            alert_type: AlertType::Anomaly,
            origin: Origin::Stream,
            recorded_at_ms: 1_752_328_805_250,
            severity: Severity::Critical,
            message: "CRITICAL: denied = 30 is 9.6 standard deviations above its mean of 6.0"
                .to_owned(),
            anomaly: Some(Anomaly {
                stream: "acquirer-7".to_owned(),
                status: MonitoredStatus::Denied,
                direction: Direction::Up,
                minute: "2025-07-12 13:59".parse().expect("a minute"),
                count: 30,
                z_score: Some(9.6),
                baseline: Baseline::Spread {
                    mean: 6.0,
                    std_dev: 2.5,
                    minutes: 60,
                },
                threshold: 4.0,
                late: false,
            }),
            streams: Vec::new(),
            suppressed_by: None,
            suppressed_before: 2,
            not_paged: None,
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
            span_id: Some("00f067aa0ba902b7".to_owned()),
        }
    }

    fn text(alert: &AlertRecord, public_url: Option<&str>) -> String {
        String::from_utf8(json(alert, public_url)).expect("JSON is UTF-8")
    }

    /// Receivers parse this: a byte that changes here is a new version.
    #[test]
    fn version_1_of_an_anomaly_is_these_bytes() {
        let expected = concat!(
            r#"{"version":1,"type":"transaction.anomaly","id":"6f1d7ed0-1111-5222-8333-444455556666","#,
            r#""key":"acquirer-7/denied/up","origin":"stream","severity":"CRITICAL","#,
            r#""message":"CRITICAL: denied = 30 is 9.6 standard deviations above its mean of 6.0","#,
            r#""stream":"acquirer-7","status":"denied","direction":"up","minute":"2025-07-12T13:59:00Z","count":30,"#,
            r#""z_score":9.6,"baseline":{"kind":"spread","mean":6.0,"std_dev":2.5,"minutes":60},"threshold":4.0,"#,
            r#""late":false,"suppressed":2,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","#,
            r#""recorded_at":"2025-07-12T14:00:05.25Z","#,
            r#""links":{"alert":"https://monitor.example/alerts/6f1d7ed0-1111-5222-8333-444455556666"}}"#,
        );
        assert_eq!(text(&anomaly(), Some("https://monitor.example")), expected);
    }

    #[test]
    fn without_a_public_address_there_are_no_links() {
        assert!(!text(&anomaly(), None).contains("links"));
    }

    #[test]
    fn a_baseline_without_a_score_is_told_with_nulls() {
        let mut alert = anomaly();
        let anomaly = alert.anomaly.as_mut().expect("it has one");
        (anomaly.z_score, anomaly.baseline) = (None, Baseline::Missing { minutes: 0 });
        let text = text(&alert, None);
        assert!(text.contains(
            r#""z_score":null,"baseline":{"kind":"missing","mean":null,"std_dev":null,"minutes":0}"#
        ));
    }

    /// Receivers parse this: a byte that changes here is a new version.
    #[test]
    fn version_1_of_a_silence_is_these_bytes() {
        let alert = AlertRecord {
            alert_type: AlertType::StreamStale,
            origin: Origin::Monitor,
            message: "2 streams are silent".to_owned(),
            anomaly: None,
            streams: vec!["a".to_owned(), "b".to_owned()],
            suppressed_before: 0,
            trace_id: None,
            ..anomaly()
        };
        let expected = concat!(
            r#"{"version":1,"type":"stream.stale","id":"6f1d7ed0-1111-5222-8333-444455556666","#,
            r#""key":"monitor/streams","origin":"monitor","severity":"CRITICAL","message":"2 streams are silent","#,
            r#""streams":["a","b"],"suppressed":0,"trace_id":null,"recorded_at":"2025-07-12T14:00:05.25Z"}"#,
        );
        assert_eq!(text(&alert, None), expected);
    }
}
