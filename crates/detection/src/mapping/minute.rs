//! Reads a message with the counts of one minute.

use serde_json::{Map, Value};

use super::{Mapping, Pointer, shape, value::Scalar};
use crate::{
    message::{MAX_PAYLOAD_BYTES, MessageError, MinuteCounts, StatusCount},
    minute::Minute,
    stream::Stream,
};

/// The counts of a message, and what of it was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadMinute {
    /// The counts.
    pub counts: MinuteCounts,
    /// Fields of the message that mean nothing here.
    pub unknown_fields: Vec<String>,
    /// Transactions of statuses that are to be ignored.
    pub ignored: u64,
    /// True if the local time occurred twice: the earlier is taken.
    pub occurs_twice: bool,
}

impl From<MinuteCounts> for ReadMinute {
    fn from(counts: MinuteCounts) -> Self {
        Self {
            counts,
            unknown_fields: Vec::new(),
            ignored: 0,
            occurs_twice: false,
        }
    }
}

/// The list of counts in a message.
const TRANSACTIONS: &str = "transactions";

impl Mapping {
    /// Reads a message that is the counts of one minute.
    pub fn minute(&self, payload: &[u8]) -> Result<ReadMinute, MessageError> {
        // Nearly every message is exactly as documented, and that is read four times faster.
        if self.is_plain()
            && payload.len() <= MAX_PAYLOAD_BYTES
            && let Some(counts) = MinuteCounts::from_exact_json(payload)
        {
            return Ok(counts.into());
        }
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(MessageError::TooLarge(payload.len()));
        }
        let value: Value = serde_json::from_slice(payload).map_err(|error| {
            MessageError::InvalidJson(error).with_hint(shape::of_bytes(payload))
        })?;
        self.minute_value(&value)
    }

    /// Reads a JSON value that is the counts of one minute.
    pub fn minute_value(&self, message: &Value) -> Result<ReadMinute, MessageError> {
        self.minute_of(message)
            .map_err(|error| error.with_hint(shape::of_minute(self, message)))
    }

    /// True if every field has its default place and meaning.
    fn is_plain(&self) -> bool {
        self.timestamp == Pointer::of("timestamp")
            && self.stream == Pointer::of("stream")
            && self.status == Pointer::of("status")
            && self.count.is_none()
            && self.aliases == super::StatusAliases::default()
            && self.timezone == jiff::tz::TimeZone::UTC
    }

    fn minute_of(&self, message: &Value) -> Result<ReadMinute, MessageError> {
        let Value::Object(members) = message else {
            return Err(MessageError::Unusable(
                "the message is not an object".to_owned(),
            ));
        };
        let at = |pointer: &Pointer| message.pointer(&pointer.to_string()).map(Scalar::from_json);
        let time = self.instant(at(&self.timestamp).as_ref())?;
        let stream = match self.stream_name(at(&self.stream))? {
            Some(name) => name.parse().map_err(|error: crate::stream::StreamError| {
                MessageError::Unusable(error.to_string())
            })?,
            None => Stream::default(),
        };
        let (transactions, ignored) = self.counts_of(members)?;
        let minute = Minute::from_epoch_minutes(time.ms.div_euclid(60_000));
        let unknown_fields = self.unknown_fields(members);
        if self.strict && !unknown_fields.is_empty() {
            return Err(MessageError::UnknownFields(unknown_fields.join(", ")));
        }
        Ok(ReadMinute {
            counts: MinuteCounts::try_new(stream, minute, transactions)
                .map_err(|error| MessageError::Unusable(error.to_string()))?,
            unknown_fields,
            ignored,
            occurs_twice: time.occurs_twice,
        })
    }

    fn counts_of(
        &self,
        members: &Map<String, Value>,
    ) -> Result<(Vec<StatusCount>, u64), MessageError> {
        let Some(Value::Array(list)) = members.get(TRANSACTIONS) else {
            return Err(MessageError::Unusable(
                "there is no list transactions".to_owned(),
            ));
        };
        let count = self.count.clone().unwrap_or_else(|| Pointer::of("count"));
        let (mut counts, mut ignored) = (Vec::with_capacity(list.len()), 0);
        for member in list {
            let at =
                |pointer: &Pointer| member.pointer(&pointer.to_string()).map(Scalar::from_json);
            let number = count.required(at(&count).as_ref())?.count(&count)?;
            match self.status_named(at(&self.status).as_ref())? {
                Some(status) => counts.push(StatusCount {
                    status,
                    count: number,
                }),
                None => ignored += u64::from(number),
            }
        }
        Ok((counts, ignored))
    }

    /// The members that no pointer leads through, of the message and of its first count.
    fn unknown_fields(&self, members: &Map<String, Value>) -> Vec<String> {
        let count = self.count.as_ref().map_or("count", Pointer::first);
        let known = [self.timestamp.first(), self.stream.first(), TRANSACTIONS];
        let unknown = members
            .keys()
            .filter(|name| !known.contains(&name.as_str()));
        let mut unknown: Vec<_> = unknown.cloned().collect();
        let first = members
            .get(TRANSACTIONS)
            .and_then(|list| list.get(0)?.as_object());
        let known = [self.status.first(), count];
        let of_count = first.into_iter().flat_map(Map::keys);
        unknown.extend(
            of_count
                .filter(|name| !known.contains(&name.as_str()))
                .map(|name| format!("{TRANSACTIONS}/{name}")),
        );
        unknown
    }
}
