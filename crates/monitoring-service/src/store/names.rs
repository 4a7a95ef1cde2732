//! Looks up the ids of stream and status names. It creates none.

use super::engine::{self, OptionalExtension as _, Sql, params};

pub(super) fn stream_id(sql: Sql<'_>, stream: &str) -> engine::Result<Option<i64>> {
    sql.prepare_cached("SELECT id FROM streams WHERE name = ?1")?
        .query_row(params![stream], |row| row.get(0))
        .optional()
}

pub(super) fn status_id(sql: Sql<'_>, name: &str) -> engine::Result<Option<i64>> {
    sql.prepare_cached("SELECT id FROM statuses WHERE name = ?1")?
        .query_row(params![name], |row| row.get(0))
        .optional()
}
