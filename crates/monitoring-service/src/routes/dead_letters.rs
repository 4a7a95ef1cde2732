//! `GET /dead-letters` and `POST /dead-letters/{id}/replay`: messages that cannot be used, with the reason, and reading them again.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::{PartialSchema as _, ToSchema};

use super::{
    AppState,
    error::{Kind, Problem},
    extract::{PathId, QueryParams},
    openapi,
    parameters::{Page, values},
    schema::Instant,
    transactions::{
        observed::{CountFinding, PostedMinute},
        post::{current_span, problem},
    },
};
use crate::{
    ingest::requests::{Refused, Work},
    store::DeadLetterRecord,
};

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
    /// What the message is and what reads it, if its shape is recognized; part of `detail`, too.
    hint: Option<String>,
    /// The start of the Kafka key.
    key: Option<String>,
    key_encoding: Option<Encoding>,
    /// The start of the payload.
    payload: Option<String>,
    payload_encoding: Option<Encoding>,
    payload_bytes: u64,
    payload_truncated: bool,
    /// The headers as text.
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>)]
    headers: Option<Box<RawValue>>,
    received_at: Instant,
    /// When it was replayed.
    replayed_at: Option<Instant>,
}

/// The encoding of bytes in this answer.
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
    responses((
        status = 200,
        description = "A page, newest first",
        body = DeadLetters,
        links(("replay" = (operation_id = "replay_dead_letter", parameters(("id" = "$response.body#/dead_letters/0/id")))))
    ), openapi::Query)
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
        let key = letter.key.as_deref().map(Excerpt::of);
        let (key, key_encoding) = key.map(|excerpt| (excerpt.text, excerpt.encoding)).unzip();
        Self {
            id: letter.id,
            topic: letter.topic,
            partition: letter.partition,
            offset: letter.offset,
            reason: letter.reason,
            detail: letter.detail,
            hint: letter.hint,
            key,
            key_encoding,
            payload,
            payload_encoding,
            payload_truncated: letter.payload_bytes > shown_bytes as u64,
            payload_bytes: letter.payload_bytes,
            headers: RawValue::from_string(letter.headers).ok(),
            received_at: Instant(letter.received_at_ms),
            replayed_at: letter.replayed_at_ms.map(Instant),
        }
    }
}

/// The number of a dead letter.
#[derive(Clone, Copy)]
pub(super) struct DeadLetterId(i64);

values! {
    DeadLetterId: i64::schema(),
        |text: &str| text.parse().map(DeadLetterId).map_err(|_| "is not a whole number".to_owned()),
        "take the id from GET /dead-letters";
}

/// A dead letter that was read again.
#[derive(Serialize, ToSchema)]
struct DeadLetterReplay {
    id: i64,
    replayed_at: Instant,
    /// What became of its minute; null if its status is ignored.
    minute: Option<PostedMinute>,
    /// The counts of the minute that are WARNING or CRITICAL.
    findings: Vec<CountFinding>,
}

/// Reads the stored bytes of a dead letter again, with the settings of now, and stores its counts. Each is replayed once.
#[utoipa::path(
    post,
    path = "/dead-letters/{id}/replay",
    operation_id = "replay_dead_letter",
    tag = "control",
    params(("id" = i64, Path, description = "From GET /dead-letters")),
    responses((status = 200, description = "Its counts are stored", body = DeadLetterReplay), openapi::Replay)
)]
pub(super) async fn replay(
    State(state): State<Arc<AppState>>,
    PathId(DeadLetterId(id)): PathId<DeadLetterId>,
) -> Result<impl IntoResponse, Problem> {
    let span = current_span();
    let done = state.requests.ask(Work::Replay(id), span).await;
    let done = done.map_err(|refused| match refused {
        Refused::Unknown => Problem::not_found("id", "dead letter", id)
            .fix("GET /dead-letters lists the dead letters"),
        Refused::NotPossible(why) => Problem::new(
            Kind::Conflict,
            format!("the dead letter {id} is not used: {why}"),
        )
        .field("id")
        .value(&*id.to_string())
        .fix("change the settings that read it, or send the message again"),
        other => problem(other),
    })?;
    let (minute, findings) = match (done.minutes().next(), done.open()) {
        (Some((observed, alerts)), _) => {
            let (minute, findings) = PostedMinute::of(observed, alerts);
            (Some(minute), findings)
        }
        (None, Some((stream, minute))) => {
            let minute = PostedMinute::open(stream.to_string(), *minute);
            (Some(minute), Vec::new())
        }
        (None, None) => (None, Vec::new()),
    };
    Ok(Json(DeadLetterReplay {
        id,
        replayed_at: Instant(done.at_ms()),
        minute,
        findings,
    }))
}

/// The start of a payload or a key.
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
            hint: None,
            key: Some(b"shop-a".to_vec()),
            replayed_at_ms: None,
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
            assert_eq!(
                (&letter["key"], &letter["key_encoding"]),
                (&json!("shop-a"), &json!("utf-8"))
            );
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
