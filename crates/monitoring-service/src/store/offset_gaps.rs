//! Offset gaps: Kafka offsets that were deleted before they were read, or whose commits the database lost.

use serde::Serialize;
use strum::IntoStaticStr;
use utoipa::ToSchema;

use super::engine::{Sql, params};
use super::{Store, StoreError};
use crate::alerts::json::At;

/// Kafka offsets that were deleted before they were read, or whose commits the database lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetGap {
    /// Which topic.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// The first offset of the gap.
    pub from_offset: i64,
    /// The offset at which reading continued: the first after the gap, or the start of a recreated topic. If commits were lost, the first
    /// after them.
    pub to_offset: i64,
    /// The reason.
    pub reason: OffsetGapReason,
    /// When it was detected, milliseconds since 1970.
    pub detected_at_ms: i64,
}

/// The reason of an offset gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum OffsetGapReason {
    /// The broker deleted records before they were read.
    Retention,
    /// The topic was deleted and recreated, so its offsets started again.
    Recreated,
    /// Another cluster answers under the same settings, so what was not read from the earlier one is lost.
    NewCluster,
    /// A person stepped over records that could not be read.
    Skipped,
    /// The database lost commits, as in a failover to a standby that was behind. The messages are read again; what was posted meanwhile is lost.
    CommitsLost,
}

impl OffsetGapReason {
    /// `retention`, `recreated`, `new_cluster`, `skipped` or `commits_lost`.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }

    /// What it means for the messages.
    pub(crate) const fn effect(self) -> &'static str {
        match self {
            Self::Retention | Self::Recreated | Self::NewCluster | Self::Skipped => {
                "records that were not read are lost"
            }
            Self::CommitsLost => {
                "the database lost commits, as after a failover; their messages are read again, and what was posted meanwhile is lost"
            }
        }
    }
}

/// A stored offset gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OffsetGap)]
pub(crate) struct OffsetGapRecord {
    /// Its number.
    #[serde(skip)]
    pub(crate) id: i64,
    /// Which topic.
    pub(crate) topic: String,
    /// Which partition.
    pub(crate) partition: i32,
    /// The first offset of the gap.
    pub(crate) from_offset: i64,
    /// The offset at which reading continued: the first after the gap, or the start of a recreated topic. With `commits_lost`, the first after
    /// those that are read again.
    pub(crate) to_offset: i64,
    /// `retention`, `recreated`, `new_cluster`, `skipped` or `commits_lost`.
    pub(crate) reason: String,
    /// When it was detected.
    pub(crate) detected_at: At,
}

impl Store {
    /// Offset gaps, newest first, before the one of this number.
    pub(crate) async fn gaps(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<OffsetGapRecord>, StoreError> {
        self.read(move |sql| {
            let mut statement = sql.prepare_cached(
                "SELECT id, topic, partition, from_offset, to_offset, reason, detected_at_ms FROM gaps
                 WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = statement.query_map(params![before.unwrap_or(i64::MAX), limit], |row| {
                Ok(OffsetGapRecord {
                    id: row.get(0)?,
                    topic: row.get(1)?,
                    partition: row.get(2)?,
                    from_offset: row.get(3)?,
                    to_offset: row.get(4)?,
                    reason: row.get(5)?,
                    detected_at: At(row.get(6)?),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// When the newest offset gap was detected, milliseconds since 1970.
    pub(crate) async fn newest_offset_gap_at(&self) -> Result<Option<i64>, StoreError> {
        const NEWEST: &str = "SELECT max(detected_at_ms) FROM gaps";
        self.read(|sql| {
            Ok(sql
                .prepare_cached(NEWEST)?
                .query_row(params![], |row| row.get(0))?)
        })
        .await
    }
}

pub(super) fn insert(sql: Sql<'_>, gap: &OffsetGap) -> Result<(), StoreError> {
    sql.prepare_cached(
        "INSERT INTO gaps (topic, partition, from_offset, to_offset, reason, detected_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![gap.topic, gap.partition, gap.from_offset, gap.to_offset, gap.reason.name(), gap.detected_at_ms])?;
    Ok(())
}
