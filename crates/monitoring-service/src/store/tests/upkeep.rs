//! Submissions and their cooldown, ingest down noted once, pruning of what is not minutes.

use std::sync::Arc;

use detection::{Baseline, Direction, Minute, MonitoredStatus, Severity};
use uuid::Uuid;

use super::{MINUTE_MS, fill, open, raw, wait};
use crate::store::{
    AlertFilter, AlertRecord, AlertType, Anomaly, Attempt, DeliveryOutcome, Origin, Paging,
    Retention, Store, SuppressedBy,
};

const COOLDOWN_MS: i64 = 5 * MINUTE_MS;
const PAGING: Paging = Paging {
    webhook: true,
    max_age_ms: None,
};

fn submission(status: MonitoredStatus, at_ms: i64) -> AlertRecord {
    let anomaly = Anomaly {
        stream: "default".into(),
        status,
        direction: Direction::Up,
        minute: Minute::from_epoch_minutes(7),
        count: 100,
        z_score: None,
        baseline: Baseline::Missing { minutes: 0 },
        threshold: 4.0,
        late: false,
    };
    AlertRecord {
        id: Uuid::new_v4(),
        alert_type: AlertType::Anomaly,
        origin: Origin::Evaluate,
        recorded_at_ms: at_ms,
        severity: Severity::Critical,
        message: "submitted".into(),
        anomaly: Some(anomaly),
        streams: Vec::new(),
        suppressed_by: None,
        suppressed_before: 0,
        not_paged: None,
        trace_id: None,
        span_id: None,
    }
}

fn submit(store: &Store, status: MonitoredStatus, at_ms: i64) -> AlertRecord {
    wait(store.record_submission(submission(status, at_ms), COOLDOWN_MS))
}

fn alert_count(store: &Store) -> usize {
    wait(store.alerts(AlertFilter {
        limit: 100,
        ..AlertFilter::default()
    }))
    .len()
}

#[test]
fn a_submission_holds_the_same_ones_back_until_its_cooldown_is_over_and_no_others() {
    let (store, _folder) = open();
    let first = submit(&store, MonitoredStatus::Failed, 0);
    assert!(first.is_paged());
    for at_ms in [1, COOLDOWN_MS - 1] {
        let held = submit(&store, MonitoredStatus::Failed, at_ms);
        assert_eq!(
            held.suppressed_by,
            Some(SuppressedBy::Alert(first.id)),
            "at {at_ms}"
        );
    }
    assert!(
        submit(&store, MonitoredStatus::Denied, 1).is_dispatched(),
        "another status is another matter"
    );
    let next = submit(&store, MonitoredStatus::Failed, COOLDOWN_MS);
    assert_eq!((next.suppressed_by, next.suppressed_before), (None, 2));
    assert_eq!(wait(store.outbox()).pending, 3);
}

#[test]
fn of_submissions_at_the_same_time_one_goes_out() {
    let (store, _folder) = open();
    let store = Arc::new(store);
    let submitting = || {
        let store = Arc::clone(&store);
        std::thread::spawn(move || submit(&store, MonitoredStatus::Failed, 1))
    };
    let threads: Vec<_> = (0..8).map(|_| submitting()).collect();
    let recorded: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .collect();
    assert_eq!(
        recorded
            .iter()
            .filter(|record| record.is_dispatched())
            .count(),
        1
    );
}

#[test]
fn a_page_further_back_is_read_from_its_cursor() {
    let (store, _folder) = open();
    for status in MonitoredStatus::ALL {
        submit(&store, status, 1);
    }
    let page = |before| {
        wait(store.alerts(AlertFilter {
            before,
            limit: 2,
            ..AlertFilter::default()
        }))
    };
    let (mut cursor, mut read) = (None, Vec::new());
    loop {
        let alerts = page(cursor);
        let Some((seq, _)) = alerts.last() else { break };
        cursor = Some(*seq);
        read.extend(
            alerts
                .into_iter()
                .filter_map(|(_, alert)| alert.anomaly)
                .map(|anomaly| anomaly.status),
        );
    }
    assert!(read.iter().rev().eq(&MonitoredStatus::ALL), "{read:?}");
}

#[test]
fn blindness_is_recorded_once_and_so_is_its_end() {
    let (store, _folder) = open();
    let types = |alerts: Vec<AlertRecord>| {
        alerts
            .iter()
            .map(|alert| alert.alert_type)
            .collect::<Vec<_>>()
    };
    let blind = |since_ms, now_ms| {
        types(wait(store.note_ingest_down(
            since_ms,
            now_ms,
            PAGING,
            "away".into(),
        )))
    };
    let sight = |now_ms| types(wait(store.note_ingest_up(now_ms, PAGING)));
    assert_eq!(sight(0), []);
    assert_eq!(blind(1, 10), [AlertType::IngestDown]);
    assert_eq!(blind(5, 20), [], "a start in between is no new ingest down");
    assert_eq!(sight(30), [AlertType::IngestUp]);
    assert_eq!(sight(40), []);
    assert_eq!(blind(50, 60), [AlertType::IngestDown]);
    assert_eq!(wait(store.outbox()).pending, 3);
}

#[test]
fn known_minutes_come_newest_first_up_to_the_limit_and_the_minute_asked_for() {
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
fn pruning_keeps_an_alert_until_its_delivery_is_settled() {
    let (store, _folder) = open();
    submit(&store, MonitoredStatus::Failed, 1);
    let retention = Retention {
        length_ms: MINUTE_MS,
    };
    let prune = || while wait(store.prune_step(10 * MINUTE_MS, retention)) {};
    prune();
    assert_eq!(alert_count(&store), 1);
    let due = wait(store.due_deliveries(10 * MINUTE_MS, 4));
    let attempt = Attempt {
        outcome: DeliveryOutcome::Delivered,
        at_ms: 2,
        http_status: Some(200),
        error: None,
    };
    wait(store.finish_attempt(due[0].id, attempt));
    prune();
    assert_eq!(alert_count(&store), 0);
    let left: i64 = raw(&store)
        .query_row("SELECT count(*) FROM deliveries", [], |row| row.get(0))
        .expect("readable");
    assert_eq!(left, 0, "a delivery goes with its alert");
}

#[test]
fn pruning_keeps_the_newest_ten_thousand_dead_letters() {
    let (store, _folder) = open();
    let insert = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12345)
        INSERT INTO dead_letters (topic, partition, offset, reason, detail, payload_bytes, headers, received_at_ms)
        SELECT 't', 0, i, 'invalid_json', '', 0, '{}', 0 FROM n";
    raw(&store).execute_batch(insert).expect("inserted");
    while wait(store.prune_step(
        0,
        Retention {
            length_ms: MINUTE_MS,
        },
    )) {}
    let kept = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let kept = raw(&store).query_row("SELECT count(*), min(offset) FROM dead_letters", [], kept);
    assert_eq!(kept.expect("readable"), (10_000_i64, 2346_i64));
}
