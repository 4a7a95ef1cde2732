//! One transaction for everything that follows from a consumed batch: rows, alerts, incidents, deliveries, cooldowns, watermarks, offsets.

use std::{collections::HashMap, sync::Arc};

use detection::{AlertKey, Cooldown, DetectorState, Observed, Stream};

use super::{
    Store, StoreError, alerts, cooldowns, dead_letters,
    dead_letters::DeadLetter,
    detector_states, incidents, minutes, offset_gaps,
    offset_gaps::OffsetGap,
    offsets,
    offsets::OffsetAdvance,
    open_minutes::{self, OpenCommit},
    upserts::Upserts,
    watermarks::Watermarks,
    writer::{Lock, PendingWrite, Transaction},
};
use crate::alerts::{
    Alert,
    incident_update::{IncidentUpdate, RecordedEvent},
};

/// The changes of one consumed batch of messages.
#[derive(Debug, Default)]
pub(crate) struct IngestCommit {
    /// The observed minutes, in the order of Kafka.
    pub(crate) observed: Vec<Observed>,
    /// Of each stream among them, the version that the fold went on from; one that is not here is not checked.
    pub(crate) versions: HashMap<Stream, i64>,
    /// Their alerts.
    pub(crate) alerts: Vec<Alert>,
    /// What became of incidents, one update for each.
    pub(crate) incidents: Vec<IncidentUpdate>,
    /// The cooldown of each key that alerted, after its last alert.
    pub(crate) cooldowns: Vec<(AlertKey, Cooldown)>,
    /// States of policies that are due, after these minutes.
    pub(crate) states: Vec<DetectorState>,
    /// The changes of minutes that are still open.
    pub(crate) open: Option<OpenCommit>,
    /// Messages that cannot be used.
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// The numbers of dead letters that were read again.
    pub(crate) replayed: Vec<i64>,
    /// Offset gaps.
    pub(crate) gaps: Vec<OffsetGap>,
    /// The progress of each partition.
    pub(crate) offsets: Vec<OffsetAdvance>,
    /// When the batch was read, milliseconds since 1970.
    pub(crate) now_ms: i64,
}

impl IngestCommit {
    /// Counts, watermarks and offsets are of the partitions of this instance alone. Alerts and incidents are compared with those of all.
    const fn lock(&self) -> Lock {
        let is_of_partitions = self.alerts.is_empty()
            && self.incidents.is_empty()
            && self.replayed.is_empty()
            && self.gaps.is_empty();
        if is_of_partitions {
            Lock::Shared
        } else {
            Lock::Exclusive
        }
    }
}

/// A commit handed to the writer.
pub(crate) struct InFlightCommit(PendingWrite<Vec<RecordedEvent>>);

impl InFlightCommit {
    /// True once the writer has answered; never if it is gone.
    pub(crate) fn is_done(&self) -> bool {
        self.0.is_done()
    }

    /// Waits until the commit is on disk, and returns the events of incidents in it. Blocks.
    ///
    /// [`StoreError::OffsetMoved`] if the stored offsets are not the expected ones, [`StoreError::Outdated`] if a stream is not as the fold
    /// knew it; nothing is written then.
    pub(crate) fn wait(self) -> Result<Vec<RecordedEvent>, StoreError> {
        self.0.wait()
    }
}

impl Store {
    /// Hands a commit to the writer, which writes it in one transaction. Blocks only while the writer's queue is full.
    pub(crate) fn begin_ingest(&self, commit: &Arc<IngestCommit>) -> InFlightCommit {
        let job = Arc::clone(commit);
        InFlightCommit(
            self.writer
                .begin(commit.lock(), move |transaction| write(transaction, &job)),
        )
    }
}

fn write(
    transaction: &mut Transaction<'_>,
    commit: &IngestCommit,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let sql = transaction.sql;
    for offset in &commit.offsets {
        offsets::advance(sql, offset)?;
    }
    let (mut watermarks, mut upserts) = (Watermarks::default(), Upserts::new(sql));
    // The rows of a stream lie together in the database, so its minutes are written together.
    let mut by_stream: Vec<_> = commit.observed.iter().collect();
    by_stream.sort_by_key(|observed| observed.counts.stream());
    for observed in by_stream {
        let stream_id = minutes::write(transaction, &mut upserts, observed, commit.now_ms)?;
        watermarks.note(stream_id, observed);
    }
    upserts.flush()?;
    watermarks.write(sql, &commit.versions, commit.now_ms)?;
    for alert in &commit.alerts {
        alerts::row::insert(transaction, alert)?;
    }
    let mut events = Vec::new();
    for update in &commit.incidents {
        events.extend(incidents::recording::record(transaction, update)?);
    }
    cooldowns::write(transaction, &commit.cooldowns)?;
    detector_states::write(transaction, &commit.states)?;
    if let Some(open) = &commit.open {
        open_minutes::write(sql, open)?;
    }
    for letter in &commit.dead_letters {
        dead_letters::insert(sql, letter)?;
    }
    for id in &commit.replayed {
        dead_letters::mark_replayed(sql, *id, commit.now_ms)?;
    }
    for gap in &commit.gaps {
        offset_gaps::insert(sql, gap)?;
    }
    Ok(events)
}
