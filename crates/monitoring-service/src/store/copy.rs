//! Copies a database to another place, of either engine, while no service uses one of them. Every table goes over as it is.

use std::fmt::Write as _;

use bytes::Bytes;
use rusqlite::{Connection, params_from_iter};

use super::{
    DatabaseAddress, StoreError,
    engine::{self, OptionalExtension as _, Row, Sql, Value, params},
    postgres::{Open, lock},
    schema, sqlite,
    writer::Lock,
};

/// Rows between two reports of progress.
const REPORT_EVERY: u64 = 1_000_000;

/// Bytes that PostgreSQL is sent at once.
const PIECE: usize = 256 * 1024;

/// The progress of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedTable {
    /// The table.
    pub table: &'static str,
    /// Its rows so far.
    pub rows: u64,
    /// True when all of them are there.
    pub is_complete: bool,
}

/// Copies all tables into an empty database, which gets all of them or nothing. `report` is called after each table and each million rows.
///
/// # Errors
/// [`StoreError::Broken`] if a service uses one of the databases, there is nothing at `from`, or something at `to`.
pub fn copy_database(
    from: &DatabaseAddress,
    to: &DatabaseAddress,
    mut report: impl FnMut(CopiedTable),
) -> Result<(), StoreError> {
    if from == to {
        return Err(StoreError::Broken(format!(
            "{from} cannot be copied to itself; check --from and --to"
        )));
    }
    match from {
        DatabaseAddress::File(path) => {
            if !path.is_file() {
                return Err(StoreError::Broken(format!(
                    "there is no database {from}; check --from"
                )));
            }
            let locked = sqlite::lock(path)?;
            let mut connection = sqlite::open_writer(&locked)?;
            let transaction = connection.transaction()?;
            copy_to(Sql::Sqlite(&transaction), to, &mut report)
        }
        DatabaseAddress::Postgres(url) => {
            let mut writing = lock::of_command(url)?;
            let copied = writing.transact(Lock::Exclusive, |sql, _| copy_to(sql, to, &mut report));
            copied.map(|(copied, _)| copied)
        }
    }
}

fn copy_to(
    source: Sql<'_>,
    to: &DatabaseAddress,
    report: &mut impl FnMut(CopiedTable),
) -> Result<(), StoreError> {
    match to {
        DatabaseAddress::File(path) => {
            let locked = sqlite::lock(path)?;
            let mut connection = sqlite::open_writer(&locked)?;
            let transaction = connection.transaction()?;
            copy(source, Sql::Sqlite(&transaction), to, report)?;
            Ok(transaction.commit()?)
        }
        DatabaseAddress::Postgres(url) => {
            let mut writing = lock::of_command(url)?;
            let copied = writing.transact(Lock::Exclusive, |target, _| {
                copy(source, target, to, report)
            });
            copied.map(|(copied, _)| copied)
        }
    }
}

fn copy(
    source: Sql<'_>,
    target: Sql<'_>,
    to: &DatabaseAddress,
    report: &mut impl FnMut(CopiedTable),
) -> Result<(), StoreError> {
    for sql in [source, target] {
        if let Sql::Postgres(open) = sql {
            open.run("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")?;
        }
    }
    let tables = tables();
    for (table, _) in &tables {
        if *table != STATUSES && count(target, table)? > 0 {
            return Err(StoreError::Broken(format!(
                "{to} has rows already ({table}); give --to an empty database"
            )));
        }
    }
    // Those that every database has.
    let mut known = target.prepare_cached("DELETE FROM statuses")?;
    known.execute(params![])?;
    for (table, columns) in &tables {
        let mut rows = 0;
        let mut progress = |is_complete: bool| {
            rows += u64::from(!is_complete);
            if is_complete || rows % REPORT_EVERY == 0 {
                report(CopiedTable {
                    table,
                    rows,
                    is_complete,
                });
            }
        };
        let copied = Table { table, columns };
        match target {
            Sql::Sqlite(connection) => copied.to_sqlite(source, connection, &mut progress)?,
            Sql::Postgres(open) => copied.to_postgres(source, open, &mut progress)?,
        }
        progress(true);
        let (sent, stored) = (count(source, table)?, count(target, table)?);
        if sent != stored {
            return Err(StoreError::Broken(format!(
                "{table} has {sent} rows, and {stored} arrived; nothing was copied"
            )));
        }
    }
    Ok(())
}

/// The table whose first rows are made with it.
const STATUSES: &str = "statuses";

fn count(sql: Sql<'_>, table: &str) -> engine::Result<i64> {
    sql.prepare_cached(&format!("SELECT count(*) FROM {table}"))?
        .query_row(params![], |row| row.get(0))
}

/// The tables and their columns, those first that others refer to.
fn tables() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut tables: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in schema::CREATE.lines() {
        if let Some(name) = line.strip_prefix("CREATE TABLE ") {
            tables.push((name.trim_end_matches(" ("), Vec::new()));
        } else if let Some(column) = line.strip_prefix("    ")
            && column.starts_with(|first: char| first.is_ascii_lowercase())
            && let (Some((_, columns)), Some(name)) =
                (tables.last_mut(), column.split_whitespace().next())
        {
            columns.push(name);
        }
    }
    tables
}

/// One table to copy.
struct Table<'a> {
    table: &'a str,
    columns: &'a [&'a str],
}

impl Table<'_> {
    fn column_list(&self) -> String {
        let quoted: Vec<_> = self.columns.iter().map(|of| format!("\"{of}\"")).collect();
        quoted.join(", ")
    }

    /// Passes every row to `take`.
    fn read(
        &self,
        source: Sql<'_>,
        mut take: impl FnMut(&Row<'_>) -> engine::Result<()>,
    ) -> engine::Result<()> {
        let text = format!("SELECT {} FROM {}", self.column_list(), self.table);
        let mut statement = source.prepare_cached(&text)?;
        let mut rows = statement.query(params![])?;
        while let Some(row) = rows.next()? {
            take(&row)?;
        }
        Ok(())
    }

    fn values<'r>(&self, row: &'r Row<'_>) -> impl Iterator<Item = engine::Result<Value>> + 'r {
        (0..self.columns.len()).map(|column| row.get(column))
    }

    fn to_sqlite(
        &self,
        source: Sql<'_>,
        target: &Connection,
        progress: &mut impl FnMut(bool),
    ) -> engine::Result<()> {
        let places = vec!["?"; self.columns.len()].join(", ");
        let (table, columns) = (self.table, self.column_list());
        let mut insert = target.prepare(&format!(
            "INSERT INTO {table} ({columns}) VALUES ({places})"
        ))?;
        self.read(source, |row| {
            let values = self.values(row).collect::<engine::Result<Vec<_>>>()?;
            insert.execute(params_from_iter(values))?;
            progress(false);
            Ok(())
        })
    }

    fn to_postgres(
        &self,
        source: Sql<'_>,
        target: &Open<'_>,
        progress: &mut impl FnMut(bool),
    ) -> engine::Result<()> {
        let (table, columns) = (self.table, self.column_list());
        let mut sink = target.copy_in(&format!("COPY {table} ({columns}) FROM STDIN"))?;
        let mut piece = String::new();
        self.read(source, |row| {
            let mut separator = "";
            for value in self.values(row) {
                piece.push_str(separator);
                push_text(&mut piece, &value?);
                separator = "\t";
            }
            piece.push('\n');
            if piece.len() >= PIECE {
                sink.send(Bytes::from(std::mem::take(&mut piece)))?;
            }
            progress(false);
            Ok(())
        })?;
        sink.send(Bytes::from(piece))?;
        sink.finish()?;
        self.number_on(Sql::Postgres(target))
    }

    /// The next row that is made gets a number that is not taken.
    fn number_on(&self, target: Sql<'_>) -> engine::Result<()> {
        const NUMBERED: &str =
            "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema() AND CAST(table_name AS TEXT) = ?1
             AND is_identity = 'YES'";
        let mut numbered = target.prepare_cached(NUMBERED)?;
        let column: Option<String> = numbered
            .query_row(params![self.table], |row| row.get(0))
            .optional()?;
        let Some(column) = column else { return Ok(()) };
        let set = format!(
            "SELECT setval(pg_get_serial_sequence(?1, ?2), max({column})) FROM {} HAVING count(*) > 0",
            self.table
        );
        let mut set = target.prepare_cached(&set)?;
        set.exists(params![self.table, column])?;
        Ok(())
    }
}

/// A value as `COPY` reads it, in PostgreSQL's text format.
fn push_text(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("\\N"),
        Value::Integer(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Real(number) => {
            let _ = write!(out, "{number:?}");
        }
        Value::Blob(bytes) => {
            out.push_str("\\\\x");
            for byte in bytes {
                let _ = write!(out, "{byte:02x}");
            }
        }
        Value::Text(text) => {
            for character in text.chars() {
                match character {
                    '\\' => out.push_str("\\\\"),
                    '\t' => out.push_str("\\t"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    // PostgreSQL has no character of the code 0.
                    '\0' => out.push('\u{fffd}'),
                    other => out.push(other),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_columns_are_those_of_the_schema() {
        let connection = Connection::open_in_memory().expect("opens");
        connection.execute_batch(schema::CREATE).expect("created");
        let stored = |query: &str| -> Vec<String> {
            let mut statement = connection.prepare(query).expect("prepares");
            let rows = statement.query_map([], |row| row.get(0)).expect("runs");
            rows.map(|name| name.expect("a name")).collect()
        };
        let tables = tables();
        let names: Vec<_> = tables.iter().map(|(table, _)| *table).collect();
        let all = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY rowid";
        assert_eq!(names, stored(all));
        for (table, columns) in tables {
            let all = format!("SELECT name FROM pragma_table_info('{table}')");
            assert_eq!(columns, stored(&all), "{table}");
        }
    }

    #[test]
    fn values_are_escaped() {
        let text = |value: Value| {
            let mut out = String::new();
            push_text(&mut out, &value);
            out
        };
        assert_eq!(text(Value::Null), "\\N");
        assert_eq!(text(Value::Real(0.1)), "0.1");
        assert_eq!(text(Value::Real(1e300)), "1e300");
        assert_eq!(text(Value::Blob(vec![0, 255])), "\\\\x00ff");
        assert_eq!(
            text(Value::Text("a\\N\t\n\rb\0".into())),
            "a\\\\N\\t\\n\\rb\u{fffd}"
        );
    }
}
