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
