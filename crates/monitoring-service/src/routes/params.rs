//! Parameters that several routes share: what they may be, how to get them right, and pages.

use detection::{Minute, Stream};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::error::{Kind, Problem};

pub(super) const STATUS_FIX: &str = "use approved, denied, failed, reversed or backend_reversed";
pub(super) const STREAM_FIX: &str = "use 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-', starting with a letter or digit";
pub(super) const TIMESTAMP_FIX: &str = "use a date and time such as 2025-07-12T13:45:00Z; without a zone it is UTC, and in a query + is written %2B";
pub(super) const LIMIT_FIX: &str = "use a whole number from 1 to 500";
pub(super) const CURSOR_FIX: &str = "take next_cursor from the page before";

/// How many entries a page has: 1 to 500, 50 where nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(pub(super) u32);

impl Limit {
    const MAX: u32 = 500;

    /// One more than the page has: whether it comes tells whether there is a next page.
    pub(super) const fn probe(self) -> u32 {
        self.0 + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            Ok(limit) if (1..=Self::MAX).contains(&limit) && !text.starts_with('+') => {
                Ok(Self(limit))
            }
            _ => Err(D::Error::custom(format_args!(
                "is not a whole number from 1 to {}",
                Self::MAX
            ))),
        }
    }
}

/// Where the next page starts: made here, and opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor(pub(super) i64);

impl Cursor {
    pub(super) fn text(self) -> String {
        format!("p{:x}", self.0)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text
            .strip_prefix('p')
            .filter(|digits| digits.len() < 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let position = digits.and_then(|digits| i64::from_str_radix(digits, 16).ok());
        position
            .map(Self)
            .ok_or_else(|| D::Error::custom("is not a cursor of this service"))
    }
}

/// The first entries of those that [`Limit::probe`] asked for, and the cursor of the next page, if there is one.
pub(super) fn page<T>(
    mut entries: Vec<T>,
    limit: Limit,
    position: impl Fn(&T) -> i64,
) -> (Vec<T>, Option<String>) {
    let more = entries.len() > limit.0 as usize;
    entries.truncate(limit.0 as usize);
    let next = entries
        .last()
        .filter(|_| more)
        .map(|last| Cursor(position(last)).text());
    (entries, next)
}

/// A query value that stands for one of ours by its name.
pub(super) fn named<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    what: &str,
    from_name: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    let value = name.map(|name| {
        from_name(&name).ok_or_else(|| D::Error::custom(format_args!("is not {what}")))
    });
    value.transpose()
}

/// A range holds something only if it ends after its start.
pub(super) fn require_order(from: Option<Minute>, to: Option<Minute>) -> Result<(), Problem> {
    match (from, to) {
        (Some(from), Some(to)) if from >= to => {
            let detail = format!("the range from {from} to {to} is empty: to is not part of it");
            Err(Problem::invalid("to", &to.to_string(), detail).fix("give a minute after from"))
        }
        _ => Ok(()),
    }
}

/// A stream that is not there.
pub(super) fn unknown_stream(stream: &Stream) -> Problem {
    Problem::not_found(format!("there is no stream {stream}"))
        .field("stream")
        .value(stream.as_str())
        .fix("GET /streams lists the streams there are")
}

/// Several streams, none of them `default`, and none named.
pub(super) fn ambiguous_stream(streams: usize) -> Problem {
    Problem::not_found(format!(
        "there are {streams} streams and none is called {}",
        Stream::DEFAULT
    ))
    .field("stream")
    .fix("name one: GET /streams lists them")
}

/// A delivery that need not be asked for again.
pub(super) fn still_pending(id: &str) -> Problem {
    Problem::new(Kind::Conflict, "the delivery is still on its way")
        .field("id")
        .value(id)
        .fix("wait until it is delivered or dead; GET /deliveries shows when it is tried next")
}
