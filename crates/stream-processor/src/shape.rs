//! The shapes in which the minutes of a file are sent, one for each input of the service, and the
//! messages of each. Pure: it reads no clock and sends nothing.

use detection::{Minute, MinuteCounts, Status, Stream};
use jiff::Timestamp;
use serde::Serialize;

mod transactions;
mod updates;

use self::transactions::Transactions;
use self::updates::Updates;

const MINUTE_MS: i64 = 60_000;

/// What one message is. The service reads it with the same value of `KAFKA_INPUT`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    strum::Display,
    strum::EnumString,
    strum::VariantNames,
)]
#[strum(serialize_all = "snake_case")]
pub enum Shape {
    /// The counts of one closed minute of one stream.
    #[default]
    Minutes,
    /// The counts of a minute while they grow, twice; then the total of each status, alone.
    Updates,
    /// One transaction. The transactions of a minute are spread over it, and sent up to 8 s out of
    /// order. Their times depend on stream, status and minute alone.
    Transactions,
}

impl Shape {
    /// How many messages a minute of a stream becomes, and the rows in them.
    pub(crate) fn size(self, counts: &MinuteCounts) -> (u64, u64) {
        let statuses = counts.transactions().len() as u64;
        match self {
            Self::Minutes => (1, statuses),
            Self::Updates => updates::size(statuses),
            Self::Transactions => {
                let counts = counts.transactions().iter();
                let total = counts.map(|counted| u64::from(counted.count)).sum();
                (total, total)
            }
        }
    }

    /// The messages of these minutes, which are in order of time.
    pub(crate) fn messages<I: Iterator<Item = MinuteCounts>>(self, minutes: I) -> Messages<I> {
        match self {
            Self::Minutes => Messages::Minutes(minutes),
            Self::Updates => Messages::Updates(Updates::new(minutes)),
            Self::Transactions => Messages::Transactions(Transactions::new(minutes)),
        }
    }
}

/// A message, and when it would be sent if its minute were now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// When it is sent, by the clock of the data: milliseconds since 1970. Never before what it says has happened.
    pub(crate) due_ms: i64,
    pub(crate) body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Counts of a minute, which are its totals.
    Totals(MinuteCounts),
    /// Counts that a later message replaces.
    Partial(MinuteCounts),
    /// One transaction.
    Transaction(Transaction),
}

/// One transaction: the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Transaction {
    pub(crate) timestamp: Instant,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) stream: Stream,
    pub(crate) status: Status,
}

/// Milliseconds since 1970, written as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(pub(crate) i64);

impl Serialize for Instant {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let timestamp = Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::MAX);
        serializer.collect_str(&timestamp)
    }
}

fn is_default(stream: &Stream) -> bool {
    stream.as_str() == Stream::DEFAULT
}

impl Body {
    /// The stream, which is the key.
    pub(crate) const fn stream(&self) -> &Stream {
        match self {
            Self::Totals(counts) | Self::Partial(counts) => counts.stream(),
            Self::Transaction(transaction) => &transaction.stream,
        }
    }

    /// The minute that it counts in.
    pub(crate) const fn minute(&self) -> Minute {
        match self {
            Self::Totals(counts) | Self::Partial(counts) => counts.minute(),
            Self::Transaction(Transaction { timestamp, .. }) => {
                Minute::from_epoch_minutes(timestamp.0.div_euclid(MINUTE_MS))
            }
        }
    }

    /// Rows: one for each count.
    pub(crate) fn rows(&self) -> u64 {
        match self {
            Self::Totals(counts) | Self::Partial(counts) => counts.transactions().len() as u64,
            Self::Transaction(_) => 1,
        }
    }

    /// The payload.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        match self {
            Self::Totals(counts) | Self::Partial(counts) => counts.to_json(),
            Self::Transaction(transaction) => {
                serde_json::to_vec(transaction).expect("strings always serialize")
            }
        }
    }
}

/// The messages of a file in one shape, in the order in which they are sent.
pub(crate) enum Messages<I: Iterator<Item = MinuteCounts>> {
    Minutes(I),
    Updates(Updates<I>),
    Transactions(Transactions<I>),
}

impl<I: Iterator<Item = MinuteCounts>> Iterator for Messages<I> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        match self {
            Self::Minutes(minutes) => minutes.next().map(|counts| Message {
                due_ms: start_ms(counts.minute().plus(1)),
                body: Body::Totals(counts),
            }),
            Self::Updates(updates) => updates.next(),
            Self::Transactions(transactions) => transactions.next(),
        }
    }
}

/// The minute counts of the next minute, of all streams.
fn next_minute<I: Iterator<Item = MinuteCounts>>(
    minutes: &mut std::iter::Peekable<I>,
) -> Option<Vec<MinuteCounts>> {
    let first = minutes.next()?;
    let minute = first.minute();
    let mut all = vec![first];
    all.extend(std::iter::from_fn(|| {
        minutes.next_if(|counts| counts.minute() == minute)
    }));
    Some(all)
}

const fn start_ms(minute: Minute) -> i64 {
    minute.epoch_minutes().saturating_mul(MINUTE_MS)
}

#[cfg(test)]
mod tests;
