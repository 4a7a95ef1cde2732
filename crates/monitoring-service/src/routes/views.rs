//! How what is stored looks in answers: one shape for each thing, whatever route shows it.
//!
//! Members that do not apply are `null`, never left out, so that a client can rely on every name.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use detection::{Direction, Minute, State};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::schema;
use crate::store::{
    DeadLetterRecord, DeliveryRecord, DeliveryState, NewestRow, RowRecord, StreamRecord,
};

pub(super) use crate::alerts::json::{AlertView, At, BaselineView};

/// Longest payload shown of a dead letter, in bytes.
const MAX_PAYLOAD_BYTES: usize = 4096;

/// A stored count with its finding.
#[derive(Serialize, ToSchema)]
pub(super) struct RowView {
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    status: String,
    count: u32,
    implied: bool,
    #[schema(value_type = schema::SeverityName)]
    severity: State,
    #[schema(value_type = Option<schema::DirectionName>)]
    direction: Option<&'static str>,
    z_score: Option<f64>,
    baseline: Option<BaselineView>,
    /// The count that was judged, where a correction was too late to be judged.
    judged_count: Option<u32>,
    message: String,
}

impl From<RowRecord> for RowView {
    fn from(row: RowRecord) -> Self {
        Self {
            message: row.sentence(),
            minute: row.minute,
            count: row.count,
            implied: row.implied,
            severity: row.judgement.state(),
            direction: row.judgement.direction().map(Direction::name),
            z_score: row.judgement.score(),
            baseline: baseline_of(&row.judgement),
            judged_count: row.judged_count,
            status: row.status,
        }
    }
}

/// The delivery of an alert.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryView {
    id: i64,
    #[schema(value_type = schema::DeliveryState)]
    state: &'static str,
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
            state: DeliveryState::name(delivery.state),
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
    severity: State,
    #[serde(flatten)]
    freshness: FreshnessView,
    last_alert: Option<AlertView>,
}

impl StreamView {
    pub(super) fn new(stream: StreamRecord, live: bool, now_ms: i64) -> Self {
        Self {
            severity: stream.state(),
            freshness: FreshnessView::new(&stream, live, now_ms),
            stream: stream.name,
            last_alert: stream.last_alert.as_ref().map(AlertView::from),
        }
    }
}

fn baseline_of(judgement: &detection::Judgement) -> Option<BaselineView> {
    let baseline = judgement.evidence()?.baseline()?;
    Some(baseline.into())
}

/// A status of a stream: its newest verdict and its last alert.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusView {
    #[schema(value_type = schema::MonitoredStatus)]
    status: &'static str,
    #[schema(value_type = schema::SeverityName)]
    severity: State,
    #[schema(value_type = schema::Minute)]
    minute: Minute,
    count: u32,
    implied: bool,
    #[schema(value_type = Option<schema::DirectionName>)]
    direction: Option<&'static str>,
    z_score: Option<f64>,
    baseline: Option<BaselineView>,
    message: String,
    last_alert: Option<AlertView>,
}

impl StatusView {
    /// `stale`: the finding is of a minute long ago, so the status is stale as its stream is.
    pub(super) fn new(row: NewestRow, stale: bool) -> Self {
        let NewestRow {
            status,
            minute,
            count,
            implied,
            judgement,
            last_alert,
        } = row;
        Self {
            status: status.name(),
            severity: if stale {
                State::Stale
            } else {
                judgement.state()
            },
            minute,
            count,
            implied,
            direction: judgement.direction().map(Direction::name),
            z_score: judgement.score(),
            baseline: baseline_of(&judgement),
            message: judgement.sentence(status.name(), count),
            last_alert: last_alert.as_ref().map(AlertView::from),
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

    fn json<T: Serialize>(view: T) -> Value {
        serde_json::to_value(view).unwrap()
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
