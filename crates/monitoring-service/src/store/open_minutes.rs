//! Minutes whose counts still grow, stored so that a crash loses and doubles nothing.

use detection::{
    Minute, Status, StatusCount, Stream,
    open_minutes::{Counts, OpenChanges, StoredOpenMinutes, StreamChange, StreamState},
};
use serde::{Serialize, de::DeserializeOwned};

use super::engine::{self, OptionalExtension as _, Row, Sql, params};
use super::{Store, StoreError};

/// The changes of open minutes in a commit.
#[derive(Clone, Debug)]
pub(crate) struct OpenCommit {
    /// The cluster of the partitions.
    pub(crate) cluster_id: String,
    /// Their topic.
    pub(crate) topic: String,
    /// What changed.
    pub(crate) changes: OpenChanges,
}

impl Store {
    /// The open minutes of all streams, with the partitions of a topic. Blocks.
    pub(crate) fn open_minutes(
        &self,
        cluster_id: &str,
        topic: &str,
    ) -> Result<StoredOpenMinutes, StoreError> {
        self.read_blocking(|sql| {
            let mut partitions = sql.prepare_cached(
                "SELECT partition, state FROM open_partitions WHERE cluster_id = ?1 AND topic = ?2",
            )?;
            let mut streams = sql.prepare_cached("SELECT stream, state FROM open_streams")?;
            let mut minutes =
                sql.prepare_cached("SELECT stream, minute, counts FROM open_minutes")?;
            Ok(StoredOpenMinutes {
                partitions: partitions
                    .query_map(params![cluster_id, topic], |row| {
                        Ok((row.get(0)?, json(row, 1)?))
                    })?
                    .collect::<Result<_, _>>()?,
                streams: streams
                    .query_map(params![], |row| Ok((name(row, 0)?, json(row, 1)?)))?
                    .collect::<Result<_, _>>()?,
                minutes: minutes
                    .query_map(params![], |row| {
                        let minute = Minute::from_epoch_minutes(row.get(1)?);
                        Ok((name(row, 0)?, minute, json(row, 2)?))
                    })?
                    .collect::<Result<_, _>>()?,
            })
        })
    }

    /// The partitions of a stream that has open minutes. Blocks.
    pub(crate) fn open_partitions_of(&self, stream: &str) -> Result<Vec<i32>, StoreError> {
        self.read_blocking(|sql| {
            let state = sql
                .prepare_cached("SELECT state FROM open_streams WHERE stream = ?1")?
                .query_row(params![stream], |row| json::<StreamState>(row, 0))
                .optional()?;
            Ok(state.map_or_else(Vec::new, |state| state.partitions))
        })
    }

    /// The stored counts of a minute that were named. Blocks.
    pub(crate) fn named_counts(&self, stream: &str, minute: Minute) -> Result<Counts, StoreError> {
        self.read_blocking(|sql| {
            let mut statement = sql.prepare_cached(
                "SELECT statuses.name, count FROM minute_counts CROSS JOIN statuses
                 WHERE statuses.id = status_id AND stream_id = (SELECT id FROM streams WHERE name = ?1) AND minute = ?2 AND implied = 0 ORDER BY status_id",
            )?;
            let counts = statement.query_map(params![stream, minute.epoch_minutes()], |row| {
                let status = Status::parse(&row.get::<_, String>(0)?).map_err(engine::Error::unreadable)?;
                let count = row.get(1)?;
                Ok(StatusCount { status, count })
            })?;
            Ok(counts.collect::<Result<_, _>>()?)
        })
    }
}

/// Drops everything about a stream that is retired.
pub(super) fn forget(sql: Sql<'_>, stream: &str) -> engine::Result<()> {
    for table in ["open_streams", "open_minutes"] {
        sql.prepare_cached(&format!("DELETE FROM {table} WHERE stream = ?1"))?
            .execute(params![stream])?;
    }
    Ok(())
}

/// [`StoreError::StreamRetired`] if the changes are those of a stream that was retired since it was loaded.
pub(super) fn write(sql: Sql<'_>, commit: &OpenCommit) -> Result<(), StoreError> {
    let mut partition = sql.prepare_cached(
        "INSERT INTO open_partitions (cluster_id, topic, partition, state) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (cluster_id, topic, partition) DO UPDATE SET state = excluded.state",
    )?;
    for (id, state) in &commit.changes.partitions {
        partition.execute(params![commit.cluster_id, commit.topic, id, text(state)])?;
    }
    let retired = |stream: &str| StoreError::StreamRetired(stream.to_owned());
    for (stream, change) in &commit.changes.streams {
        let stream = stream.as_str();
        match change {
            StreamChange::Begin(state) => {
                let begun = sql.prepare_cached(
                    "INSERT INTO open_streams (stream, state) VALUES (?1, ?2) ON CONFLICT (stream) DO NOTHING",
                )?
                .execute(params![stream, text(state)])?;
                if begun == 0 {
                    return Err(StoreError::Outdated(format!("the stream {stream}")));
                }
            }
            StreamChange::Continue(state) => {
                let continued = sql
                    .prepare_cached("UPDATE open_streams SET state = ?2 WHERE stream = ?1")?
                    .execute(params![stream, text(state)])?;
                if continued == 0 {
                    return Err(retired(stream));
                }
            }
            StreamChange::End => forget(sql, stream)?,
        }
    }
    let mut put = sql.prepare_cached(
        "INSERT INTO open_minutes (stream, minute, counts) SELECT stream, ?2, ?3 FROM open_streams WHERE stream = ?1
         ON CONFLICT (stream, minute) DO UPDATE SET counts = excluded.counts",
    )?;
    let mut close =
        sql.prepare_cached("DELETE FROM open_minutes WHERE stream = ?1 AND minute = ?2")?;
    for (stream, minute, counts) in &commit.changes.minutes {
        let (stream, minute) = (stream.as_str(), minute.epoch_minutes());
        let Some(counts) = counts else {
            close.execute(params![stream, minute])?;
            continue;
        };
        if put.execute(params![stream, minute, text(counts)])? == 0 {
            return Err(retired(stream));
        }
    }
    Ok(())
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("names and integers always serialize")
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> engine::Result<T> {
    let json: String = row.get(column)?;
    serde_json::from_str(&json).map_err(engine::Error::unreadable)
}

fn name(row: &Row<'_>, column: usize) -> engine::Result<Stream> {
    let name: String = row.get(column)?;
    name.parse().map_err(engine::Error::unreadable)
}
