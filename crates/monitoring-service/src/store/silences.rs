//! Silences: stored, ended early, and kept so that a suppressed alert can be explained.

use detection::{MonitoredStatus, Silence, stream::StreamError};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::alerts::SilenceRecord;

impl Store {
    /// Stores a silence.
    pub async fn add_silence(&self, record: SilenceRecord) -> Result<(), StoreError> {
        self.writer
            .call(move |transaction| {
                let SilenceRecord {
                    silence,
                    created_at_ms,
                    until_ms,
                    reason,
                } = &record;
                transaction
                    .sql
                    .prepare_cached("INSERT INTO silences VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                    .execute(params![
                        silence.id.to_string(),
                        silence.stream.as_ref().map(detection::Stream::as_str),
                        silence.status.map(MonitoredStatus::index),
                        created_at_ms,
                        until_ms,
                        reason
                    ])?;
                Ok(())
            })
            .await
    }

    /// Ends a silence now; false if no active one has this id.
    pub async fn end_silence(&self, id: Uuid, now_ms: i64) -> Result<bool, StoreError> {
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

    /// The silences active at `now_ms`, newest first.
    pub async fn silences(&self, now_ms: i64) -> Result<Vec<SilenceRecord>, StoreError> {
        self.read(move |sql| active(sql, now_ms)).await
    }
}

fn active(sql: &Connection, now_ms: i64) -> Result<Vec<SilenceRecord>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT id, stream, status_id, created_at_ms, until_ms, reason FROM silences WHERE until_ms > ?1 ORDER BY created_at_ms DESC, id",
    )?;
    Ok(statement
        .query_map([now_ms], read)?
        .collect::<Result<_, _>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<SilenceRecord> {
    let (id, stream): (String, Option<String>) = (row.get("id")?, row.get("stream")?);
    let status: Option<usize> = row.get("status_id")?;
    let unreadable =
        |error: &dyn std::error::Error| rusqlite::Error::InvalidParameterName(error.to_string());
    Ok(SilenceRecord {
        silence: Silence {
            id: id
                .parse()
                .map_err(|error: uuid::Error| unreadable(&error))?,
            stream: stream
                .map(|stream| stream.parse())
                .transpose()
                .map_err(|error: StreamError| unreadable(&error))?,
            status: status.map(|status| MonitoredStatus::ALL[status]),
        },
        created_at_ms: row.get("created_at_ms")?,
        until_ms: row.get("until_ms")?,
        reason: row.get("reason")?,
    })
}
