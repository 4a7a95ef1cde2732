//! Silences: asked for, ended early, kept so that what they held back can be explained.

use detection::{MonitoredStatus, Silence, batch::StreamError};
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::{Store, StoreError};

/// A silence as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilenceRecord {
    /// What it holds back.
    pub silence: Silence,
    /// When it was asked for, milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it ends, milliseconds since 1970.
    pub until_ms: i64,
    /// Why, in the words of the one who asked.
    pub reason: String,
}

impl Store {
    /// Keeps a silence.
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

    /// Ends a silence now; false if there is none of this id in force.
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

    /// The silences in force at `now_ms`, newest first.
    pub async fn silences(&self, now_ms: i64) -> Result<Vec<SilenceRecord>, StoreError> {
        self.read(move |sql| in_force(sql, now_ms)).await
    }
}

fn in_force(sql: &Connection, now_ms: i64) -> Result<Vec<SilenceRecord>, StoreError> {
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
