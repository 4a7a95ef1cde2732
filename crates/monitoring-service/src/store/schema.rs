//! The tables of SQLite, and the steps from older versions. PostgreSQL gets the same tables with other types.

use rusqlite::Connection;

/// Marks a database as ours ("txmn"), so that another program's file is never touched.
pub(super) const APPLICATION_ID: i32 = 0x7478_6d6e;

/// The version of the schema. A later one adds a step to [`STEPS`]; databases of versions below [`OLDEST_VERSION`] are refused.
pub(super) const VERSION: i32 = 8;

/// Development databases before the first release have versions 1 to 4.
pub(super) const OLDEST_VERSION: i32 = 5;

/// The steps from [`OLDEST_VERSION`] to [`VERSION`], one for each version. What they add is also in [`CREATE`], at the same place.
const STEPS: [&str; (VERSION - OLDEST_VERSION) as usize] = [
    // 6
    "ALTER TABLE dead_letters ADD COLUMN hint TEXT;
     ALTER TABLE dead_letters ADD COLUMN key BLOB;
     ALTER TABLE dead_letters ADD COLUMN replayed_at_ms INTEGER;",
    // 7: SQLite cannot change the CHECK of a state.
    "CREATE TABLE deliveries_7 (
         id                 INTEGER PRIMARY KEY AUTOINCREMENT,
         receiver           TEXT NOT NULL,
         alert_seq          INTEGER REFERENCES alerts (seq) ON DELETE CASCADE,
         event_id           INTEGER REFERENCES incident_events (id) ON DELETE CASCADE,
         stream             TEXT,
         state              TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead', 'superseded', 'summarized')),
         attempts           INTEGER NOT NULL,
         created_at_ms      INTEGER NOT NULL,
         next_attempt_at_ms INTEGER,
         last_attempt_at_ms INTEGER,
         last_status        INTEGER,
         last_error         TEXT,
         in_doubt           INTEGER NOT NULL DEFAULT 0 CHECK (in_doubt IN (0, 1)),
         summary_seq        INTEGER,
         CHECK ((alert_seq IS NULL) <> (event_id IS NULL))
     ) STRICT;
     INSERT INTO deliveries_7 (id, receiver, alert_seq, event_id, stream, state, attempts, created_at_ms, next_attempt_at_ms,
         last_attempt_at_ms, last_status, last_error, in_doubt)
     SELECT id, receiver, alert_seq, event_id, stream, state, attempts, created_at_ms, next_attempt_at_ms,
         last_attempt_at_ms, last_status, last_error, in_doubt FROM deliveries;
     DROP TABLE deliveries;
     ALTER TABLE deliveries_7 RENAME TO deliveries;
     CREATE INDEX deliveries_pending ON deliveries (next_attempt_at_ms) WHERE state = 'pending';
     CREATE INDEX deliveries_pending_by_id ON deliveries (id) WHERE state = 'pending';
     CREATE INDEX deliveries_pending_by_receiver ON deliveries (receiver, id) WHERE state = 'pending';
     CREATE INDEX deliveries_dead ON deliveries (id) WHERE state = 'dead';
     CREATE INDEX deliveries_superseded ON deliveries (id) WHERE state = 'superseded';
     CREATE INDEX deliveries_summarized ON deliveries (id) WHERE state = 'summarized';
     CREATE INDEX deliveries_set_aside ON deliveries (receiver) WHERE state = 'summarized' AND summary_seq IS NULL;
     CREATE INDEX deliveries_by_summary ON deliveries (summary_seq) WHERE summary_seq IS NOT NULL;
     CREATE INDEX deliveries_by_alert ON deliveries (alert_seq);
     CREATE INDEX deliveries_by_event ON deliveries (event_id) WHERE event_id IS NOT NULL;
     CREATE INDEX deliveries_by_stream ON deliveries (stream, id);
     CREATE INDEX alerts_too_old ON alerts (recorded_at_ms) WHERE suppressed = 'too_old';
     CREATE INDEX incidents_too_old ON incidents (recorded_at_ms) WHERE suppressed = 'too_old';",
    // 8
    "ALTER TABLE streams ADD COLUMN version INTEGER NOT NULL DEFAULT 0;",
];

pub(super) const CREATE: &str = include_str!("schema/tables.sql");

/// Creates the tables in a new database, or changes those of an older version.
pub(super) fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    let found: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found == 0 {
        let transaction = connection.transaction()?;
        transaction.execute_batch(CREATE)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.commit()?;
        return Ok(());
    }
    for (step, version) in STEPS.iter().zip(OLDEST_VERSION + 1..) {
        if version > found {
            let transaction = connection.transaction()?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", version)?;
            transaction.commit()?;
        }
    }
    Ok(())
}
