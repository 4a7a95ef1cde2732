//! The stored minutes for a program beside the service: no lock, no writer, nothing is changed. All rows are read at once and the
//! database is closed again, since a long read transaction would keep the service from restarting its write-ahead log.

use std::path::Path;

use detection::{Minute, MinuteCounts, MonitoredStatus, StatusCount, Stream};
use rusqlite::{Connection, params};

use super::{StoreError, schema};

/// Minutes that are read at most: they are all in memory, about 300 bytes each.
const MAX_MINUTES: usize = 5_000_000;

/// Which minutes: those in [from, to) of one stream, or of all.
#[derive(Clone, Debug, Default)]
pub struct MinuteFilter {
    /// Of this stream only.
    pub stream: Option<Stream>,
    /// From this minute on.
    pub from: Option<Minute>,
    /// Before this minute.
    pub to: Option<Minute>,
}

/// The stored counts of the monitored statuses as the messages that would state them, by minute, then stream. Works while a service
/// uses the database, and on a database that no service uses. It fails if the file is missing or not ours, and above 5 million minutes.
pub fn stored_minutes(path: &Path, filter: &MinuteFilter) -> Result<Vec<MinuteCounts>, StoreError> {
    if !path.is_file() {
        return Err(StoreError::Broken(format!(
            "there is no database {}; check the path, relative to the working directory",
            path.display()
        )));
    }
    schema::check(path)?;
    let sql = schema::open_reader(path)?;
    let sql = sql.unchecked_transaction()?;
    let mut minutes = Vec::new();
    for (id, name) in streams(&sql, filter)? {
        let stream = name
            .parse::<Stream>()
            .map_err(|error| StoreError::Broken(error.to_string()))?;
        read_stream(&sql, id, &stream, filter, &mut minutes)?;
    }
    minutes.sort_by(|a, b| (a.minute(), a.stream()).cmp(&(b.minute(), b.stream())));
    Ok(minutes)
}

fn streams(sql: &Connection, filter: &MinuteFilter) -> Result<Vec<(i64, String)>, StoreError> {
    let name = filter.stream.as_ref().map(Stream::as_str);
    let mut statement =
        sql.prepare("SELECT id, name FROM streams WHERE ?1 IS NULL OR name = ?1 ORDER BY name")?;
    let rows = statement.query_map(params![name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

const COUNTS: &str = "SELECT minute, status_id, count, implied FROM minute_counts
     WHERE stream_id = ?1 AND minute >= ?2 AND minute < ?3 AND status_id < 5 ORDER BY minute, status_id";

fn read_stream(
    sql: &Connection,
    id: i64,
    stream: &Stream,
    filter: &MinuteFilter,
    minutes: &mut Vec<MinuteCounts>,
) -> Result<(), StoreError> {
    let from = filter.from.map_or(i64::MIN, Minute::epoch_minutes);
    let to = filter.to.map_or(i64::MAX, Minute::epoch_minutes);
    let mut statement = sql.prepare_cached(COUNTS)?;
    let mut rows = statement.query(params![id, from, to])?;
    let mut open: Option<(i64, Vec<StatusCount>)> = None;
    while let Some(row) = rows.next()? {
        let minute: i64 = row.get(0)?;
        if open.as_ref().is_none_or(|(of, _)| *of != minute) {
            close(stream, open.take(), minutes)?;
        }
        let (_, counts) = open.get_or_insert_with(|| (minute, Vec::new()));
        let status = MonitoredStatus::ALL[row.get::<_, usize>(1)?];
        if !row.get::<_, bool>(3)? {
            counts.push(StatusCount {
                status: status.into(),
                count: row.get(2)?,
            });
        }
    }
    close(stream, open, minutes)
}

fn close(
    stream: &Stream,
    open: Option<(i64, Vec<StatusCount>)>,
    minutes: &mut Vec<MinuteCounts>,
) -> Result<(), StoreError> {
    let Some((minute, counts)) = open else {
        return Ok(());
    };
    if minutes.len() >= MAX_MINUTES {
        return Err(StoreError::Broken(format!(
            "the range has more than {MAX_MINUTES} minutes; choose one stream or a shorter range"
        )));
    }
    let minute = Minute::from_epoch_minutes(minute);
    let counts = MinuteCounts::try_new(stream.clone(), minute, counts);
    minutes.push(counts.expect("at most five different statuses"));
    Ok(())
}
