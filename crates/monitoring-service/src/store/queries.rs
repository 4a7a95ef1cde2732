//! Reading what is stored: streams, verdicts, dead letters, gaps.

use detection::{Minute, MonitoredStatus, ObservedMinute, Severity, Verdict};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    AlertRecord, Store, StoreError, alerts,
    codes::{direction_from, severity_from, stream_id},
    minutes::judged,
};

/// A stream: how fresh it is and how it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRecord {
    /// Its name.
    pub name: String,
    /// Its newest minute.
    pub newest_minute: Minute,
    /// When that minute came, milliseconds since 1970.
    pub arrived_at_ms: i64,
    /// Since when it is known to be quiet; none while minutes come.
    pub stale_since_ms: Option<i64>,
    /// Since when only minutes come that are too old to be judged; none while newer ones come.
    pub old_since_ms: Option<i64>,
    /// The worst verdict of its newest minute.
    pub worst: Severity,
    /// Its last alert.
    pub last_alert: Option<AlertRecord>,
}

/// The verdict of a status in its stream's newest minute.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusVerdict {
    /// Which status.
    pub status: MonitoredStatus,
    /// Which minute.
    pub minute: Minute,
    /// Its count.
    pub count: u32,
    /// True for the 0 of a status that no batch named.
    pub implied: bool,
    /// The verdict.
    pub verdict: Verdict,
    /// The last alert of the status.
    pub last_alert: Option<AlertRecord>,
}

/// A message that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterRecord {
    /// Its number.
    pub id: i64,
    /// Where it stands.
    pub topic: String,
    /// Where it stands.
    pub partition: i32,
    /// Where it stands.
    pub offset: i64,
    /// A short stable name of the reason.
    pub reason: String,
    /// What exactly is wrong.
    pub detail: String,
    /// Its payload, cut at 64 KiB.
    pub payload: Option<Vec<u8>>,
    /// How long the payload was.
    pub payload_bytes: u64,
    /// Its headers as a JSON object of text.
    pub headers: String,
    /// When it was read, milliseconds since 1970.
    pub received_at_ms: i64,
}

/// Kafka offsets that were lost before they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetGapRecord {
    /// Its number.
    pub id: i64,
    /// Which topic.
    pub topic: String,
    /// Which partition.
    pub partition: i32,
    /// The first offset lost.
    pub from_offset: i64,
    /// Where reading went on: the first offset after the loss, or the start of a topic that was made again.
    pub to_offset: i64,
    /// `retention` or `recreated`.
    pub reason: String,
    /// When it was seen, milliseconds since 1970.
    pub detected_at_ms: i64,
}

impl Store {
    /// Losses of Kafka offsets, newest first, before the one of this number.
    pub async fn gaps(
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
                    detected_at_ms: row.get(6)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Every stream, in the order in which they first came.
    pub async fn streams(&self) -> Result<Vec<StreamRecord>, StoreError> {
        self.read(|sql| {
            let sql = sql.unchecked_transaction()?;
            let mut statement = sql.prepare_cached(&format!("{STREAM} ORDER BY id"))?;
            let rows = statement
                .query_map([], read_stream)?
                .collect::<Result<Vec<_>, _>>()?;
            rows.into_iter()
                .map(|stream| with_last_alert(&sql, stream))
                .collect()
        })
        .await
    }

    /// One stream.
    pub async fn stream(&self, name: &str) -> Result<Option<StreamRecord>, StoreError> {
        let name = name.to_owned();
        self.read(move |sql| {
            let sql = sql.unchecked_transaction()?;
            let mut statement = sql.prepare_cached(&format!("{STREAM} WHERE name = ?1"))?;
            let found = statement.query_row([name], read_stream).optional()?;
            found
                .map(|stream| with_last_alert(&sql, stream))
                .transpose()
        })
        .await
    }

    /// The names of the streams, in the order in which they first came.
    pub async fn stream_names(&self) -> Result<Vec<String>, StoreError> {
        self.read(|sql| {
            let mut statement = sql.prepare_cached("SELECT name FROM streams ORDER BY id")?;
            Ok(statement
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Observed minutes of a stream at or before a minute, newest first; none of an unknown stream.
    pub async fn observed_minutes(
        &self,
        stream: &str,
        before_or_at: Option<Minute>,
        limit: usize,
    ) -> Result<Vec<ObservedMinute>, StoreError> {
        let stream = stream.to_owned();
        self.read(move |sql| match stream_id(sql, &stream)? {
            Some(id) => observed_minutes(sql, id, before_or_at, limit),
            None => Ok(Vec::new()),
        })
        .await
    }

    /// The same, with a look at them on the thread that read them: for many of them, or for a look that takes long.
    pub async fn look_at_known_minutes<T: Send + 'static>(
        &self,
        stream: &str,
        before_or_at: Minute,
        limit: usize,
        look: impl FnOnce(Vec<ObservedMinute>) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let stream = stream.to_owned();
        self.read_long(move |sql| {
            let id = stream_id(sql, &stream)?;
            let known = id.map_or(Ok(Vec::new()), |id| {
                observed_minutes(sql, id, Some(before_or_at), limit)
            })?;
            Ok(look(known))
        })
        .await
    }

    /// The verdicts of a stream's newest minute, and the last alert of each status.
    pub async fn newest_verdicts(&self, stream: &str) -> Result<Vec<StatusVerdict>, StoreError> {
        let stream = stream.to_owned();
        self.read(move |sql| {
            let sql = sql.unchecked_transaction()?;
            let mut statement = sql.prepare_cached(
                "SELECT status_id, minute, count, implied, severity, direction, window_minutes, mean, std_dev, judged_count
                 FROM minute_counts JOIN streams ON stream_id = streams.id AND minute = newest_minute
                 WHERE name = ?1 AND status_id < 5 ORDER BY status_id",
            )?;
            let rows = statement.query_map([&stream], read_verdict)?.collect::<Result<Vec<_>, _>>()?;
            let with_alert = |mut verdict: StatusVerdict| {
                verdict.last_alert = alerts::last_of(&sql, &stream, Some(verdict.status))?;
                Ok(verdict)
            };
            rows.into_iter().map(with_alert).collect()
        })
        .await
    }

    /// Messages that could not be used, newest first, before the one of this number.
    pub async fn dead_letters(
        &self,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<DeadLetterRecord>, StoreError> {
        self.read(move |sql| {
            let mut statement = sql.prepare_cached(
                "SELECT id, topic, partition, offset, reason, detail, payload, payload_bytes, headers, received_at_ms
                 FROM dead_letters WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let rows = statement.query_map(params![before.unwrap_or(i64::MAX), limit], |row| {
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
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// When the newest loss of Kafka offsets was seen, milliseconds since 1970.
    pub async fn newest_offset_gap_at(&self) -> Result<Option<i64>, StoreError> {
        const NEWEST: &str = "SELECT max(detected_at_ms) FROM gaps";
        self.read(|sql| {
            Ok(sql
                .prepare_cached(NEWEST)?
                .query_row([], |row| row.get(0))?)
        })
        .await
    }
}

const STREAM: &str = "SELECT name, newest_minute, arrived_at_ms, iif(arrived_at_ms <= stale_since_ms, stale_since_ms, NULL) AS stale_since_ms,
    old_since_ms, (SELECT max(severity) FROM minute_counts WHERE stream_id = streams.id AND minute = newest_minute) AS worst FROM streams";

fn read_stream(row: &Row<'_>) -> rusqlite::Result<StreamRecord> {
    Ok(StreamRecord {
        name: row.get("name")?,
        newest_minute: Minute::from_epoch_minutes(row.get("newest_minute")?),
        arrived_at_ms: row.get("arrived_at_ms")?,
        stale_since_ms: row.get("stale_since_ms")?,
        old_since_ms: row.get("old_since_ms")?,
        worst: severity_from(row.get::<_, Option<u8>>("worst")?.unwrap_or(0)),
        last_alert: None,
    })
}

fn with_last_alert(sql: &Connection, mut stream: StreamRecord) -> Result<StreamRecord, StoreError> {
    stream.last_alert = alerts::last_of(sql, &stream.name, None)?;
    Ok(stream)
}

fn read_verdict(row: &Row<'_>) -> rusqlite::Result<StatusVerdict> {
    let (baseline, z_score) = judged(row)?;
    Ok(StatusVerdict {
        status: MonitoredStatus::ALL[row.get::<_, usize>("status_id")?],
        minute: Minute::from_epoch_minutes(row.get("minute")?),
        count: row.get("count")?,
        implied: row.get("implied")?,
        verdict: Verdict {
            severity: severity_from(row.get("severity")?),
            direction: row.get::<_, Option<u8>>("direction")?.map(direction_from),
            z_score,
            baseline,
        },
        last_alert: None,
    })
}

pub(super) const OBSERVED_MINUTES: &str =
    "SELECT minute, status_id, count, implied, peak FROM minute_counts
     WHERE stream_id = ?1 AND minute <= ?2 ORDER BY minute DESC, status_id DESC";

/// The newest observed minutes of a stream at or before a minute, newest first.
pub(super) fn observed_minutes(
    sql: &Connection,
    stream_id: i64,
    before_or_at: Option<Minute>,
    limit: usize,
) -> Result<Vec<ObservedMinute>, StoreError> {
    let mut statement = sql.prepare_cached(OBSERVED_MINUTES)?;
    let newest = before_or_at.map_or(i64::MAX, Minute::epoch_minutes);
    let mut rows = statement.query(params![stream_id, newest])?;
    let mut known: Vec<ObservedMinute> = Vec::new();
    while let Some(row) = rows.next()? {
        let minute = Minute::from_epoch_minutes(row.get(0)?);
        if known.last().is_none_or(|last| last.minute != minute) {
            if known.len() == limit {
                break;
            }
            let peaks = [Severity::NotJudged; MonitoredStatus::COUNT];
            known.push(ObservedMinute {
                minute,
                counts: Default::default(),
                named: Default::default(),
                peaks,
            });
        }
        let status: usize = row.get(1)?;
        if let (Some(last), true) = (known.last_mut(), status < MonitoredStatus::COUNT) {
            last.counts[status] = row.get(2)?;
            last.named[status] = !row.get::<_, bool>(3)?;
            last.peaks[status] = severity_from(row.get(4)?);
        }
    }
    Ok(known)
}
