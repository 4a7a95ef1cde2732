//! The Kafka contract: one closed minute's counts of one stream, as JSON. Parsing, validation and nothing else.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::status::Status;

/// The largest payload that is read, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// The most statuses that one message may name.
pub const MAX_STATUSES: usize = 64;

/// A minute of event time: whole minutes since 1970-01-01T00:00Z. An integer, never text, so that order is time order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(i64);

/// A timestamp that none of the accepted forms fits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "timestamp {0:?} is not a date and time such as 2025-07-12T13:45:00Z or \"2025-07-12 13:45\""
)]
pub struct MinuteError(pub String);

/// 0000-01-01T00:00Z.
const YEAR_ZERO: Minute = Minute(-719_528 * 1440);

impl Minute {
    /// The minute that starts this many minutes after 1970-01-01T00:00Z.
    pub const fn from_epoch_minutes(minutes: i64) -> Self {
        Self(minutes)
    }

    /// Minutes since 1970-01-01T00:00Z.
    pub const fn epoch_minutes(self) -> i64 {
        self.0
    }

    /// The minute that holds this instant.
    pub fn containing(instant: Timestamp) -> Self {
        Self(instant.as_second().div_euclid(60))
    }

    /// The first instant of the minute; saturates at the ends of what RFC 3339 can write (years 0000 to 9999).
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(self.0.max(YEAR_ZERO.0).saturating_mul(60)).unwrap_or(Timestamp::MAX)
    }

    /// The minute this many minutes later (earlier if negative).
    pub const fn plus(self, minutes: i64) -> Self {
        Self(self.0.saturating_add(minutes))
    }

    /// How many minutes this one lies after `earlier`; negative if before.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl FromStr for Minute {
    type Err = MinuteError;

    /// RFC 3339 with a zone, or a date and time without one, which is UTC; `T` or a space between, seconds optional. No
    /// year before 0000.
    fn from_str(text: &str) -> Result<Self, MinuteError> {
        instant(text).map(Self::containing)
    }
}

/// The instant that a timestamp names, in any of the forms of [`Minute`].
pub fn instant(text: &str) -> Result<Timestamp, MinuteError> {
    // Shorter than "2025-07-12 13:45" is a date or an hour, which names no minute.
    let parsed = match text.len() {
        ..16 => None,
        _ => Timestamp::from_str(text)
            .or_else(|_| TimeZone::UTC.to_timestamp(DateTime::from_str(text)?))
            .ok(),
    };
    let known = parsed.filter(|instant| Minute::containing(*instant) >= YEAR_ZERO);
    known.ok_or_else(|| MinuteError(text.chars().take(80).collect()))
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.start().fmt(f)
    }
}

impl Serialize for Minute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Minute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "a timestamp", str::parse::<Self>)
    }
}

/// The name of one independent flow of minutes (a merchant, an acquirer): `[A-Za-z0-9][A-Za-z0-9._:-]{0,127}`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream(Arc<str>);

/// A stream name outside `[A-Za-z0-9][A-Za-z0-9._:-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stream {0:?} is not a valid name: 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-', starting with a letter or digit"
)]
pub struct StreamError(pub String);

impl Stream {
    /// The name where nobody says one.
    pub const DEFAULT: &'static str = "default";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_default(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl FromStr for Stream {
    type Err = StreamError;

    fn from_str(name: &str) -> Result<Self, StreamError> {
        let valid = name.len() <= 128
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
        if valid {
            Ok(Self(name.into()))
        } else {
            Err(StreamError(name.chars().take(140).collect()))
        }
    }
}

impl Borrow<str> for Stream {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "a stream name", str::parse::<Self>)
    }
}

/// How many transactions of one status a minute had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCount {
    /// Which status.
    pub status: Status,
    /// Transactions in the minute.
    pub count: u32,
}

/// One closed minute of one stream: totals, so that the same batch twice counts once. The Kafka message.
///
/// `transactions` may be empty: the minute is known and every monitored status was 0. No status stands in it twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Message")]
pub struct MinuteCounts {
    timestamp: Minute,
    #[serde(skip_serializing_if = "Stream::is_default")]
    stream: Stream,
    transactions: Vec<StatusCount>,
}

/// The message as it stands on the wire, before validation.
#[derive(Deserialize)]
struct Message {
    timestamp: Minute,
    #[serde(default)]
    stream: Stream,
    transactions: Vec<StatusCount>,
}

/// Why a payload is not a batch.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Over [`MAX_PAYLOAD_BYTES`].
    #[error("the payload has {0} bytes; at most {MAX_PAYLOAD_BYTES} are read")]
    TooLarge(usize),
    /// Not JSON at all.
    #[error("the payload is not JSON: {0}")]
    InvalidJson(serde_json::Error),
    /// JSON, but a field is missing or has a value it cannot have.
    #[error("{0}")]
    InvalidMessage(serde_json::Error),
}

/// Why the statuses of one minute do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionsError {
    /// Which of the two counts is meant cannot be known.
    #[error("status {status} stands twice, with counts {first} and {second}")]
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
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::InvalidJson(_) => "invalid_json",
            Self::InvalidMessage(_) => "invalid_message",
        }
    }
}

impl MinuteCounts {
    /// A minute's batch; an error if a status stands twice or there are too many.
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

    /// Reads a message payload.
    pub fn from_json(payload: &[u8]) -> Result<Self, MessageError> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(MessageError::TooLarge(payload.len()));
        }
        serde_json::from_slice(payload).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => MessageError::InvalidMessage(error),
            _ => MessageError::InvalidJson(error),
        })
    }

    /// The message payload.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and integers always serialize")
    }

    /// The stream whose minute it is; also the Kafka key, which keeps a stream's minutes in order.
    pub const fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The minute the counts are of.
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
    fn the_golden_messages_are_read_and_written_byte_for_byte() {
        for golden in [GOLDEN, GOLDEN_STREAM] {
            let batch = MinuteCounts::from_json(golden.as_bytes()).expect("valid");
            assert_eq!(batch.minute().to_string(), "2025-07-12T13:45:00Z");
            assert_eq!(String::from_utf8(batch.to_json()).expect("utf-8"), golden);
        }
    }

    #[test]
    fn unknown_fields_are_ignored_so_that_producers_may_grow() {
        let grown = r#"{"v":2,"timestamp":"2025-07-12 13:45","transactions":[{"status":"denied","count":3,"unit":"tx"}]}"#;
        let batch = MinuteCounts::from_json(grown.as_bytes()).expect("valid");
        assert_eq!(
            (batch.stream().as_str(), batch.transactions().len()),
            ("default", 1)
        );
    }

    #[test]
    fn no_year_before_zero_is_read_or_written() {
        for text in ["-000001-12-31T23:59:00Z", "-9999-01-02T00:00:00Z"] {
            assert!(text.parse::<Minute>().is_err(), "{text}");
        }
        let first: Minute = "0000-01-01T00:00:00Z".parse().expect("the first minute");
        assert_eq!(first.plus(-1).to_string(), "0000-01-01T00:00:00Z");
        assert_eq!(
            Minute::from_epoch_minutes(i64::MIN).to_string(),
            "0000-01-01T00:00:00Z"
        );
    }

    #[test]
    fn every_accepted_form_of_a_timestamp_is_the_same_minute() {
        for text in [
            "2025-07-12T13:45:00Z",
            "2025-07-12 13:45:00",
            "2025-07-12T13:45",
            "2025-07-12 13:45",
            "2025-07-12T13:45:59.999Z",
            "2025-07-12T15:45:00+02:00",
            "2025-07-12 13:45:00Z",
        ] {
            assert_eq!(
                text.parse::<Minute>().map(|m| m.to_string()),
                Ok("2025-07-12T13:45:00Z".into()),
                "{text}"
            );
        }
        for text in [
            "",
            "yesterday",
            "2025-07-12",
            "2025-13-12T13:45:00Z",
            "1752327900",
            "2025-07-12T25:00",
        ] {
            assert!(text.parse::<Minute>().is_err(), "{text:?} must be refused");
        }
    }

    #[test]
    fn each_bad_payload_says_what_is_wrong() {
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
                .contains("status denied stands twice, with counts 1 and 2")
        );
        let many: Vec<_> = (0..65)
            .map(|i| format!(r#"{{"status":"s{i}","count":1}}"#))
            .collect();
        assert!(of(&many.join(",")).1.contains("65 statuses"));
        assert_eq!(error(&" ".repeat(MAX_PAYLOAD_BYTES + 1)).0, "too_large");
    }

    #[test]
    fn stream_names_are_checked() {
        for name in ["default", "a", "Acquirer.7:eu-west_1", "0"] {
            assert_eq!(
                name.parse::<Stream>().map(|s| s.to_string()),
                Ok(name.to_owned())
            );
        }
        for name in ["", ".a", "a b", "é", "a/b", &"a".repeat(129)] {
            assert!(name.parse::<Stream>().is_err(), "{name:?} must be refused");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_batch_or_an_error_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = MinuteCounts::from_json(&bytes);
        }

        #[test]
        fn a_minute_survives_its_text(minutes in -1_000_000_000_i64..4_000_000_000) {
            let minute = Minute::from_epoch_minutes(minutes);
            prop_assert_eq!(minute.to_string().parse::<Minute>(), Ok(minute));
        }
    }
}
