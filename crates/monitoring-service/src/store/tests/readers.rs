//! Queries and commits at the same time: neither blocks the other, and the write-ahead log stays bounded.

use std::{
    pin::{Pin, pin},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use super::*;
use crate::store::{engine::Sql, wal::WalLimits};
use detection::PolicyName;

/// A query that runs until it is interrupted.
const ENDLESS_QUERY: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n, minute_counts";

fn endless(sql: Sql<'_>) -> Result<i64, StoreError> {
    Ok(sql
        .prepare_cached(ENDLESS_QUERY)?
        .query_row(params![], |row| row.get(0))?)
}

/// A query that takes some milliseconds.
const SLOW_QUERY: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000)
     SELECT max(i), (SELECT count(*) FROM minute_counts) FROM n";

fn commit_minute(store: &Store, monitor: &mut Monitor, minute: i64) -> Result<(), StoreError> {
    let observed = vec![monitor.observe(counts(minute, &[(MonitoredStatus::Approved, 100)]), &[])];
    store
        .begin_ingest(&Arc::new(IngestCommit {
            observed,
            now_ms: minute * MINUTE_MS,
            ..IngestCommit::default()
        }))
        .wait()
        .map(drop)
}

fn write_minute(store: &Store, monitor: &mut Monitor, minute: i64) {
    commit_minute(store, monitor, minute).expect("committed");
}

/// A store with these limits of the write-ahead log.
fn open_with(limits: WalLimits) -> (Store, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, writer) = Store::open(&folder.path().join("test.db")).expect("a new database");
    thread::spawn(move || writer.limiting_wal(limits).run());
    (store, folder)
}

fn wal_bytes(store: &Store) -> u64 {
    let mut path = path(store).as_os_str().to_owned();
    path.push("-wal");
    Path::new(&path).metadata().expect("there").len()
}

/// Polls a query once, so that it begins.
fn poll<F: Future>(query: Pin<&mut F>) -> Poll<F::Output> {
    query.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_block_no_commit_and_end_when_dropped() {
    let (store, _folder) = open();
    let (begun, has_begun) = mpsc::channel();
    let scan = || {
        let begun = begun.clone();
        store.scan(move |sql| {
            begun.send(()).expect("received");
            endless(sql)
        })
    };
    let mut scans: Vec<_> = (0..6).map(|_| Box::pin(scan())).collect();
    for scan in &mut scans {
        assert!(poll(scan.as_mut()).is_pending());
    }
    tokio::task::block_in_place(|| {
        has_begun.recv().expect("one");
        has_begun.recv().expect("two");
        let mut monitor = fill(&store, 100);
        write_minute(&store, &mut monitor, 100);
    });
    assert!(has_begun.try_recv().is_err(), "two at a time");
    assert_eq!(
        store
            .stream("default", PolicyName::ZScore)
            .await
            .expect("a page")
            .expect("there")
            .newest_minute
            .epoch_minutes(),
        100
    );
    // Running scans are interrupted when they are dropped; the others never begin.
    drop(scans);
    let found = store.scan(|sql| {
        let mut count = sql.prepare_cached("SELECT count(*) FROM streams")?;
        Ok(count.query_row(params![], |row| row.get::<_, i64>(0))?)
    });
    assert_eq!(found.await.expect("a free reader"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_grows_the_log_is_interrupted() {
    let (wait, retry) = (Duration::from_millis(1), Duration::ZERO);
    let limits = WalLimits {
        restart_bytes: 64 << 10,
        interrupt_bytes: 512 << 10,
        wait,
        retry,
    };
    let (store, _folder) = open_with(limits);
    let (begun, has_begun) = mpsc::channel();
    let mut query = pin!(store.read(move |sql| {
        sql.prepare_cached("SELECT count(*) FROM streams")?
            .query_row(params![], |_| Ok(()))?;
        begun.send(()).expect("received");
        endless(sql)
    }));
    assert!(poll(query.as_mut()).is_pending());
    let largest = tokio::task::block_in_place(|| {
        has_begun.recv().expect("its snapshot is taken");
        let mut monitor = Monitor::new(MonitorSettings::default());
        let write = |minute| {
            write_minute(&store, &mut monitor, minute);
            wal_bytes(&store)
        };
        (0..500).map(write).max().expect("some")
    });
    assert!(largest < 2 * limits.interrupt_bytes, "{largest}");
    assert!(
        wal_bytes(&store) < 2 * limits.restart_bytes,
        "it was emptied"
    );
    let Err(StoreError::Unavailable(why)) = query.await else {
        panic!("interrupted")
    };
    assert!(why.contains("interrupted"), "{why}");
}

#[test]
fn constant_queries_do_not_grow_the_log() {
    let (wait, retry) = (Duration::from_secs(1), Duration::ZERO);
    let limits = WalLimits {
        restart_bytes: 256 << 10,
        interrupt_bytes: 1 << 30,
        wait,
        retry,
    };
    let (store, _folder) = open_with(limits);
    let (mut monitor, stop) = (
        Monitor::new(MonitorSettings::default()),
        AtomicBool::new(false),
    );
    let largest = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    store
                        .read_blocking(|sql| {
                            let mut slow = sql.prepare_cached(SLOW_QUERY)?;
                            Ok(slow.query_row(params![], |_| Ok(()))?)
                        })
                        .expect("never interrupted");
                }
            });
        }
        let mut write = |largest: u64, minute| {
            commit_minute(&store, &mut monitor, minute)?;
            Ok::<_, StoreError>(largest.max(wal_bytes(&store)))
        };
        let largest = (0..400).try_fold(0, &mut write);
        stop.store(true, Ordering::Relaxed);
        largest
    });
    let largest = largest.expect("every commit succeeds");
    assert!(largest < 2 << 20, "{largest}");
}

#[test]
fn a_foreign_reader_only_lets_the_log_grow() {
    let (wait, retry) = (Duration::from_millis(1), Duration::ZERO);
    let limits = WalLimits {
        restart_bytes: 64 << 10,
        interrupt_bytes: 128 << 10,
        wait,
        retry,
    };
    let (store, _folder) = open_with(limits);
    let mut monitor = fill(&store, 100);
    let other = raw(&store);
    other
        .execute_batch("BEGIN; SELECT count(*) FROM minute_counts")
        .expect("its snapshot is taken");
    (100..300).for_each(|minute| write_minute(&store, &mut monitor, minute));
    assert!(
        wal_bytes(&store) > limits.interrupt_bytes,
        "it can only grow"
    );
    drop(other);
    (300..310).for_each(|minute| write_minute(&store, &mut monitor, minute));
    assert!(
        wal_bytes(&store) < 2 * limits.restart_bytes,
        "{}",
        wal_bytes(&store)
    );
}
