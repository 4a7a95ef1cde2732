//! Single transactions: each count of a minute is spread over it, and what is sent is out of order by
//! up to 8 s, as it comes from many machines.
//!
//! A minute is made as it is sent: only the counts of one minute, and the transactions that
//! wait, are in memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::iter::Peekable;

use detection::{MinuteCounts, Status, Stream};

use super::{Body, Instant, MINUTE_MS, Message, Transaction, next_minute, start_ms};

/// A transaction is sent at most this long after it happened. It is less than the service's default of
/// `CLOSE_AFTER`, so none is late there.
pub(super) const MAX_DELAY_MS: i64 = 8_000;

/// Transactions that wait at most; if there are more, they are less out of order.
pub(super) const MAX_HELD: usize = 1 << 14;

/// Transactions in the order in which they are sent.
pub(crate) struct Transactions<I: Iterator<Item = MinuteCounts>> {
    happened: Happened<I>,
    /// The next one, which is not held yet.
    next: Option<Transaction>,
    held: BinaryHeap<Reverse<Held>>,
    /// Numbers the transactions, so that the order never depends on the heap.
    number: u64,
    random: fastrand::Rng,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due_ms: i64,
    number: u64,
    timestamp: Instant,
    stream: Stream,
    status: Status,
}

impl<I: Iterator<Item = MinuteCounts>> Transactions<I> {
    pub(super) fn new(minutes: I) -> Self {
        let mut happened = Happened {
            minutes: minutes.peekable(),
            minute: Vec::new(),
            heads: BinaryHeap::new(),
        };
        Self {
            next: happened.next(),
            happened,
            held: BinaryHeap::new(),
            number: 0,
            random: fastrand::Rng::with_seed(0),
        }
    }

    /// How many transactions wait.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    fn hold(&mut self, transaction: Transaction) {
        let Transaction {
            timestamp,
            stream,
            status,
        } = transaction;
        self.number += 1;
        self.held.push(Reverse(Held {
            due_ms: timestamp.0 + self.random.i64(0..MAX_DELAY_MS),
            number: self.number,
            timestamp,
            stream,
            status,
        }));
    }

    /// Whether the first one that is held is sent before the next one happens; none if it is all over.
    fn is_due(&self) -> Option<bool> {
        let held = self.held.peek().map(|Reverse(held)| held.due_ms);
        match (held, &self.next) {
            (None, None) => None,
            (None, Some(_)) => Some(false),
            (Some(_), None) => Some(true),
            (Some(due_ms), Some(next)) => {
                Some(due_ms <= next.timestamp.0 || self.held.len() >= MAX_HELD)
            }
        }
    }
}

impl<I: Iterator<Item = MinuteCounts>> Iterator for Transactions<I> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        while !self.is_due()? {
            let next = std::mem::replace(&mut self.next, self.happened.next())?;
            self.hold(next);
        }
        let Reverse(held) = self.held.pop()?;
        let now_ms = self.next.as_ref().map_or(i64::MAX, |next| next.timestamp.0);
        Some(Message {
            due_ms: held.due_ms.min(now_ms),
            body: Body::Transaction(Transaction {
                timestamp: held.timestamp,
                stream: held.stream,
                status: held.status,
            }),
        })
    }
}

/// Transactions in the order in which they happened.
struct Happened<I: Iterator<Item = MinuteCounts>> {
    minutes: Peekable<I>,
    /// The counts of the minute, for each stream and status.
    minute: Vec<Spread>,
    /// When the next one of each happens, and its place in `minute`.
    heads: BinaryHeap<Reverse<(i64, usize)>>,
}

impl<I: Iterator<Item = MinuteCounts>> Iterator for Happened<I> {
    type Item = Transaction;

    fn next(&mut self) -> Option<Transaction> {
        while self.heads.is_empty() {
            let minute = next_minute(&mut self.minutes)?;
            self.minute = minute.iter().flat_map(Spread::all).collect();
            let heads = self.minute.iter_mut().enumerate();
            self.heads
                .extend(heads.filter_map(|(place, spread)| Some(Reverse((spread.next()?, place)))));
        }
        let Reverse((at_ms, place)) = self.heads.pop()?;
        let spread = &mut self.minute[place];
        let transaction = Transaction {
            timestamp: Instant(at_ms),
            stream: spread.stream.clone(),
            status: spread.status.clone(),
        };
        if let Some(at_ms) = spread.next() {
            self.heads.push(Reverse((at_ms, place)));
        }
        Some(transaction)
    }
}

/// The times of the transactions of one stream, status and minute: as many equal parts of the minute,
/// and a random time in each. In order, so none needs to be remembered.
struct Spread {
    stream: Stream,
    status: Status,
    start_ms: i64,
    count: u32,
    passed: u32,
    random: fastrand::Rng,
}

impl Spread {
    fn all(counts: &MinuteCounts) -> impl Iterator<Item = Self> {
        counts.transactions().iter().map(|counted| Self {
            stream: counts.stream().clone(),
            status: counted.status.clone(),
            start_ms: start_ms(counts.minute()),
            count: counted.count,
            passed: 0,
            random: fastrand::Rng::with_seed(seed(counts, &counted.status)),
        })
    }
}

impl Iterator for Spread {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        if self.passed == self.count {
            return None;
        }
        // The place in the minute in 2^-16 parts of its count: below 2^48, so the product fits.
        let place = u64::from(self.passed) << 16 | self.random.u64(0..1 << 16);
        let offset_ms = (place * MINUTE_MS.unsigned_abs() / u64::from(self.count)) >> 16;
        self.passed += 1;
        Some(self.start_ms.saturating_add_unsigned(offset_ms))
    }
}

/// The same in every run for the same minute.
fn seed(counts: &MinuteCounts, status: &Status) -> u64 {
    let mut hasher = DefaultHasher::new();
    (counts.stream(), counts.minute(), status).hash(&mut hasher);
    hasher.finish()
}
