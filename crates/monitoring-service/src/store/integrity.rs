//! Whether the database file is damaged: short checks before anything can change it, and the full one on request.
//!
//! SQLite checks the structure of the pages, not what they mean: a flipped bit within a stored number is not found.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode};

use super::{Store, StoreError, engine::Sql, files, sqlite};
use crate::clock::Stopwatch;

/// Time limit of the check before the database is opened; the full check follows while the service runs.
const QUICK_CHECK_LIMIT: Duration = Duration::from_millis(500);

/// Steps of SQLite between two checks of the time limit.
const STEPS: i32 = 1000;

/// Findings that a check names.
const MAX_FINDINGS: u32 = 20;

/// Refuses a file that is shorter than its header says, or damaged as far as a quick check sees. The file is not changed. Call it before
/// this process opens the database: closing the file drops SQLite's locks.
pub(super) fn check_before_open(path: &Path) -> Result<(), StoreError> {
    refuse_short(path)?;
    let mut sql = sqlite::open_reader(path)?;
    let watch = Stopwatch::start();
    let is_late = move || watch.elapsed() > QUICK_CHECK_LIMIT;
    sql.progress_handler(STEPS, Some(is_late))?;
    match findings(&sql, "PRAGMA quick_check(1)") {
        Err(StoreError::Unavailable(_)) if watch.elapsed() > QUICK_CHECK_LIMIT => Ok(()),
        found => whole(path, &found?, " (the file was not changed)"),
    }
}

/// Checks all of a database, also while a service uses it, and returns its number of pages.
pub(crate) fn check_database(path: &Path) -> Result<u64, StoreError> {
    sqlite::check(path)?;
    refuse_short(path)?;
    let sql = sqlite::open_reader(path)?;
    check_all(&sql, path)?;
    Ok(sql.pragma_query_value(None, "page_count", |row| row.get(0))?)
}

impl Store {
    /// Checks all of the database on a read connection. [`StoreError::Unavailable`] if the writer needed the write-ahead log meanwhile.
    /// False if it is that of a server, which checks its own files.
    pub(crate) async fn check_integrity(&self) -> Result<bool, StoreError> {
        let Some(path) = self.path().cloned() else {
            return Ok(false);
        };
        let check = move |sql: Sql<'_>| match sql {
            Sql::Sqlite(connection) => check_all(connection, &path).map(|()| true),
            Sql::Postgres(_) => Ok(false),
        };
        self.scan(check).await
    }
}

fn check_all(sql: &Connection, path: &Path) -> Result<(), StoreError> {
    let check = format!("PRAGMA integrity_check({MAX_FINDINGS})");
    whole(path, &findings(sql, &check)?, "")
}

/// What a check finds; empty if nothing.
fn findings(sql: &Connection, check: &str) -> Result<Vec<String>, StoreError> {
    let run = || -> rusqlite::Result<Vec<String>> {
        let mut statement = sql.prepare(check)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.collect()
    };
    match run() {
        Ok(found) => Ok(found.into_iter().filter(|line| line != "ok").collect()),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Ok(vec![error.to_string()])
            }
            _ => Err(error.into()),
        },
    }
}

fn whole(path: &Path, findings: &[String], note: &str) -> Result<(), StoreError> {
    if findings.is_empty() {
        return Ok(());
    }
    Err(StoreError::Broken(format!(
        "the database {} is damaged: {}; stop the service and restore the file from a backup{note}",
        path.display(),
        findings.join("; ").replace('\n', "; ")
    )))
}

fn refuse_short(path: &Path) -> Result<(), StoreError> {
    let short = missing(path).map_err(|error| {
        StoreError::Unavailable(format!("cannot read {}: {error}", path.display()))
    })?;
    let Some((bytes, needed)) = short else {
        return Ok(());
    };
    let finding = format!("it has {bytes} of {needed} bytes");
    whole(path, &[finding], " (the file was not changed)")
}

/// The length of the file and the one that its header states, if it is shorter. With a write-ahead log the header may be ahead.
fn missing(path: &Path) -> io::Result<Option<(u64, u64)>> {
    let log = files::wal(path).metadata().map_or(0, |log| log.len());
    let mut header = [0; 100];
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if log > 0 || file.read_exact(&mut header).is_err() || !header.starts_with(b"SQLite format 3\0")
    {
        return Ok(None);
    }
    let number = |at: usize| {
        let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
        u64::from(u32::from_be_bytes(bytes))
    };
    let page_bytes = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65_536,
        bytes => bytes,
    };
    // The page count is only valid if the change counter beside it is the one of the last change.
    let needed = number(28) * page_bytes;
    Ok((number(24) == number(92) && bytes < needed).then_some((bytes, needed)))
}
