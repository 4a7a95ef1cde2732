//! Which files are opened, changed to the present schema, and refused.

use std::path::Path;

use rusqlite::Connection;

use super::{open_file, path, raw};
use crate::store::{Store, StoreError};

#[test]
fn a_second_store_on_the_same_database_is_refused() {
    let (store, _folder) = open_file();
    let Err(StoreError::Broken(reason)) = Store::open(path(&store)) else {
        panic!("must be refused")
    };
    assert!(
        reason.contains("another monitoring-service uses this database"),
        "{reason}"
    );
}

/// The columns of every table.
fn columns(path: &Path) -> Vec<(String, i64, String, String)> {
    let sql = Connection::open(path).expect("readable");
    let mut columns = sql
        .prepare(
            "SELECT tables.name, columns.cid, columns.name, columns.type FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
             WHERE tables.type = 'table' ORDER BY 1, 2",
        )
        .expect("a statement");
    let column = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let columns = columns.query_map([], column).expect("rows");
    columns.collect::<Result<_, _>>().expect("values")
}

#[test]
fn an_older_database_gets_the_new_columns() {
    let (store, folder) = open_file();
    let expected = columns(path(&store));
    let path = folder.path().join("older.db");
    let (older, _writer) = Store::open(&path).expect("a new database");
    drop(older);
    let sql = Connection::open(&path).expect("a connection");
    sql.execute_batch(
        "ALTER TABLE dead_letters DROP COLUMN hint; ALTER TABLE dead_letters DROP COLUMN key;
         ALTER TABLE dead_letters DROP COLUMN replayed_at_ms;
         DROP INDEX deliveries_set_aside; DROP INDEX deliveries_by_summary; DROP INDEX alerts_too_old; DROP INDEX incidents_too_old;
         ALTER TABLE deliveries DROP COLUMN summary_seq; ALTER TABLE streams DROP COLUMN version; PRAGMA user_version = 5",
    )
    .expect("the schema of version 5");
    drop(sql);
    assert_ne!(columns(&path), expected);
    for _ in 0..2 {
        drop(Store::open(&path).expect("an older database"));
        assert_eq!(columns(&path), expected);
    }
}

/// Creates a file that the store must refuse.
type Make<'a> = &'a dyn Fn(&Path) -> rusqlite::Result<()>;

#[test]
fn a_refused_file_is_not_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = |path: &Path| Connection::open(path)?.execute_batch("CREATE TABLE theirs (x)");
    let newer = |path: &Path| {
        let connection = Connection::open(path)?;
        connection.execute_batch("CREATE TABLE ours (x)")?;
        connection.pragma_update(None, "application_id", 0x7478_6d6e)?;
        connection.pragma_update(None, "user_version", 999)
    };
    let development = |path: &Path| {
        let connection = Connection::open(path)?;
        connection.execute_batch("CREATE TABLE ours (x)")?;
        connection.pragma_update(None, "application_id", 0x7478_6d6e)?;
        connection.pragma_update(None, "user_version", 3)
    };
    let garbage = |path: &Path| {
        std::fs::write(
            path,
            b"this is no database, however often it is opened. ".repeat(100),
        )
        .expect("written");
        Ok(())
    };
    let truncated = |path: &Path| -> rusqlite::Result<()> {
        Connection::open(path)?.execute_batch("CREATE TABLE a (x); CREATE TABLE b (x)")?;
        let whole = std::fs::read(path).expect("readable");
        std::fs::write(path, &whole[..whole.len() / 2 + 7]).expect("written");
        Ok(())
    };
    let cases: [(&str, Make<'_>, &str); 5] = [
        ("foreign", &foreign, "another program"),
        ("newer", &newer, "newer version"),
        ("development", &development, "delete the file"),
        ("garbage", &garbage, "not a database"),
        ("truncated", &truncated, "cannot use the database"),
    ];
    for (name, make, expected) in cases {
        let path = folder.path().join(name);
        make(&path).expect("made");
        let before = std::fs::read(&path).expect("readable");
        let Err(error) = Store::open(&path) else {
            panic!("{name} must be refused")
        };
        assert!(error.to_string().contains(expected), "{name}: {error}");
        assert_eq!(std::fs::read(&path).expect("readable"), before, "{name}");
    }
}

#[test]
fn a_file_without_tables_is_a_new_database() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("killed.db");
    let connection = Connection::open(&path).expect("created");
    let wal = connection.pragma_update(None, "journal_mode", "WAL");
    wal.expect("as the service begins");
    drop(connection);
    assert!(std::fs::metadata(&path).expect("there").len() > 0);
    let (store, _writer) = Store::open(&path).expect("a new database");
    let tables = raw(&store).query_row("SELECT count(*) FROM streams", [], |row| row.get(0));
    assert_eq!(tables, Ok(0));
}
