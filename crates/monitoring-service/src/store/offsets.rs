//! Kafka offsets: the last record consumed of each partition.

use std::collections::BTreeMap;

use super::engine::{Sql, params};
use super::{Store, StoreError};

/// The last record consumed of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredOffset {
    /// Its offset; −1 before the first.
    pub last_offset: i64,
    /// Its timestamp; none where no record was consumed yet.
    pub last_timestamp_ms: Option<i64>,
}

/// The progress of one partition in a commit.
#[derive(Clone, Debug)]
pub(crate) struct OffsetAdvance {
    /// The cluster: a topic of the same name in another cluster has other offsets.
    pub(crate) cluster_id: String,
    /// Which topic.
    pub(crate) topic: String,
    /// Which partition.
    pub(crate) partition: i32,
    /// The offset that must be stored before the commit; `None`: no offset.
    pub(crate) from: Option<StoredOffset>,
    /// The offset that the commit stores.
    pub(crate) to: StoredOffset,
}

impl Store {
    /// The stored offsets of a topic's partitions. Blocks.
    pub fn offsets(
        &self,
        cluster_id: &str,
        topic: &str,
    ) -> Result<BTreeMap<i32, StoredOffset>, StoreError> {
        self.read_blocking(|sql| {
            let mut statement = sql.prepare_cached(
                "SELECT partition, last_offset, last_timestamp_ms FROM offsets WHERE cluster_id = ?1 AND topic = ?2",
            )?;
            let rows = statement.query_map(params![cluster_id, topic], |row| {
                Ok((row.get(0)?, StoredOffset { last_offset: row.get(1)?, last_timestamp_ms: row.get(2)? }))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

impl Store {
    /// The newest offsets of a topic's partitions in other clusters. Blocks.
    pub(crate) fn offsets_elsewhere(
        &self,
        cluster_id: &str,
        topic: &str,
    ) -> Result<BTreeMap<i32, StoredOffset>, StoreError> {
        self.read_blocking(|sql| {
            let mut statement = sql.prepare_cached(
                "SELECT partition, last_offset, last_timestamp_ms FROM offsets WHERE cluster_id <> ?1 AND topic = ?2
                 ORDER BY last_timestamp_ms NULLS FIRST",
            )?;
            let rows = statement.query_map(params![cluster_id, topic], |row| {
                Ok((row.get(0)?, StoredOffset { last_offset: row.get(1)?, last_timestamp_ms: row.get(2)? }))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

/// Advances a partition's offset, if the stored one is the expected one: of two instances that read the same partition, one commits.
pub(super) fn advance(sql: Sql<'_>, advance: &OffsetAdvance) -> Result<(), StoreError> {
    const BEGIN: &str = "INSERT INTO offsets (cluster_id, topic, partition, last_offset, last_timestamp_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (cluster_id, topic, partition) DO NOTHING";
    const ADVANCE: &str = "UPDATE offsets SET last_offset = ?4, last_timestamp_ms = ?5 WHERE cluster_id = ?1 AND topic = ?2 AND partition = ?3
         AND last_offset = ?6 AND last_timestamp_ms IS NOT DISTINCT FROM ?7";
    let OffsetAdvance {
        cluster_id,
        topic,
        partition,
        from,
        to,
    } = advance;
    let (offset, timestamp_ms) = (to.last_offset, to.last_timestamp_ms);
    let changed = match from {
        None => sql.prepare_cached(BEGIN)?.execute(params![
            cluster_id,
            topic,
            partition,
            offset,
            timestamp_ms
        ])?,
        Some(from) => sql.prepare_cached(ADVANCE)?.execute(params![
            cluster_id,
            topic,
            partition,
            offset,
            timestamp_ms,
            from.last_offset,
            from.last_timestamp_ms
        ])?,
    };
    if changed == 0 {
        return Err(StoreError::OffsetMoved {
            topic: topic.clone(),
            partition: *partition,
        });
    }
    Ok(())
}
