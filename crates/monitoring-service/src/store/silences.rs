//! Silences: stored, ended early, and kept so that a suppressed alert can be explained.

use std::{fmt::Display, str::FromStr};

use detection::{MonitoredStatus, Silence, StreamPattern, silence::Period};
use uuid::Uuid;

use super::engine::{self, Row, Sql, params};
use super::{Store, StoreError};
use crate::alerts::SilenceRecord;

impl Store {
    /// Stores a silence.
    pub(crate) async fn add_silence(&self, record: SilenceRecord) -> Result<(), StoreError> {
        self.writer
            .call(move |transaction| {
                let SilenceRecord {
                    silence,
                    created_at_ms,
                    period,
                    reason,
                } = &record;
                transaction
                    .sql
                    .prepare_cached(
                        "INSERT INTO silences (id, streams, status_id, created_at_ms, from_ms, until_ms, weekly, reason)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    )?
                    .execute(params![
                        silence.id.to_string(),
                        silence.streams.as_ref().map(StreamPattern::as_str),
                        silence.status.map(MonitoredStatus::index),
                        created_at_ms,
                        period.from_ms,
                        period.until_ms,
                        period.weekly.map(|weekly| weekly.to_string()),
                        reason
                    ])?;
                Ok(())
            })
            .await
    }

    /// Ends a silence now, also one that has not begun; false if none that has not ended has this id.
    pub(crate) async fn end_silence(&self, id: Uuid, now_ms: i64) -> Result<bool, StoreError> {
        self.writer
            .call(move |transaction| {
                let ended = transaction
                    .sql
                    .prepare_cached(
                        "UPDATE silences SET until_ms = ?2 WHERE id = ?1 AND until_ms > ?2",
                    )?
                    .execute(params![id.to_string(), now_ms])?;
                Ok(ended == 1)
            })
            .await
    }

    /// The silences that have not ended at `now_ms`, newest first.
    pub(crate) async fn silences(&self, now_ms: i64) -> Result<Vec<SilenceRecord>, StoreError> {
        self.read(move |sql| unended(sql, now_ms)).await
    }
}

fn unended(sql: Sql<'_>, now_ms: i64) -> Result<Vec<SilenceRecord>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT id, streams, status_id, created_at_ms, from_ms, until_ms, weekly, reason FROM silences
         WHERE until_ms > ?1 ORDER BY created_at_ms DESC, id",
    )?;
    Ok(statement
        .query_map(params![now_ms], read)?
        .collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> engine::Result<SilenceRecord> {
    let status: Option<usize> = row.get("status_id")?;
    let id: Option<Uuid> = parsed(row, "id")?;
    Ok(SilenceRecord {
        silence: Silence {
            id: id.unwrap_or_default(),
            streams: parsed(row, "streams")?,
            status: status.map(|status| MonitoredStatus::ALL[status]),
        },
        created_at_ms: row.get("created_at_ms")?,
        period: Period {
            from_ms: row.get("from_ms")?,
            until_ms: row.get("until_ms")?,
            weekly: parsed(row, "weekly")?,
        },
        reason: row.get("reason")?,
    })
}

/// A value that is stored as its text.
fn parsed<T>(row: &Row<'_>, column: &str) -> engine::Result<Option<T>>
where
    T: FromStr<Err: Display>,
{
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse())
        .transpose()
        .map_err(|error: T::Err| engine::Error::unreadable(error.to_string()))
}
