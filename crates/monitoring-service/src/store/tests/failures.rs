//! Failed transactions: they leave nothing behind and do not affect other jobs.

use std::sync::{Arc, mpsc};

use detection::{Monitor, MonitorSettings, MonitoredStatus, Observed};

use super::{MINUTE_MS, commit, counts, fill, open, open_file, raw, wait};
use crate::store::{
    AlertFilter, InFlightCommit, IngestCommit, OffsetAdvance, Store, StoreError, StoredOffset,
    engine::Sql,
    writer::{Lock, Transaction},
};

/// Limits the growth of the database to this many pages.
fn room(store: &Store, pages: i64) {
    let used: i64 = raw(store)
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .expect("readable");
    let limit = move |transaction: &mut Transaction<'_>| {
        let Sql::Sqlite(sql) = transaction.sql else {
            panic!("a file")
        };
        Ok(sql.pragma_update(None, "max_page_count", used + pages)?)
    };
    store
        .writer
        .begin(Lock::Exclusive, limit)
        .wait()
        .expect("limited");
}

/// Two thousand minutes, far more than five pages.
fn many() -> Vec<Observed> {
    let mut monitor = Monitor::new(MonitorSettings::default());
    (0..2000)
        .map(|minute| monitor.observe(counts(minute, &[(MonitoredStatus::Approved, 100)]), &[]))
        .collect()
}

fn advance() -> OffsetAdvance {
    let to = StoredOffset {
        last_offset: 1999,
        last_timestamp_ms: Some(1),
    };
    OffsetAdvance {
        cluster_id: "c".into(),
        topic: "t".into(),
        partition: 0,
        from: None,
        to,
    }
}

#[test]
fn a_full_disk_fails_the_whole_commit() {
    let (store, _folder) = open_file();
    room(&store, 5);
    let batch = Arc::new(IngestCommit {
        observed: many(),
        offsets: vec![advance()],
        ..IngestCommit::default()
    });
    let full = store.begin_ingest(&batch).wait();
    assert!(
        matches!(&full, Err(StoreError::Unavailable(reason)) if reason.contains("full")),
        "{full:?}"
    );
    assert!(store.write_error().is_some_and(|why| why.contains("full")));
    assert_eq!(store.count_streams().expect("readable"), 0);
    assert!(store.offsets("c", "t").expect("readable").is_empty());
    room(&store, 10_000);
    assert!(
        store.write_error().is_some(),
        "nothing was written meanwhile"
    );
    wait(store.check_write(1));
    assert_eq!(store.write_error(), None);
    store.begin_ingest(&batch).wait().expect("room now");
    assert_eq!(
        wait(store.summary("default", None, None)).minutes_observed,
        2000
    );
    assert_eq!(store.offsets("c", "t").expect("readable")[&0], advance().to);
}

#[test]
fn a_failed_job_fails_no_other() {
    let (store, _folder) = open();
    let moved = OffsetAdvance {
        from: Some(advance().to),
        ..advance()
    };
    let bad = Arc::new(IngestCommit {
        offsets: vec![moved],
        ..IngestCommit::default()
    });
    let good = |minute| {
        let observed =
            vec![Monitor::new(MonitorSettings::default()).observe(counts(minute, &[]), &[])];
        Arc::new(IngestCommit {
            observed,
            ..IngestCommit::default()
        })
    };
    // While the writer is busy, the other jobs queue up and share a commit.
    let (begun, busy) = mpsc::channel();
    let (done, until_done) = mpsc::channel();
    let slow = store.writer.begin(Lock::Exclusive, move |_| {
        begun.send(()).expect("waited for");
        until_done.recv().expect("signalled");
        Ok(())
    });
    busy.recv().expect("begun");
    let in_flight = [good(1), bad, good(2)].map(|commit| store.begin_ingest(&commit));
    done.send(()).expect("waited for");
    slow.wait().expect("done");
    let [first, bad, last] = in_flight.map(InFlightCommit::wait);
    first.expect("committed");
    assert!(matches!(bad, Err(StoreError::OffsetMoved { .. })));
    last.expect("committed");
    assert_eq!(
        wait(store.summary("default", None, None)).minutes_observed,
        2
    );
}

#[test]
fn a_commit_written_twice_leaves_one_delivery() {
    let (store, _folder) = open();
    fill(&store, 100);
    let mut monitor = Monitor::new(MonitorSettings::default());
    let again = (0..100).map(|minute| {
        let failed = if minute == 99 { 7 } else { 0 };
        let approved = 100 + u32::from(minute % 2 == 0 && minute < 99);
        monitor.observe(
            counts(
                minute,
                &[
                    (MonitoredStatus::Approved, approved),
                    (MonitoredStatus::Failed, failed),
                ],
            ),
            &[],
        )
    });
    commit(&store, again.collect(), 200 * MINUTE_MS);
    let alerts = wait(store.alerts(AlertFilter {
        limit: 10,
        ..AlertFilter::default()
    }));
    let [(_, alert)] = &alerts[..] else {
        panic!("one alert, not {alerts:?}")
    };
    assert_eq!(
        alert.recorded_at_ms,
        100 * MINUTE_MS,
        "as it was recorded first"
    );
    assert_eq!(wait(store.outbox()).pending, 1);
}
