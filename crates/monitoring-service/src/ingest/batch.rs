//! What was read for one transaction.

use detection::Silence;
use opentelemetry::trace::SpanContext;

use super::reader::{Judging, Read, Reading};
use crate::store::{AlertRecord, IngestCommit, Paging};

/// Links from the transaction of a backlog to the messages in it.
pub(super) const MAX_LINKS: usize = 32;

/// What was read for one transaction.
pub(super) struct Batch {
    pub(super) commit: IngestCommit,
    pub(super) messages: usize,
    /// Those in force when its first message was read.
    pub(super) silences: Vec<Silence>,
    /// The span of the first message.
    pub(super) first: Option<SpanContext>,
    /// When the first message was judged, if it was.
    pub(super) judging: Option<Judging>,
    /// The spans of the first messages that are sampled.
    pub(super) sampled: Vec<SpanContext>,
    /// Of each alert of the commit, the span of its message.
    pub(super) causes: Vec<SpanContext>,
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
            first: None,
            judging: None,
            sampled: Vec::new(),
            causes: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, read: Read, paging: &Paging) {
        let Read {
            reading,
            span,
            judging,
        } = read;
        match reading {
            Reading::DeadLetter(letter) => self.commit.dead_letters.push(letter),
            Reading::Judged(mut judged) => {
                for alert in judged.alerts.drain(..) {
                    self.commit
                        .cooldowns
                        .push((alert.key.clone(), alert.cooldown));
                    self.commit.alerts.push(AlertRecord::of_stream(
                        alert,
                        paging,
                        self.commit.now_ms,
                    ));
                    self.causes.push(span.clone());
                }
                self.commit.judged.push(judged);
            }
        }
        if self.sampled.len() < MAX_LINKS && span.is_sampled() {
            self.sampled.push(span.clone());
        }
        if self.messages == 0 {
            (self.first, self.judging) = (Some(span), judging);
        }
        self.messages += 1;
    }
}
