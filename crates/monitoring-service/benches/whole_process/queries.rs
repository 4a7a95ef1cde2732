//! What every GET route costs with 90 days stored, idle and while a backlog is consumed, and what the backlog pays for that.

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
    Args, Connection, ROWS_A_MESSAGE, Service, Topic, now, produce, producer, quantile, rate, say,
    wait,
};

/// 90 days.
const MINUTES: u64 = 90 * 1440;

/// Messages of the backlog that is consumed while queries run.
const FLOOD: u64 = 1_000_000;

/// A status of one minute in this many.
const RARE: u64 = 20_000;

/// Tries of each query while nothing else runs: at most so many, and for so long.
const TRIES: usize = 300;
const PATIENCE: Duration = Duration::from_secs(3);

/// What a query is: a page as a person or a dashboard asks for it, or a long look back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Page,
    Long,
}

struct Query {
    name: &'static str,
    kind: Kind,
    path: String,
}

pub(super) fn queries(args: &Args) -> anyhow::Result<()> {
    for streams in [1, 10] {
        of(args, streams)?;
    }
    Ok(())
}

fn of(args: &Args, streams: u64) -> anyhow::Result<()> {
    let topic = Topic::make(&args.brokers, 1)?;
    let producer = producer(&args.brokers, "5")?;
    let fill = |from: u64, to: u64| -> anyhow::Result<()> {
        for at in from..to {
            let batch = batch(streams, at);
            produce(&producer, &topic, batch.stream().as_str(), &batch.to_json())?;
        }
        Ok(producer.flush(Duration::from_mins(1))?)
    };
    fill(0, MINUTES)?;
    let folder = Rc::new(tempfile::tempdir()?);
    let receiver = receiver()?;
    let start =
        |folder, more: &[(&str, &str)]| Service::start_on(folder, &args.brokers, &topic.name, more);
    let paged = [("ALERT_WEBHOOK_URL", &*receiver), ("RETENTION", "36500d")];
    let mut service = start(Rc::clone(&folder), &paged)?;
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

    fill(MINUTES, MINUTES + FLOOD)?;
    // What was found in the past is not paged: the receiver is not what is measured.
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
            FLOOD * ROWS_A_MESSAGE,
            service.until_stored(MINUTES + FLOOD)?,
        )
    };
    let mut service = start(Rc::clone(&folder), &more)?;
    service.until_ready()?;
    let stop = AtomicBool::new(false);
    let (consumed, wal_mib, latencies) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let asked = |kind| {
            let (queries, stop) = (&queries, &stop);
            scope.spawn(move || asked_until(stop, queries, kind))
        };
        let asked = [asked(Kind::Page), asked(Kind::Long)];
        let consumed = until_stored(&mut service, MINUTES + FLOOD);
        stop.store(true, Ordering::Relaxed);
        let mut latencies = BTreeMap::new();
        for asked in asked {
            latencies.extend(asked.join().expect("no panic")?);
        }
        let (consumed, wal_mib) = consumed?;
        Ok((consumed, wal_mib, latencies))
    })?;
    say(&format!(
        "  while a backlog is consumed, by two clients that ask again at once, pages and long looks; load {}",
        load()?
    ))?;
    for (at, query) in queries.iter().enumerate() {
        floor.say(query, latencies.get(&at).map_or(&[], Vec::as_slice))?;
    }
    let beside = rate(FLOOD * ROWS_A_MESSAGE, consumed);
    say(&format!(
        "  backlog {alone:.0} rows/s alone, {beside:.0} beside the queries: {:.2}; write-ahead log at most {wal_mib} MiB; peak resident memory {} MiB",
        beside / alone,
        service.peak_resident_mib()?
    ))
}

/// Message `at` of all: an ordinary minute of its stream, some with a status that is rare.
fn batch(streams: u64, at: u64) -> MinuteCounts {
    let (stream, number) = (at % streams, at / streams);
    let batch = super::batch(stream, streams, number);
    if number % RARE != 7 {
        return batch;
    }
    let rare = StatusCount {
        status: Status::parse("chargeback").expect("valid"),
        count: 1,
    };
    let transactions = batch.transactions().iter().cloned().chain([rare]).collect();
    MinuteCounts::try_new(batch.stream().clone(), batch.minute(), transactions).expect("valid")
}

/// Every GET route as it is asked in earnest.
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
    let whole = range(0, 90);
    let days = minutes / 1440;
    let (three, month) = (range(days - 4, days - 1), range(days - 32, days - 1));
    // The last page but one: everything newer is behind the cursor.
    let deep = cursor(
        connection,
        &format!("/transactions?stream={stream}&to={}&limit=1", at(1)),
    )?;
    let alert = text(connection, "/alerts?limit=1", "/alerts/0/id")?;
    let old_alerts = last_cursor(connection, "/alerts?limit=500")?;
    let minute = first.plus(minutes - 101);
    let page = |name, path: String| Query {
        name,
        kind: Kind::Page,
        path,
    };
    let long = |name, path: String| Query {
        name,
        kind: Kind::Long,
        path,
    };
    Ok(vec![
        page(
            "transactions, default page",
            format!("/transactions?stream={stream}"),
        ),
        page(
            "transactions, 500 rows",
            format!("/transactions?stream={stream}&limit=500"),
        ),
        page(
            "transactions, deep cursor",
            format!("/transactions?stream={stream}&cursor={deep}"),
        ),
        page(
            "transactions, one status",
            format!("/transactions?stream={stream}&status=denied"),
        ),
        page(
            "transactions, rare status",
            format!("/transactions?stream={stream}&status=chargeback"),
        ),
        page(
            "transactions, unknown status",
            format!("/transactions?stream={stream}&status=nowhere_seen"),
        ),
        page(
            "transactions/recent",
            format!("/transactions/recent?stream={stream}"),
        ),
        page(
            "transactions/recent, 500 minutes",
            format!("/transactions/recent?stream={stream}&limit=500"),
        ),
        page(
            "transactions/timeseries, a day by the minute",
            format!("/transactions/timeseries?{}", range(days - 2, days - 1)),
        ),
        page(
            "transactions/summary, a day",
            format!("/transactions/summary?{}", range(days - 2, days - 1)),
        ),
        page(
            "explain",
            format!("/explain?stream={stream}&minute={minute}&status=denied"),
        ),
        page("alerts", "/alerts".into()),
        page(
            "alerts, deep cursor",
            format!("/alerts?cursor={old_alerts}"),
        ),
        page("alerts, one stream", format!("/alerts?stream={stream}")),
        page(
            "alerts, severity none has",
            "/alerts?severity=WARNING".into(),
        ),
        page("alerts, status none has", "/alerts?status=failed".into()),
        page("alerts, origin none has", "/alerts?origin=evaluate".into()),
        page("alerts, suppressed ones", "/alerts?notified=false".into()),
        page("alerts/{id}", format!("/alerts/{alert}")),
        page("alerts/status", "/alerts/status".into()),
        page(
            "alerts/status, one stream",
            format!("/alerts/status?stream={stream}"),
        ),
        page("streams", "/streams".into()),
        page("deliveries", "/deliveries".into()),
        page("deliveries, dead ones", "/deliveries?state=dead".into()),
        page(
            "deliveries, one stream",
            format!("/deliveries?stream={stream}"),
        ),
        page("silences", "/silences".into()),
        page("dead-letters", "/dead-letters".into()),
        page("gaps", "/gaps".into()),
        page("health", "/health".into()),
        page("health/ready", "/health/ready".into()),
        page("metrics", "/metrics".into()),
        long(
            "transactions/summary, all",
            format!("/transactions/summary?{whole}"),
        ),
        long(
            "transactions/status-distribution, all",
            format!("/transactions/status-distribution?{whole}"),
        ),
        long(
            "transactions/timeseries, all by the day",
            format!("/transactions/timeseries?{whole}&step=1d"),
        ),
        long(
            "transactions/timeseries, all by the hour",
            format!("/transactions/timeseries?{whole}&step=1h"),
        ),
        long(
            "transactions/timeseries, all of one status by the day",
            format!("/transactions/timeseries?{whole}&step=1d&status=denied"),
        ),
        long(
            "transactions/timeseries, 3 days by the minute",
            format!("/transactions/timeseries?{three}"),
        ),
        long("alerts/analyze, 3 days", format!("/alerts/analyze?{three}")),
        long(
            "alerts/analyze, 3 days recomputed",
            format!("/alerts/analyze?{three}&warning=2"),
        ),
        long(
            "alerts/analyze, 31 days",
            format!("/alerts/analyze?{month}"),
        ),
        long(
            "alerts/analyze, 31 days recomputed",
            format!("/alerts/analyze?{month}&warning=2"),
        ),
        long(
            "alerts/analyze, 31 days, all of it alerts",
            format!("/alerts/analyze?{month}&warning=0.01&critical=0.02"),
        ),
    ])
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

/// Sorted latencies of a path while nothing else is asked for.
fn measured(connection: &mut Connection, path: &str) -> anyhow::Result<Vec<Duration>> {
    timed(connection, path)?;
    let (watch, mut latencies) = (now(), Vec::new());
    while latencies.len() < TRIES && (watch.elapsed() < PATIENCE || latencies.is_empty()) {
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

/// Asks the queries of a kind in turn until told to stop; gives sorted latencies by place in the list.
fn asked_until(
    stop: &AtomicBool,
    queries: &[Query],
    kind: Kind,
) -> anyhow::Result<BTreeMap<usize, Vec<Duration>>> {
    let (mut connection, mut latencies) = (Connection::open()?, BTreeMap::<_, Vec<_>>::new());
    let mine = queries
        .iter()
        .enumerate()
        .filter(|(_, query)| query.kind == kind);
    for (at, query) in mine.cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        latencies
            .entry(at)
            .or_default()
            .push(timed(&mut connection, &query.path).context(query.name)?);
    }
    for latencies in latencies.values_mut() {
        latencies.sort_unstable();
    }
    Ok(latencies)
}

/// As [`Service::until_stored`], with the largest write-ahead log that was seen, in MiB.
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

/// What the cheapest route takes in the same run.
struct Floor(Vec<Duration>);

impl Floor {
    fn p(&self, q: f64) -> f64 {
        quantile(&self.0, q)
    }

    fn say(&self, query: &Query, latencies: &[Duration]) -> anyhow::Result<()> {
        if latencies.is_empty() {
            return say(&format!("  {:>52}: never asked", query.name));
        }
        let (p50, p99) = (quantile(latencies, 0.5), quantile(latencies, 0.99));
        let ratio = p50 / self.p(0.5);
        say(&format!(
            "  {:>52}: p50 {p50:8.2} ms, p99 {p99:8.2} ms, p50 {ratio:6.0} x the floor ({})",
            query.name,
            latencies.len()
        ))
    }
}

/// A receiver of alerts that takes each at once; gives its address.
fn receiver() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}/", listener.local_addr()?);
    std::thread::spawn(move || {
        for mut socket in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                // An alert fits into one read; one that does not is answered twice, and then tried again.
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

/// How busy the machine is: others may be at work on it.
fn load() -> anyhow::Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg").context("this needs Linux")?;
    Ok(load.split(' ').take(3).collect::<Vec<_>>().join(" "))
}
