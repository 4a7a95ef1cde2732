//! Values of several routes: a stream, a minute, a status, the page of a list. A value of one route is defined at the route.

use std::borrow::Cow;

use detection::{Minute, MonitoredStatus, PolicyName, Status, Stream, StreamPattern};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, schema::Type};
use uuid::Uuid;

use super::{
    error::{Kind, Problem},
    fields::{Field, alternatives, fields, reference},
    schema,
};
use crate::{context::Context, store::Store};

/// Implements [`Field`] for values that JSON quotes: the schema, the parser, and the fix for a bad value.
macro_rules! values {
    ($($type:ty: $schema:expr, $read:expr, $fix:expr;)+) => {$(
        impl $crate::routes::fields::Field for $type {
            fn read(text: &str) -> Result<Self, String> {
                ($read)(text)
            }

            fn fix() -> std::borrow::Cow<'static, str> {
                $fix.into()
            }

            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $schema.into()
            }
        }
    )+};
}
pub(crate) use values;

values! {
    Stream: reference::<schema::StreamName>(),
        |text: &str| text.parse().map_err(|_| "is not the name of a stream".to_owned()),
        "use 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-', starting with a letter or digit";
    StreamPattern: reference::<schema::StreamPattern>(),
        |text: &str| text.parse().map_err(|_| "is not the name of a stream or a pattern".to_owned()),
        "use the name of a stream, or a pattern in which * stands for any characters, such as day*";
    Minute: reference::<schema::Timestamp>(),
        |text: &str| text.parse().map_err(|error| format!("is not a timestamp: {error}")),
        "use a date and time such as 2025-07-12T13:45:00Z; without a zone it is UTC, and in a query + is written %2B";
    Status: reference::<schema::StatusName>(),
        |text: &str| Status::parse(text).map_err(|_| "is not the name of a status".to_owned()),
        "use 1 to 64 characters of a-z, 0-9 and _, starting with a letter, such as denied";
    MonitoredStatus: reference::<schema::MonitoredStatus>(),
        |text: &str| text.parse().map_err(|_| "is not a monitored status".to_owned()),
        format!("use {}", alternatives(MonitoredStatus::ALL.map(MonitoredStatus::name)));
    PolicyName: reference::<schema::Policy>(),
        |text: &str| text.parse().map_err(|_| "is not the name of a policy".to_owned()),
        format!("use {}", alternatives(PolicyName::ALL.map(PolicyName::name)));
    Uuid: reference::<schema::Id>(),
        |text: &str| text.parse().map_err(|_| "is not a UUID".to_owned()),
        "use an id from the list route";
}

fields! {
    /// Which stream.
    pub(super) struct OneStream {
        /// Which stream; without it the only one, else `default`.
        stream: Option<Stream>,
    }
}

impl OneStream {
    /// The named stream, else the only one, else `default`, which may be missing if there are no streams.
    pub(super) async fn find(self, store: &Store) -> Result<Stream, Problem> {
        if let Some(stream) = self.stream {
            let is_known = store.has_stream(stream.as_str()).await?;
            return is_known
                .then_some(stream.clone())
                .ok_or_else(|| unknown_stream(&stream));
        }
        let default = || Ok(Stream::default());
        match store.stream_names().await?.as_slice() {
            [] => default(),
            [only] => only.parse().map_err(|_| ambiguous_stream(1)),
            several if several.iter().any(|name| name == Stream::DEFAULT) => default(),
            several => Err(ambiguous_stream(several.len())),
        }
    }
}

fields! {
    /// Which policy.
    pub(super) struct OnePolicy {
        /// As this policy judges; without it the one that alerts.
        policy: Option<PolicyName>,
    }
}

impl OnePolicy {
    /// The policy that is named, else the one that alerts.
    pub(crate) fn of(&self, context: &Context) -> PolicyName {
        self.policy.unwrap_or(context.alerting())
    }
}

/// The named stream does not exist.
pub(crate) fn unknown_stream(stream: &Stream) -> Problem {
    Problem::not_found("stream", "stream", stream).fix("GET /streams lists the streams")
}

/// There are several streams, none is called `default`, and the request names none.
fn ambiguous_stream(streams: usize) -> Problem {
    let detail = format!(
        "there are {streams} streams and none is called {}",
        Stream::DEFAULT
    );
    Problem::new(Kind::NotFound, detail)
        .field("stream")
        .fix("name a stream; GET /streams lists them")
}

fields! {
    /// Which minutes: those in [from, to).
    pub(super) struct Range {
        /// From this minute on.
        from: Option<Minute> = "2025-07-12T13:45:00Z",
        /// Before this minute.
        to: Option<Minute> = "2025-07-12T14:45:00Z",
    }
}

impl Range {
    /// Both ends; a range without a minute is refused.
    pub(crate) fn ends(self) -> Result<(Option<Minute>, Option<Minute>), Problem> {
        if let (Some(from), Some(to)) = (self.from, self.to) {
            require_order(from, to)?;
        }
        Ok((self.from, self.to))
    }
}

/// Refuses a range without a minute.
pub(super) fn require_order(from: Minute, to: Minute) -> Result<(), Problem> {
    if from < to {
        return Ok(());
    }
    let detail = format!("the range from {from} to {to} is empty: it ends before to");
    Err(Problem::invalid("to", &*to.to_string(), detail).fix("use a minute after from"))
}

fields! {
    /// Which page of a list.
    pub(super) struct Page {
        /// Entries of a page.
        limit: Limit,
        /// `next_cursor` of the page before.
        cursor: Option<Cursor>,
    }
}

impl Page {
    /// The position before which the page starts.
    pub(super) fn before(&self) -> Option<i64> {
        self.cursor.map(|Cursor(position)| position)
    }

    /// The number of entries to query: one more than the page, to know whether there is a next page.
    pub(super) const fn probe(&self) -> u32 {
        self.limit.0 + 1
    }

    /// Cuts the entries queried by [`Page::probe`] to the page. Returns them and the cursor of the next page, if any.
    pub(super) fn cut<T>(
        &self,
        mut entries: Vec<T>,
        position: impl Fn(&T) -> i64,
    ) -> (Vec<T>, Option<String>) {
        let limit = self.limit.0 as usize;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries
            .last()
            .filter(|_| more)
            .map(|last| Cursor(position(last)).text());
        (entries, next)
    }
}

/// An integer in a range, as digits without a sign.
#[derive(Clone, Copy)]
pub(crate) struct Whole<const MIN: u32, const MAX: u32>(pub(crate) u32);

impl<const MIN: u32, const MAX: u32> Whole<MIN, MAX> {
    fn form() -> ObjectBuilder {
        let number = ObjectBuilder::new().schema_type(Type::Integer);
        number.minimum(Some(MIN)).maximum(Some(MAX))
    }
}

impl<const MIN: u32, const MAX: u32> Field for Whole<MIN, MAX> {
    const QUOTED: bool = false;

    fn read(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().map(Self);
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        number
            .filter(|Self(number)| digits && (MIN..=MAX).contains(number))
            .ok_or_else(|| format!("is not a whole number from {MIN} to {MAX}"))
    }

    fn fix() -> Cow<'static, str> {
        format!("use a whole number from {MIN} to {MAX}").into()
    }

    fn schema() -> RefOr<Schema> {
        Self::form().into()
    }
}

/// Entries of a page: 1 to 500.
#[derive(Clone, Copy)]
pub(crate) struct Limit<const DEFAULT: u32 = 50>(pub(super) u32);

type LimitRange = Whole<1, 500>;

impl<const DEFAULT: u32> Field for Limit<DEFAULT> {
    const QUOTED: bool = LimitRange::QUOTED;

    fn read(text: &str) -> Result<Self, String> {
        LimitRange::read(text).map(|Whole(limit)| Self(limit))
    }

    fn fix() -> Cow<'static, str> {
        LimitRange::fix()
    }

    fn schema() -> RefOr<Schema> {
        LimitRange::form().default(Some(DEFAULT.into())).into()
    }

    fn absent() -> Option<Self> {
        Some(Self(DEFAULT))
    }
}

/// The position of the next page; opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor(pub(super) i64);

impl Cursor {
    pub(super) fn text(self) -> String {
        format!("p{:x}", self.0)
    }

    fn read(text: &str) -> Result<Self, String> {
        let digits = text
            .strip_prefix('p')
            .filter(|digits| digits.len() < 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let position = digits.and_then(|digits| i64::from_str_radix(digits, 16).ok());
        position
            .map(Self)
            .ok_or_else(|| "is not a cursor of this service".to_owned())
    }
}

values! {
    Cursor: reference::<schema::CursorText>(), Cursor::read, "use next_cursor of the page before";
}
