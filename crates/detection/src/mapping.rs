//! How the messages of a topic are read: where time, stream, status and count are, which names statuses have, and in which zone times
//! are. Reads no clock and stores nothing.

mod minute;
mod pointer;
mod shape;
mod value;

use std::{borrow::Cow, collections::HashMap, str::FromStr, sync::LazyLock};

use jiff::tz::TimeZone;

pub use self::{minute::ReadMinute, pointer::Pointer};
use self::{
    pointer::find,
    value::{Instant, Scalar},
};
use crate::{
    message::{MAX_PAYLOAD_BYTES, MessageError},
    status::Status,
};

/// A count that a single transaction has although no setting reads it.
static UNREAD_COUNT: LazyLock<Pointer> = LazyLock::new(|| Pointer::of("count"));

/// Where the fields of messages are, and what their values mean.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The time of a transaction or minute.
    pub timestamp: Pointer,
    /// The stream. A message without the default field is of the stream `default`; without a field that was configured, it is refused.
    pub stream: Pointer,
    /// The status, in a transaction or in a member of `transactions`.
    pub status: Pointer,
    /// How many transactions it stands for; without it, a single transaction is 1, and a member of `transactions` has `/count`.
    pub count: Option<Pointer>,
    /// Names of statuses.
    pub aliases: StatusAliases,
    /// The zone of times that have none.
    pub timezone: TimeZone,
    /// Messages with unknown fields are refused.
    pub strict: bool,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            timestamp: Pointer::of("timestamp"),
            stream: Pointer::of("stream"),
            status: Pointer::of("status"),
            count: None,
            aliases: StatusAliases::default(),
            timezone: TimeZone::UTC,
            strict: false,
        }
    }
}

/// Other names of statuses, and what becomes of names that are not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusAliases {
    names: HashMap<String, Status>,
    ignore_others: bool,
}

impl FromStr for StatusAliases {
    type Err = String;

    /// `SUCCEEDED=approved,DECLINED=denied,*=ignore`; empty for none.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut aliases = Self::default();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, status) = pair
                .split_once('=')
                .ok_or_else(|| format!("{pair:?} is not NAME=status"))?;
            match (name.trim(), status.trim()) {
                ("*", "keep") => aliases.ignore_others = false,
                ("*", "ignore") => aliases.ignore_others = true,
                ("*", other) => return Err(format!("* is keep or ignore, not {other:?}")),
                (name, status) => {
                    let status = Status::parse(status).map_err(|error| error.to_string())?;
                    aliases.names.insert(normalized(name).into_owned(), status);
                }
            }
        }
        Ok(aliases)
    }
}

impl StatusAliases {
    /// The status that this name stands for; none if it is to be ignored.
    pub(crate) fn resolve(&self, status: &Status) -> Option<Status> {
        match self.names.get(status.name()) {
            Some(named) => Some(named.clone()),
            None if self.ignore_others && status.monitored().is_none() => None,
            None => Some(status.clone()),
        }
    }
}

/// `Backend Reversed` is `backend_reversed`: case, spaces and hyphens do not matter.
fn normalized(name: &str) -> Cow<'_, str> {
    if name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
    {
        return name.into();
    }
    let name = name.trim().to_ascii_lowercase();
    name.replace([' ', '-'], "_").into()
}

/// One transaction of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction<'a> {
    /// When it happened, milliseconds since 1970.
    pub at_ms: i64,
    /// Its stream as it is in the message; none where the message names none.
    pub stream: Option<Cow<'a, str>>,
    /// Its status; none if its name is to be ignored.
    pub status: Option<Status>,
    /// How many transactions it stands for.
    pub count: u32,
    /// True if its local time occurred twice, because the clock was set back: the earlier is taken.
    pub occurs_twice: bool,
    /// True if it has another `/count` than 1, and no setting says where a count is.
    pub has_unread_count: bool,
}

impl Mapping {
    /// Reads a message that is one transaction.
    pub fn transaction<'a>(&self, payload: &'a [u8]) -> Result<Transaction<'a>, MessageError> {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(MessageError::TooLarge(payload.len()));
        }
        let pointers = [
            Some(&self.timestamp),
            Some(&self.stream),
            Some(&self.status),
            Some(self.count.as_ref().unwrap_or(&UNREAD_COUNT)),
        ];
        let read = find(payload, pointers)
            .map_err(MessageError::from)
            .and_then(|[time, stream, status, count]| {
                let at = self.instant(time.as_ref())?;
                Ok(Transaction {
                    at_ms: at.ms,
                    occurs_twice: at.occurs_twice,
                    has_unread_count: self.count.is_none()
                        && count.as_ref().is_some_and(Scalar::is_number_above_one),
                    stream: self.stream_name(stream)?,
                    status: self.status_named(status.as_ref())?,
                    count: match &self.count {
                        Some(pointer) => pointer.required(count.as_ref())?.count(pointer)?,
                        None => 1,
                    },
                })
            });
        read.map_err(|error| error.with_hint(shape::of_transaction(self, payload)))
    }

    fn instant(&self, time: Option<&Scalar<'_>>) -> Result<Instant, MessageError> {
        self.timestamp.required(time)?.instant(&self.timezone)
    }

    fn stream_name<'a>(
        &self,
        stream: Option<Scalar<'a>>,
    ) -> Result<Option<Cow<'a, str>>, MessageError> {
        match stream {
            None | Some(Scalar::Null) if self.stream == Pointer::of("stream") => Ok(None),
            None | Some(Scalar::Null) => Err(self.stream.missing()),
            Some(name) => name.name(&self.stream).map(Some),
        }
    }

    /// The status of a name; none if it is to be ignored.
    fn status_named(&self, name: Option<&Scalar<'_>>) -> Result<Option<Status>, MessageError> {
        let name = self.status.required(name)?.text(&self.status)?;
        let name_normalized = normalized(name);
        if let Some(status) = self.aliases.names.get(&*name_normalized) {
            return Ok(Some(status.clone()));
        }
        match Status::parse(&name_normalized) {
            Ok(status @ Status::Monitored(_)) => Ok(Some(status)),
            _ if self.aliases.ignore_others => Ok(None),
            Ok(status) => Ok(Some(status)),
            Err(_) => Err(MessageError::Unusable(
                Status::parse(name).map_or_else(|error| error.to_string(), |_| String::new()),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
