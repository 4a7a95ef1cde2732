//! The stored data as another program reads it, on either engine.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, types::Value};

use crate::{harness::database, place};

/// The rows of a query as texts; none while there is no such database or table.
pub(crate) fn rows(folder: &Path, query: &str) -> Option<Vec<Vec<Option<String>>>> {
    if place::server().is_some() {
        let url = place::address(&database(folder)).expect("an address");
        return place::query(&url, query);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let sql = Connection::open_with_flags(database(folder), flags).ok()?;
    let mut statement = sql.prepare(query).ok()?;
    let columns = statement.column_count();
    let text = |value: Value| match value {
        Value::Null => None,
        Value::Integer(number) => Some(number.to_string()),
        Value::Real(number) => Some(number.to_string()),
        Value::Text(text) => Some(text),
        Value::Blob(bytes) => Some(format!("{bytes:?}")),
    };
    let row = |row: &rusqlite::Row<'_>| (0..columns).map(|at| Ok(text(row.get(at)?))).collect();
    let rows = statement.query_map([], row).ok()?;
    rows.collect::<Result<_, _>>().ok()
}

/// The number that a query counts; 0 while there is no such table.
pub(crate) fn count(folder: &Path, query: &str) -> usize {
    let rows = rows(folder, query).unwrap_or_default();
    let number = rows.first().and_then(|row| row[0].as_deref());
    number.map_or(0, |number| number.parse().expect("a number"))
}

/// Runs statements beside the service.
pub(crate) fn change(folder: &Path, statements: &str) {
    if place::server().is_some() {
        let url = place::address(&database(folder)).expect("an address");
        return place::run(&url, statements);
    }
    let sql = Connection::open(database(folder)).expect("a second connection");
    sql.busy_timeout(std::time::Duration::from_secs(30))
        .expect("set");
    sql.execute_batch(statements).expect("changed");
}
