//! The messages of one transaction, as data to commit.

use detection::{Observed, Silence};

use crate::{
    alerts::{Alert, NotifyPolicy},
    store::{DeadLetter, IngestCommit},
};

/// The result of one message.
pub(super) enum Reading {
    /// An observed minute.
    Observed(Observed),
    /// A message that cannot be used.
    DeadLetter(DeadLetter),
}

/// The messages read for one transaction.
pub(super) struct Batch {
    pub(super) commit: IngestCommit,
    pub(super) messages: usize,
    /// The silences that were active when its first message was read.
    pub(super) silences: Vec<Silence>,
}

impl Batch {
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            commit: IngestCommit {
                now_ms,
                ..IngestCommit::default()
            },
            messages: 0,
            silences: Vec::new(),
        }
    }

    /// Adds a message and returns the number of its alerts.
    pub(super) fn push(&mut self, reading: Reading, policy: &NotifyPolicy) -> usize {
        let before = self.commit.alerts.len();
        match reading {
            Reading::DeadLetter(letter) => self.commit.dead_letters.push(letter),
            Reading::Observed(mut observed) => {
                for raised in observed.alerts.drain(..) {
                    let key = raised.anomaly.key.clone();
                    self.commit.cooldowns.push((key, raised.cooldown));
                    let alert = Alert::of_stream(raised, policy, self.commit.now_ms);
                    self.commit.alerts.push(alert);
                }
                self.commit.observed.push(observed);
            }
        }
        self.messages += 1;
        self.commit.alerts.len() - before
    }
}
