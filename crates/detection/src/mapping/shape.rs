//! Recognizes messages of another shape, and names what would read them. It never reads them itself.

use serde_json::{Map, Value};

use super::{Mapping, Pointer, normalized};
use crate::status::MonitoredStatus;

/// What bytes that are no JSON are.
pub(super) fn of_bytes(payload: &[u8]) -> Option<String> {
    match payload {
        [0, a, b, c, d, _, ..] => {
            let id = u32::from_be_bytes([*a, *b, *c, *d]);
            Some(format!(
                "this is a frame of a schema registry (schema {id}): let the producer send plain JSON, without a schema"
            ))
        }
        [] => Some("the payload is empty".to_owned()),
        _ => None,
    }
}

/// Why a message is no transaction.
pub(super) fn of_transaction(mapping: &Mapping, payload: &[u8]) -> Option<String> {
    let Ok(message) = serde_json::from_slice::<Value>(payload) else {
        return of_bytes(payload);
    };
    if let Some(hint) = of_any(&message) {
        return Some(hint);
    }
    let members = message.as_object()?;
    if members.get("transactions").is_some_and(Value::is_array) {
        return Some(
            "this is the counts of a minute: KAFKA_INPUT=minutes reads it, or updates if they grow"
                .to_owned(),
        );
    }
    other_names(mapping, members, &[&mapping.status])
}

/// Why a message is not the counts of a minute.
pub(super) fn of_minute(mapping: &Mapping, message: &Value) -> Option<String> {
    if let Some(hint) = of_any(message) {
        return Some(hint);
    }
    let members = message.as_object()?;
    if members.contains_key("transactions") {
        return other_names(mapping, members, &[]);
    }
    let has = |name: &str| members.keys().any(|key| key.eq_ignore_ascii_case(name));
    let count = mapping.count.as_ref().map_or("count", Pointer::first);
    if has(mapping.status.first()) {
        return Some(if has(count) {
            format!(
                "this is a count of one status: send it in a list transactions, or, if such counts are to be added, read them with KAFKA_INPUT=transactions and TRANSACTION_COUNT=/{count}"
            )
        } else {
            "this is a single transaction: KAFKA_INPUT=transactions reads such from Kafka; POST /transactions takes counts of minutes"
                .to_owned()
        });
    }
    if members
        .keys()
        .any(|key| normalized(key).parse::<MonitoredStatus>().is_ok())
    {
        return Some(
            r#"its counts are fields: send them in a list, "transactions":[{"status":"approved","count":118},...]"#
                .to_owned(),
        );
    }
    other_names(mapping, members, &[])
}

fn of_any(message: &Value) -> Option<String> {
    match message {
        Value::Array(rows) => Some(format!(
            "this is a list of {}: send each as a message of its own, or the list to POST /transactions",
            rows.len()
        )),
        Value::Object(members)
            if members.contains_key("schema") && members.contains_key("payload") =>
        {
            Some(
                "this is an envelope of Kafka Connect: set value.converter.schemas.enable=false there, or begin the pointers with /payload, as in TRANSACTION_TIMESTAMP=/payload/timestamp"
                    .to_owned(),
            )
        }
        _ => None,
    }
}

/// Fields that differ from the expected ones by case only.
fn other_names(
    mapping: &Mapping,
    members: &Map<String, Value>,
    more: &[&Pointer],
) -> Option<String> {
    let wanted = [
        ("TRANSACTION_TIMESTAMP", &mapping.timestamp),
        ("TRANSACTION_STREAM", &mapping.stream),
    ];
    let more = more.iter().map(|pointer| ("TRANSACTION_STATUS", *pointer));
    let setting = |(variable, pointer): (&str, &Pointer)| {
        let name = pointer.first();
        let like = |given: &&String| given.as_str() != name && given.eq_ignore_ascii_case(name);
        let given = members
            .keys()
            .find(like)
            .filter(|_| !members.contains_key(name))?;
        Some(format!("{variable}={}", Pointer::of(given)))
    };
    let settings: Vec<_> = wanted.into_iter().chain(more).filter_map(setting).collect();
    (!settings.is_empty()).then(|| format!("these settings read its names: {}", settings.join(" ")))
}
