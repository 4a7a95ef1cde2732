//! The tables in PostgreSQL: those of SQLite with other types, so that a column is named in one place. Made and changed under the lock.

use super::Session;
use crate::store::{
    StoreError,
    engine::{Sql, dialect, params},
    schema::{CREATE, VERSION},
};

/// The version of the schema and the instance that writes, one row.
const STATE: &str = "CREATE TABLE database_state (
        one     BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
        version BIGINT NOT NULL,
        writer  TEXT NOT NULL
    );
    ALTER TABLE statuses ALTER COLUMN id RESTART WITH 5;";

const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'database_state')";

const WRITE: &str = "INSERT INTO database_state (version, writer) VALUES (?1, ?2)
     ON CONFLICT (one) DO UPDATE SET version = excluded.version, writer = excluded.writer";

/// Creates the tables in an empty schema, and notes that `writer` is the instance that writes.
pub(super) fn prepare(session: &mut Session, writer: &str) -> Result<(), StoreError> {
    let open = session.begin()?;
    let sql = Sql::Postgres(&open);
    let exists: bool = sql
        .prepare_cached(EXISTS)?
        .query_row(params![], |row| row.get(0))?;
    if exists {
        let found: i32 = sql
            .prepare_cached("SELECT version FROM database_state")?
            .query_row(params![], |row| row.get(0))?;
        check(found)?;
    } else {
        open.run("SET LOCAL statement_timeout = 0")?;
        open.run(&dialect::tables(CREATE)).map_err(|error| {
            StoreError::Broken(format!(
                "cannot create the tables: {error}; give a user that may create tables, and a database or schema of its own"
            ))
        })?;
        open.run(STATE)?;
    }
    sql.prepare_cached(WRITE)?
        .execute(params![VERSION, writer])?;
    Ok(open.commit()?)
}

/// The first version with PostgreSQL is the present one, so there is no older one to change yet.
fn check(found: i32) -> Result<(), StoreError> {
    if found == VERSION {
        return Ok(());
    }
    Err(StoreError::Broken(format!(
        "the database has schema {found}, of another version of this program; this one supports {VERSION}; run that version, or give another DATABASE_URL"
    )))
}
