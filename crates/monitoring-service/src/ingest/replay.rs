//! Reads a dead letter again with the settings of now. It is marked in the transaction that stores its counts, so nothing counts twice.

use detection::{Minute, Stream};

use super::{
    Ingest, KafkaInput,
    batch::Batch,
    kafka::Topic,
    reader::Refusal,
    requests::{Outcome, Refused},
};
use crate::{alerts::json::At, store::DeadLetterRecord};

impl Ingest {
    /// Reads the dead letter of this number; `topic`: the one that is being read.
    pub(super) fn replay(
        &mut self,
        id: i64,
        topic: Option<&Topic>,
        batch: &mut Batch,
    ) -> Result<Outcome, Refused> {
        // The commit in flight may mark it.
        self.settle()?;
        let refuse = |why: String| Err(Refused::NotPossible(why));
        if batch.commit.replayed.contains(&id) {
            return refuse("it is being replayed".to_owned());
        }
        let letter = self.context.store.dead_letter(id)?;
        let letter = letter.ok_or(Refused::Unknown)?;
        if let Some(at_ms) = letter.replayed_at_ms {
            return refuse(format!("it was replayed at {}", At(at_ms)));
        }
        let Some(payload) = &letter.payload else {
            return refuse("the message has no payload (a tombstone)".to_owned());
        };
        if letter.payload_bytes > payload.len() as u64 {
            return refuse(format!(
                "only {} of its {} bytes are stored",
                payload.len(),
                letter.payload_bytes
            ));
        }
        let outcome = match self.settings.input {
            KafkaInput::Minutes => {
                let minute = self.reader.read_minute(payload, batch.commit.now_ms);
                let minute = minute.map_err(Refusal::into_refused)?;
                self.observe_minutes(vec![minute], batch)
                    .map_err(without_index)
            }
            KafkaInput::Updates | KafkaInput::Transactions => {
                let open = self.reopen(&letter, payload, topic, batch.commit.now_ms)?;
                Ok(Outcome {
                    places: Vec::new(),
                    open,
                })
            }
        }?;
        batch.commit.replayed.push(id);
        Ok(outcome)
    }

    /// Adds the counts of a letter to their open minute, or to those that came late. None if its status is ignored.
    fn reopen(
        &mut self,
        letter: &DeadLetterRecord,
        payload: &[u8],
        topic: Option<&Topic>,
        now_ms: i64,
    ) -> Result<Option<(Stream, Minute)>, Refused> {
        let is_read = topic.is_some()
            && letter.topic == self.settings.topic
            && self.positions.contains_key(&letter.partition);
        if !is_read {
            return Err(Refused::NotPossible(format!(
                "its partition {}[{}] is not being read",
                letter.topic, letter.partition
            )));
        }
        let opened = self.reader.reopen(letter.partition, payload, now_ms);
        opened.map_err(Refusal::into_refused)
    }
}

/// The refusal of the only minute.
fn without_index(refused: Refused) -> Refused {
    match refused {
        Refused::Minute { detail, .. } => Refused::NotPossible(detail),
        other => other,
    }
}
