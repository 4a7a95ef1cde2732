//! What is noticed in messages that are read nevertheless: counted, logged once, and shown in `/health`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use detection::{Observed, Stream, Timeliness};
use prometheus::IntCounterVec;

/// Names of unknown fields that are remembered.
const MAX_FIELDS: usize = 32;

/// Overwritten minutes within [`OVERWRITTEN_WINDOW_MS`] that are a fault.
const OVERWRITTEN_LIMIT: usize = 5;
const OVERWRITTEN_WINDOW_MS: i64 = 600_000;

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
}

impl MessageNotes {
    /// True while producers of different keys keep replacing each other's newest minute: they write to one stream.
    pub(crate) fn is_overwriting(&self, now_ms: i64) -> bool {
        self.overwritten_ms.len() == OVERWRITTEN_LIMIT
            && self
                .overwritten_ms
                .front()
                .is_some_and(|first| now_ms - first < OVERWRITTEN_WINDOW_MS)
    }
}

/// Notices, and knows what was published.
pub(super) struct Notes {
    pub(super) all: MessageNotes,
    counter: IntCounterVec,
    is_changed: bool,
    /// The last key of each stream whose messages have other keys.
    keys: HashMap<Stream, Vec<u8>>,
}

impl Notes {
    pub(super) fn new(counter: IntCounterVec) -> Self {
        Self {
            all: MessageNotes::default(),
            counter,
            is_changed: false,
            keys: HashMap::new(),
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

    /// Notes a key that is not the name of the stream, and a newest minute that another key replaced.
    pub(super) fn key(
        &mut self,
        key: Option<&[u8]>,
        observed: &Observed,
        is_newest: bool,
        now_ms: i64,
    ) {
        let stream = observed.counts.stream();
        let Some(key) = key.filter(|key| *key != stream.as_str().as_bytes()) else {
            return;
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
        let is_corrected = observed.timeliness == Timeliness::Late
            && !observed.is_new
            && !observed.rows.is_empty();
        if is_newest && is_corrected && before.is_some_and(|before| before != key) {
            self.overwritten(stream, now_ms);
        }
    }

    fn overwritten(&mut self, stream: &Stream, now_ms: i64) {
        self.count("overwritten_minute", 1);
        let was_overwriting = self.all.is_overwriting(now_ms);
        let times = &mut self.all.overwritten_ms;
        times.push_back(now_ms);
        if times.len() > OVERWRITTEN_LIMIT {
            times.pop_front();
        }
        if !was_overwriting && self.all.is_overwriting(now_ms) {
            tracing::error!(
                %stream,
                "producers of different keys replace each other's minutes: they write to one stream. Set TRANSACTION_STREAM to the field that tells them apart"
            );
        }
    }
}
