//! SQLite: the lock of the database file, the checks before it is opened, and its connections.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use super::{
    StoreError, integrity,
    schema::{self, APPLICATION_ID, OLDEST_VERSION, VERSION},
};

/// Older versions can corrupt a database when the write-ahead log is reset (fixed in 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

/// The database's path, and the lock that makes this process its only user.
pub(super) struct LockedPath {
    pub(super) path: PathBuf,
    _lock: File,
}

/// Takes the lock beside the database. Not on the database itself: closing a second descriptor of it would drop SQLite's own locks.
pub(super) fn lock(path: &Path) -> Result<LockedPath, StoreError> {
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push(".lock");
    let lock_path = PathBuf::from(lock_path);
    let refuse =
        |why: String| StoreError::Broken(format!("cannot lock {}: {why}", lock_path.display()));
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(|error| {
            refuse(format!(
                "{error}; check that the folder exists and is writable"
            ))
        })?;
    match lock.try_lock() {
        Ok(()) => Ok(LockedPath {
            path: path.to_owned(),
            _lock: lock,
        }),
        Err(TryLockError::WouldBlock) => Err(refuse(
            "another monitoring-service uses this database; stop it, or set another DATABASE_PATH"
                .into(),
        )),
        Err(TryLockError::Error(error)) => Err(refuse(error.to_string())),
    }
}

/// Memory for pages of the writer, KiB: the newest page of each of some hundred streams stays in it.
const CACHE_KIB: i64 = 4096;

/// Opens the one read-write connection, and creates the tables in a new file. A refused file is not changed.
pub(super) fn open_writer(locked: &LockedPath) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(StoreError::Broken(format!(
            "SQLite {} is too old: 3.51.3 or later is needed",
            rusqlite::version()
        )));
    }
    let path = &locked.path;
    let has_content = path.metadata().is_ok_and(|file| file.len() > 0);
    if has_content && !is_unfinished(path) {
        check(path)?;
        integrity::check_before_open(path)?;
    }
    let refuse = |error| refused(path, &error);
    let mut connection = Connection::open(path).map_err(refuse)?;
    prepare(&mut connection).map_err(refuse)?;
    connection
        .pragma_update(None, "cache_size", -CACHE_KIB)
        .map_err(refuse)?;
    Ok(connection)
}

/// True for what a process leaves that was killed before it had created the tables. What cannot be read is not.
fn is_unfinished(path: &Path) -> bool {
    let read = || -> rusqlite::Result<bool> {
        let connection = open_reader(path)?;
        let marked =
            |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = connection.query_row(tables, [], |row| row.get(0))?;
        Ok(tables == 0 && marked("application_id")? == 0 && marked("user_version")? == 0)
    };
    read().unwrap_or(false)
}

/// Checks a database through a read-only connection, before anything can change it.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let read = || -> rusqlite::Result<(i32, i32)> {
        let connection = open_reader(path)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
            row.get::<_, i64>(0)
        })?;
        let application =
            connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        Ok((
            application,
            connection.pragma_query_value(None, "user_version", |row| row.get(0))?,
        ))
    };
    let (application, version) = read().map_err(|error| refused(path, &error))?;
    if application != APPLICATION_ID {
        return Err(StoreError::Broken(format!(
            "{} is a database of another program; set another DATABASE_PATH",
            path.display()
        )));
    }
    if version > VERSION {
        return Err(StoreError::Broken(format!(
            "{} has schema {version}, of a newer version of this program; this one supports {VERSION}; run the newer version, or set another DATABASE_PATH",
            path.display(),
        )));
    }
    if version < OLDEST_VERSION {
        return Err(StoreError::Broken(format!(
            "{} has schema {version}, of a development version; this version needs {VERSION}; delete the file, or set another DATABASE_PATH",
            path.display(),
        )));
    }
    Ok(())
}

fn refused(path: &Path, error: &rusqlite::Error) -> StoreError {
    StoreError::Broken(format!(
        "cannot use the database {}: {error}; restore it from a backup, or set another DATABASE_PATH (the file was not changed)",
        path.display()
    ))
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(64);
    schema::prepare(connection)
}

/// Opens a read-only connection that never waits for a lock.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "query_only", "ON")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}
