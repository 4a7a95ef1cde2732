//! Switches a stream off.

use detection::{DetectorState, MonitorSettings, PolicyName};

use super::{
    Store, StoreError, detector_states,
    engine::{self, params},
    incidents::recording,
    open_minutes,
    restore::stored_stream,
    writer::Transaction,
};
use crate::alerts::{
    incident_record::IncidentRecord,
    incident_update::{IncidentUpdate, RecordedEvent},
};

impl Store {
    /// Switches a stream off until its next minute, and ends its open incidents: in one transaction everything is forgotten that would go
    /// on without a minute. None if there is no stream of this name.
    pub(crate) async fn retire_stream<E>(
        &self,
        name: &str,
        settings: MonitorSettings,
        now_ms: i64,
        end: E,
    ) -> Result<Option<Vec<RecordedEvent>>, StoreError>
    where
        E: Fn(&IncidentRecord) -> IncidentUpdate + Send + 'static,
    {
        let name = name.to_owned();
        self.writer
            .call(move |transaction| {
                let sql = transaction.sql;
                let retired = sql
                    .prepare_cached(
                        "UPDATE streams SET retired_at_ms = coalesce(retired_at_ms, ?2), stale_since_ms = NULL, stale_alerted = 0,
                         version = version + 1 WHERE name = ?1",
                    )?
                    .execute(params![name, now_ms])?;
                if retired == 0 {
                    return Ok(None);
                }
                open_minutes::forget(sql, &name)?;
                drop_episode(transaction, &name, &settings)?;
                recording::retire(transaction, &name, &end).map(Some)
            })
            .await
    }
}

/// Ends the episode of the policy `adaptive`, so that the next one of the stream opens and alerts.
fn drop_episode(
    transaction: &Transaction<'_>,
    stream: &str,
    settings: &MonitorSettings,
) -> Result<(), StoreError> {
    let sql = transaction.sql;
    let (Some(adaptive), Some(mut stored)) =
        (settings.adaptive(), stored_stream(sql, stream, settings)?)
    else {
        return Ok(());
    };
    let mut state = stored.fold_adaptive(adaptive).0.clone();
    if let (true, Some(minute)) = (state.drop_episode(), state.newest()) {
        let state = DetectorState {
            stream: stream.parse().map_err(engine::Error::unreadable)?,
            policy: PolicyName::Adaptive,
            minute,
            bytes: state.to_bytes(),
        };
        detector_states::write(transaction, &[state])?;
    }
    Ok(())
}
