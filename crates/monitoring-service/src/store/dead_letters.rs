//! Dead letters: messages that cannot be used, kept with the reason.

use super::engine::{self, OptionalExtension as _, Row, Sql, params};
use super::{Store, StoreError};

/// A message that cannot be used, to be stored.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetter {
    /// Its topic.
    pub(crate) topic: String,
    /// Its partition.
    pub(crate) partition: i32,
    /// Its offset.
    pub(crate) offset: i64,
    /// A short stable name of the reason.
    pub(crate) reason: &'static str,
    /// The error in words.
    pub(crate) detail: String,
    /// What the message is and what reads it, if its shape is recognized.
    pub(crate) hint: Option<String>,
    /// Its key, cut at 1 KiB.
    pub(crate) key: Option<Vec<u8>>,
    /// Its payload, cut at 64 KiB; none for a null payload.
    pub(crate) payload: Option<Vec<u8>>,
    /// Length of the payload in bytes.
    pub(crate) payload_bytes: usize,
    /// Its headers as a JSON object of text.
    pub(crate) headers: String,
    /// When it was read, milliseconds since 1970.
    pub(crate) received_at_ms: i64,
}

/// A stored dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadLetterRecord {
    /// Its number.
    pub(crate) id: i64,
    /// Its topic.
    pub(crate) topic: String,
    /// Its partition.
    pub(crate) partition: i32,
    /// Its offset.
    pub(crate) offset: i64,
    /// A short stable name of the reason.
    pub(crate) reason: String,
    /// The error in words.
    pub(crate) detail: String,
    /// What the message is and what reads it, if its shape is recognized.
    pub(crate) hint: Option<String>,
    /// Its key, cut at 1 KiB.
    pub(crate) key: Option<Vec<u8>>,
    /// Its payload, cut at 64 KiB.
    pub(crate) payload: Option<Vec<u8>>,
    /// Length of the payload in bytes.
    pub(crate) payload_bytes: u64,
    /// Its headers as a JSON object of text.
    pub(crate) headers: String,
    /// When it was read, milliseconds since 1970.
    pub(crate) received_at_ms: i64,
    /// When it was replayed, milliseconds since 1970.
    pub(crate) replayed_at_ms: Option<i64>,
}

/// Dead letters of some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeadLetterCount {
    /// Since when they are counted, milliseconds since 1970.
    pub(crate) since_ms: i64,
    /// How many.
    pub(crate) count: u64,
    /// Why the newest one is a dead letter.
    pub(crate) newest: Option<String>,
}

impl Store {
    /// The dead letters that were read at `since_ms` or later.
    pub(crate) async fn dead_letters_since(
        &self,
        since_ms: i64,
    ) -> Result<DeadLetterCount, StoreError> {
        self.read(move |sql| {
            let mut statement = sql.prepare_cached(
                "SELECT count(*), (SELECT detail FROM dead_letters WHERE received_at_ms >= ?1 ORDER BY received_at_ms DESC, id DESC LIMIT 1)
                 FROM dead_letters WHERE received_at_ms >= ?1",
            )?;
            let count = |row: &Row<'_>| {
                Ok(DeadLetterCount {
                    since_ms,
                    count: row.get(0)?,
                    newest: row.get(1)?,
                })
            };
            Ok(statement.query_row(params![since_ms], count)?)
        })
        .await
    }

    /// Dead letters, newest first, before the one of this number.
    pub(crate) async fn dead_letters(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<DeadLetterRecord>, StoreError> {
        self.read(move |sql| {
            let query = format!(
                "SELECT {COLUMNS} FROM dead_letters WHERE id < ?1 ORDER BY id DESC LIMIT ?2"
            );
            let mut statement = sql.prepare_cached(&query)?;
            let rows = statement.query_map(params![before.unwrap_or(i64::MAX), limit], record)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The dead letter of this number. Blocks.
    pub(crate) fn dead_letter(&self, id: i64) -> Result<Option<DeadLetterRecord>, StoreError> {
        self.read_blocking(|sql| {
            let query = format!("SELECT {COLUMNS} FROM dead_letters WHERE id = ?1");
            let mut statement = sql.prepare_cached(&query)?;
            Ok(statement.query_row(params![id], record).optional()?)
        })
    }
}

const COLUMNS: &str = "id, topic, partition, \"offset\", reason, detail, payload, payload_bytes, headers, received_at_ms, hint, key, replayed_at_ms";

fn record(row: &Row<'_>) -> engine::Result<DeadLetterRecord> {
    Ok(DeadLetterRecord {
        id: row.get(0)?,
        topic: row.get(1)?,
        partition: row.get(2)?,
        offset: row.get(3)?,
        reason: row.get(4)?,
        detail: row.get(5)?,
        payload: row.get(6)?,
        payload_bytes: row.get(7)?,
        headers: row.get(8)?,
        received_at_ms: row.get(9)?,
        hint: row.get(10)?,
        key: row.get(11)?,
        replayed_at_ms: row.get(12)?,
    })
}

/// Marks a dead letter as replayed. [`StoreError::Outdated`] if it was replayed before.
pub(super) fn mark_replayed(sql: Sql<'_>, id: i64, now_ms: i64) -> Result<(), StoreError> {
    const MARK: &str =
        "UPDATE dead_letters SET replayed_at_ms = ?2 WHERE id = ?1 AND replayed_at_ms IS NULL";
    if sql.prepare_cached(MARK)?.execute(params![id, now_ms])? == 0 {
        return Err(StoreError::Outdated(format!("the dead letter {id}")));
    }
    Ok(())
}

pub(super) fn insert(sql: Sql<'_>, letter: &DeadLetter) -> Result<(), StoreError> {
    sql.prepare_cached(
        "INSERT INTO dead_letters (topic, partition, \"offset\", reason, detail, payload, payload_bytes, headers, received_at_ms, hint, key)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        letter.topic,
        letter.partition,
        letter.offset,
        letter.reason,
        letter.detail,
        letter.payload,
        letter.payload_bytes,
        letter.headers,
        letter.received_at_ms,
        letter.hint,
        letter.key
    ])?;
    Ok(())
}
