//! What only PostgreSQL has: instances that stand by, lost connections, and a server that is away. Without `TEST_DATABASE_URL` there is none.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use super::{
    Candidate, MINUTE_MS, MonitorSettings, MonitoredStatus, Store, StoreError, Writer, counts,
    place, take_over, wait,
};
use crate::store::{IngestCommit, OffsetAdvance, PostgresUrl, StoredOffset};
use detection::Monitor;
use tempfile::TempDir;

/// The address of a schema of its own; none without a server.
fn schema() -> Option<(String, TempDir)> {
    let folder = tempfile::tempdir().expect("a folder");
    Some((place::address(&folder.path().join("test.db"))?, folder))
}

fn candidate(url: &str) -> Box<Candidate> {
    let url = PostgresUrl::parse(url).expect("an address");
    Candidate::new(url).expect("a candidate")
}

/// Stores the minute of this number, from the offset before it.
fn write(store: &Store, minute: i64) -> Result<(), StoreError> {
    let at = |last_offset| StoredOffset {
        last_offset,
        last_timestamp_ms: None,
    };
    let advance = OffsetAdvance {
        cluster_id: "c".into(),
        topic: "t".into(),
        partition: 0,
        from: (minute > 0).then(|| at(minute - 1)),
        to: at(minute),
    };
    let mut monitor = Monitor::new(MonitorSettings::default());
    let commit = IngestCommit {
        observed: vec![monitor.observe(counts(minute, &[(MonitoredStatus::Denied, 5)]), &[])],
        offsets: vec![advance],
        now_ms: minute * MINUTE_MS,
        ..IngestCommit::default()
    };
    store.begin_ingest(&Arc::new(commit)).wait().map(drop)
}

fn stored(store: &Store) -> u64 {
    wait(store.summary("default", None, None)).minutes_observed
}

/// Ends the sessions that hold the lock of the schema, as a server does with one that is silent.
fn end_writer(url: &str) {
    place::run(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = hashtext(current_schema())::oid",
    );
}

fn run(writer: Writer) -> thread::JoinHandle<Result<(), StoreError>> {
    thread::spawn(move || writer.run())
}

#[test]
fn a_second_instance_stands_by_and_takes_over() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let (first, writer) = candidate(&url).try_open().expect("the first");
    let running = run(writer);
    write(&first, 0).expect("committed");
    let mut second = candidate(&url);
    for _ in 0..2 {
        let Err(StoreError::Unavailable(reason)) = second.try_open() else {
            panic!("it stands by")
        };
        assert!(reason.contains("this one stands by"), "{reason}");
    }
    drop(first);
    running.join().expect("no panic").expect("a clean end");
    let (second, writer) = take_over(&mut second).expect("opened");
    run(writer);
    write(&second, 1).expect("committed");
    assert_eq!(stored(&second), 2);
}

#[test]
fn a_lost_connection_is_made_again() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let (store, writer) = candidate(&url).try_open().expect("opened");
    run(writer);
    write(&store, 0).expect("committed");
    end_writer(&url);
    // The first attempt may find out that the connection is lost.
    while let Err(error) = write(&store, 1) {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
    assert_eq!(store.write_error(), None);
    assert_eq!(stored(&store), 2);
}

#[test]
fn an_instance_that_was_replaced_commits_nothing_and_ends() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let (first, writer) = candidate(&url).try_open().expect("the first");
    let running = run(writer);
    write(&first, 0).expect("committed");
    let mut second = candidate(&url);
    end_writer(&url);
    let (second, writer) = take_over(&mut second).expect("opened");
    run(writer);
    write(&second, 1).expect("committed");
    loop {
        match write(&first, 1) {
            // Its connection is not known to be lost yet.
            Err(StoreError::Unavailable(_)) => {}
            Err(StoreError::Broken(reason)) => {
                assert!(reason.contains("has taken over this database"), "{reason}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    let ended = running.join().expect("no panic").expect_err("it ends");
    assert!(ended.to_string().contains("has taken over"), "{ended}");
    assert_eq!(stored(&second), 2);
}

#[test]
fn a_commit_from_another_offset_is_refused_after_a_takeover() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let (first, writer) = candidate(&url).try_open().expect("the first");
    run(writer);
    write(&first, 0).expect("committed");
    write(&first, 1).expect("committed");
    let moved = write(&first, 1);
    assert!(
        matches!(moved, Err(StoreError::OffsetMoved { .. })),
        "{moved:?}"
    );
}

/// Stands between the service and its server, and can be cut.
struct Cable {
    address: String,
    is_cut: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let (is_cut, streams) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let cable = Self {
            address,
            is_cut,
            streams,
        };
        let (server, is_cut) = (server.to_owned(), Arc::clone(&cable.is_cut));
        let streams: Arc<Mutex<Vec<TcpStream>>> = Arc::clone(&cable.streams);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let server = TcpStream::connect(&server).expect("a server");
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let both = (from.try_clone(), to.try_clone());
                    let (from, to) = (both.0.expect("cloned"), both.1.expect("cloned"));
                    thread::spawn(move || copy(from, to));
                }
                streams
                    .lock()
                    .expect("not poisoned")
                    .extend([client, server]);
            }
        });
        cable
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        for stream in self.streams.lock().expect("not poisoned").drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    fn mend(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(1..) = from
        .read(&mut bytes)
        .map(|read| to.write_all(&bytes[..read]).map_or(0, |()| read))
    {}
    drop(to.shutdown(Shutdown::Both));
}

#[test]
fn a_server_that_is_away_costs_no_minute() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let (_, server) = url.split_once('@').expect("a user");
    let (server, _) = server.split_once('/').expect("a database");
    let cable = Cable::to(server);
    let (store, writer) = candidate(&url.replace(server, &cable.address))
        .try_open()
        .expect("opened");
    run(writer);
    write(&store, 0).expect("committed");
    assert_eq!(stored(&store), 1);
    cable.cut();
    let away = write(&store, 1);
    assert!(
        matches!(&away, Err(StoreError::Unavailable(reason)) if reason.contains("PostgreSQL")),
        "{away:?}"
    );
    assert!(
        store
            .write_error()
            .is_some_and(|why| why.contains("PostgreSQL"))
    );
    let read = store.offsets("c", "t");
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    cable.mend();
    while let Err(error) = write(&store, 1) {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
    assert_eq!(stored(&store), 2);
    assert_eq!(store.write_error(), None);
}

#[test]
fn another_version_is_refused() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let (store, writer) = candidate(&url).try_open().expect("opened");
    drop((store, writer));
    place::run(&url, "UPDATE database_state SET version = 999");
    let refused = take_over(&mut candidate(&url)).map(|_| ());
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("has schema 999"), "{refused}");
}

#[test]
fn minutes_are_written_with_the_types_of_their_columns() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let _opened = candidate(&url).try_open().expect("opened");
    let reals =
        "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema()
        AND table_name = 'minute_counts' AND data_type = 'double precision'";
    let reals = place::query(&url, reals).expect("columns");
    let reals: Vec<_> = reals
        .into_iter()
        .map(|row| row[0].clone().expect("a name"))
        .collect();
    let columns = super::super::findings::COLUMNS.split(", ");
    for (column, is_real) in columns.zip(super::super::findings::IS_REAL) {
        assert_eq!(reals.iter().any(|real| real == column), is_real, "{column}");
    }
}
