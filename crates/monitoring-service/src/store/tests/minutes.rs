//! What is stored of minutes: counts, findings and the offset in one commit, and how they are read back.

use std::sync::Arc;

use detection::{
    Minute, MinuteCounts, Monitor, MonitorSettings, MonitoredStatus, State, StatusCount, Stream,
};

use super::{MINUTE_MS, commit, counts, fill, open, wait};
use crate::store::{
    IngestCommit, OffsetAdvance, RowFilter, StoreError, StoredOffset,
    engine::{Row, params},
};

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
fn observed_minutes_come_newest_first() {
    let (store, _folder) = open();
    fill(&store, 100);
    let minutes = |before: Option<i64>, limit| -> Vec<i64> {
        let known =
            wait(store.observed_minutes("default", before.map(Minute::from_epoch_minutes), limit));
        known
            .iter()
            .map(|known| known.minute.epoch_minutes())
            .collect()
    };
    assert_eq!(minutes(None, 3), [99, 98, 97]);
    assert_eq!(minutes(Some(50), 2), [50, 49]);
    assert_eq!(minutes(Some(1), 10), [1, 0]);
    assert_eq!(wait(store.observed_minutes("unknown", None, 10)), []);
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
