//! What is deleted, and what is kept.

use detection::{Minute, MonitoredStatus};

use super::{
    MINUTE_MS,
    alerts::{alert_count, submit},
    execute, fill, open, row, wait,
};
use crate::store::{AlertFilter, Attempt, DeliveryOutcome, Retention};

#[test]
fn pruning_keeps_an_alert_with_a_pending_delivery() {
    let (store, _folder) = open();
    submit(&store, MonitoredStatus::Failed, 1);
    let retention = Retention {
        length_ms: MINUTE_MS,
    };
    let prune = || while wait(store.prune_step(10 * MINUTE_MS, retention)) {};
    prune();
    assert_eq!(alert_count(&store), 1);
    let due = wait(store.due_deliveries("default", false, 10 * MINUTE_MS, 4));
    let attempt = Attempt {
        outcome: DeliveryOutcome::Delivered,
        at_ms: 2,
        http_status: Some(200),
        error: None,
        in_doubt: false,
    };
    wait(store.finish_attempt(due[0].id, attempt));
    prune();
    assert_eq!(alert_count(&store), 0);
    let left: i64 = row(&store, "SELECT count(*) FROM deliveries", |row| row.get(0));
    assert_eq!(left, 0, "a delivery goes with its alert");
}

#[test]
fn pruning_keeps_the_newest_ten_thousand_dead_letters() {
    let (store, _folder) = open();
    let insert = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12345)
        INSERT INTO dead_letters (topic, partition, \"offset\", reason, detail, payload_bytes, headers, received_at_ms)
        SELECT 't', 0, i, 'invalid_json', '', 0, '{}', 0 FROM n";
    execute(&store, insert);
    while wait(store.prune_step(
        0,
        Retention {
            length_ms: MINUTE_MS,
        },
    )) {}
    let kept = "SELECT count(*), min(\"offset\") FROM dead_letters";
    let kept: (i64, i64) = row(&store, kept, |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(kept, (10_000, 2346));
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
    // Those to keep begin with minute 1499; the last ones before it are fewer than a step.
    assert_eq!(
        (summary.minutes_observed, summary.first_minute),
        (560, Some(Minute::from_epoch_minutes(1440)))
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
fn pruning_reaches_every_stream() {
    let (store, _folder) = open();
    execute(
        &store,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
         INSERT INTO streams (name, newest_minute, arrived_at_ms) SELECT 's' || i, 1239, 0 FROM n",
    );
    execute(
        &store,
        "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO minute_counts (stream_id, minute, status_id, count, implied) SELECT id, i, 0, 1, 0 FROM streams CROSS JOIN n",
    );
    let retention = Retention {
        length_ms: 1000 * MINUTE_MS,
    };
    // A step takes eight streams, and meanwhile all of them get another minute.
    for _ in 0..3 {
        execute(
            &store,
            "UPDATE streams SET newest_minute = newest_minute + 1",
        );
        assert!(wait(store.prune_step(0, retention)));
    }
    let oldest = "SELECT min(minute) FROM minute_counts";
    let oldest: i64 = row(&store, oldest, |row| row.get(0));
    assert_eq!(oldest, 240);
}
