//! A copy has what the original has, whichever engines are involved.

use std::path::Path;

use rusqlite::Connection;
use tempfile::TempDir;

use super::{address_of, fill, open_at};
use crate::store::{CopiedTable, DatabaseAddress, StoreError, copy_database, schema};

/// A file with rows, and with what is awkward in a text: quotes, backslashes, line ends, a character of the code 0, bytes, numbers.
fn original(folder: &TempDir) -> DatabaseAddress {
    let path = folder.path().join("original.db");
    let (store, writer) = crate::store::Store::open(&path).expect("a new database");
    let running = std::thread::spawn(move || writer.run());
    fill(&store, 200);
    drop(store);
    running.join().expect("a clean end");
    let connection = Connection::open(&path).expect("opens");
    connection
        .execute_batch(
            r"INSERT INTO dead_letters (topic, partition, offset, reason, detail, payload, payload_bytes, headers, received_at_ms)
              VALUES ('t', 3, 9007199254740993, 'invalid', 'a\N' || char(9, 10, 13) || 'é''\.' || char(10), x'00ff0a5c', 4, '{}', -5),
                     ('t', 3, 7, 'invalid', '\.', NULL, 0, '\', 1);
              INSERT INTO offsets VALUES ('c', 't', 3, 8, NULL);
              UPDATE minute_counts SET mean = 0.1, std_dev = 1e-300, threshold = -1.7976931348623157e308 WHERE minute = 7;
              DELETE FROM dead_letters WHERE offset = 7;",
        )
        .expect("rows");
    DatabaseAddress::File(path)
}

/// Every row of every table, as text.
fn rows(database: &Path) -> Vec<String> {
    let connection = Connection::open(database).expect("opens");
    let mut found = Vec::new();
    for table in schema::CREATE
        .lines()
        .filter_map(|line| line.strip_prefix("CREATE TABLE ")?.strip_suffix(" ("))
    {
        let mut statement = connection
            .prepare(&format!("SELECT * FROM {table}"))
            .expect("prepares");
        let columns = statement.column_count();
        let mut rows = statement.query([]).expect("runs");
        while let Some(row) = rows.next().expect("readable") {
            let values: Vec<_> = (0..columns).map(|at| row.get_ref_unwrap(at)).collect();
            found.push(format!("{table} {values:?}"));
        }
    }
    found
}

#[test]
fn a_copy_and_its_copy_have_every_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let from = original(&folder);
    let between = address_of(&folder.path().join("between.db"));
    let again = folder.path().join("again.db");
    let mut reported = Vec::new();
    copy_database(&from, &between, |copied| reported.push(copied)).expect("copied");
    copy_database(&between, &DatabaseAddress::File(again.clone()), |_| ()).expect("copied back");
    let expected = rows(&folder.path().join("original.db"));
    assert!(expected.len() > 1000, "{}", expected.len());
    assert_eq!(rows(&again), expected);
    let minutes = CopiedTable {
        table: "minute_counts",
        rows: 1000,
        is_complete: true,
    };
    assert!(reported.contains(&minutes), "{reported:?}");
}

#[test]
fn a_copy_goes_on_where_the_original_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let from = original(&folder);
    let to = folder.path().join("copy.db");
    copy_database(&from, &address_of(&to), |_| ()).expect("copied");
    let (store, writer) = open_at(&to);
    std::thread::spawn(move || writer.run());
    // New rows have numbers that no copied one has.
    fill(&store, 300);
}

#[test]
fn a_database_with_rows_is_not_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (original(&folder), folder.path().join("copy.db"));
    let to = address_of(&to);
    copy_database(&from, &to, |_| ()).expect("copied");
    let Err(StoreError::Broken(again)) = copy_database(&from, &to, |_| ()) else {
        panic!("it has rows")
    };
    assert!(again.contains("has rows already (streams)"), "{again}");
    let Err(StoreError::Broken(itself)) = copy_database(&from, &from, |_| ()) else {
        panic!("it is the same")
    };
    assert!(itself.contains("copied to itself"), "{itself}");
}
