//! Deletes data beyond its retention, in steps short enough not to delay ingest.

use super::engine::{Sql, params};
use super::{Store, StoreError};

/// Minutes of one stream that are deleted at once; short enough not to delay ingest. A stream with fewer of them waits: else every stream
/// would have one to delete each minute, and the first streams would take all the steps of a pass.
const STEP_MINUTES: i64 = 240;

/// Streams of one step.
const STEP_STREAMS: u32 = 8;

/// Rows of the other tables that one step prunes.
const STEP_ROWS: u32 = 1000;

/// Dead letters to keep.
const MAX_DEAD_LETTERS: u32 = 10_000;

const PRUNE_ALERTS: &str =
    "DELETE FROM alerts WHERE seq IN (SELECT seq FROM alerts WHERE recorded_at_ms < ?1
     AND NOT EXISTS (SELECT 1 FROM deliveries WHERE alert_seq = seq AND state = 'pending') LIMIT ?2)";

const PRUNE_LETTERS: &str = "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters
     WHERE id <= (SELECT max(id) FROM dead_letters) - ?1 ORDER BY id LIMIT ?2)";

/// The retention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Milliseconds: minutes by event time from each stream's newest (up to 4 hours more), alerts and deliveries by recording time.
    pub(crate) length_ms: i64,
}

impl Store {
    /// Prunes one small step; true if there is more to prune.
    pub(crate) async fn prune_step(
        &self,
        now_ms: i64,
        retention: Retention,
    ) -> Result<bool, StoreError> {
        self.writer
            .call(move |transaction| {
                let oldest_ms = now_ms - retention.length_ms;
                let sql = transaction.sql;
                let minutes = prune_minutes(sql, retention.length_ms / 60_000, now_ms / 60_000)?;
                let alerts = sql
                    .prepare_cached(PRUNE_ALERTS)?
                    .execute(params![oldest_ms, STEP_ROWS])?;
                let letters = sql
                    .prepare_cached(PRUNE_LETTERS)?
                    .execute(params![MAX_DEAD_LETTERS, STEP_ROWS])?;
                let incidents = prune_incidents(sql, oldest_ms)?;
                Ok(minutes + alerts + letters + incidents > 0)
            })
            .await
    }
}

/// Deletes the oldest minutes of some streams whose oldest ones are older than `minutes` before their newest, by a step or more. A retired
/// stream has no newer minutes, so its minutes age by the clock.
fn prune_minutes(sql: Sql<'_>, minutes: i64, now: i64) -> Result<usize, StoreError> {
    let mut overdue = sql.prepare_cached(
        "SELECT id, oldest FROM (
             SELECT id, CASE WHEN retired_at_ms IS NULL OR newest_minute > ?2 THEN newest_minute ELSE ?2 END - ?1 AS keep_from,
             (SELECT min(minute) FROM minute_counts WHERE stream_id = streams.id) AS oldest FROM streams
         ) AS ages WHERE oldest + ?3 <= keep_from LIMIT ?4",
    )?;
    let overdue: Vec<(i64, i64)> = overdue
        .query_map(params![minutes, now, STEP_MINUTES, STEP_STREAMS], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut delete =
        sql.prepare_cached("DELETE FROM minute_counts WHERE stream_id = ?1 AND minute < ?2")?;
    let mut deleted = 0;
    for (stream_id, oldest) in overdue {
        deleted += delete.execute(params![stream_id, oldest + STEP_MINUTES])?;
    }
    Ok(deleted)
}

/// Deletes incidents that ended and were recorded before `oldest_ms`, with their events and deliveries. The minutes of a replayed file may be
/// years old.
fn prune_incidents(sql: Sql<'_>, oldest_ms: i64) -> Result<usize, StoreError> {
    const ENDED: &str = "FROM incidents WHERE ended_at_ms IS NOT NULL AND recorded_at_ms < ?1 ORDER BY seq LIMIT ?2";
    let step = params![oldest_ms, STEP_ROWS];
    let events = format!("DELETE FROM incident_events WHERE incident_id IN (SELECT id {ENDED})");
    sql.prepare_cached(&events)?.execute(step)?;
    let incidents = format!("DELETE FROM incidents WHERE seq IN (SELECT seq {ENDED})");
    Ok(sql.prepare_cached(&incidents)?.execute(step)?)
}
