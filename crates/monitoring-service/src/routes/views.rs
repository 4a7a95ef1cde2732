//! How what is stored looks in answers: one shape for each thing, whatever route shows it.
//!
//! Members that do not apply are `null`, never left out, so that a client can rely on every name.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use detection::{Baseline, Minute, Severity, ZScore};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use super::schema;
use crate::store::{
    AlertRecord, AlertType, Anomaly, DeadLetterRecord, DeliveryRecord, NotPaged, Origin, RowRecord,
    StatusVerdict, StreamRecord, SuppressedBy,
};

/// Longest payload shown of a dead letter, in bytes.
const MAX_PAYLOAD_BYTES: usize = 4096;

/// An instant in milliseconds since 1970, written as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(pub(super) i64);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let instant = Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::MAX);
        serializer.collect_str(&format_args!("{instant:.3}"))
    }
}

/// What a count was judged against.
#[derive(Serialize, ToSchema)]
pub(super) struct BaselineView {
    #[schema(value_type = schema::BaselineKind)]
    kind: &'static str,
    mean: Option<f64>,
    std_dev: Option<f64>,
    minutes: u32,
}

impl From<Baseline> for BaselineView {
    fn from(baseline: Baseline) -> Self {
        Self {
            kind: baseline.kind(),
            mean: baseline.mean(),
            std_dev: baseline.std_dev(),
            minutes: baseline.minutes(),
        }
    }
}

/// An alert.
#[derive(Serialize, ToSchema)]
pub(super) struct AlertView {
    #[schema(value_type = schema::Id)]
    id: Uuid,
    #[serde(rename = "type")]
    #[schema(value_type = schema::AlertTypeName)]
    alert_type: AlertType,
    #[schema(value_type = schema::OriginName)]
    origin: Origin,
    key: Option<String>,
    stream: Option<String>,
    #[schema(value_type = Option<schema::MonitoredStatus>)]
    status: Option<&'static str>,
    #[schema(value_type = schema::SeverityName)]
    severity: Severity,
    #[schema(value_type = Option<schema::DirectionName>)]
    direction: Option<&'static str>,
    count: Option<u32>,
    #[schema(value_type = Option<schema::Minute>)]
    minute: Option<Minute>,
    z_score: Option<f64>,
    baseline: Option<BaselineView>,
    threshold: Option<f64>,
    late: bool,
    message: String,
    /// The streams that an alert of the monitor itself names.
    streams: Vec<String>,
    #[schema(value_type = schema::Disposition)]
    disposition: &'static str,
    #[schema(value_type = Option<schema::Id>)]
    suppressed_by: Option<Uuid>,
    /// `cooldown` or `silence`.
    #[schema(value_type = Option<schema::SuppressedBecause>)]
    suppressed_because: Option<&'static str>,
    suppressed_before: u32,
    #[schema(value_type = Option<schema::NotPagedName>)]
    not_paged: Option<NotPaged>,
    trace_id: Option<String>,
    #[schema(value_type = schema::Instant)]
    recorded_at: At,
}

impl From<AlertRecord> for AlertView {
    fn from(alert: AlertRecord) -> Self {
        let disposition = if alert.is_dispatched() {
            "dispatched"
        } else {
            "suppressed"
        };
        let anomaly = alert.anomaly.as_ref();
        Self {
            id: alert.id,
            alert_type: alert.alert_type,
            origin: alert.origin,
            key: anomaly.map(Anomaly::key),
            status: anomaly.map(|anomaly| anomaly.status.name()),
            severity: alert.severity,
            direction: anomaly.map(|anomaly| anomaly.direction.name()),
            count: anomaly.map(|anomaly| anomaly.count),
            minute: anomaly.map(|anomaly| anomaly.minute),
            z_score: anomaly.and_then(|anomaly| anomaly.z_score),
            baseline: anomaly.map(|anomaly| anomaly.baseline.into()),
            threshold: anomaly.map(|anomaly| anomaly.threshold),
            late: anomaly.is_some_and(|anomaly| anomaly.late),
            stream: alert.anomaly.map(|anomaly| anomaly.stream),
            message: alert.message,
            streams: alert.streams,
            disposition,
            suppressed_by: alert.suppressed_by.map(SuppressedBy::id),
            suppressed_because: alert.suppressed_by.map(SuppressedBy::reason),
            suppressed_before: alert.suppressed_before,
            not_paged: alert.not_paged,
            trace_id: alert.trace_id,
            recorded_at: At(alert.recorded_at_ms),
        }
    }
}

/// A stored count with its verdict.
#[derive(Serialize, ToSchema)]
pub(super) struct RowView {
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    status: String,
    count: u32,
    implied: bool,
    #[schema(value_type = schema::SeverityName)]
    severity: Severity,
    #[schema(value_type = Option<schema::DirectionName>)]
    direction: Option<&'static str>,
    z_score: Option<f64>,
    baseline: BaselineView,
    /// The count the verdict was given for, where a correction came after its time.
    judged_count: Option<u32>,
    message: String,
}

impl From<RowRecord> for RowView {
    fn from(row: RowRecord) -> Self {
        Self {
            message: row.reason(),
            minute: row.minute,
            count: row.count,
            implied: row.implied,
            severity: row.verdict.severity,
            direction: row.verdict.direction.map(detection::Direction::name),
            z_score: row.verdict.z_score.map(ZScore::get),
            baseline: row.verdict.baseline.into(),
            judged_count: row.judged_count,
            status: row.status,
        }
    }
}

/// How a page is on its way.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryView {
    id: i64,
    #[schema(value_type = schema::DeliveryState)]
    state: String,
    attempts: u32,
    #[schema(value_type = schema::Instant)]
    created_at: At,
    #[schema(value_type = Option<schema::Instant>)]
    next_attempt_at: Option<At>,
    #[schema(value_type = Option<schema::Instant>)]
    last_attempt_at: Option<At>,
    last_status: Option<u16>,
    last_error: Option<String>,
}

impl From<DeliveryRecord> for DeliveryView {
    fn from(delivery: DeliveryRecord) -> Self {
        Self {
            id: delivery.id,
            state: delivery.state,
            attempts: delivery.attempts,
            created_at: At(delivery.created_at_ms),
            next_attempt_at: delivery.next_attempt_at_ms.map(At),
            last_attempt_at: delivery.last_attempt_at_ms.map(At),
            last_status: delivery.last_status,
            last_error: delivery.last_error,
        }
    }
}

/// An alert with everything known about it.
#[derive(Serialize, ToSchema)]
pub(super) struct AlertDetailView {
    #[serde(flatten)]
    pub(super) alert: AlertView,
    pub(super) deliveries: Vec<DeliveryView>,
}

/// How fresh a stream is.
#[derive(Serialize, ToSchema)]
pub(super) struct FreshnessView {
    #[schema(value_type = schema::Minute)]
    newest_minute: Minute,
    #[schema(value_type = schema::Instant)]
    arrived_at: At,
    /// From the start of the newest minute to now.
    age_seconds: i64,
    live: bool,
    quiet: bool,
    #[schema(value_type = Option<schema::Instant>)]
    quiet_since: Option<At>,
    /// Since when only minutes come that are older than ALLOWED_LATENESS: an older file, sent into a newer stream.
    #[schema(value_type = Option<schema::Instant>)]
    only_old_minutes_since: Option<At>,
}

impl FreshnessView {
    pub(super) fn new(stream: &StreamRecord, live: bool, now_ms: i64) -> Self {
        Self {
            newest_minute: stream.newest_minute,
            arrived_at: At(stream.arrived_at_ms),
            age_seconds: now_ms
                .div_euclid(1000)
                .saturating_sub(stream.newest_minute.start().as_second()),
            live,
            quiet: stream.stale_since_ms.is_some(),
            quiet_since: stream.stale_since_ms.map(At),
            only_old_minutes_since: stream.old_since_ms.map(At),
        }
    }
}

/// A stream and how it stands.
#[derive(Serialize, ToSchema)]
pub(super) struct StreamView {
    stream: String,
    #[schema(value_type = schema::SeverityName)]
    severity: Severity,
    #[serde(flatten)]
    freshness: FreshnessView,
    last_alert: Option<AlertView>,
}

impl StreamView {
    pub(super) fn new(stream: StreamRecord, live: bool, now_ms: i64) -> Self {
        Self {
            severity: severity_of(&stream),
            freshness: FreshnessView::new(&stream, live, now_ms),
            stream: stream.name,
            last_alert: stream.last_alert.map(AlertView::from),
        }
    }
}

/// The severity of a stream: of a quiet one STALE, never that of its last verdict.
pub(super) fn severity_of(stream: &StreamRecord) -> Severity {
    if stream.stale_since_ms.is_some() {
        Severity::Stale
    } else {
        stream.worst
    }
}

/// A status of a stream: its newest verdict and its last alert.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusView {
    #[schema(value_type = schema::MonitoredStatus)]
    status: &'static str,
    #[schema(value_type = schema::SeverityName)]
    severity: Severity,
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    count: u32,
    implied: bool,
    #[schema(value_type = Option<schema::DirectionName>)]
    direction: Option<&'static str>,
    z_score: Option<f64>,
    baseline: BaselineView,
    message: String,
    last_alert: Option<AlertView>,
}

impl StatusView {
    /// `quiet`: the verdict is of a minute long gone, so it is no longer how the status stands.
    pub(super) fn new(row: StatusVerdict, quiet: bool) -> Self {
        let StatusVerdict {
            status,
            minute,
            count,
            implied,
            verdict,
            last_alert,
        } = row;
        Self {
            status: status.name(),
            severity: if quiet {
                Severity::Stale
            } else {
                verdict.severity
            },
            minute,
            count,
            implied,
            direction: verdict.direction.map(detection::Direction::name),
            z_score: verdict.z_score.map(ZScore::get),
            baseline: verdict.baseline.into(),
            message: verdict.reason(status.name(), count),
            last_alert: last_alert.map(AlertView::from),
        }
    }
}

/// A message that could not be used.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadLetterView {
    id: i64,
    topic: String,
    partition: i32,
    offset: i64,
    reason: String,
    detail: String,
    /// The start of the payload; `payload_encoding` says how it is written.
    payload: Option<String>,
    #[schema(value_type = Option<schema::PayloadEncoding>)]
    payload_encoding: Option<&'static str>,
    payload_bytes: u64,
    payload_truncated: bool,
    /// The headers as text.
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    headers: Option<Box<RawValue>>,
    #[schema(value_type = schema::Instant)]
    received_at: At,
}

impl From<DeadLetterRecord> for DeadLetterView {
    fn from(letter: DeadLetterRecord) -> Self {
        let shown = letter.payload.as_deref().map(excerpt);
        let shown_bytes = shown.as_ref().map_or(0, |excerpt| excerpt.bytes);
        let (payload, payload_encoding) = shown
            .map(|excerpt| (excerpt.text, excerpt.encoding))
            .unzip();
        Self {
            id: letter.id,
            topic: letter.topic,
            partition: letter.partition,
            offset: letter.offset,
            reason: letter.reason,
            detail: letter.detail,
            payload,
            payload_encoding,
            payload_truncated: letter.payload_bytes > shown_bytes as u64,
            payload_bytes: letter.payload_bytes,
            headers: RawValue::from_string(letter.headers).ok(),
            received_at: At(letter.received_at_ms),
        }
    }
}

struct Excerpt {
    text: String,
    encoding: &'static str,
    /// How many bytes of the payload it shows.
    bytes: usize,
}

/// The start of a payload: as text where all of it is UTF-8 (a character cut in two at the end is left out), else Base64.
fn excerpt(payload: &[u8]) -> Excerpt {
    let start = &payload[..payload.len().min(MAX_PAYLOAD_BYTES)];
    let text = match std::str::from_utf8(start) {
        Ok(text) => Some(text),
        // `error_len` is none where the bytes merely end within a character, which the cut may have done.
        Err(error) if error.error_len().is_none() && start.len() < payload.len() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) => Excerpt {
            text: text.to_owned(),
            encoding: "utf-8",
            bytes: text.len(),
        },
        None => Excerpt {
            text: BASE64_STANDARD.encode(start),
            encoding: "base64",
            bytes: start.len(),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::store::NotPaged;
    use detection::{Direction, MonitoredStatus};

    fn json<T: Serialize>(view: T) -> Value {
        serde_json::to_value(view).unwrap()
    }

    #[test]
    fn an_alert_of_a_count_shows_everything_it_was_judged_by() {
        let alert = AlertRecord {
            id: Uuid::from_u128(1),
            alert_type: AlertType::Anomaly,
            origin: Origin::Stream,
            recorded_at_ms: 1_752_327_900_000,
            severity: Severity::Critical,
            message: "too many".into(),
            anomaly: Some(Anomaly {
                stream: "acme".into(),
                status: MonitoredStatus::Denied,
                direction: Direction::Up,
                minute: Minute::from_epoch_minutes(29_205_465),
                count: 30,
                z_score: Some(8.5),
                baseline: Baseline::Spread {
                    mean: 6.0,
                    std_dev: 2.0,
                    minutes: 60,
                },
                threshold: 4.0,
                late: false,
            }),
            streams: Vec::new(),
            suppressed_by: None,
            suppressed_before: 2,
            not_paged: Some(NotPaged::NoWebhook),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
            span_id: None,
        };
        let expected = json!({
            "id": "00000000-0000-0000-0000-000000000001", "type": "transaction.anomaly", "origin": "stream",
            "key": "acme/denied/up", "stream": "acme", "status": "denied", "severity": "CRITICAL", "direction": "up",
            "count": 30, "minute": "2025-07-12T13:45:00Z", "z_score": 8.5,
            "baseline": {"kind": "spread", "mean": 6.0, "std_dev": 2.0, "minutes": 60}, "threshold": 4.0, "late": false,
            "message": "too many", "streams": [], "disposition": "dispatched", "suppressed_by": null, "suppressed_because": null,
            "suppressed_before": 2, "not_paged": "no_webhook", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "recorded_at": "2025-07-12T13:45:00.000Z",
        });
        assert_eq!(json(AlertView::from(alert)), expected);
    }

    #[test]
    fn an_alert_of_the_monitor_has_no_count_and_names_its_streams() {
        let alert = AlertRecord {
            id: Uuid::from_u128(2),
            alert_type: AlertType::StreamStale,
            origin: Origin::Monitor,
            recorded_at_ms: 1,
            severity: Severity::Critical,
            message: "quiet".into(),
            anomaly: None,
            streams: vec!["a".into(), "b".into()],
            suppressed_by: Some(SuppressedBy::Alert(Uuid::from_u128(1))),
            suppressed_before: 0,
            not_paged: None,
            trace_id: None,
            span_id: None,
        };
        let view = json(AlertView::from(alert));
        assert_eq!(
            (&view["key"], &view["count"], &view["baseline"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!(
            (&view["streams"], &view["disposition"]),
            (&json!(["a", "b"]), &json!("suppressed"))
        );
        assert_eq!(view["recorded_at"], "1970-01-01T00:00:00.001Z");
    }

    #[test]
    fn a_dead_letter_shows_text_as_text_and_other_bytes_as_base64() {
        for (payload, text, encoding) in [
            (&b"{oops"[..], "{oops", "utf-8"),
            (b"\xff\x00", "/wA=", "base64"),
        ] {
            let view = json(DeadLetterView::from(dead_letter(
                Some(payload),
                payload.len(),
            )));
            assert_eq!(
                (&view["payload"], &view["payload_encoding"]),
                (&json!(text), &json!(encoding))
            );
            assert_eq!(view["payload_truncated"], false);
            assert_eq!(view["headers"], json!({"a": "b"}));
        }
    }

    #[test]
    fn a_long_dead_letter_is_cut_between_characters_and_says_so() {
        let payload = format!("x{}", "é".repeat(MAX_PAYLOAD_BYTES));
        let view = json(DeadLetterView::from(dead_letter(
            Some(payload.as_bytes()),
            payload.len(),
        )));
        assert_eq!(view["payload_encoding"], "utf-8");
        assert_eq!(
            view["payload"].as_str().unwrap().len(),
            MAX_PAYLOAD_BYTES - 1
        );
        assert_eq!(view["payload_truncated"], true);
    }

    #[test]
    fn a_null_payload_stays_null() {
        let view = json(DeadLetterView::from(dead_letter(None, 0)));
        assert_eq!(
            (&view["payload"], &view["payload_encoding"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(view["payload_truncated"], false);
    }

    fn dead_letter(payload: Option<&[u8]>, payload_bytes: usize) -> DeadLetterRecord {
        DeadLetterRecord {
            id: 1,
            topic: "transactions".into(),
            partition: 0,
            offset: 7,
            reason: "invalid_json".into(),
            detail: "the payload is not JSON".into(),
            payload: payload.map(<[u8]>::to_vec),
            payload_bytes: payload_bytes as u64,
            headers: r#"{"a":"b"}"#.into(),
            received_at_ms: 0,
        }
    }
}
