//! What only PostgreSQL has: several instances on one database, lost connections, and a server that is away. Without `TEST_DATABASE_URL`
//! there is none.

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
    DatabaseAddress, MINUTE_MS, MonitorSettings, MonitoredStatus, Store, StoreError, Writer,
    counts, place, wait,
};
use crate::store::{IngestCommit, OffsetAdvance, StoredOffset};
use detection::{Monitor, Stream};
use tempfile::TempDir;

/// The address of a schema of its own; none without a server.
fn schema() -> Option<(String, TempDir)> {
    let folder = tempfile::tempdir().expect("a folder");
    Some((place::address(&folder.path().join("test.db"))?, folder))
}

fn connect(url: &str) -> Result<(Store, Writer), StoreError> {
    match DatabaseAddress::parse(url).expect("an address") {
        DatabaseAddress::Postgres(url) => Store::connect(url),
        DatabaseAddress::File(_) => panic!("{url} is no server"),
    }
}

/// An instance whose writer runs.
fn instance(url: &str) -> Store {
    let (store, writer) = connect(url).expect("a usable database");
    thread::spawn(move || writer.run());
    store
}

/// A commit of the minute of this number, from the offset before it and this version of the stream.
fn minute(minute: i64, version: Option<i64>) -> IngestCommit {
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
    IngestCommit {
        observed: vec![monitor.observe(counts(minute, &[(MonitoredStatus::Denied, 5)]), &[])],
        versions: version
            .map(|of| (Stream::default(), of))
            .into_iter()
            .collect(),
        offsets: vec![advance],
        now_ms: minute * MINUTE_MS,
        ..IngestCommit::default()
    }
}

fn commit(store: &Store, commit: IngestCommit) -> Result<(), StoreError> {
    store.begin_ingest(&Arc::new(commit)).wait().map(drop)
}

/// Stores the minute of this number, from the offset before it.
fn write(store: &Store, number: i64) -> Result<(), StoreError> {
    commit(store, minute(number, None))
}

fn stored(store: &Store) -> u64 {
    wait(store.summary("default", None, None)).minutes_observed
}

/// Ends the session of the leader, as a server does with one that is silent.
fn end_leader(url: &str) {
    place::run(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = hashtext(current_schema())::oid",
    );
}

/// The store of the term of this instance, once it leads.
fn lead(store: &Store) -> Store {
    wait(async {
        loop {
            if let Some(leader) = store.as_leader() {
                return Ok(leader);
            }
            tokio::task::yield_now().await;
        }
    })
}

#[test]
fn a_commit_is_refused_from_an_offset_that_another_instance_moved() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let (one, other) = (instance(&url), instance(&url));
    write(&one, 0).expect("the first");
    let moved = write(&other, 0);
    assert!(
        matches!(moved, Err(StoreError::OffsetMoved { .. })),
        "{moved:?}"
    );
    write(&other, 1).expect("from the stored offset");
    let moved = write(&one, 1);
    assert!(
        matches!(moved, Err(StoreError::OffsetMoved { .. })),
        "{moved:?}"
    );
    assert_eq!(stored(&one), 2);
}

#[test]
fn of_two_commits_from_one_offset_one_is_stored() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let stores = [instance(&url), instance(&url)];
    write(&stores[0], 0).expect("the first");
    for number in 1..50 {
        let commits = stores
            .each_ref()
            .map(|store| store.begin_ingest(&Arc::new(minute(number, None))));
        let done = commits.map(|commit| commit.wait().is_ok());
        assert_ne!(done[0], done[1], "minute {number}");
    }
    assert_eq!(stored(&stores[0]), 50);
}

#[test]
fn a_stream_that_another_instance_changed_is_read_again() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let (one, other) = (instance(&url), instance(&url));
    let by_request = |number, version| IngestCommit {
        offsets: Vec::new(),
        ..minute(number, Some(version))
    };
    commit(&one, by_request(0, 0)).expect("a new stream");
    let settings = MonitorSettings::default();
    let (_, version) = other
        .stored_stream("default", &settings)
        .expect("readable")
        .expect("stored");
    assert_eq!(version, 1);
    commit(&other, by_request(1, version)).expect("as it is stored");
    let outdated = commit(&one, by_request(2, 1));
    assert!(
        matches!(&outdated, Err(StoreError::Outdated(what)) if what == "the stream default"),
        "{outdated:?}"
    );
    assert_eq!(stored(&one), 2, "nothing of it is stored");
    let now_ms = 9 * MINUTE_MS;
    let end = |_: &_| unreachable!("no incident is open");
    wait(one.retire_stream("default", settings, now_ms, end)).expect("retired");
    let outdated = commit(&other, by_request(2, 2));
    assert!(
        matches!(outdated, Err(StoreError::Outdated(_))),
        "{outdated:?}"
    );
}

#[test]
fn two_instances_create_one_stream() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let stores = [instance(&url), instance(&url)];
    for number in 0..20 {
        let name = format!("s{number}");
        let begun = stores.each_ref().map(|store| {
            let mut commit = minute(number, None);
            let named = format!("{{\"timestamp\":\"2026-01-01T00:0{}:00Z\",\"stream\":\"{name}\",\"transactions\":[]}}", number % 10);
            let read = detection::Mapping::default().minute(named.as_bytes()).expect("a minute");
            let mut monitor = Monitor::new(MonitorSettings::default());
            let stream = read.counts.stream().clone();
            commit.observed = vec![monitor.observe(read.counts, &[])];
            commit.versions = [(stream, 0)].into_iter().collect();
            commit.offsets.clear();
            store.begin_ingest(&Arc::new(commit))
        });
        let done = begun.map(|commit| commit.wait().is_ok());
        assert_ne!(done[0], done[1], "{name}");
    }
}

#[test]
fn one_instance_leads_and_another_takes_over() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let (one, other) = (instance(&url), instance(&url));
    let leader = lead(&one);
    assert!(other.as_leader().is_none());
    wait(leader.settle_deliveries(Vec::new(), Vec::new()));
    drop((one, leader));
    let leader = lead(&other);
    wait(leader.settle_deliveries(Vec::new(), Vec::new()));
}

#[test]
fn a_leader_that_was_replaced_writes_nothing_as_one() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let one = instance(&url);
    let before = lead(&one);
    // It leads while the first one cannot: that one finds out with its next statement.
    let (other, writer) = loop {
        end_leader(&url);
        let (other, writer) = connect(&url).expect("opened");
        if other.as_leader().is_some() {
            break (other, writer);
        }
    };
    thread::spawn(move || writer.run());
    wait(lead(&other).settle_deliveries(Vec::new(), Vec::new()));
    let refused = |store: &Store| {
        let settled = store.settle_deliveries(Vec::new(), Vec::new());
        wait(async { Ok(settled.await) })
    };
    let error = loop {
        match refused(&before) {
            Err(StoreError::Unavailable(_)) => {}
            ended => break ended,
        }
    };
    assert!(matches!(error, Err(StoreError::NotLeader)), "{error:?}");
    write(&one, 0).expect("its own partitions go on");
    drop(other);
    let again = lead(&one);
    wait(again.settle_deliveries(Vec::new(), Vec::new()));
    assert!(
        matches!(refused(&before), Err(StoreError::NotLeader)),
        "another one led meanwhile"
    );
}

#[test]
fn a_lost_connection_is_made_again_and_the_term_goes_on() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let store = instance(&url);
    let leader = lead(&store);
    write(&store, 0).expect("committed");
    end_leader(&url);
    // The first attempt may find out that the connection is lost.
    while let Err(error) = write(&store, 1) {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
    assert_eq!(store.write_error(), None);
    assert_eq!(stored(&store), 2);
    lead(&store);
    wait(leader.settle_deliveries(Vec::new(), Vec::new()));
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
    let store = instance(&url.replace(server, &cable.address));
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
    drop(connect(&url).expect("opened"));
    place::run(&url, "UPDATE database_state SET version = 999");
    let refused = connect(&url).map(|_| ());
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("has schema 999"), "{refused}");
}

#[test]
fn minutes_are_written_with_the_types_of_their_columns() {
    let Some((url, _folder)) = schema() else {
        return;
    };
    let _opened = connect(&url).expect("opened");
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
