//! Submissions and their cooldown, ingest down recorded once, lists of alerts.

use std::sync::Arc;

use detection::{
    AlertKey, Anomaly, Baseline, Direction, Evidence, Finding, Minute, MonitoredStatus, PolicyName,
    Severity, Stream, Suppression,
};

use super::{MINUTE_MS, NOTIFY, fill, open, wait};
use crate::{
    alerts::{Alert, Subject, ingest, submission},
    store::{AlertFilter, Store},
};

const COOLDOWN_MS: i64 = 5 * MINUTE_MS;

fn submission(status: MonitoredStatus, at_ms: i64) -> Alert {
    let finding = Finding {
        severity: Severity::Critical,
        direction: Some(Direction::Up),
        score: None,
        threshold: Some(4.0),
        evidence: Evidence::ZScore {
            baseline: Baseline::Missing { minutes: 0 },
        },
    };
    let anomaly = Anomaly {
        key: AlertKey {
            stream: Stream::default(),
            policy: PolicyName::ZScore,
            status,
            direction: Direction::Up,
            severity: Severity::Critical,
        },
        minute: Minute::from_epoch_minutes(7),
        count: 100,
        finding,
        late: false,
    };
    Alert::of_submission(anomaly, None, &NOTIFY, at_ms)
}

pub(super) fn submit(store: &Store, status: MonitoredStatus, at_ms: i64) -> Alert {
    let decide = |alert: &mut Alert, prior| submission::apply_cooldown(alert, prior, COOLDOWN_MS);
    wait(store.record_submission(submission(status, at_ms), decide))
}

pub(super) fn alert_count(store: &Store) -> usize {
    wait(store.alerts(AlertFilter {
        limit: 100,
        ..AlertFilter::default()
    }))
    .len()
}

#[test]
fn a_submission_suppresses_the_same_ones() {
    let (store, _folder) = open();
    let first = submit(&store, MonitoredStatus::Failed, 0);
    assert!(first.is_notified());
    for at_ms in [1, COOLDOWN_MS - 1] {
        let held = submit(&store, MonitoredStatus::Failed, at_ms);
        assert_eq!(
            held.suppression,
            Some(Suppression::Cooldown { by: first.id }),
            "at {at_ms}"
        );
    }
    assert!(
        submit(&store, MonitoredStatus::Denied, 1).is_notified(),
        "another status has its own cooldown"
    );
    let next = submit(&store, MonitoredStatus::Failed, COOLDOWN_MS);
    assert_eq!((next.suppression, next.suppressed_before), (None, 2));
    assert_eq!(wait(store.outbox()).pending, 3);
}

#[test]
fn of_simultaneous_submissions_one_is_notified() {
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
        recorded.iter().filter(|alert| alert.is_notified()).count(),
        1
    );
}

#[test]
fn an_older_page_starts_at_its_cursor() {
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
                .filter_map(|(_, alert)| alert.anomaly().map(|anomaly| anomaly.key.status)),
        );
    }
    assert!(read.iter().rev().eq(&MonitoredStatus::ALL), "{read:?}");
}

#[test]
fn ingest_down_and_up_are_recorded_once() {
    let (store, _folder) = open();
    let kind = |alert: Option<Alert>| alert.map(|alert| alert.subject.kind());
    let down = |since_ms, now_ms| {
        kind(wait(store.record_condition(
            [Subject::IngestDown, Subject::IngestUp],
            move |newest| ingest::down(newest, since_ms, "away", &NOTIFY, now_ms),
        )))
    };
    let up = |now_ms| {
        kind(wait(store.record_condition(
            [Subject::IngestDown, Subject::IngestUp],
            move |newest| ingest::up(newest, &NOTIFY, now_ms),
        )))
    };
    assert_eq!(up(0), None);
    assert_eq!(down(1, 10), Some("ingest.down"));
    assert_eq!(
        down(5, 20),
        None,
        "a start in between is no new ingest down"
    );
    assert_eq!(up(30), Some("ingest.up"));
    assert_eq!(up(40), None);
    assert_eq!(down(50, 60), Some("ingest.down"));
    assert_eq!(wait(store.outbox()).pending, 3);
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
