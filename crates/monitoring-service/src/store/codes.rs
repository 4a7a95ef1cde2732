//! How names and verdicts stand in the database: as numbers. Makes none of them anew.

use detection::{Direction, Severity};
use rusqlite::{Connection, OptionalExtension};

pub(super) fn stream_id(sql: &Connection, stream: &str) -> rusqlite::Result<Option<i64>> {
    sql.prepare_cached("SELECT id FROM streams WHERE name = ?1")?
        .query_row([stream], |row| row.get(0))
        .optional()
}

pub(super) fn status_id(sql: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    sql.prepare_cached("SELECT id FROM statuses WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

pub(super) const fn direction_code(direction: Direction) -> u8 {
    match direction {
        Direction::Up => 0,
        Direction::Down => 1,
    }
}

pub(super) const fn direction_from(code: u8) -> Direction {
    match code {
        0 => Direction::Up,
        _ => Direction::Down,
    }
}

/// CHECK constraints keep other codes out.
pub(super) fn severity_from(code: u8) -> Severity {
    Severity::from_code(code).unwrap_or(Severity::NotJudged)
}
