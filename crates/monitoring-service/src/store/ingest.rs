//! One transaction for all that follows from a consumed batch: rows, verdicts, alerts, cooldowns, deliveries, watermarks, offsets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use detection::{
    AlertKey, Cooldown, Judged, Minute, MonitoredStatus, Row, RowChange, Severity, StreamState,
    Timeliness, Verdict,
};
use rusqlite::{CachedStatement, Connection, OptionalExtension, ToSql, params};

use super::{
    AlertRecord, DeadLetter, OffsetGap, Store, StoreError, alerts,
    codes::{direction_code, direction_from, severity_from, status_id, stream_id},
    queries::observed_minutes,
    writer::{Ids, PendingWrite, Transaction},
};

/// What follows from one consumed batch of messages.
#[derive(Debug, Default)]
pub struct IngestCommit {
    /// The judged minutes in the order of Kafka.
    pub judged: Vec<Judged>,
    /// Their alerts.
    pub alerts: Vec<AlertRecord>,
    /// The memory of each key that alerted, after its last alert.
    pub cooldowns: Vec<(AlertKey, Cooldown)>,
    /// Messages that could not be used.
    pub dead_letters: Vec<DeadLetter>,
    /// Offsets found lost.
    pub gaps: Vec<OffsetGap>,
    /// Where each partition stands after the batch.
    pub offsets: Vec<OffsetAdvance>,
    /// The clock when the batch was read, milliseconds since 1970.
    pub now_ms: i64,
}

/// The last record consumed of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredOffset {
    /// Its offset; −1 before the first.
    pub last_offset: i64,
    /// Its timestamp; none where no record was consumed yet at this place.
    pub last_timestamp_ms: Option<i64>,
}

/// How far a commit brings one partition.
#[derive(Clone, Debug)]
pub struct OffsetAdvance {
    /// Which cluster: a topic of the same name elsewhere has offsets of its own.
    pub cluster_id: String,
    /// Which topic.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// What must be stored now for the commit to be right; none: nothing is.
    pub from: Option<StoredOffset>,
    /// What is stored after it.
    pub to: StoredOffset,
}

/// A batch handed over to the writer.
pub struct InFlightCommit {
    job: PendingWrite<()>,
    store: Store,
    pages: bool,
}

impl InFlightCommit {
    /// Waits until the batch is on disk. Blocks.
    ///
    /// [`StoreError::OffsetMoved`] if the stored offsets are not those the batch goes on from: then nothing is written.
    pub fn wait(self) -> Result<(), StoreError> {
        self.job.wait()?;
        if self.pages {
            self.store.outbox_changed().notify_one();
        }
        Ok(())
    }
}

impl Store {
    /// Hands over a batch, to be written in one transaction, and goes on. Blocks only while the writer's queue is full.
    pub fn begin_ingest(&self, commit: &Arc<IngestCommit>) -> InFlightCommit {
        let job = Arc::clone(commit);
        let job = self
            .writer
            .begin(move |transaction| write(transaction, &job));
        InFlightCommit {
            job,
            store: self.clone(),
            pages: commit.alerts.iter().any(AlertRecord::is_paged),
        }
    }

    /// What is stored of a stream, for [`detection::Monitor::restore`]; none if it has no minute yet. Blocks.
    pub fn stream_state(
        &self,
        stream: &str,
        capacity: usize,
    ) -> Result<Option<StreamState>, StoreError> {
        self.read_blocking(|sql| {
            let Some(id) = stream_id(sql, stream)? else {
                return Ok(None);
            };
            let known = observed_minutes(sql, id, None, capacity)?;
            Ok(Some(StreamState {
                known,
                cooldowns: cooldowns(sql, id, stream)?,
            }))
        })
    }

    /// How many streams have a minute. Blocks.
    pub fn count_streams(&self) -> Result<usize, StoreError> {
        self.read_blocking(|sql| {
            Ok(sql.query_row("SELECT count(*) FROM streams", [], |row| row.get(0))?)
        })
    }

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
            let rows = statement.query_map([cluster_id, topic], |row| {
                Ok((row.get(0)?, StoredOffset { last_offset: row.get(1)?, last_timestamp_ms: row.get(2)? }))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

fn cooldowns(
    sql: &Connection,
    stream_id: i64,
    stream: &str,
) -> Result<Vec<(AlertKey, Cooldown)>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT status_id, direction, severity, fired, suppressed FROM cooldowns WHERE stream_id = ?1",
    )?;
    let stream: detection::Stream = stream
        .parse()
        .map_err(|error| StoreError::Broken(format!("{error}")))?;
    let rows = statement.query_map([stream_id], |row| {
        let key = AlertKey {
            stream: stream.clone(),
            status: MonitoredStatus::ALL[row.get::<_, usize>(0)?],
            direction: direction_from(row.get(1)?),
            severity: severity_from(row.get(2)?),
        };
        let fired = row
            .get::<_, Option<i64>>(3)?
            .map(Minute::from_epoch_minutes);
        Ok((
            key,
            Cooldown {
                fired,
                suppressed: row.get(4)?,
            },
        ))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn write(transaction: &mut Transaction<'_>, commit: &IngestCommit) -> Result<(), StoreError> {
    for offset in &commit.offsets {
        advance_offset(transaction.sql, offset)?;
    }
    let (mut newest, mut old) = (BTreeMap::new(), BTreeSet::new());
    let mut upserts = Upserts {
        sql: transaction.sql,
        held: Default::default(),
    };
    for judged in &commit.judged {
        let stream_id = write_minute(transaction, &mut upserts, judged, commit.now_ms)?;
        match judged.timeliness {
            Timeliness::Fresh => drop(newest.insert(stream_id, judged.batch.minute())),
            Timeliness::TooLate => drop(old.insert(stream_id)),
            Timeliness::Late => {}
        }
    }
    // A minute that comes after its stream was noted quiet has come later, whatever the clock says.
    let mut watermark = transaction.sql.prepare_cached(
        "UPDATE streams SET newest_minute = ?2, arrived_at_ms = max(?3, coalesce(stale_since_ms + 1, ?3)), old_since_ms = NULL
         WHERE id = ?1 AND newest_minute < ?2",
    )?;
    let mut only_old = transaction.sql.prepare_cached(
        "UPDATE streams SET old_since_ms = ?2 WHERE id = ?1 AND old_since_ms IS NULL",
    )?;
    for stream_id in old.difference(&newest.keys().copied().collect()) {
        only_old.execute(params![stream_id, commit.now_ms])?;
    }
    for (stream_id, minute) in newest {
        watermark.execute(params![stream_id, minute.epoch_minutes(), commit.now_ms])?;
    }
    for alert in &commit.alerts {
        alerts::insert(transaction.sql, alert)?;
    }
    for (key, cooldown) in &commit.cooldowns {
        write_cooldown(transaction, key, cooldown)?;
    }
    commit
        .dead_letters
        .iter()
        .try_for_each(|letter| insert_dead_letter(transaction.sql, letter))?;
    commit
        .gaps
        .iter()
        .try_for_each(|gap| insert_gap(transaction.sql, gap))
}

/// Moves a partition's offset on, if it stands where the batch thinks it does.
fn advance_offset(sql: &Connection, advance: &OffsetAdvance) -> Result<(), StoreError> {
    let OffsetAdvance {
        cluster_id,
        topic,
        partition,
        from,
        to,
    } = advance;
    let stored = sql
        .prepare_cached("SELECT last_offset, last_timestamp_ms FROM offsets WHERE cluster_id = ?1 AND topic = ?2 AND partition = ?3")?
        .query_row(params![cluster_id, topic, partition], |row| {
            Ok(StoredOffset { last_offset: row.get(0)?, last_timestamp_ms: row.get(1)? })
        })
        .optional()?;
    if stored != *from {
        return Err(StoreError::OffsetMoved {
            topic: topic.clone(),
            partition: *partition,
        });
    }
    sql.prepare_cached("INSERT OR REPLACE INTO offsets VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![
            cluster_id,
            topic,
            partition,
            to.last_offset,
            to.last_timestamp_ms
        ])?;
    Ok(())
}

/// One row as it goes into `minute_counts`.
struct Stored {
    status_id: i64,
    count: u32,
    implied: bool,
    verdict: Verdict,
    peak: Severity,
}

impl Stored {
    fn unjudged(status_id: i64, count: u32, implied: bool) -> Self {
        Self {
            status_id,
            count,
            implied,
            verdict: Verdict::NOT_JUDGED,
            peak: Severity::NotJudged,
        }
    }
}

/// Stores the rows of one minute; gives the stream's id.
fn write_minute(
    transaction: &mut Transaction<'_>,
    upserts: &mut Upserts<'_>,
    judged: &Judged,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let minute = judged.batch.minute();
    let stream_id = stream_id_or_new(transaction, judged.batch.stream().as_str(), minute, now_ms)?;
    let mut replacing = Vec::with_capacity(8);
    for &Row {
        status,
        count,
        implied,
        change,
    } in &judged.rows
    {
        let status_id = i64::try_from(status.index()).unwrap_or(i64::MAX);
        match change {
            RowChange::Judged { verdict, peak } => replacing.push(Stored {
                status_id,
                count,
                implied,
                verdict,
                peak,
            }),
            RowChange::CountOnly => {
                let insert = if implied {
                    &INSERT_IF_NEW
                } else {
                    &UPSERT_COUNT
                };
                let mut statement = transaction.sql.prepare_cached(insert.of(1))?;
                insert_rows(
                    &mut statement,
                    stream_id,
                    minute,
                    &[Stored::unjudged(status_id, count, implied)],
                )?;
            }
        }
    }
    for transaction_count in judged.batch.transactions() {
        if transaction_count.status.monitored().is_none() {
            let status_id = status_id_or_new(
                transaction.sql,
                transaction.ids,
                transaction_count.status.name(),
            )?;
            replacing.push(Stored::unjudged(status_id, transaction_count.count, false));
        }
    }
    for rows in replacing.chunks(MAX_ROWS) {
        insert_rows(upserts.of(rows.len())?, stream_id, minute, rows)?;
    }
    Ok(stream_id)
}

/// Rows of one INSERT: a usual minute fits in one.
const MAX_ROWS: usize = 8;

/// What happens to a row that is there already, and the statements that insert 1 to [`MAX_ROWS`] rows so: made once, since
/// a backlog needs one a hundred thousand times a second.
struct Insert(LazyLock<[String; MAX_ROWS]>);

impl Insert {
    fn of(&self, rows: usize) -> &str {
        &self.0[rows - 1]
    }
}

fn statements(conflict: &str) -> [String; MAX_ROWS] {
    let row = "(?1,?2,?,?,?,?,?,?,?,?,?,NULL)";
    std::array::from_fn(|more| {
        format!(
            "INSERT INTO minute_counts VALUES {row}{} ON CONFLICT {conflict}",
            format!(",{row}").repeat(more)
        )
    })
}

static UPSERT_ROW: Insert = Insert(LazyLock::new(|| {
    statements(
        "DO UPDATE SET count = excluded.count, implied = excluded.implied, severity = excluded.severity, \
         peak = excluded.peak, direction = excluded.direction, window_minutes = excluded.window_minutes, mean = excluded.mean, \
         std_dev = excluded.std_dev, judged_count = NULL WHERE count IS NOT excluded.count OR implied IS NOT excluded.implied",
    )
}));

/// A row already there keeps its verdict, which remembers the count it was given for.
static UPSERT_COUNT: Insert = Insert(LazyLock::new(|| {
    statements(
        "DO UPDATE SET judged_count = iif(severity = 0, NULL, coalesce(judged_count, count)), \
         count = excluded.count, implied = 0 WHERE count IS NOT excluded.count OR implied = 1",
    )
}));

static INSERT_IF_NEW: Insert = Insert(LazyLock::new(|| statements("DO NOTHING")));

/// [`UPSERT_ROW`], held for a transaction: looking a text that long up for each of a thousand minutes costs a tenth of it.
struct Upserts<'a> {
    sql: &'a Connection,
    held: [Option<CachedStatement<'a>>; MAX_ROWS],
}

impl<'a> Upserts<'a> {
    fn of(&mut self, rows: usize) -> rusqlite::Result<&mut CachedStatement<'a>> {
        let held = &mut self.held[rows - 1];
        match held {
            Some(statement) => Ok(statement),
            None => Ok(held.insert(self.sql.prepare_cached(UPSERT_ROW.of(rows))?)),
        }
    }
}

fn insert_rows(
    statement: &mut CachedStatement<'_>,
    stream_id: i64,
    minute: Minute,
    rows: &[Stored],
) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(1, stream_id)?;
    statement.raw_bind_parameter(2, minute.epoch_minutes())?;
    for (row, at) in rows.iter().zip((3..).step_by(9)) {
        let Verdict {
            severity,
            direction,
            baseline,
            z_score: _,
        } = row.verdict;
        let values: [&dyn ToSql; 9] = [
            &row.status_id,
            &row.count,
            &row.implied,
            &severity.code(),
            &row.peak.code(),
            &direction.map(direction_code),
            &baseline.minutes(),
            &baseline.mean(),
            &baseline.std_dev(),
        ];
        for (value, index) in values.into_iter().zip(at..) {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    statement.raw_execute()?;
    Ok(())
}

fn stream_id_or_new(
    transaction: &mut Transaction<'_>,
    name: &str,
    minute: Minute,
    now_ms: i64,
) -> rusqlite::Result<i64> {
    if let Some(id) = transaction.ids.streams.get(name) {
        return Ok(*id);
    }
    let id = match stream_id(transaction.sql, name)? {
        Some(id) => id,
        None => transaction
            .sql
            .prepare_cached(
                "INSERT INTO streams (name, newest_minute, arrived_at_ms) VALUES (?1, ?2, ?3) RETURNING id",
            )?
            .query_row(params![name, minute.epoch_minutes(), now_ms], |row| row.get(0))?,
    };
    transaction.ids.streams.insert(name.to_owned(), id);
    Ok(id)
}

fn status_id_or_new(sql: &Connection, ids: &mut Ids, name: &str) -> rusqlite::Result<i64> {
    if let Some(id) = ids.statuses.get(name) {
        return Ok(*id);
    }
    sql.prepare_cached("INSERT INTO statuses (name) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([name])?;
    let id = status_id(sql, name)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    ids.statuses.insert(name.to_owned(), id);
    Ok(id)
}

fn write_cooldown(
    transaction: &mut Transaction<'_>,
    key: &AlertKey,
    cooldown: &Cooldown,
) -> Result<(), StoreError> {
    let stream_id = stream_id(transaction.sql, key.stream.as_str())?;
    transaction
        .sql
        .prepare_cached("INSERT OR REPLACE INTO cooldowns VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            stream_id,
            key.status.index(),
            direction_code(key.direction),
            key.severity.code(),
            cooldown.fired.map(Minute::epoch_minutes),
            cooldown.suppressed
        ])?;
    Ok(())
}

fn insert_dead_letter(sql: &Connection, letter: &DeadLetter) -> Result<(), StoreError> {
    sql.prepare_cached(
        "INSERT INTO dead_letters (topic, partition, offset, reason, detail, payload, payload_bytes, headers, received_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
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
        letter.received_at_ms
    ])?;
    Ok(())
}

fn insert_gap(sql: &Connection, gap: &OffsetGap) -> Result<(), StoreError> {
    sql.prepare_cached(
        "INSERT INTO gaps (topic, partition, from_offset, to_offset, reason, detected_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![gap.topic, gap.partition, gap.from_offset, gap.to_offset, gap.reason.name(), gap.detected_at_ms])?;
    Ok(())
}
