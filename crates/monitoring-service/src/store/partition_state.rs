//! How far each partition is read, for the instances on one PostgreSQL database. What the texts say is known to [`crate::group`].

use super::engine::params;
use super::{
    Store, StoreError,
    writer::{Lock, Transaction},
};

/// What an instance said last of a partition that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionRecord {
    /// Which partition.
    pub(crate) partition: i32,
    /// Which instance.
    pub(crate) instance: String,
    /// How long ago, milliseconds by the clock of the server.
    pub(crate) age_ms: i64,
    /// What it said.
    pub(crate) state: String,
}

impl Store {
    /// Records what this instance says of its partitions of a topic.
    pub(crate) async fn report_partitions(
        &self,
        topic: String,
        instance: String,
        states: Vec<(i32, String)>,
    ) -> Result<(), StoreError> {
        const REPORT: &str = "INSERT INTO partition_state (topic, partition, instance, seen_at, state) VALUES (?1, ?2, ?3, now(), ?4)
             ON CONFLICT (topic, partition) DO UPDATE SET instance = excluded.instance, seen_at = excluded.seen_at, state = excluded.state";
        let report = move |transaction: &mut Transaction<'_>| {
            let mut statement = transaction.sql.prepare_cached(REPORT)?;
            for (partition, state) in &states {
                statement.execute(params![topic, partition, instance, state])?;
            }
            Ok(())
        };
        self.writer.call_with(Lock::Shared, report).await
    }

    /// What all instances said of the partitions of a topic.
    pub(crate) async fn partition_records(
        &self,
        topic: String,
    ) -> Result<Vec<PartitionRecord>, StoreError> {
        const RECORDS: &str = "SELECT partition, instance, CAST(extract(epoch FROM now() - seen_at) * 1000 AS BIGINT), state FROM partition_state
             WHERE topic = ?1 ORDER BY partition";
        self.read(move |sql| {
            let mut statement = sql.prepare_cached(RECORDS)?;
            let rows = statement.query_map(params![topic], |row| {
                Ok(PartitionRecord {
                    partition: row.get(0)?,
                    instance: row.get(1)?,
                    age_ms: row.get(2)?,
                    state: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}
