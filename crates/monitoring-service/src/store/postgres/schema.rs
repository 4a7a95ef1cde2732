//! The tables in PostgreSQL: those of SQLite with other types, so that a column is named in one place. Made and changed under a lock.

use super::{Failure, Session};
use crate::store::{
    StoreError,
    engine::{Sql, dialect, params},
    schema::{CREATE, VERSION},
};

/// What only several instances need: the version of the schema and who leads, one row; and how far each partition is read, and by whom.
const SHARED: &str = "CREATE TABLE database_state (
        one     BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (one),
        version BIGINT NOT NULL,
        leader  TEXT NOT NULL
    );
    CREATE TABLE partition_state (
        topic     TEXT NOT NULL,
        partition BIGINT NOT NULL,
        instance  TEXT NOT NULL,
        seen_at   TIMESTAMPTZ NOT NULL,
        state     TEXT NOT NULL,
        PRIMARY KEY (topic, partition)
    );
    ALTER TABLE statuses ALTER COLUMN id RESTART WITH 5;";

const EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'database_state')";

const NOTE_VERSION: &str = "INSERT INTO database_state (version, leader) VALUES (?1, '')";

/// Creates the tables in an empty schema. `lock` keeps the other instances from the same.
pub(super) fn prepare(session: &mut Session, lock: &str) -> Result<(), StoreError> {
    let open = session.begin()?;
    let sql = Sql::Postgres(&open);
    let schema: Option<String> = sql
        .prepare_cached("SELECT CAST(current_schema() AS TEXT)")?
        .query_row(params![], |row| row.get(0))?;
    if schema.is_none() {
        return Err(Failure::Refused(
            "PostgreSQL: the user's search_path has no schema; create one, or grant USAGE on it"
                .to_owned(),
        )
        .into());
    }
    open.run("SET LOCAL statement_timeout = 0")?;
    open.run(lock)?;
    let exists: bool = sql
        .prepare_cached(EXISTS)?
        .query_row(params![], |row| row.get(0))?;
    if exists {
        let found: i32 = sql
            .prepare_cached("SELECT version FROM database_state")?
            .query_row(params![], |row| row.get(0))?;
        return check(found);
    }
    open.run(&dialect::tables(CREATE)).map_err(|error| {
        StoreError::Broken(format!(
            "cannot create the tables: {error}; give a user that may create tables, and a database or schema of its own"
        ))
    })?;
    open.run(SHARED)?;
    sql.prepare_cached(NOTE_VERSION)?
        .execute(params![VERSION])?;
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
