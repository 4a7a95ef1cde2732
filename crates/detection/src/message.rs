//! The Kafka message: the counts of one closed minute of one stream, as JSON. It only parses and validates.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    history::ObservedMinute,
    mapping::StatusAliases,
    minute::Minute,
    status::{MonitoredStatus, Status},
    stream::Stream,
};

/// The largest payload that is read, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// Statuses that one message may name.
pub const MAX_STATUSES: usize = 64;

/// The number of transactions of one status in a minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCount {
    /// The status.
    pub status: Status,
    /// Transactions in the minute.
    pub count: u32,
}

/// The counts per status of one stream and minute: the Kafka message. They are totals, so a message sent twice counts once.
///
/// `transactions` may be empty: the minute was observed and every monitored status was 0. No status occurs twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Message")]
pub struct MinuteCounts {
    timestamp: Minute,
    #[serde(skip_serializing_if = "Stream::is_default")]
    stream: Stream,
    transactions: Vec<StatusCount>,
}

/// The message before validation.
#[derive(Deserialize)]
struct Message {
    timestamp: Minute,
    #[serde(default)]
    stream: Stream,
    transactions: Vec<StatusCount>,
}

/// The message without other fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExactMessage {
    timestamp: Minute,
    #[serde(default)]
    stream: Stream,
    transactions: Vec<ExactCount>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExactCount {
    status: Status,
    count: u32,
}

/// The reason why a payload cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Over [`MAX_PAYLOAD_BYTES`].
    #[error("the payload has {0} bytes; at most {MAX_PAYLOAD_BYTES} are read")]
    TooLarge(usize),
    /// Not JSON.
    #[error("the payload is not JSON: {0}")]
    InvalidJson(serde_json::Error),
    /// JSON, but a field is missing or has an invalid value.
    #[error("{0}")]
    InvalidMessage(serde_json::Error),
    /// The same, in words of our own.
    #[error("{0}")]
    Unusable(String),
    /// It has fields that mean nothing here, and they are refused.
    #[error("unknown fields (STRICT_MESSAGES): {0}")]
    UnknownFields(String),
    /// What is wrong with one field.
    #[error("{error}")]
    Field {
        /// A JSON pointer to it.
        field: String,
        /// What is wrong.
        error: Box<MessageError>,
    },
    /// The shape of the message is recognized.
    #[error("{error}; {hint}")]
    Recognized {
        /// What is wrong.
        error: Box<MessageError>,
        /// What it is, and what reads it.
        hint: String,
    },
}

impl From<serde_json::Error> for MessageError {
    fn from(error: serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Data => Self::InvalidMessage(error),
            _ => Self::InvalidJson(error),
        }
    }
}

/// The reason why the statuses of one minute are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionsError {
    /// A status occurs twice.
    #[error("status {status} occurs twice, with counts {first} and {second}")]
    DuplicateStatus {
        /// The status.
        status: Status,
        /// Its first count.
        first: u32,
        /// Its second count.
        second: u32,
    },
    /// Over [`MAX_STATUSES`].
    #[error("{0} statuses in one minute; at most {MAX_STATUSES} are accepted")]
    TooManyStatuses(usize),
}

impl MessageError {
    /// A short stable name of the reason, for tables and metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::InvalidJson(_) => "invalid_json",
            Self::InvalidMessage(_) | Self::Unusable(_) => "invalid_message",
            Self::UnknownFields(_) => "unknown_fields",
            Self::Field { error, .. } | Self::Recognized { error, .. } => error.code(),
        }
    }

    /// The JSON pointer to the field that is wrong, where it is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Field { field, .. } => Some(field),
            Self::Recognized { error, .. } => error.field(),
            _ => None,
        }
    }

    /// What the message is and what would read it, if that is recognized.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Recognized { hint, .. } => Some(hint),
            _ => None,
        }
    }

    /// The error of a field.
    pub(crate) fn of_field(self, field: impl fmt::Display) -> Self {
        let (field, error) = (field.to_string(), Box::new(self));
        Self::Field { field, error }
    }

    /// The error, with what the message is if that is recognized.
    pub(crate) fn with_hint(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => Self::Recognized {
                error: Box::new(self),
                hint,
            },
            None => self,
        }
    }
}

impl MinuteCounts {
    /// The counts of a minute; an error if a status occurs twice or there are too many.
    pub fn try_new(
        stream: Stream,
        minute: Minute,
        transactions: Vec<StatusCount>,
    ) -> Result<Self, TransactionsError> {
        if transactions.len() > MAX_STATUSES {
            return Err(TransactionsError::TooManyStatuses(transactions.len()));
        }
        for (i, a) in transactions.iter().enumerate() {
            if let Some(b) = transactions[i + 1..].iter().find(|b| b.status == a.status) {
                let (status, first, second) = (a.status.clone(), a.count, b.count);
                return Err(TransactionsError::DuplicateStatus {
                    status,
                    first,
                    second,
                });
            }
        }
        Ok(Self {
            timestamp: minute,
            stream,
            transactions,
        })
    }

    /// The message of an observed minute: the counts of the statuses that were named.
    pub fn of_observed(stream: Stream, observed: &ObservedMinute) -> Self {
        let named = MonitoredStatus::ALL
            .into_iter()
            .filter(|status| observed.named[status.index()]);
        let count = |status: MonitoredStatus| StatusCount {
            status: status.into(),
            count: observed.counts[status.index()],
        };
        Self {
            timestamp: observed.minute,
            stream,
            transactions: named.map(count).collect(),
        }
    }

    /// The same counts at another minute.
    #[must_use]
    pub fn at(self, minute: Minute) -> Self {
        Self {
            timestamp: minute,
            ..self
        }
    }

    /// The same counts of another stream.
    #[must_use]
    pub fn of(self, stream: Stream) -> Self {
        Self { stream, ..self }
    }

    /// The same counts under the names that the aliases give them; those of one name are added.
    #[must_use]
    pub fn renamed(mut self, aliases: &StatusAliases) -> Self {
        let mut renamed = Vec::<StatusCount>::with_capacity(self.transactions.len());
        for StatusCount { status, count } in self.transactions {
            let Some(status) = aliases.resolve(&status) else {
                continue;
            };
            match renamed.iter_mut().find(|of| of.status == status) {
                Some(known) => known.count = known.count.saturating_add(count),
                None => renamed.push(StatusCount { status, count }),
            }
        }
        self.transactions = renamed;
        self
    }

    /// Reads a message payload.
    pub fn from_json(payload: &[u8]) -> Result<Self, MessageError> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(MessageError::TooLarge(payload.len()));
        }
        Ok(serde_json::from_slice(payload)?)
    }

    /// Reads a message payload that has no other fields; none if anything differs.
    pub(crate) fn from_exact_json(payload: &[u8]) -> Option<Self> {
        let message: ExactMessage = serde_json::from_slice(payload).ok()?;
        let counts = message.transactions.into_iter();
        let transactions = counts.map(|of| StatusCount {
            status: of.status,
            count: of.count,
        });
        Self::try_new(message.stream, message.timestamp, transactions.collect()).ok()
    }

    /// The message payload.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and integers always serialize")
    }

    /// The stream of the minute; also the Kafka key, which keeps a stream's minutes in order.
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The minute.
    pub const fn minute(&self) -> Minute {
        self.timestamp
    }

    /// The counts, in the order of the message.
    pub fn transactions(&self) -> &[StatusCount] {
        &self.transactions
    }
}

impl TryFrom<Message> for MinuteCounts {
    type Error = TransactionsError;

    fn try_from(message: Message) -> Result<Self, TransactionsError> {
        Self::try_new(message.stream, message.timestamp, message.transactions)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: &str = r#"{"timestamp":"2025-07-12T13:45:00Z","transactions":[{"status":"approved","count":118},{"status":"refunded","count":4294967295}]}"#;
    const GOLDEN_STREAM: &str =
        r#"{"timestamp":"2025-07-12T13:45:00Z","stream":"acquirer-7","transactions":[]}"#;

    fn error(payload: &str) -> (&'static str, String) {
        let error = MinuteCounts::from_json(payload.as_bytes()).expect_err("refused");
        (error.code(), error.to_string())
    }

    #[test]
    fn golden_messages_round_trip_byte_for_byte() {
        for golden in [GOLDEN, GOLDEN_STREAM] {
            let counts = MinuteCounts::from_json(golden.as_bytes()).expect("valid");
            assert_eq!(counts.minute().to_string(), "2025-07-12T13:45:00Z");
            assert_eq!(String::from_utf8(counts.to_json()).expect("utf-8"), golden);
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let grown = r#"{"v":2,"timestamp":"2025-07-12 13:45","transactions":[{"status":"denied","count":3,"unit":"tx"}]}"#;
        let counts = MinuteCounts::from_json(grown.as_bytes()).expect("valid");
        assert_eq!(
            (counts.stream().as_str(), counts.transactions().len()),
            ("default", 1)
        );
    }

    #[test]
    fn each_bad_payload_has_a_precise_error() {
        let of = |transactions: &str| {
            error(&format!(
                r#"{{"timestamp":"2025-07-12T13:45:00Z","transactions":[{transactions}]}}"#
            ))
        };
        assert_eq!(error("not json").0, "invalid_json");
        assert_eq!(error("{\"timestamp\":").0, "invalid_json");
        assert!(error("{}").1.contains("missing field `timestamp`"));
        assert!(of(r#"{"status":"denied","count":-1}"#).1.contains("-1"));
        assert!(
            of(r#"{"status":"denied","count":4294967296}"#)
                .1
                .contains("4294967296")
        );
        assert!(of(r#"{"status":"denied","count":1.5}"#).1.contains("1.5"));
        assert!(
            of(r#"{"status":"DENIED","count":1}"#)
                .1
                .contains("\"DENIED\"")
        );
        let twice = of(r#"{"status":"denied","count":1},{"status":"denied","count":2}"#);
        assert_eq!(twice.0, "invalid_message");
        assert!(
            twice
                .1
                .contains("status denied occurs twice, with counts 1 and 2")
        );
        let many: Vec<_> = (0..65)
            .map(|i| format!(r#"{{"status":"s{i}","count":1}}"#))
            .collect();
        assert!(of(&many.join(",")).1.contains("65 statuses"));
        assert_eq!(error(&" ".repeat(MAX_PAYLOAD_BYTES + 1)).0, "too_large");
    }

    proptest! {
        #[test]
        fn any_bytes_are_counts_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = MinuteCounts::from_json(&bytes);
        }
    }
}
