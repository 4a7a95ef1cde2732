//! The store alone: refused files, replaced rows, retention, indexes.

mod both_policies;
mod copy;
mod failures;
mod incident_releases;
mod incidents;
mod integrity;
mod outbox_events;
pub(crate) mod place;
mod postgres;
mod readers;
mod retirement;
mod upkeep;

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use detection::{
    Minute, MinuteCounts, Monitor, MonitorSettings, MonitoredStatus, Observed, PolicyName, Raised,
    Severity, State, StatusCount, Stream,
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    AlertFilter, DatabaseAddress, DeliveryFilter, DeliveryState, IngestCommit, OffsetAdvance,
    Retention, RowFilter, Store, StoreError, StoredOffset, Writer, alerts, attempts,
    engine::{self, Row, Sql, params},
    incidents as stored_incidents, minutes, outbox, ranges, rows,
    writer::{Lock, Transaction},
};
use crate::alerts::{Alert, NotifyPolicy, Origin};

const MINUTE_MS: i64 = 60_000;

static NOTIFY: LazyLock<NotifyPolicy> = LazyLock::new(|| NotifyPolicy::with_default_receiver(None));

/// Creates a file that the store must refuse.
type Make<'a> = &'a dyn Fn(&Path) -> rusqlite::Result<()>;

/// A store whose place is this path: a file, or a schema of the server.
pub(crate) fn open_at(path: &Path) -> (Store, Writer) {
    match address_of(path) {
        DatabaseAddress::File(path) => Store::open(&path).expect("a usable database"),
        DatabaseAddress::Postgres(url) => Store::connect(url).expect("a usable database"),
    }
}

fn address_of(path: &Path) -> DatabaseAddress {
    match place::address(path) {
        None => DatabaseAddress::File(path.to_owned()),
        Some(url) => DatabaseAddress::parse(&url).expect("an address"),
    }
}

/// A store in a temporary folder, with its writer on a thread.
fn open() -> (Store, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, writer) = open_at(&folder.path().join("test.db"));
    std::thread::spawn(move || writer.run());
    (store, folder)
}

/// The same in a file, for what only SQLite has.
fn open_file() -> (Store, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, writer) = Store::open(&folder.path().join("test.db")).expect("a new database");
    std::thread::spawn(move || writer.run());
    (store, folder)
}

fn counts(minute: i64, named: &[(MonitoredStatus, u32)]) -> MinuteCounts {
    let named = named.iter().map(|&(status, count)| StatusCount {
        status: status.into(),
        count,
    });
    let minute = Minute::from_epoch_minutes(minute);
    MinuteCounts::try_new(Stream::default(), minute, named.collect()).expect("no status twice")
}

fn commit(store: &Store, observed: Vec<Observed>, now_ms: i64) {
    let alerts = observed.iter().flat_map(|observed| observed.alerts.clone());
    let record = |raised: Raised| Alert::of_stream(raised, &NOTIFY, now_ms);
    let commit = IngestCommit {
        alerts: alerts.map(record).collect(),
        observed,
        now_ms,
        ..IngestCommit::default()
    };
    store
        .begin_ingest(&Arc::new(commit))
        .wait()
        .expect("committed");
}

/// Approvals for `minutes` minutes, and failures in the last.
fn fill(store: &Store, minutes: i64) -> Monitor {
    let mut monitor = Monitor::new(MonitorSettings::default());
    let usual = (0..minutes - 1).map(|minute| {
        counts(
            minute,
            &[(MonitoredStatus::Approved, 100 + u32::from(minute % 2 == 0))],
        )
    });
    let last = counts(
        minutes - 1,
        &[
            (MonitoredStatus::Approved, 100),
            (MonitoredStatus::Failed, 7),
        ],
    );
    let judged = usual
        .chain([last])
        .map(|counts| monitor.observe(counts, &[]))
        .collect();
    commit(store, judged, minutes * MINUTE_MS);
    monitor
}

/// Waits for a query on a thread without a runtime, like that of ingest.
fn wait<T>(query: impl Future<Output = Result<T, StoreError>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(query).expect("readable")
}

/// A second connection to the file.
fn raw(store: &Store) -> Connection {
    Connection::open(path(store)).expect("a second connection")
}

fn path(store: &Store) -> &Path {
    store.path().expect("a file")
}

/// The first row of a query, on either engine.
fn row<T: Send + 'static>(
    store: &Store,
    query: &'static str,
    read: impl FnOnce(&Row<'_>) -> engine::Result<T> + Send + 'static,
) -> T {
    let row = store.read(move |sql| Ok(sql.prepare_cached(query)?.query_row(params![], read)?));
    wait(row)
}

/// Changes the database as a job of the store would.
fn execute(store: &Store, statement: &'static str) {
    let run = move |transaction: &mut Transaction<'_>| {
        Ok(transaction
            .sql
            .prepare_cached(statement)?
            .execute(params![])?)
    };
    store
        .writer
        .begin(Lock::Exclusive, run)
        .wait()
        .expect("executed");
}

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

#[test]
fn a_restored_stream_equals_the_one_in_memory() {
    let (store, _folder) = open();
    let monitor = fill(&store, 100);
    let capacity = monitor.settings().history_capacity();
    let (stored, _) = store
        .stored_stream("default", monitor.settings())
        .expect("readable")
        .expect("known");
    assert_eq!(stored.minutes.len(), capacity);
    let history = monitor.history(&Stream::default()).expect("in memory");
    for minute in &stored.minutes {
        assert_eq!(history.get(minute.minute), Some(minute));
    }
}

#[test]
fn a_too_late_correction_keeps_the_finding() {
    let (store, _folder) = open();
    let mut monitor = fill(&store, 100);
    let corrected = monitor.observe(
        counts(
            50,
            &[(MonitoredStatus::Approved, 7), (MonitoredStatus::Denied, 3)],
        ),
        &[],
    );
    commit(&store, vec![corrected], 101 * MINUTE_MS);
    let row = |status: i64| {
        let sql = "SELECT count, implied, state, judged_count FROM minute_counts WHERE minute = 50 AND status_id = ?1";
        let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let query = store.read_blocking(|sql_of| {
            Ok(sql_of
                .prepare_cached(sql)?
                .query_row(params![status], read)?)
        });
        query.expect("there")
    };
    let normal = i64::from(State::Normal.code());
    assert_eq!(row(0), (7_i64, 0_i64, normal, Some(101_i64)));
    assert_eq!(
        row(1),
        (3, 0, normal, Some(0)),
        "named now, so no longer implied"
    );
}

#[test]
fn an_implied_zero_never_replaces_a_stored_count() {
    let (store, _folder) = open();
    fill(&store, 100);
    // To a monitor without memory, minute 99 is new, so it implies zeros for the statuses that are not named.
    let mut forgetful = Monitor::new(MonitorSettings::default());
    forgetful.observe(counts(200, &[]), &[]);
    let late = forgetful.observe(counts(99, &[(MonitoredStatus::Denied, 1)]), &[]);
    commit(&store, vec![late], 101 * MINUTE_MS);
    let summary = wait(store.summary("default", Some(Minute::from_epoch_minutes(99)), None));
    let counts: Vec<_> = summary
        .statuses
        .iter()
        .map(|s| (s.status.as_str(), s.count))
        .collect();
    assert_eq!(
        counts,
        [
            ("approved", 100),
            ("denied", 1),
            ("failed", 7),
            ("reversed", 0),
            ("backend_reversed", 0)
        ]
    );
}

#[test]
fn a_commit_from_another_offset_is_not_written() {
    let (store, _folder) = open();
    let to = StoredOffset {
        last_offset: 9,
        last_timestamp_ms: Some(1),
    };
    let advance = |from| OffsetAdvance {
        cluster_id: "c".into(),
        topic: "t".into(),
        partition: 0,
        from,
        to,
    };
    let commit = |from, judged| {
        let commit = IngestCommit {
            offsets: vec![advance(from)],
            observed: judged,
            ..IngestCommit::default()
        };
        store.begin_ingest(&Arc::new(commit)).wait()
    };
    commit(None, vec![]).expect("the first");
    let judged = vec![Monitor::new(MonitorSettings::default()).observe(counts(1, &[]), &[])];
    assert!(matches!(
        commit(None, judged),
        Err(StoreError::OffsetMoved { .. })
    ));
    assert_eq!(
        store.count_streams().expect("readable"),
        0,
        "the minute was rolled back with the offset"
    );
    commit(Some(to), vec![]).expect("from the stored offset");
}

#[test]
fn alerts_are_listed_by_any_filter() {
    let (store, _folder) = open();
    fill(&store, 100);
    let list = |filter| wait(store.alerts(filter));
    let all = list(AlertFilter {
        limit: 10,
        ..AlertFilter::default()
    });
    let [(seq, alert)] = &all[..] else {
        panic!("one alert, not {all:?}")
    };
    assert_eq!(
        alert.anomaly().map(|anomaly| anomaly.key.status),
        Some(MonitoredStatus::Failed)
    );
    let other = [
        AlertFilter {
            status: Some(MonitoredStatus::Denied),
            limit: 10,
            ..AlertFilter::default()
        },
        AlertFilter {
            stream: Some("b".into()),
            limit: 10,
            ..AlertFilter::default()
        },
        AlertFilter {
            severity: Some(Severity::Warning),
            limit: 10,
            ..AlertFilter::default()
        },
        AlertFilter {
            notified: Some(false),
            limit: 10,
            ..AlertFilter::default()
        },
        AlertFilter {
            before: Some(*seq),
            limit: 10,
            ..AlertFilter::default()
        },
    ];
    for filter in other {
        assert_eq!(list(filter.clone()), [], "{filter:?}");
    }
    let (found, deliveries) = wait(store.alert(alert.id)).expect("there");
    assert_eq!((&found, deliveries.len()), (alert, 1));
}

#[test]
fn pruning_keeps_minutes_within_the_retention() {
    let (store, _folder) = open();
    fill(&store, 2000);
    let retention = Retention {
        length_ms: 500 * MINUTE_MS,
    };
    while wait(store.prune_step(0, retention)) {}
    let summary = wait(store.summary("default", None, None));
    assert_eq!(
        (summary.minutes_observed, summary.first_minute),
        (501, Some(Minute::from_epoch_minutes(1499)))
    );
    assert_eq!(
        wait(store.alerts(AlertFilter {
            limit: 10,
            ..AlertFilter::default()
        }))
        .len(),
        1
    );
}

#[test]
fn a_page_of_a_rare_status_reads_a_month() {
    let (store, _folder) = open();
    let mut monitor = Monitor::new(MonitorSettings::default());
    let rare = StatusCount {
        status: detection::Status::parse("chargeback").expect("a name"),
        count: 3,
    };
    for (minute, counts) in [
        (0, vec![rare.clone()]),
        (70_000, vec![]),
        (100_000, vec![rare]),
    ] {
        let minute = Minute::from_epoch_minutes(minute);
        let batch =
            MinuteCounts::try_new(Stream::default(), minute, counts).expect("no status twice");
        commit(&store, vec![monitor.observe(batch, &[])], 0);
    }
    let (mut filter, mut pages) = (
        RowFilter {
            stream: "default".into(),
            limit: 10,
            ..RowFilter::default()
        },
        Vec::new(),
    );
    filter.status = Some("chargeback".into());
    loop {
        let (rows, next) = wait(store.rows_of_page(filter.clone()));
        pages.push(
            rows.iter()
                .map(|row| row.minute.epoch_minutes())
                .collect::<Vec<_>>(),
        );
        let Some(next) = next else { break };
        filter.before = Some(next);
    }
    assert_eq!(pages, [vec![100_000], vec![], vec![0]]);
    let of_monitored = RowFilter {
        status: Some("denied".into()),
        before: None,
        ..filter.clone()
    };
    assert_eq!(
        wait(store.rows_of_page(of_monitored)).0.len(),
        3,
        "they are in every minute"
    );
    let bounded = RowFilter {
        from: Some(Minute::from_epoch_minutes(90_000)),
        before: None,
        ..filter
    };
    let (rows, next) = wait(store.rows_of_page(bounded));
    assert_eq!((rows.len(), next), (1, None), "only one range was read");
}

fn plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .expect(sql);
    // Parameters that are not bound are NULL, which does not change the plan.
    let lines = statement
        .raw_query()
        .mapped(|row| row.get::<_, String>(3))
        .collect::<Result<Vec<_>, _>>();
    lines.expect(sql).join("; ")
}

#[test]
fn frequent_queries_use_indexes() {
    let (store, _folder) = open_file();
    let connection = raw(&store);
    let plan = |sql: &str| plan(&connection, sql);
    let known = [
        minutes::OBSERVED_MINUTES,
        "SELECT * FROM alerts WHERE stream = 'a' AND policy = 1 AND status_id = 1 ORDER BY seq DESC LIMIT 1",
        "SELECT * FROM alerts WHERE stream = 'a' AND policy = 1 ORDER BY seq DESC LIMIT 1",
        alerts::PRIOR_SUBMISSION,
    ];
    let ranges = [ranges::TOTALS, rows::OLDER].map(str::to_owned);
    let of_policies = PolicyName::ALL.into_iter().flat_map(|policy| {
        let both = [false, true];
        let series = both.map(|of_one| ranges::series_statement(policy, of_one));
        let rows = both.map(|of_one| rows::statement(policy, of_one));
        let states = ranges::states_statement(policy);
        series.into_iter().chain(rows).chain([states])
    });
    let known = known
        .into_iter()
        .map(str::to_owned)
        .chain([attempts::due_statement(false)]);
    for sql in known.chain(ranges).chain(of_policies) {
        let plan = plan(&sql);
        assert!(
            plan.contains("SEARCH") && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
            "{sql}: {plan}"
        );
    }
}

#[test]
fn the_streams_of_open_incidents_are_found_by_their_index() {
    let (store, _folder) = open_file();
    let plan = plan(&raw(&store), stored_incidents::OPEN_STREAMS);
    assert!(plan.contains("incidents_open"), "{plan}");
}

/// Sets the filters of a case.
type Change = fn(&mut AlertFilter);

/// Asserts that a list is read in order through this index.
fn assert_lists_by(sql: &Connection, statement: &str, index: &str) {
    let plan = plan(sql, statement);
    assert!(
        plan.contains(index) && !plan.contains("SCAN") && !plan.contains("TEMP"),
        "{statement}: {plan}"
    );
}

#[test]
fn every_list_uses_the_index_of_its_first_filter() {
    let (store, _folder) = open_file();
    let sql = raw(&store);
    let filters: [(&str, Change); 13] = [
        ("alerts_by_policy", |f| {
            f.policy = Some(PolicyName::Adaptive);
        }),
        ("INTEGER PRIMARY KEY", |_| {}),
        ("alerts_of_stream", |f| f.stream = Some("a".into())),
        ("alerts_by_status", |f| {
            f.status = Some(MonitoredStatus::Denied);
        }),
        ("alerts_by_severity", |f| {
            f.severity = Some(Severity::Warning);
        }),
        ("alerts_from_evaluate", |f| {
            f.origin = Some(Origin::Evaluate);
        }),
        ("alerts_from_monitor", |f| f.origin = Some(Origin::Monitor)),
        ("INTEGER PRIMARY KEY", |f| f.origin = Some(Origin::Stream)),
        ("alerts_notified", |f| f.notified = Some(true)),
        ("alerts_suppressed", |f| f.notified = Some(false)),
        ("alerts_by_status", |f| {
            all(f);
            (f.stream, f.origin) = (None, None);
        }),
        ("alerts_from_evaluate", |f| {
            all(f);
            f.stream = None;
        }),
        ("alerts_of_stream", all),
    ];
    for (index, change) in filters {
        let mut filter = AlertFilter::default();
        change(&mut filter);
        assert_lists_by(&sql, &alerts::list_statement(&filter), index);
    }
    for (stream, state, index) in [
        (None, None, "deliveries USING INTEGER PRIMARY KEY"),
        (
            None,
            Some(DeliveryState::Pending),
            "deliveries_pending_by_id",
        ),
        (None, Some(DeliveryState::Dead), "deliveries_dead"),
        (
            None,
            Some(DeliveryState::Superseded),
            "deliveries_superseded",
        ),
        (
            None,
            Some(DeliveryState::Summarized),
            "deliveries_summarized",
        ),
        (Some("a".to_owned()), None, "deliveries_by_stream"),
        (
            Some("a".to_owned()),
            Some(DeliveryState::Dead),
            "deliveries_by_stream",
        ),
    ] {
        let filter = DeliveryFilter {
            stream,
            state,
            ..DeliveryFilter::default()
        };
        assert_lists_by(&sql, &outbox::list_statement(&filter), index);
    }
}

/// Every filter at once.
fn all(filter: &mut AlertFilter) {
    filter.stream = Some("a".into());
    filter.status = Some(MonitoredStatus::Denied);
    filter.severity = Some(Severity::Warning);
    filter.origin = Some(Origin::Evaluate);
    filter.notified = Some(false);
}
