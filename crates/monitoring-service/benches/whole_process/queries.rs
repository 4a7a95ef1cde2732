//! Latency of every GET route with 90 days stored, idle and while a backlog is consumed, and the ingest rate beside the queries.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    rc::Rc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context as _;
use detection::{Minute, MinuteCounts, Status, StatusCount};
use rdkafka::producer::Producer as _;

use super::{
    Args, ROWS_A_MESSAGE, Topic, now, produce, producer, quantile, rate, say,
    service::{Connection, Service},
    wait,
};

/// 90 days.
const MINUTES: u64 = 90 * 1440;

/// Messages of the backlog that is consumed while queries run.
const BACKLOG: u64 = 1_000_000;

/// One minute in this many has a rare status.
const RARE_INTERVAL: u64 = 20_000;

/// Limits of the measurement of one idle query: requests and time.
const MAX_REQUESTS: usize = 300;
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);

/// The class of a query: a page, as people and dashboards request it, or a scan of a long range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Page,
    Scan,
}

struct Query {
    class: Class,
    path: String,
}

pub(super) fn queries(args: &Args) -> anyhow::Result<()> {
    for streams in [1, 10] {
        of(args, streams)?;
    }
    Ok(())
}

fn of(args: &Args, streams: u64) -> anyhow::Result<()> {
    let topic = Topic::create(&args.brokers, 1)?;
    let producer = producer(&args.brokers, "5")?;
    let fill = |from: u64, to: u64| -> anyhow::Result<()> {
        for at in from..to {
            let counts = minute_counts(streams, at);
            produce(
                &producer,
                &topic,
                counts.stream().as_str(),
                &counts.to_json(),
            )?;
        }
        Ok(producer.flush(Duration::from_mins(1))?)
    };
    fill(0, MINUTES)?;
    let folder = Rc::new(tempfile::tempdir()?);
    let receiver = receiver()?;
    let start =
        |folder, more: &[(&str, &str)]| Service::start_on(folder, &args.brokers, &topic.name, more);
    let notifying = [("ALERT_WEBHOOK_URL", &*receiver), ("RETENTION", "36500d")];
    let mut service = start(Rc::clone(&folder), &notifying)?;
    service.until_ready()?;
    service.until_stored(MINUTES)?;
    say(&format!(
        "queries: 90 days, {} rows in {streams} stream(s); load {}",
        MINUTES * ROWS_A_MESSAGE,
        load()?
    ))?;
    let (queries, floor) = {
        let mut connection = Connection::open()?;
        until_delivered(&mut connection)?;
        let queries = list(&mut connection, streams)?;
        (queries, Floor(measured(&mut connection, "/health/live")?))
    };
    say(&format!(
        "  idle: GET /health/live p50 {:.2} ms, p99 {:.2} ms",
        floor.p(0.5),
        floor.p(0.99)
    ))?;
    for query in &queries {
        let latencies = measured(&mut Connection::open()?, &query.path)?;
        floor.say(query, &latencies)?;
    }
    say(&format!(
        "  peak resident memory {} MiB; load {}",
        service.peak_resident_mib()?,
        load()?
    ))?;
    drop(service);

    fill(MINUTES, MINUTES + BACKLOG)?;
    // No notifications of old minutes: the receiver must not affect the figures.
    let more = [
        ("ALERT_WEBHOOK_URL", &*receiver),
        ("RETENTION", "36500d"),
        ("PAGE_MAX_AGE", "30m"),
    ];
    let alone = {
        let copy = Rc::new(tempfile::tempdir()?);
        copy_files(folder.path(), copy.path())?;
        let mut service = start(copy, &more)?;
        service.until_ready()?;
        rate(
            BACKLOG * ROWS_A_MESSAGE,
            service.until_stored(MINUTES + BACKLOG)?,
        )
    };
    let mut service = start(Rc::clone(&folder), &more)?;
    service.until_ready()?;
    let stop = AtomicBool::new(false);
    let (consumed, wal_mib, latencies) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let client = |class| {
            let (queries, stop) = (&queries, &stop);
            scope.spawn(move || query_until(stop, queries, class))
        };
        let clients = [client(Class::Page), client(Class::Scan)];
        let consumed = until_stored(&mut service, MINUTES + BACKLOG);
        stop.store(true, Ordering::Relaxed);
        let mut latencies = BTreeMap::new();
        for client in clients {
            latencies.extend(client.join().expect("no panic")?);
        }
        let (consumed, wal_mib) = consumed?;
        Ok((consumed, wal_mib, latencies))
    })?;
    say(&format!(
        "  while a backlog is consumed, one client for pages and one for scans, without pauses; load {}",
        load()?
    ))?;
    for (at, query) in queries.iter().enumerate() {
        floor.say(query, latencies.get(&at).map_or(&[], Vec::as_slice))?;
    }
    let beside = rate(BACKLOG * ROWS_A_MESSAGE, consumed);
    say(&format!(
        "  backlog {alone:.0} rows/s alone, {beside:.0} beside the queries: {:.2}; write-ahead log at most {wal_mib} MiB; peak resident memory {} MiB",
        beside / alone,
        service.peak_resident_mib()?
    ))
}

/// Message `at` of all streams: a usual minute, sometimes with a rare status.
fn minute_counts(streams: u64, at: u64) -> MinuteCounts {
    let (stream, number) = (at % streams, at / streams);
    let counts = super::minute_counts(stream, streams, number);
    if number % RARE_INTERVAL != 7 {
        return counts;
    }
    let rare = StatusCount {
        status: Status::parse("chargeback").expect("valid"),
        count: 1,
    };
    let transactions = counts
        .transactions()
        .iter()
        .cloned()
        .chain([rare])
        .collect();
    MinuteCounts::try_new(counts.stream().clone(), counts.minute(), transactions).expect("valid")
}

/// A query of every GET route, with usual and with costly parameters.
fn list(connection: &mut Connection, streams: u64) -> anyhow::Result<Vec<Query>> {
    let stream = if streams == 1 {
        "default"
    } else {
        "acquirer-3"
    };
    let minutes = i64::try_from(MINUTES / streams)?;
    let first = Minute::from_epoch_minutes(28_000_000);
    let at = |days: i64| first.plus((days * 1440).min(minutes));
    let range = |from, to| format!("stream={stream}&from={}&to={}", at(from), at(to));
    let (all, days) = (range(0, 90), minutes / 1440);
    let range_before_yesterday = |length| range(days - 1 - length, days - 1);
    let (day, three) = (range_before_yesterday(1), range_before_yesterday(3));
    let month = range_before_yesterday(31);
    let minute = first.plus(minutes - 101);
    // A cursor on the last page but one: almost all rows are newer.
    let of_oldest = format!("/transactions?stream={stream}&to={}&limit=1", at(1));
    let oldest = cursor(connection, &of_oldest)?;
    let oldest_alerts = last_cursor(connection, "/alerts?limit=500")?;
    let alert = text(connection, "/alerts?limit=1", "/alerts/0/id")?;
    let pages = [
        format!("/transactions?stream={stream}"),
        format!("/transactions?stream={stream}&limit=500"),
        format!("/transactions?stream={stream}&cursor={oldest}"),
        format!("/transactions?stream={stream}&status=denied"),
        format!("/transactions?stream={stream}&status=chargeback"),
        format!("/transactions?stream={stream}&status=nowhere_seen"),
        format!("/transactions/recent?stream={stream}"),
        format!("/transactions/recent?stream={stream}&limit=500"),
        format!("/transactions/timeseries?{day}"),
        format!("/transactions/summary?{day}"),
        format!("/explain?stream={stream}&minute={minute}&status=denied"),
        "/alerts".into(),
        format!("/alerts?cursor={oldest_alerts}"),
        format!("/alerts?stream={stream}"),
        "/alerts?severity=WARNING".into(),
        "/alerts?status=failed".into(),
        "/alerts?origin=evaluate".into(),
        "/alerts?notified=false".into(),
        format!("/alerts/{alert}"),
        "/alerts/status".into(),
        format!("/alerts/status?stream={stream}"),
        "/streams".into(),
        "/deliveries".into(),
        "/deliveries?state=dead".into(),
        format!("/deliveries?stream={stream}"),
        "/silences".into(),
        "/dead-letters".into(),
        "/offset-gaps".into(),
        "/health".into(),
        "/health/ready".into(),
        "/metrics".into(),
    ];
    let scans = [
        format!("/transactions/summary?{all}"),
        format!("/transactions/status-distribution?{all}"),
        format!("/transactions/timeseries?{all}&step=1d"),
        format!("/transactions/timeseries?{all}&step=1h"),
        format!("/transactions/timeseries?{all}&step=1d&status=denied"),
        format!("/transactions/timeseries?{three}"),
        format!("/alerts/analyze?{three}"),
        format!("/alerts/analyze?{three}&warning=2"),
        format!("/alerts/analyze?{month}"),
        format!("/alerts/analyze?{month}&warning=2"),
        format!("/alerts/analyze?{month}&warning=0.01&critical=0.02"),
    ];
    let of_class = |class| move |path| Query { class, path };
    let pages = pages.into_iter().map(of_class(Class::Page));
    Ok(pages
        .chain(scans.into_iter().map(of_class(Class::Scan)))
        .collect())
}

fn json(connection: &mut Connection, path: &str) -> anyhow::Result<serde_json::Value> {
    let (status, body) = connection.get(path)?;
    anyhow::ensure!(status == 200, "{path}: {status}: {body}");
    Ok(serde_json::from_str(&body)?)
}

fn text(connection: &mut Connection, path: &str, pointer: &str) -> anyhow::Result<String> {
    let json = json(connection, path)?;
    Ok(json
        .pointer(pointer)
        .and_then(|value| value.as_str())
        .with_context(|| format!("{path}: no {pointer}"))?
        .to_owned())
}

fn cursor(connection: &mut Connection, path: &str) -> anyhow::Result<String> {
    text(connection, path, "/next_cursor")
}

/// The cursor of the last page.
fn last_cursor(connection: &mut Connection, path: &str) -> anyhow::Result<String> {
    let mut last = cursor(connection, path)?;
    while let Ok(next) = cursor(connection, &format!("{path}&cursor={last}")) {
        last = next;
    }
    Ok(last)
}

/// Sorted latencies of a path without other requests.
fn measured(connection: &mut Connection, path: &str) -> anyhow::Result<Vec<Duration>> {
    timed(connection, path)?;
    let (watch, mut latencies) = (now(), Vec::new());
    while latencies.len() < MAX_REQUESTS
        && (watch.elapsed() < QUERY_TIMEOUT || latencies.is_empty())
    {
        latencies.push(timed(connection, path)?);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

fn timed(connection: &mut Connection, path: &str) -> anyhow::Result<Duration> {
    let watch = now();
    let (status, body) = connection.get(path)?;
    anyhow::ensure!(status == 200, "{path}: {status}: {body}");
    Ok(watch.elapsed())
}

/// Sends the queries of a class in turn until the stop. Returns sorted latencies by index in the list.
fn query_until(
    stop: &AtomicBool,
    queries: &[Query],
    class: Class,
) -> anyhow::Result<BTreeMap<usize, Vec<Duration>>> {
    let (mut connection, mut latencies) = (Connection::open()?, BTreeMap::<_, Vec<_>>::new());
    let mine = queries
        .iter()
        .enumerate()
        .filter(|(_, query)| query.class == class);
    for (at, query) in mine.cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        latencies
            .entry(at)
            .or_default()
            .push(timed(&mut connection, &query.path).with_context(|| query.path.clone())?);
    }
    for latencies in latencies.values_mut() {
        latencies.sort_unstable();
    }
    Ok(latencies)
}

/// As [`Service::until_stored`], with the largest observed write-ahead log in MiB.
fn until_stored(service: &mut Service, messages: u64) -> anyhow::Result<(Duration, u64)> {
    let database = service.database()?;
    let wal = service.folder.path().join("bench.db-wal");
    let mut stored = database.prepare("SELECT coalesce(sum(last_offset + 1), 0) FROM offsets")?;
    let mut largest = 0;
    while stored.query_row([], |row| row.get::<_, u64>(0))? < messages {
        anyhow::ensure!(service.child.try_wait()?.is_none(), "the service has ended");
        largest = largest.max(wal.metadata().map_or(0, |file| file.len()));
        wait(Duration::from_millis(5));
    }
    Ok((service.started.elapsed(), largest >> 20))
}

fn until_delivered(connection: &mut Connection) -> anyhow::Result<()> {
    let watch = now();
    while json(connection, "/health")?.pointer("/parts/deliveries/pending") != Some(&0.into()) {
        anyhow::ensure!(
            watch.elapsed() < Duration::from_mins(1),
            "alerts are not delivered after a minute"
        );
        wait(Duration::from_millis(50));
    }
    Ok(())
}

/// Latencies of the cheapest route in the same run.
struct Floor(Vec<Duration>);

impl Floor {
    fn p(&self, q: f64) -> f64 {
        quantile(&self.0, q)
    }

    fn say(&self, query: &Query, latencies: &[Duration]) -> anyhow::Result<()> {
        if latencies.is_empty() {
            return say(&format!("  {}: no request finished", query.path));
        }
        let (p50, p99) = (quantile(latencies, 0.5), quantile(latencies, 0.99));
        let ratio = p50 / self.p(0.5);
        say(&format!(
            "  p50 {p50:8.2} ms, p99 {p99:8.2} ms, p50 {ratio:6.0} x the floor ({:>5} requests)  {}",
            latencies.len(),
            query.path
        ))
    }
}

/// A receiver that accepts every alert at once. Returns its address.
fn receiver() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}/", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                // An alert usually fits into one read; a longer one gets two answers and is sent again.
                while socket.read(&mut buffer).is_ok_and(|read| read > 0) {
                    if socket
                        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                        .is_err()
                    {
                        break;
                    }
                }
            });
        }
    });
    Ok(address)
}

fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The load average: other programs may use the machine.
pub(super) fn load() -> anyhow::Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg").context("this needs Linux")?;
    Ok(load.split(' ').take(3).collect::<Vec<_>>().join(" "))
}
