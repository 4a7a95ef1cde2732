//! `GET /dead-letters`: messages that cannot be used, with the reason.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    AppState, error::Problem, extract::QueryParams, openapi, parameters::Page, schema::Instant,
};
use crate::store::DeadLetterRecord;

/// Longest payload that is shown, in bytes.
const MAX_PAYLOAD_BYTES: usize = 4096;

/// A page of dead letters, newest first.
#[derive(Serialize, ToSchema)]
struct DeadLetters {
    dead_letters: Vec<DeadLetter>,
    next_cursor: Option<String>,
}

/// A message that cannot be used.
#[derive(Serialize, ToSchema)]
struct DeadLetter {
    id: i64,
    topic: String,
    partition: i32,
    offset: i64,
    reason: String,
    detail: String,
    /// The start of the payload.
    payload: Option<String>,
    payload_encoding: Option<Encoding>,
    payload_bytes: u64,
    payload_truncated: bool,
    /// The headers as text.
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    headers: Option<Box<RawValue>>,
    received_at: Instant,
}

/// The encoding of the payload in this answer.
#[derive(Clone, Copy, Serialize, ToSchema)]
enum Encoding {
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "base64")]
    Base64,
}

/// Messages that cannot be used, with the reason.
#[utoipa::path(
    get,
    path = "/dead-letters",
    operation_id = "list_dead_letters",
    tag = "faults",
    params(Page),
    responses((status = 200, description = "A page, newest first", body = DeadLetters), openapi::Query)
)]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    QueryParams(page): QueryParams<Page>,
) -> Result<impl IntoResponse, Problem> {
    let letters = state
        .store
        .dead_letters(page.before(), page.probe())
        .await?;
    let (letters, next_cursor) = page.cut(letters, |letter| letter.id);
    let dead_letters = letters.into_iter().map(DeadLetter::from).collect();
    Ok(Json(DeadLetters {
        dead_letters,
        next_cursor,
    }))
}

impl From<DeadLetterRecord> for DeadLetter {
    fn from(letter: DeadLetterRecord) -> Self {
        let shown = letter.payload.as_deref().map(Excerpt::of);
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
            received_at: Instant(letter.received_at_ms),
        }
    }
}

/// The start of a payload.
struct Excerpt {
    text: String,
    encoding: Encoding,
    /// The shown bytes of the payload.
    bytes: usize,
}

impl Excerpt {
    /// UTF-8 as text, without a character that is cut in half; other bytes as Base64.
    fn of(payload: &[u8]) -> Self {
        let start = &payload[..payload.len().min(MAX_PAYLOAD_BYTES)];
        let text = match std::str::from_utf8(start) {
            Ok(text) => Some(text),
            // Without `error_len` the bytes end within a character, possibly because of the cut.
            Err(error) if error.error_len().is_none() && start.len() < payload.len() => {
                std::str::from_utf8(&start[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        match text {
            Some(text) => Self {
                text: text.to_owned(),
                encoding: Encoding::Utf8,
                bytes: text.len(),
            },
            None => Self {
                text: BASE64_STANDARD.encode(start),
                encoding: Encoding::Base64,
                bytes: start.len(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(payload: Option<&[u8]>) -> Value {
        let letter = DeadLetterRecord {
            id: 1,
            topic: "transactions".into(),
            partition: 0,
            offset: 7,
            reason: "invalid_json".into(),
            detail: "the payload is not JSON".into(),
            payload: payload.map(<[u8]>::to_vec),
            payload_bytes: payload.map_or(0, <[u8]>::len) as u64,
            headers: r#"{"a":"b"}"#.into(),
            received_at_ms: 0,
        };
        serde_json::to_value(DeadLetter::from(letter)).unwrap()
    }

    #[test]
    fn text_is_shown_as_text_and_other_bytes_as_base64() {
        for (payload, text, encoding) in [
            (&b"{oops"[..], "{oops", "utf-8"),
            (b"\xff\x00", "/wA=", "base64"),
        ] {
            let letter = shown(Some(payload));
            assert_eq!(
                (&letter["payload"], &letter["payload_encoding"]),
                (&json!(text), &json!(encoding))
            );
            assert_eq!(letter["payload_truncated"], false);
            assert_eq!(letter["headers"], json!({"a": "b"}));
        }
    }

    #[test]
    fn a_long_payload_is_cut_between_characters() {
        let letter = shown(Some(
            format!("x{}", "é".repeat(MAX_PAYLOAD_BYTES)).as_bytes(),
        ));
        assert_eq!(letter["payload_encoding"], "utf-8");
        assert_eq!(
            letter["payload"].as_str().unwrap().len(),
            MAX_PAYLOAD_BYTES - 1
        );
        assert_eq!(letter["payload_truncated"], true);
    }

    #[test]
    fn a_null_payload_stays_null() {
        let letter = shown(None);
        assert_eq!(
            (&letter["payload"], &letter["payload_encoding"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(letter["payload_truncated"], false);
    }
}
