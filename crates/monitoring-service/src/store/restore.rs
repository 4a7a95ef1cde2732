//! What is stored of a stream for the fold to go on from.

use detection::{
    Minute, MonitorSettings, StoredStream,
    detector::adaptive::{AdaptiveSettings, AdaptiveState, MAX_LEARNED_MINUTES},
};

use super::engine::{self, OptionalExtension as _, Sql, params};
use super::{
    Store, StoreError, cooldowns, detector_states, incidents, minutes::observed_minutes,
    names::stream_id,
};

impl Store {
    /// What is stored of a stream, for [`detection::Monitor::restore`], and its version; none if it has no minute yet. Blocks.
    pub(crate) fn stored_stream(
        &self,
        stream: &str,
        settings: &MonitorSettings,
    ) -> Result<Option<(StoredStream, i64)>, StoreError> {
        self.read_blocking(|sql| {
            let stored = stored_stream(sql, stream, settings)?;
            let version = stream_version(sql, stream)?;
            Ok(stored.zip(version))
        })
    }

    /// The version of a stream: it changes with each commit of its minutes. None if it has no minute yet. Blocks.
    pub(crate) fn stream_version(&self, stream: &str) -> Result<Option<i64>, StoreError> {
        self.read_blocking(|sql| Ok(stream_version(sql, stream)?))
    }

    /// The state of the policy `adaptive` after the newest stored minute of a stream.
    pub(crate) async fn adaptive_state(
        &self,
        stream: &str,
        settings: MonitorSettings,
        adaptive: AdaptiveSettings,
    ) -> Result<AdaptiveState, StoreError> {
        let stream = stream.to_owned();
        self.scan(move |sql| {
            let mut stored = stored_stream(sql, &stream, &settings)?.unwrap_or_default();
            Ok(stored.fold_adaptive(adaptive).0.clone())
        })
        .await
    }
}

pub(super) fn stored_stream(
    sql: Sql<'_>,
    stream: &str,
    settings: &MonitorSettings,
) -> Result<Option<StoredStream>, StoreError> {
    let Some(id) = stream_id(sql, stream)? else {
        return Ok(None);
    };
    let (mut adaptive, mut since) = (AdaptiveState::default(), None);
    if settings.adaptive().is_some() {
        let newest = sql
            .prepare_cached("SELECT newest_minute FROM streams WHERE id = ?1")?
            .query_row(params![id], |row| {
                row.get(0).map(Minute::from_epoch_minutes)
            })?;
        adaptive = detector_states::adaptive(sql, id, newest)?;
        since = adaptive
            .newest()
            .or(Some(newest.plus(-MAX_LEARNED_MINUTES)));
    }
    let minutes = observed_minutes(sql, id, None, settings.history_capacity(), since)?;
    Ok(Some(StoredStream {
        minutes,
        cooldowns: cooldowns::of_stream(sql, id, stream)?,
        adaptive,
        incident: incidents::reading::last_of_stream(sql, stream, settings.detector.policy())?,
    }))
}

fn stream_version(sql: Sql<'_>, stream: &str) -> engine::Result<Option<i64>> {
    sql.prepare_cached("SELECT version FROM streams WHERE name = ?1")?
        .query_row(params![stream], |row| row.get(0))
        .optional()
}
