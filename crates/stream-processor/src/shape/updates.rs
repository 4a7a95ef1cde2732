//! Counts that grow: a third of each count after 20 s, two thirds after 40 s, and at the end of the
//! minute the totals, one status at a time.

use std::iter::Peekable;

use detection::{MinuteCounts, StatusCount};

use super::{Body, MINUTE_MS, Message, next_minute, start_ms};

/// Messages before the totals.
const PARTS: u32 = 2;

/// Messages of a minute with so many statuses, and the rows in them.
pub(super) fn size(statuses: u64) -> (u64, u64) {
    let parts = u64::from(PARTS);
    (parts + statuses.max(1), parts * statuses + statuses)
}

/// Holds the counts of one minute.
pub(crate) struct Updates<I: Iterator<Item = MinuteCounts>> {
    minutes: Peekable<I>,
    /// One for each stream.
    minute: Vec<MinuteCounts>,
    step: Step,
    /// The stream that is next in this step.
    next: usize,
}

#[derive(Clone, Copy)]
enum Step {
    /// The first, second, ... part.
    Part(u32),
    /// The total of the status in this place.
    Total(usize),
}

impl<I: Iterator<Item = MinuteCounts>> Updates<I> {
    pub(super) fn new(minutes: I) -> Self {
        Self {
            minutes: minutes.peekable(),
            minute: Vec::new(),
            step: Step::Part(1),
            next: 0,
        }
    }

    /// Goes on to the next step of the minute, or to the next minute; none after the last one.
    fn advance(&mut self) -> Option<()> {
        self.next = 0;
        self.step = match self.step {
            Step::Part(part) if part < PARTS => Step::Part(part + 1),
            Step::Part(_) => Step::Total(0),
            Step::Total(place) => Step::Total(place + 1),
        };
        let ended = match self.step {
            Step::Part(_) => false,
            Step::Total(place) => self
                .minute
                .iter()
                .all(|counts| total(counts, place).is_none()),
        };
        if ended {
            self.minute = next_minute(&mut self.minutes)?;
            self.step = Step::Part(1);
        }
        Some(())
    }
}

impl<I: Iterator<Item = MinuteCounts>> Iterator for Updates<I> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        loop {
            let Some(counts) = self.minute.get(self.next) else {
                self.advance()?;
                continue;
            };
            self.next += 1;
            let start_ms = start_ms(counts.minute());
            match self.step {
                Step::Part(part) => {
                    let after_ms = i64::from(part) * MINUTE_MS / i64::from(PARTS + 1);
                    return Some(Message {
                        due_ms: start_ms + after_ms,
                        body: Body::Partial(grown(counts, part)),
                    });
                }
                Step::Total(place) => {
                    if let Some(counts) = total(counts, place) {
                        return Some(Message {
                            due_ms: start_ms + MINUTE_MS,
                            body: Body::Totals(counts),
                        });
                    }
                }
            }
        }
    }
}

/// The counts when this part of the minute has passed.
fn grown(counts: &MinuteCounts, part: u32) -> MinuteCounts {
    let so_far = |count: u32| u64::from(count) * u64::from(part) / u64::from(PARTS + 1);
    let grown = counts.transactions().iter().map(|counted| StatusCount {
        status: counted.status.clone(),
        count: u32::try_from(so_far(counted.count)).unwrap_or(counted.count),
    });
    of(counts, grown.collect())
}

/// The total of the status in this place. A minute without counts is one message without statuses.
fn total(counts: &MinuteCounts, place: usize) -> Option<MinuteCounts> {
    match counts.transactions().get(place) {
        Some(counted) => Some(of(counts, vec![counted.clone()])),
        None if place == 0 => Some(of(counts, Vec::new())),
        None => None,
    }
}

fn of(minute: &MinuteCounts, transactions: Vec<StatusCount>) -> MinuteCounts {
    MinuteCounts::try_new(minute.stream().clone(), minute.minute(), transactions)
        .expect("no status more than before")
}
