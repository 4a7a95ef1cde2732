//! What is stored of open minutes, so that a restart goes on with the same counts.

use std::collections::{BTreeMap, HashMap};

use super::{
    Counts, Merge, OpenMinutes, Settings,
    partition::{Partition, PartitionState},
    stream::{OpenMinute, OpenStream, Stored, StreamState},
};
use crate::{minute::Minute, stream::Stream};

/// Everything that is stored of open minutes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredOpenMinutes {
    /// The partitions.
    pub partitions: Vec<(i32, PartitionState)>,
    /// The streams.
    pub streams: Vec<(Stream, StreamState)>,
    /// The counts of their open minutes.
    pub minutes: Vec<(Stream, Minute, Counts)>,
}

/// What changed since the last time, to be stored in the transaction of the offsets that it was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenChanges {
    /// Partitions to replace.
    pub partitions: Vec<(i32, PartitionState)>,
    /// Streams, in their order.
    pub streams: Vec<(Stream, StreamChange)>,
    /// Minutes to replace; `None`: closed, to delete. Their streams are stored.
    pub minutes: Vec<(Stream, Minute, Option<Counts>)>,
}

/// The change of what is stored of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamChange {
    /// It is new.
    Begin(StreamState),
    /// It is stored already, unless it was retired meanwhile; then these changes must not be stored.
    Continue(StreamState),
    /// It ends, with its minutes.
    End,
}

impl OpenMinutes {
    /// Goes on with what was stored.
    pub fn restore(settings: Settings, merge: Merge, stored: StoredOpenMinutes) -> Self {
        let partition = |(id, state): (i32, PartitionState)| {
            let partition = Partition {
                state,
                ..Partition::default()
            };
            (id, partition)
        };
        let partitions: BTreeMap<_, _> = stored.partitions.into_iter().map(partition).collect();
        let mut streams: HashMap<_, _> = HashMap::new();
        for (stream, mut state) in stored.streams {
            state.partitions.retain(|id| partitions.contains_key(id));
            streams.insert(stream, OpenStream::restored(state));
        }
        for (stream, minute, counts) in stored.minutes {
            if let Some(open) = streams.get_mut(&stream) {
                let changed = false;
                open.minutes.insert(minute, OpenMinute { counts, changed });
            }
        }
        Self {
            settings,
            merge,
            partitions,
            streams,
            late: BTreeMap::new(),
            split: Vec::new(),
            changed: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    /// What must be stored with the next commit.
    pub fn take_changes(&mut self) -> OpenChanges {
        let mut changes = OpenChanges::default();
        for (id, partition) in &mut self.partitions {
            if std::mem::take(&mut partition.changed) {
                changes.partitions.push((*id, partition.state.clone()));
            }
        }
        let forgotten = std::mem::take(&mut self.forgotten);
        let end = |stream| (stream, StreamChange::End);
        changes.streams = forgotten.into_iter().map(end).collect();
        for stream in std::mem::take(&mut self.changed) {
            if let Some(open) = self.streams.get_mut(&stream) {
                open.take_changes(&stream, &mut changes);
            }
        }
        changes
    }
}

impl OpenStream {
    fn take_changes(&mut self, stream: &Stream, changes: &mut OpenChanges) {
        self.listed = false;
        let change = match std::mem::replace(&mut self.stored, Stored::Same) {
            Stored::Nothing => Some(StreamChange::Begin(self.state.clone())),
            Stored::Before => Some(StreamChange::Continue(self.state.clone())),
            Stored::Same => None,
        };
        changes
            .streams
            .extend(change.map(|change| (stream.clone(), change)));
        let ended = self.ended.drain(..);
        changes
            .minutes
            .extend(ended.map(|minute| (stream.clone(), minute, None)));
        for (minute, open) in &mut self.minutes {
            if std::mem::take(&mut open.changed) {
                changes
                    .minutes
                    .push((stream.clone(), *minute, Some(open.counts.clone())));
            }
        }
    }
}
