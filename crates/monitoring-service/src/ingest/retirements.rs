//! Streams that were retired: what ingest has in memory of them is not what is stored any more.

use std::sync::{Arc, Mutex, PoisonError};

use detection::Stream;

use super::{Ingest, kafka::Topic, recovery::Interrupted};

/// The streams that were retired since ingest last loaded what is stored of them. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Retirements(Arc<Mutex<Vec<Stream>>>);

impl Retirements {
    /// Adds a stream, after its retirement was stored.
    pub(crate) fn push(&self, stream: Stream) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(stream);
    }

    fn take(&self) -> Vec<Stream> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ingest {
    /// Loads what is stored of retired streams in place of what is in memory. A commit that goes on with what was there before is
    /// refused by the store ([`crate::store::StoreError::StreamRetired`]), and the session begins again.
    pub(super) fn reload_retired(&mut self, topic: Option<&Topic>) -> Result<(), Interrupted> {
        let retired = self.context.retired.take();
        if retired.is_empty() {
            return Ok(());
        }
        // What is in flight is part of what is loaded.
        self.settle()?;
        self.reader.reload(&retired, topic)?;
        self.context.snapshots.forget(&retired);
        Ok(())
    }
}
