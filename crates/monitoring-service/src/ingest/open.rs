//! Closes open minutes: their counts are observed like those of a message, and late ones correct what is stored.

use detection::{
    Minute, MinuteCounts, Stream,
    open_minutes::{Counts, Merge, OpenChanges, put},
};

use super::{Ingest, batch::Batch, kafka::Topic, recovery::Interrupted, spans::MessageSpans};
use crate::store::OpenCommit;

impl Ingest {
    /// Observes the minutes that are due. Call it when no commit is in flight, since late counts are added to stored ones.
    pub(super) fn close_minutes(
        &mut self,
        batch: &mut Batch,
        spans: &mut MessageSpans,
    ) -> Result<(), Interrupted> {
        let now_ms = self.context.clock.now_ms();
        // After a lost connection the end of a partition may have moved on unseen.
        let is_fresh = self
            .doubted
            .as_ref()
            .is_none_or(|since| since.elapsed() > self.clock_pause());
        let positions = &self.positions;
        let at_end = |id| is_fresh && positions.get(&id).is_none_or(|position| position.at_end);
        let closed = self.reader.open.close(now_ms, at_end);
        let late = self.reader.open.take_late();
        self.reader.note_split_streams();
        if closed.is_empty() && late.is_empty() {
            return Ok(());
        }
        if batch.messages == 0 {
            batch.commit.now_ms = now_ms;
            batch.silences = self.context.silences.active(now_ms);
        }
        for counts in closed {
            self.observe(counts, batch, spans)?;
        }
        for ((minute, stream), counts) in late {
            let counts = self.corrected(stream, minute, counts, batch)?;
            self.observe(counts, batch, spans)?;
        }
        Ok(())
    }

    fn clock_pause(&self) -> std::time::Duration {
        let ms = self.settings.open_minutes.close_after_ms;
        std::time::Duration::from_millis(ms.unsigned_abs())
    }

    fn observe(
        &mut self,
        counts: MinuteCounts,
        batch: &mut Batch,
        spans: &mut MessageSpans,
    ) -> Result<(), Interrupted> {
        let observed = self.reader.observe(counts, &batch.silences)?;
        spans.push_alerts(batch.add(observed, &self.context.notify));
        Ok(())
    }

    /// The counts of a closed minute with those that came late.
    fn corrected(
        &self,
        stream: Stream,
        minute: Minute,
        late: Counts,
        batch: &Batch,
    ) -> Result<MinuteCounts, Interrupted> {
        let mut counts = late;
        if self.reader.merge() == Merge::Add {
            let in_batch = batch.commit.observed.iter().rev().find(|observed| {
                observed.counts.minute() == minute && *observed.counts.stream() == stream
            });
            let mut total = match in_batch {
                Some(observed) => observed.counts.transactions().to_vec(),
                None => self.context.store.named_counts(stream.as_str(), minute)?,
            };
            for late in &counts {
                if let Err(error) = put(&mut total, Merge::Add, &late.status, late.count) {
                    tracing::error!(%stream, %minute, %error, "late count dropped");
                }
            }
            counts = total;
        }
        Ok(MinuteCounts::try_new(stream, minute, counts)
            .expect("open minutes have each status once, and not too many"))
    }

    /// What changed of open minutes, to be stored with the offsets.
    pub(super) fn open_commit(&mut self, topic: &Topic) -> Option<OpenCommit> {
        let changes = self.reader.open.take_changes();
        (changes != OpenChanges::default()).then(|| OpenCommit {
            cluster_id: topic.cluster_id.clone(),
            topic: self.settings.topic.clone(),
            changes,
        })
    }
}
