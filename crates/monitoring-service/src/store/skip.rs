//! Steps over records that Kafka cannot deliver, while no service runs. They become an offset gap.

use super::{
    DatabaseAddress, OffsetGap, OffsetGapReason, StoreError, StoredOffset,
    engine::{OptionalExtension as _, Sql, params},
    offset_gaps,
    offsets::{self, OffsetAdvance},
    postgres::lock,
    sqlite,
    writer::Lock,
};

/// Continues the partition of a topic at `to_offset`, which must be after the next offset to read. The records before it are an offset
/// gap, which is returned. An error while a service uses the database.
pub fn skip_records(
    database: &DatabaseAddress,
    topic: &str,
    partition: i32,
    to_offset: i64,
    now_ms: i64,
) -> Result<OffsetGap, StoreError> {
    let skip = |sql: Sql<'_>| skip(sql, topic, partition, to_offset, now_ms);
    match database {
        DatabaseAddress::File(path) => {
            if !path.is_file() {
                return Err(StoreError::Broken(format!(
                    "there is no database {}; check DATABASE_PATH",
                    path.display()
                )));
            }
            let locked = sqlite::lock(path)?;
            let mut connection = sqlite::open_writer(&locked)?;
            let sql = connection.transaction()?;
            let gap = skip(Sql::Sqlite(&sql))?;
            sql.commit()?;
            Ok(gap)
        }
        DatabaseAddress::Postgres(url) => {
            let mut writing = lock::of_command(url)?;
            let done = writing.transact(Lock::Exclusive, |sql, _| skip(sql));
            done.map(|(gap, _)| gap)
        }
    }
}

fn skip(
    sql: Sql<'_>,
    topic: &str,
    partition: i32,
    to_offset: i64,
    now_ms: i64,
) -> Result<OffsetGap, StoreError> {
    const NEWEST: &str =
        "SELECT cluster_id, partition, last_offset, last_timestamp_ms FROM offsets WHERE topic = ?1
         ORDER BY partition = ?2 DESC, last_timestamp_ms DESC NULLS LAST LIMIT 1";
    let newest = sql
        .prepare_cached(NEWEST)?
        .query_row(params![topic, partition], |row| {
            let stored = StoredOffset {
                last_offset: row.get(2)?,
                last_timestamp_ms: row.get(3)?,
            };
            Ok((row.get::<_, String>(0)?, row.get::<_, i32>(1)?, stored))
        });
    let Some((cluster_id, of, stored)) = newest.optional()? else {
        return Err(StoreError::Broken(format!(
            "nothing was read from the topic {topic} yet; check KAFKA_TOPIC"
        )));
    };
    let from = (of == partition).then_some(stored);
    let from_offset = from.map_or(0, |stored| stored.last_offset + 1);
    if to_offset <= from_offset {
        return Err(StoreError::Broken(format!(
            "{topic}[{partition}] is read from offset {from_offset} on; give a later offset than that"
        )));
    }
    let gap = OffsetGap {
        topic: topic.to_owned(),
        partition,
        from_offset,
        to_offset,
        reason: OffsetGapReason::Skipped,
        detected_at_ms: now_ms,
    };
    offset_gaps::insert(sql, &gap)?;
    let advance = OffsetAdvance {
        cluster_id,
        topic: topic.to_owned(),
        partition,
        from,
        to: StoredOffset {
            last_offset: to_offset - 1,
            last_timestamp_ms: None,
        },
    };
    offsets::advance(sql, &advance)?;
    Ok(gap)
}
