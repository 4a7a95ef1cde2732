//! The silences that people set, and the active ones in memory for those who raise alerts. Stores none.

use std::sync::{Arc, PoisonError, RwLock};

use detection::Silence;

/// A silence as it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilenceRecord {
    /// What it suppresses.
    pub silence: Silence,
    /// When it was set, milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it ends, milliseconds since 1970.
    pub until_ms: i64,
    /// Why, in the words of the person who set it.
    pub reason: String,
}

/// The stored silences that have not ended. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Silences {
    stored: Arc<RwLock<Arc<[SilenceRecord]>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Silences {
    /// Those active at `now_ms`.
    pub fn active(&self, now_ms: i64) -> Vec<Silence> {
        let stored = Arc::clone(&self.stored.read().unwrap_or_else(PoisonError::into_inner));
        stored
            .iter()
            .filter(|record| record.until_ms > now_ms)
            .map(|record| record.silence.clone())
            .collect()
    }

    /// Replaces them by what `read` gives. One call at a time, so that an older answer never replaces a newer one.
    pub async fn refresh<E>(
        &self,
        read: impl Future<Output = Result<Vec<SilenceRecord>, E>>,
    ) -> Result<(), E> {
        let _turn = self.turn.lock().await;
        let stored = read.await?;
        *self.stored.write().unwrap_or_else(PoisonError::into_inner) = stored.into();
        Ok(())
    }
}
