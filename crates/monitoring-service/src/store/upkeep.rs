//! Deletes data beyond its retention, in steps short enough not to delay ingest.

use rusqlite::{Connection, params};

use super::{Store, StoreError};

/// Minutes of one stream that one step prunes; short enough not to delay ingest.
const STEP_MINUTES: i64 = 240;

/// Rows of the other tables that one step prunes.
const STEP_ROWS: u32 = 1000;

/// Dead letters to keep.
const MAX_DEAD_LETTERS: u32 = 10_000;

/// The retention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Milliseconds: minutes by event time from each stream's newest, alerts and deliveries by recording time.
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
                let minutes = prune_minutes(transaction.sql, retention.length_ms / 60_000, now_ms / 60_000)?;
                let alerts = transaction.sql.execute(
                    "DELETE FROM alerts WHERE seq IN (SELECT seq FROM alerts WHERE recorded_at_ms < ?1
                         AND NOT EXISTS (SELECT 1 FROM deliveries WHERE alert_seq = seq AND state = 'pending') LIMIT ?2)",
                    params![oldest_ms, STEP_ROWS],
                )?;
                let letters = transaction.sql.execute(
                    "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters
                         WHERE id <= (SELECT max(id) FROM dead_letters) - ?1 ORDER BY id LIMIT ?2)",
                    params![MAX_DEAD_LETTERS, STEP_ROWS],
                )?;
                let incidents = prune_incidents(transaction.sql, oldest_ms)?;
                Ok(minutes + alerts + letters + incidents > 0)
            })
            .await
    }
}

/// Deletes the oldest minutes of each stream that are older than `minutes` before its newest, at most a step of each. A retired stream
/// has no newer minutes, so its minutes age by the clock.
fn prune_minutes(sql: &Connection, minutes: i64, now: i64) -> Result<usize, StoreError> {
    let mut overdue = sql.prepare_cached(
        "SELECT id, iif(retired_at_ms IS NULL, newest_minute, max(newest_minute, ?2)) - ?1 AS keep_from,
         (SELECT min(minute) FROM minute_counts WHERE stream_id = streams.id) AS oldest
         FROM streams WHERE oldest < keep_from LIMIT 8",
    )?;
    let overdue: Vec<(i64, i64, i64)> = overdue
        .query_map([minutes, now], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    let mut delete =
        sql.prepare_cached("DELETE FROM minute_counts WHERE stream_id = ?1 AND minute < ?2")?;
    let mut deleted = 0;
    for (stream_id, keep_from, oldest) in overdue {
        deleted += delete.execute([stream_id, keep_from.min(oldest + STEP_MINUTES)])?;
    }
    Ok(deleted)
}

/// Deletes incidents that ended and were recorded before `oldest_ms`, with their events and deliveries. The minutes of a replayed file may be
/// years old.
fn prune_incidents(sql: &Connection, oldest_ms: i64) -> Result<usize, StoreError> {
    const ENDED: &str = "FROM incidents WHERE ended_at_ms IS NOT NULL AND recorded_at_ms < ?1 ORDER BY seq LIMIT ?2";
    let step = params![oldest_ms, STEP_ROWS];
    sql.execute(
        &format!("DELETE FROM incident_events WHERE incident_id IN (SELECT id {ENDED})"),
        step,
    )?;
    Ok(sql.execute(
        &format!("DELETE FROM incidents WHERE seq IN (SELECT seq {ENDED})"),
        step,
    )?)
}
