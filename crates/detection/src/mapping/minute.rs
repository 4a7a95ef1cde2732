//! Reads a message with the counts of one minute.

use std::collections::BTreeSet;

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
    pub(crate) fn minute_value(&self, message: &Value) -> Result<ReadMinute, MessageError> {
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
        let time = self
            .instant(at(&self.timestamp).as_ref())
            .map_err(|error| error.of_field(&self.timestamp))?;
        let stream = self
            .stream_of(at(&self.stream))
            .map_err(|error| error.of_field(&self.stream))?;
        let (transactions, ignored) = self.counts_of(members)?;
        let minute = Minute::from_epoch_minutes(time.ms.div_euclid(60_000));
        let unknown_fields = self.unknown_fields(message);
        if self.strict && !unknown_fields.is_empty() {
            return Err(MessageError::UnknownFields(unknown_fields.join(", ")));
        }
        Ok(ReadMinute {
            counts: MinuteCounts::try_new(stream, minute, transactions).map_err(|error| {
                MessageError::Unusable(error.to_string()).of_field(Pointer::of(TRANSACTIONS))
            })?,
            unknown_fields,
            ignored,
            occurs_twice: time.occurs_twice,
        })
    }

    fn stream_of(&self, name: Option<Scalar<'_>>) -> Result<Stream, MessageError> {
        let Some(name) = self.stream_name(name)? else {
            return Ok(Stream::default());
        };
        name.parse()
            .map_err(|error: crate::stream::StreamError| MessageError::Unusable(error.to_string()))
    }

    fn counts_of(
        &self,
        members: &Map<String, Value>,
    ) -> Result<(Vec<StatusCount>, u64), MessageError> {
        let Some(Value::Array(list)) = members.get(TRANSACTIONS) else {
            let error = MessageError::Unusable("there is no list transactions".to_owned());
            return Err(error.of_field(Pointer::of(TRANSACTIONS)));
        };
        let count = self.count.clone().unwrap_or_else(|| Pointer::of("count"));
        let (mut counts, mut ignored) = (Vec::<StatusCount>::with_capacity(list.len()), 0);
        let mut names = BTreeSet::new();
        for (i, member) in list.iter().enumerate() {
            let at =
                |pointer: &Pointer| member.pointer(&pointer.to_string()).map(Scalar::from_json);
            let within = |error: MessageError, pointer: &Pointer| {
                error.of_field(format_args!("/{TRANSACTIONS}/{i}{pointer}"))
            };
            let number = count
                .required(at(&count).as_ref())
                .and_then(|number| number.count(&count))
                .map_err(|error| within(error, &count))?;
            let status = self
                .status_named(at(&self.status).as_ref())
                .map_err(|error| within(error, &self.status))?;
            let Some(status) = status else {
                ignored += u64::from(number);
                continue;
            };
            let is_new_name =
                names.insert(member.pointer(&self.status.to_string()).map(Value::as_str));
            match counts.iter_mut().find(|of| of.status == status) {
                // Another name of the same status, such as EXPIRED beside ERROR.
                Some(known) if is_new_name => known.count = known.count.saturating_add(number),
                _ => counts.push(StatusCount {
                    status,
                    count: number,
                }),
            }
        }
        Ok((counts, ignored))
    }

    /// The members of a message that are read; the rest is unknown.
    pub fn message_fields(&self) -> [&str; 3] {
        [self.timestamp.first(), self.stream.first(), TRANSACTIONS]
    }

    /// The members of each count that are read.
    pub fn count_fields(&self) -> [&str; 2] {
        let count = self.count.as_ref().map_or("count", Pointer::first);
        [self.status.first(), count]
    }

    /// The members that no pointer leads through, of a message and of its counts, each once.
    pub fn unknown_fields(&self, message: &Value) -> Vec<String> {
        let Value::Object(members) = message else {
            return Vec::new();
        };
        let known = self.message_fields();
        let unknown = members
            .keys()
            .filter(|name| !known.contains(&name.as_str()));
        let mut unknown: Vec<_> = unknown.cloned().collect();
        let counts = members.get(TRANSACTIONS).and_then(Value::as_array);
        let known = self.count_fields();
        let of_counts: BTreeSet<_> = counts
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .flat_map(Map::keys)
            .filter(|name| !known.contains(&name.as_str()))
            .collect();
        unknown.extend(
            of_counts
                .into_iter()
                .map(|name| format!("{TRANSACTIONS}/{name}")),
        );
        unknown
    }
}
