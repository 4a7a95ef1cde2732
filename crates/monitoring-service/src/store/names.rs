//! Looks up the ids of stream and status names. It creates none.

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
