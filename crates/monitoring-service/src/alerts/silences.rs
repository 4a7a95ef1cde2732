//! Silences, and the active ones in memory for the code that raises alerts. The store keeps them.

use std::sync::{Arc, PoisonError, RwLock};

use detection::{Silence, silence::Period};

/// A stored silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SilenceRecord {
    /// The alerts it covers.
    pub(crate) silence: Silence,
    /// When it was set, milliseconds since 1970.
    pub(crate) created_at_ms: i64,
    /// When it is active.
    pub(crate) period: Period,
    /// The reason that was given.
    pub(crate) reason: String,
}

/// The silences in memory. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Silences {
    stored: Arc<RwLock<Arc<[SilenceRecord]>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Silences {
    /// Those active at `now_ms`.
    pub(crate) fn active(&self, now_ms: i64) -> Vec<Silence> {
        let stored = Arc::clone(&self.stored.read().unwrap_or_else(PoisonError::into_inner));
        stored
            .iter()
            .filter(|record| record.period.contains(now_ms))
            .map(|record| record.silence.clone())
            .collect()
    }

    /// Replaces them by the result of `read`. Calls run one at a time, so that an older result never replaces a newer one.
    pub(crate) async fn refresh<E>(
        &self,
        read: impl Future<Output = Result<Vec<SilenceRecord>, E>>,
    ) -> Result<(), E> {
        let _turn = self.turn.lock().await;
        let stored = read.await?;
        *self.stored.write().unwrap_or_else(PoisonError::into_inner) = stored.into();
        Ok(())
    }
}
