//! What is noticed in messages that are read nevertheless: counted, logged once, and shown in `/health`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use detection::{Observed, Stream, Timeliness};
use prometheus::IntCounterVec;

/// Names of unknown fields that are remembered.
const MAX_FIELDS: usize = 32;

/// Overwritten minutes within [`FAULT_WINDOW_MS`] that are a fault.
const OVERWRITTEN_LIMIT: usize = 5;
const FAULT_WINDOW_MS: i64 = 600_000;

/// Messages that change the newest minute, among at most [`GROWING_MINUTES`] new ones and at least half as many as these, that are a fault.
const GROWING_LIMIT: u32 = 5;
const GROWING_MINUTES: u32 = 50;

/// What was noticed since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageNotes {
    /// How many messages had each unknown field.
    pub unknown_fields: BTreeMap<String, u64>,
    /// Messages whose key is not the name of their stream.
    pub other_keys: u64,
    /// Transactions of statuses that are ignored.
    pub ignored_statuses: u64,
    /// Local times that occurred twice.
    pub ambiguous_times: u64,
    /// Streams that were seen on more than one partition.
    pub split_streams: u64,
    /// When producers of different keys last replaced each other's newest minute, milliseconds since 1970.
    overwritten_ms: VecDeque<i64>,
    /// When it was last found that the counts of minutes grow, milliseconds since 1970.
    grew_at_ms: Option<i64>,
}

/// What is wrong with most messages, although each can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageFault {
    /// Producers of different keys keep replacing each other's newest minute: they write to one stream.
    Overwritten,
    /// Minutes get further counts after their first message.
    Growing,
}

impl MessageFault {
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Overwritten => {
                "messages with different keys replace each other's minutes in one stream"
            }
            Self::Growing => {
                "minutes get more counts after their first message, and were evaluated before they were complete"
            }
        }
    }

    pub(crate) const fn fix(self) -> &'static str {
        match self {
            Self::Overwritten => {
                "give each producer a stream of its own, or name the field of the stream in TRANSACTION_STREAM"
            }
            Self::Growing => {
                "set KAFKA_INPUT=updates, or send a minute once, with all of its counts, when it is over"
            }
        }
    }
}

impl MessageNotes {
    /// What was wrong with most messages in the last ten minutes.
    pub(crate) fn fault(&self, now_ms: i64) -> Option<MessageFault> {
        let is_recent = |at_ms: &i64| now_ms - at_ms < FAULT_WINDOW_MS;
        let is_full = self.overwritten_ms.len() == OVERWRITTEN_LIMIT;
        if is_full && self.overwritten_ms.front().is_some_and(is_recent) {
            return Some(MessageFault::Overwritten);
        }
        let grew = self.grew_at_ms.as_ref().is_some_and(is_recent);
        grew.then_some(MessageFault::Growing)
    }
}

/// Notices, and knows what was published.
pub(super) struct Notes {
    pub(super) all: MessageNotes,
    counter: IntCounterVec,
    is_changed: bool,
    /// The last key of each stream whose messages have other keys.
    keys: HashMap<Stream, Vec<u8>>,
    /// New minutes, and messages that changed the newest one, since they were last compared.
    new_minutes: u32,
    changed_minutes: u32,
}

impl Notes {
    pub(super) fn new(counter: IntCounterVec) -> Self {
        Self {
            all: MessageNotes::default(),
            counter,
            is_changed: false,
            keys: HashMap::new(),
            new_minutes: 0,
            changed_minutes: 0,
        }
    }

    /// The notes, if they changed since the last call.
    pub(super) fn take_changed(&mut self) -> Option<MessageNotes> {
        std::mem::take(&mut self.is_changed).then(|| self.all.clone())
    }

    fn count(&mut self, note: &str, number: u64) {
        self.is_changed = true;
        self.counter.with_label_values(&[note]).inc_by(number);
    }

    pub(super) fn unknown_fields(&mut self, fields: Vec<String>) {
        for field in fields {
            self.unknown_field(
                field,
                "messages have an unknown field; TRANSACTION_STREAM and the like say where a field is, STRICT_MESSAGES=true refuses others",
            );
        }
    }

    /// Notes a transaction with a count that no setting reads.
    pub(super) fn unread_count(&mut self) {
        self.unknown_field(
            "count".to_owned(),
            "transactions have a count that is not read, so each is 1; TRANSACTION_COUNT=/count reads it",
        );
    }

    fn unknown_field(&mut self, field: String, advice: &'static str) {
        self.count("unknown_field", 1);
        let is_full = self.all.unknown_fields.len() >= MAX_FIELDS;
        match self.all.unknown_fields.get_mut(&field) {
            Some(messages) => *messages += 1,
            None if is_full => {}
            None => {
                tracing::warn!(field, "{advice}");
                self.all.unknown_fields.insert(field, 1);
            }
        }
    }

    pub(super) fn ignored_statuses(&mut self, number: u64) {
        if number > 0 {
            self.all.ignored_statuses += number;
            self.count("ignored_status", number);
        }
    }

    pub(super) fn time(&mut self, occurs_twice: bool) {
        if occurs_twice {
            self.all.ambiguous_times += 1;
            self.count("ambiguous_time", 1);
        }
    }

    pub(super) fn split_stream(&mut self, stream: &Stream) {
        self.all.split_streams += 1;
        self.count("split_stream", 1);
        tracing::warn!(
            %stream,
            "stream on more than one partition; its minutes close with the slowest. Use the stream as the Kafka key"
        );
    }

    /// Notes a key that is not the name of the stream, and a newest minute that this message changed.
    pub(super) fn observed(
        &mut self,
        key: Option<&[u8]>,
        observed: &Observed,
        is_newest: bool,
        now_ms: i64,
    ) {
        let is_of_another = self.key(key, observed.counts.stream());
        let is_changed = is_newest
            && observed.timeliness == Timeliness::Late
            && !observed.is_new
            && !observed.rows.is_empty();
        if is_changed && is_of_another {
            self.overwritten(observed.counts.stream(), now_ms);
        } else {
            self.changed(observed, is_changed, now_ms);
        }
    }

    /// Notes a key that is not the name of the stream; true if it is another one than before.
    fn key(&mut self, key: Option<&[u8]>, stream: &Stream) -> bool {
        let Some(key) = key.filter(|key| *key != stream.as_str().as_bytes()) else {
            return false;
        };
        if self.all.other_keys == 0 {
            let key = String::from_utf8_lossy(key);
            tracing::warn!(
                %stream, %key,
                "the Kafka key is not the stream; if it names one, set TRANSACTION_STREAM to the field that has it"
            );
        }
        self.all.other_keys += 1;
        self.count("other_key", 1);
        let before = self.keys.insert(stream.clone(), key.to_vec());
        before.is_some_and(|before| before != key)
    }

    /// Counts new minutes, and messages that change the newest one. Where these are many, minutes are evaluated before they are over.
    fn changed(&mut self, observed: &Observed, is_changed: bool, now_ms: i64) {
        self.new_minutes += u32::from(observed.is_new);
        self.changed_minutes += u32::from(is_changed);
        if self.changed_minutes >= GROWING_LIMIT && 2 * self.changed_minutes >= self.new_minutes {
            if self.all.fault(now_ms).is_none() {
                let fault = MessageFault::Growing;
                tracing::error!(stream = %observed.counts.stream(), fix = fault.fix(), "{}", fault.what());
            }
            self.all.grew_at_ms = Some(now_ms);
            self.is_changed = true;
        } else if self.new_minutes < GROWING_MINUTES {
            return;
        }
        (self.new_minutes, self.changed_minutes) = (0, 0);
    }

    fn overwritten(&mut self, stream: &Stream, now_ms: i64) {
        self.count("overwritten_minute", 1);
        let before = self.all.fault(now_ms);
        let times = &mut self.all.overwritten_ms;
        times.push_back(now_ms);
        if times.len() > OVERWRITTEN_LIMIT {
            times.pop_front();
        }
        let fault = MessageFault::Overwritten;
        if before != Some(fault) && self.all.fault(now_ms) == Some(fault) {
            tracing::error!(%stream, fix = fault.fix(), "{}", fault.what());
        }
    }
}
