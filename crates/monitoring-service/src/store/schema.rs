//! The database file: its lock, its checks and its tables.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use super::{StoreError, integrity};

/// Marks a database as ours ("txmn"), so that another program's file is never touched.
pub(super) const APPLICATION_ID: i32 = 0x7478_6d6e;

/// Older versions can corrupt a database when the write-ahead log is reset (fixed in 3.51.3).
const OLDEST_SQLITE: i32 = 3_051_003;

/// The version of the schema. A later one adds a step to [`STEPS`]; databases of versions below [`OLDEST_VERSION`] are refused.
pub(super) const VERSION: i32 = 8;

/// Development databases before the first release have versions 1 to 4.
const OLDEST_VERSION: i32 = 5;

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

pub(super) const CREATE: &str = r"
CREATE TABLE streams (
    id             INTEGER PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    newest_minute  INTEGER NOT NULL,
    arrived_at_ms  INTEGER NOT NULL,
    stale_since_ms INTEGER,
    -- 1 if an alert that no silence suppressed said that it is stale.
    stale_alerted  INTEGER NOT NULL DEFAULT 0,
    -- Its longest pauses, as text.
    pauses         TEXT NOT NULL DEFAULT '',
    -- Since when it is switched off; NULL again with its next minute.
    retired_at_ms  INTEGER,
    -- Since when only minutes arrived that were too old to be judged.
    old_since_ms   INTEGER,
    -- Whole hours that its newest minutes came behind the clock, and how many of them in a row.
    hours_off       INTEGER NOT NULL DEFAULT 0,
    hours_off_times INTEGER NOT NULL DEFAULT 0,
    -- The monitored statuses that a message named (bit 0 is the first), and names that are not monitored.
    named_statuses INTEGER NOT NULL DEFAULT 0,
    other_statuses TEXT NOT NULL DEFAULT '',
    -- Minutes that were too old to be judged, and when the last one arrived.
    unjudged_minutes INTEGER NOT NULL DEFAULT 0,
    unjudged_at_ms   INTEGER,
    -- Changes with each commit of its minutes, and with its retirement: a commit names the version that it goes on from.
    version          INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE statuses (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO statuses (id, name) VALUES
    (0, 'approved'), (1, 'denied'), (2, 'failed'), (3, 'reversed'), (4, 'backend_reversed');

-- One row for each stream, minute and status, with the finding of each policy. `judged_count` is the count that was judged, where a
-- later correction was not.
CREATE TABLE minute_counts (
    stream_id         INTEGER NOT NULL,
    minute            INTEGER NOT NULL,
    status_id         INTEGER NOT NULL,
    count             INTEGER NOT NULL CHECK (count BETWEEN 0 AND 4294967295),
    implied           INTEGER NOT NULL CHECK (implied IN (0, 1)),
    judged_count      INTEGER,
    -- Policy zscore; state is NULL where it was off. `alerts` has the same columns.
    state             INTEGER CHECK (state BETWEEN 0 AND 5),
    peak              INTEGER CHECK (peak BETWEEN 2 AND 5),
    direction         INTEGER CHECK (direction IN (0, 1)),
    threshold         REAL,
    window_minutes    INTEGER,
    mean              REAL,
    std_dev           REAL,
    -- Policy adaptive; adaptive_state is NULL where it was off. Direction and threshold follow from the rest, and so does the score
    -- unless it is that of the window.
    adaptive_state    INTEGER CHECK (adaptive_state BETWEEN 0 AND 5),
    window_score      REAL,
    expected          REAL,
    spread            REAL,
    bar               REAL,
    heat              REAL,
    window_count      INTEGER,
    window_expected   REAL,
    payments          INTEGER,
    expected_payments REAL,
    day_count         REAL,
    day_payments      REAL,
    PRIMARY KEY (stream_id, minute, status_id)
) STRICT, WITHOUT ROWID;

-- What a policy remembers of a stream after a minute, as bytes of its own. The minutes stored since are folded on top.
CREATE TABLE detector_states (
    stream_id INTEGER NOT NULL,
    policy    INTEGER NOT NULL,
    minute    INTEGER NOT NULL,
    state     BLOB NOT NULL,
    PRIMARY KEY (stream_id, policy)
) STRICT;

CREATE TABLE cooldowns (
    stream_id  INTEGER NOT NULL,
    policy     INTEGER NOT NULL,
    status_id  INTEGER NOT NULL,
    direction  INTEGER NOT NULL,
    severity   INTEGER NOT NULL,
    fired      INTEGER,
    suppressed INTEGER NOT NULL,
    PRIMARY KEY (stream_id, policy, status_id, direction, severity)
) STRICT, WITHOUT ROWID;

-- Alerts of the stream, of submissions to /alerts/evaluate and of the monitor itself, in the order of recording.
CREATE TABLE alerts (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT NOT NULL UNIQUE,
    type              TEXT NOT NULL,
    origin            TEXT NOT NULL,
    recorded_at_ms    INTEGER NOT NULL,
    severity          INTEGER NOT NULL,
    message           TEXT NOT NULL,
    stream            TEXT,
    status_id         INTEGER,
    minute            INTEGER,
    count             INTEGER,
    policy            INTEGER CHECK (policy IN (0, 1)),
    direction         INTEGER CHECK (direction IN (0, 1)),
    threshold         REAL,
    window_minutes    INTEGER,
    mean              REAL,
    std_dev           REAL,
    window_score      REAL,
    expected          REAL,
    spread            REAL,
    bar               REAL,
    heat              REAL,
    window_count      INTEGER,
    window_expected   REAL,
    payments          INTEGER,
    expected_payments REAL,
    day_count         REAL,
    day_payments      REAL,
    late              INTEGER,
    streams           TEXT,
    -- Why it is not notified, and the id of the alert or the silence that suppresses it.
    suppressed        TEXT,
    suppressed_by     TEXT,
    suppressed_before INTEGER NOT NULL,
    trace_id          TEXT,
    -- The span that recorded the alert: its delivery links to it. None where nothing was sampled.
    span_id           TEXT
) STRICT;
CREATE INDEX alerts_by_stream ON alerts (stream, policy, status_id, seq);
CREATE INDEX alerts_by_stream_policy ON alerts (stream, policy, seq);
CREATE INDEX alerts_of_stream ON alerts (stream, seq);
CREATE INDEX alerts_by_minute ON alerts (stream, status_id, minute) WHERE origin = 'stream';
CREATE INDEX alerts_of_submissions ON alerts (stream, policy, status_id, direction, severity, seq) WHERE origin = 'evaluate';
CREATE INDEX alerts_of_unmuted_submissions ON alerts (stream, policy, status_id, direction, severity, seq)
    WHERE origin = 'evaluate' AND suppressed_by IS NULL;
CREATE INDEX alerts_by_recording ON alerts (recorded_at_ms);
-- Each filter of a list of alerts or deliveries finds its rows in the order of recording, however rare they are.
CREATE INDEX alerts_by_severity ON alerts (severity, seq);
CREATE INDEX alerts_by_status ON alerts (status_id, seq);
CREATE INDEX alerts_by_policy ON alerts (policy, seq);
CREATE INDEX alerts_notified ON alerts (seq) WHERE suppressed IS NULL;
CREATE INDEX alerts_suppressed ON alerts (seq) WHERE suppressed IS NOT NULL;
CREATE INDEX alerts_too_old ON alerts (recorded_at_ms) WHERE suppressed = 'too_old';
CREATE INDEX alerts_from_evaluate ON alerts (seq) WHERE origin = 'evaluate';
CREATE INDEX alerts_from_monitor ON alerts (seq) WHERE origin = 'monitor';

-- Incidents, in the order of recording. `message` is the JSON of an IncidentMessage, as the incident is now; `memory` that of the fold.
CREATE TABLE incidents (
    seq                INTEGER PRIMARY KEY AUTOINCREMENT,
    id                 TEXT NOT NULL UNIQUE,
    kind               TEXT NOT NULL,
    stream             TEXT,
    policy             INTEGER CHECK (policy IN (0, 1)),
    severity           INTEGER NOT NULL,
    opened_at_ms       INTEGER NOT NULL,
    recorded_at_ms     INTEGER NOT NULL,
    ended_at_ms        INTEGER,
    message            TEXT NOT NULL,
    sequence           INTEGER NOT NULL,
    memory             TEXT,
    minute             INTEGER,
    -- Why nobody is notified of it.
    suppressed         TEXT,
    release_at_ms      INTEGER,
    notified_at_ms     INTEGER,
    escalated_at_ms    INTEGER,
    acknowledged_at_ms INTEGER,
    group_id           TEXT,
    verdict            TEXT CHECK (verdict IN ('real', 'false_alarm')),
    note               TEXT,
    feedback_by        TEXT,
    feedback_at_ms     INTEGER
) STRICT;
CREATE INDEX incidents_open ON incidents (seq) WHERE ended_at_ms IS NULL;
CREATE INDEX incidents_of_stream ON incidents (stream, policy, seq);
CREATE INDEX incidents_by_stream ON incidents (stream, seq);
CREATE INDEX incidents_by_kind ON incidents (kind, seq);
CREATE INDEX incidents_by_severity ON incidents (severity, seq);
CREATE INDEX incidents_by_end ON incidents (ended_at_ms) WHERE ended_at_ms IS NOT NULL;
CREATE INDEX incidents_of_group ON incidents (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX incidents_too_old ON incidents (recorded_at_ms) WHERE suppressed = 'too_old';
CREATE INDEX incidents_with_feedback ON incidents (stream) WHERE verdict IS NOT NULL;

-- What happened to an incident, in its order. `message` is the JSON of an IncidentMessage, as the incident was then.
CREATE TABLE incident_events (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    incident_id    TEXT NOT NULL,
    sequence       INTEGER NOT NULL,
    kind           TEXT NOT NULL,
    recorded_at_ms INTEGER NOT NULL,
    -- Why it is not notified.
    suppressed     TEXT,
    message        TEXT NOT NULL,
    UNIQUE (incident_id, sequence)
) STRICT;

-- The outbox: one row for each alert or incident event and each receiver that must get it.
CREATE TABLE deliveries (
    id                 INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver           TEXT NOT NULL,
    alert_seq          INTEGER REFERENCES alerts (seq) ON DELETE CASCADE,
    event_id           INTEGER REFERENCES incident_events (id) ON DELETE CASCADE,
    -- Of the alert or the incident, so that the deliveries of a stream are found by an index.
    stream             TEXT,
    state              TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead', 'superseded', 'summarized')),
    attempts           INTEGER NOT NULL,
    created_at_ms      INTEGER NOT NULL,
    next_attempt_at_ms INTEGER,
    last_attempt_at_ms INTEGER,
    last_status        INTEGER,
    last_error         TEXT,
    -- An attempt that was not answered may have arrived.
    in_doubt           INTEGER NOT NULL DEFAULT 0 CHECK (in_doubt IN (0, 1)),
    -- The alert that sums it up; NULL until that is recorded.
    summary_seq        INTEGER,
    CHECK ((alert_seq IS NULL) <> (event_id IS NULL))
) STRICT;
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

CREATE TABLE dead_letters (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    topic          TEXT NOT NULL,
    partition      INTEGER NOT NULL,
    offset         INTEGER NOT NULL,
    reason         TEXT NOT NULL,
    detail         TEXT NOT NULL,
    payload        BLOB,
    payload_bytes  INTEGER NOT NULL,
    headers        TEXT NOT NULL,
    received_at_ms INTEGER NOT NULL,
    -- What the message is and what reads it, if its shape is recognized.
    hint           TEXT,
    key            BLOB,
    replayed_at_ms INTEGER
) STRICT;

CREATE INDEX dead_letters_by_time ON dead_letters (received_at_ms);

-- Written to find out whether the database can be written again.
CREATE TABLE write_checks (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    at_ms INTEGER NOT NULL
) STRICT;
-- Minutes whose counts still grow: written in the transaction of the offsets that they were read from. States and counts are JSON.
CREATE TABLE open_partitions (
    cluster_id TEXT NOT NULL,
    topic      TEXT NOT NULL,
    partition  INTEGER NOT NULL,
    state      TEXT NOT NULL,
    PRIMARY KEY (cluster_id, topic, partition)
) STRICT, WITHOUT ROWID;
CREATE TABLE open_streams (
    stream TEXT PRIMARY KEY,
    state  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE open_minutes (
    stream TEXT NOT NULL,
    minute INTEGER NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (stream, minute)
) STRICT, WITHOUT ROWID;

-- Kept after their end, so that a suppressed alert can be explained.
CREATE TABLE silences (
    id            TEXT PRIMARY KEY,
    -- A name or a pattern; NULL for all streams.
    streams       TEXT,
    status_id     INTEGER,
    created_at_ms INTEGER NOT NULL,
    from_ms       INTEGER NOT NULL,
    until_ms      INTEGER NOT NULL,
    -- Times of the week, as text; NULL for all of the time.
    weekly        TEXT,
    reason        TEXT NOT NULL
) STRICT;
CREATE INDEX silences_by_end ON silences (until_ms);

CREATE TABLE gaps (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    topic          TEXT NOT NULL,
    partition      INTEGER NOT NULL,
    from_offset    INTEGER NOT NULL,
    to_offset      INTEGER NOT NULL,
    reason         TEXT NOT NULL,
    detected_at_ms INTEGER NOT NULL
) STRICT;

-- The last record consumed of each partition. Its timestamp shows whether the topic still has the same record there.
CREATE TABLE offsets (
    cluster_id        TEXT NOT NULL,
    topic             TEXT NOT NULL,
    partition         INTEGER NOT NULL,
    last_offset       INTEGER NOT NULL,
    last_timestamp_ms INTEGER,
    PRIMARY KEY (cluster_id, topic, partition)
) STRICT, WITHOUT ROWID;
";

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

/// Opens a read-only connection that never waits for a lock.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "query_only", "ON")?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}
