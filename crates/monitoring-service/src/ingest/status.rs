//! The status of reading from Kafka, for health, scheduler and gauges. Decides nothing.

use std::sync::{Arc, Mutex, PoisonError};

use super::notes::MessageNotes;
pub(crate) use super::{
    progress::{StandStill, Standing},
    rejections::Acceptance,
};

/// Where minutes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From Kafka, and by request.
    Kafka,
    /// By request alone: the service runs without Kafka.
    Requests,
}

/// The group that shares the partitions of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The name of this instance.
    pub instance: String,
    /// The topic.
    pub topic: String,
    /// All of its partitions; empty while unknown.
    pub partitions: Vec<i32>,
    /// Those of this instance, and whether each was read to its end.
    pub held: Vec<(i32, bool)>,
    /// Those that no instance reads, as far as this one knows.
    pub unread: Vec<i32>,
}

impl Group {
    /// True if this instance has all partitions.
    pub(crate) fn has_all(&self) -> bool {
        !self.partitions.is_empty() && self.held.len() >= self.partitions.len()
    }
}

/// The status of reading from Kafka.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngestStatus {
    /// Without Kafka, only `consuming`, `caught_up` and `error` say more.
    pub source: Source,
    /// True if the brokers answer.
    pub connected: bool,
    /// Since when `connected` has its value, milliseconds since 1970.
    pub since_ms: i64,
    /// True if partitions are assigned; without Kafka, if requests are served.
    pub consuming: bool,
    /// Since when `consuming` has its value, milliseconds since 1970.
    pub consuming_since_ms: i64,
    /// True if every partition was read to its end.
    pub caught_up: bool,
    /// Partitions assigned, also between two sessions; 0 if the last one with the brokers got none.
    pub partitions: usize,
    /// Messages not yet read; none while unknown.
    pub lag: Option<u64>,
    /// The partitions that stand still while messages wait, the longest first.
    pub standing_still: Vec<StandStill>,
    /// Whether the newest messages are used.
    pub acceptance: Acceptance,
    /// The error that prevents consuming, if any.
    pub error: Option<String>,
    /// What was noticed in messages.
    pub notes: MessageNotes,
    /// The group, if partitions are shared with other instances.
    pub group: Option<Group>,
}

impl IngestStatus {
    /// True if other instances read some of the partitions, and none the others.
    pub(crate) fn is_partly_read(&self) -> bool {
        let group = self.group.as_ref();
        group.is_some_and(|group| !group.unread.is_empty()) && self.partitions > 0
    }

    /// The partitions that stand still for longer than this, if any do.
    pub(crate) fn standing_longer_than(&self, ms: i64, now_ms: i64) -> Option<Standing> {
        let still = self.standing_still.iter();
        let still: Vec<_> = still
            .filter(|still| now_ms - still.since_ms > ms)
            .copied()
            .collect();
        (!still.is_empty()).then(|| Standing {
            read: if self.consuming {
                self.partitions.saturating_sub(still.len())
            } else {
                0
            },
            partitions: still,
            error: self.error.clone(),
        })
    }
}

/// The status, as ingest last published it. A clone shares it.
#[derive(Clone, Debug)]
pub struct SharedStatus(Arc<Mutex<IngestStatus>>);

impl SharedStatus {
    /// Not connected yet, since now.
    pub(crate) fn new(now_ms: i64) -> Self {
        Self(Arc::new(Mutex::new(IngestStatus {
            source: Source::Kafka,
            connected: false,
            since_ms: now_ms,
            consuming: false,
            consuming_since_ms: now_ms,
            caught_up: false,
            partitions: 0,
            lag: None,
            standing_still: Vec::new(),
            acceptance: Acceptance::Unknown,
            error: None,
            notes: MessageNotes::default(),
            group: None,
        })))
    }

    /// The status now.
    pub fn get(&self) -> IngestStatus {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces it by a status over several instances; `is_own`: it is that of this one alone, with its times.
    pub(crate) fn replace(&self, now_ms: i64, by: IngestStatus, is_own: bool) {
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *status, by);
        if is_own {
            return;
        }
        let since = |is_same, since_ms| if is_same { since_ms } else { now_ms };
        status.since_ms = since(before.connected == status.connected, before.since_ms);
        let is_same = before.consuming == status.consuming;
        status.consuming_since_ms = since(is_same, before.consuming_since_ms);
    }

    pub(crate) fn update(&self, now_ms: i64, change: impl FnOnce(&mut IngestStatus)) {
        let mut status = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (connected, consuming) = (status.connected, status.consuming);
        change(&mut status);
        if status.connected != connected {
            status.since_ms = now_ms;
        }
        if status.consuming != consuming {
            status.consuming_since_ms = now_ms;
        }
    }
}
