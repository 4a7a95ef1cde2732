//! Whole-process benchmarks against a real Kafka broker, measured from outside: ingest rate of a backlog, rate of submissions, time
//! from a message to disk, time to ready, query latency with 90 days stored, and the cost of listeners to the page's events. Figures are
//! medians. A rate depends mostly on the machine, so each is compared with a floor measured in the same run.
//!
//! `cargo bench -p monitoring-service --bench whole_process -- [--brokers localhost:9092] [backlog streams transactions evaluate live start queries listeners]`

mod listeners;
mod queries;
mod service;
mod transactions;

use std::{
    io::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Parser as _;
use detection::{
    Minute, MinuteCounts, Monitor, MonitorSettings, MonitoredStatus, Status, StatusCount,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    producer::{BaseProducer, BaseRecord, Producer as _},
    types::RDKafkaErrorCode,
};

use service::{Connection, Service};

const CONNECTIONS: usize = 16;
const ROWS_A_MESSAGE: u64 = 6;

/// Whole-process benchmarks of the monitoring service
#[derive(clap::Parser)]
struct Args {
    /// A real Kafka broker; the benchmark creates and deletes topics named bench-*
    #[arg(long, default_value = "localhost:9092")]
    brokers: String,

    /// Messages of the backlog, six rows each
    #[arg(long, default_value_t = 200_000)]
    messages: u64,

    /// Single transactions of the part `transactions`, at least
    #[arg(long, default_value_t = 3_000_000)]
    transactions: u64,

    /// Measurements of each part
    #[arg(long, default_value_t = 3)]
    runs: usize,

    /// The policy in shadow, as SHADOW_POLICY of the service
    #[arg(long, default_value = "")]
    shadow_policy: String,

    /// Parts to run
    #[arg(default_values = ["backlog", "streams", "evaluate", "live", "start"])]
    parts: Vec<String>,

    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    for part in &args.parts {
        match part.as_str() {
            "backlog" => backlog(&args, "one stream, one partition", 1, 1)?,
            "streams" => backlog(&args, "200 streams, 8 partitions", 200, 8)?,
            "evaluate" => evaluate(&args)?,
            "live" => live(&args)?,
            "start" => start(&args)?,
            "transactions" => transactions::transactions(&args)?,
            "queries" => queries::queries(&args)?,
            "listeners" => listeners::listeners(&args)?,
            other => bail!(
                "{other} is not a part; use backlog, streams, transactions, evaluate, live, start, queries or listeners"
            ),
        }
    }
    Ok(())
}

fn post(body: &str) -> Vec<u8> {
    let head = "POST /alerts/evaluate HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length:";
    format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Minute `number` of a stream: usual traffic, with an anomaly in every hundredth minute to include the cost of alerts.
fn minute_counts(stream: u64, streams: u64, number: u64) -> MinuteCounts {
    let noise = |mean: u64| {
        u32::try_from(
            mean + (number.wrapping_mul(6_364_136_223_846_793_005) >> 60) % (mean / 4 + 1),
        )
        .unwrap_or(0)
    };
    let counts = [
        (MonitoredStatus::Approved, 120),
        (
            MonitoredStatus::Denied,
            if number % 100 == 99 { 40 } else { 6 },
        ),
        (MonitoredStatus::Failed, 0),
        (MonitoredStatus::Reversed, 1),
        (MonitoredStatus::BackendReversed, 0),
    ];
    let mut transactions: Vec<_> = counts
        .iter()
        .map(|&(s, mean)| StatusCount {
            status: s.into(),
            count: noise(mean),
        })
        .collect();
    transactions.push(StatusCount {
        status: Status::parse("refunded").expect("valid"),
        count: noise(1),
    });
    let name = if streams == 1 {
        "default".to_owned()
    } else {
        format!("acquirer-{stream}")
    };
    let minute = Minute::from_epoch_minutes(28_000_000 + i64::try_from(number).unwrap_or(0));
    MinuteCounts::try_new(name.parse().expect("valid"), minute, transactions).expect("valid")
}

fn producer(brokers: &str, linger_ms: &str) -> anyhow::Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("linger.ms", linger_ms)
        .set("queue.buffering.max.messages", "1000000");
    Ok(config.create()?)
}

/// Sends a message; waits while the queue is full.
fn produce(
    producer: &BaseProducer,
    topic: &Topic,
    key: &str,
    payload: &[u8],
) -> anyhow::Result<()> {
    let mut record = BaseRecord::to(&topic.name).key(key).payload(payload);
    while let Err((error, back)) = producer.send(record) {
        anyhow::ensure!(
            error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull),
            error
        );
        record = back;
        producer.poll(Duration::from_millis(10));
    }
    Ok(())
}

/// A new topic. Deleted when dropped.
struct Topic {
    name: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

impl Topic {
    fn create(brokers: &str, partitions: i32) -> anyhow::Result<Self> {
        let name = format!("bench-{}-{partitions}-{:x}", std::process::id(), now_ms());
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .create()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let created = runtime.block_on(admin.create_topics(&[topic], &AdminOptions::new()));
        let created = created
            .context("cannot create a topic; check that the broker runs (--brokers)")?
            .into_iter()
            .next()
            .context("the broker did not answer")?;
        created.map_err(|(_, code)| anyhow::anyhow!("cannot create the topic: {code}"))?;
        Ok(Self {
            name,
            admin,
            runtime,
        })
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // If this fails, the topic remains; its name shows that the benchmark created it.
        drop(
            self.runtime.block_on(
                self.admin
                    .delete_topics(&[&self.name], &AdminOptions::new()),
            ),
        );
    }
}

/// Fills a topic, then times the service from its start until everything is stored. The floor is parsing and folding alone.
fn backlog(args: &Args, name: &str, streams: u64, partitions: i32) -> anyhow::Result<()> {
    let topic = Topic::create(&args.brokers, partitions)?;
    let producer = producer(&args.brokers, "5")?;
    let payloads: Vec<_> = (0..args.messages)
        .map(|at| minute_counts(at % streams, streams, at / streams))
        .map(|b| (b.stream().to_string(), b.to_json()))
        .collect();
    for (key, payload) in &payloads {
        produce(&producer, &topic, key, payload)?;
    }
    producer.flush(Duration::from_mins(1))?;
    let watch = now();
    let mut monitor = Monitor::new(MonitorSettings::default());
    let alerts: usize = payloads
        .iter()
        .map(|(_, p)| {
            MinuteCounts::from_json(p).map_or(0, |b| monitor.observe(b, &[]).alerts.len())
        })
        .sum();
    let fold = rate(args.messages * ROWS_A_MESSAGE, watch.elapsed());
    drop(payloads);
    let (mut rates, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        let mut service = Service::start(args, &topic.name)?;
        service.until_ready()?;
        rates.push(rate(
            args.messages * ROWS_A_MESSAGE,
            service.until_stored(args.messages)?,
        ));
        peaks.push(service.peak_resident_mib()?);
    }
    say(&format!(
        "backlog, {name}: {:.0} rows/s from process start to last commit (median of {}, {alerts} alerts)",
        median(&mut rates),
        args.runs
    ))?;
    say(&format!(
        "  parse and fold alone: {fold:.0} rows/s; the service reaches {:.2} of it",
        median(&mut rates) / fold
    ))?;
    say(&format!(
        "  peak resident memory {} MiB",
        peaks.iter().max().unwrap_or(&0)
    ))
}

/// Submissions over 16 connections, normal and anomalous. The floor is the cheapest route of the same server.
fn evaluate(args: &Args) -> anyhow::Result<()> {
    let topic = Topic::create(&args.brokers, 1)?;
    let producer = producer(&args.brokers, "0")?;
    for number in 0..120 {
        let payload = minute_counts(0, 1, number).to_json();
        producer
            .send(BaseRecord::<(), _>::to(&topic.name).payload(&payload))
            .map_err(|(error, _)| error)?;
    }
    producer.flush(Duration::from_secs(30))?;
    let mut service = Service::start(args, &topic.name)?;
    service.until_ready()?;
    service.until_stored(120)?;
    let floor = load(
        "GET /health/live",
        args.runs,
        b"GET /health/live HTTP/1.1\r\nhost: bench\r\n\r\n",
        None,
    )?;
    let usual = post(r#"{"status":"approved","count":121}"#);
    load(
        "POST /alerts/evaluate, NORMAL",
        args.runs,
        &usual,
        Some(floor),
    )?;
    let anomalous = post(r#"{"status":"failed","count":100}"#);
    load(
        "POST /alerts/evaluate, CRITICAL (recorded)",
        args.runs,
        &anomalous,
        Some(floor),
    )?;
    Ok(())
}

fn load(name: &str, runs: usize, request: &[u8], floor: Option<f64>) -> anyhow::Result<f64> {
    let mut rates = Vec::new();
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let stop = AtomicBool::new(false);
        let watch = now();
        let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
            let client = || -> anyhow::Result<Vec<Duration>> {
                let (mut connection, mut latencies) = (Connection::open()?, Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let watch = now();
                    let (status, body) = connection.send(request)?;
                    anyhow::ensure!(status == 200, "{status}: {body}");
                    latencies.push(watch.elapsed());
                }
                Ok(latencies)
            };
            let clients: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(client)).collect();
            wait(Duration::from_secs(3));
            stop.store(true, Ordering::Relaxed);
            let joined = clients
                .into_iter()
                .map(|client| client.join().expect("no panic"));
            joined
                .collect::<anyhow::Result<Vec<_>>>()
                .map(|all| all.concat())
        })?;
        rates.push(rate(latencies.len() as u64, watch.elapsed()));
        latencies.sort_unstable();
        p50.push(quantile(&latencies, 0.50));
        p99.push(quantile(&latencies, 0.99));
    }
    let rate = median(&mut rates);
    let ratio = floor.map_or_else(String::new, |floor| {
        format!(", {:.2} of GET /health/live", rate / floor)
    });
    say(&format!(
        "{name}: {rate:.0} requests/s at {CONNECTIONS} connections{ratio}; p50 {:.2} ms, p99 {:.2} ms (medians of {runs})",
        median(&mut p50),
        median(&mut p99)
    ))?;
    Ok(rate)
}

/// Time from producing a message to the commit that stores it, one message at a time.
fn live(args: &Args) -> anyhow::Result<()> {
    let topic = Topic::create(&args.brokers, 1)?;
    let producer = producer(&args.brokers, "0")?;
    let service = Service::start(args, &topic.name)?;
    service.until_ready()?;
    let database = service.database()?;
    let version = || database.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0));
    let mut latencies = Vec::new();
    for number in 0..600 {
        let (payload, before) = (minute_counts(0, 1, number).to_json(), version()?);
        let watch = now();
        producer
            .send(BaseRecord::<(), _>::to(&topic.name).payload(&payload))
            .map_err(|(error, _)| error)?;
        producer.poll(Duration::ZERO);
        while version()? == before {
            anyhow::ensure!(
                watch.elapsed() < Duration::from_secs(10),
                "message {number} is not stored after 10 s"
            );
            std::thread::yield_now();
        }
        latencies.push(watch.elapsed());
        wait(Duration::from_millis(5));
    }
    // The first messages include the cost of connections and of the topic's first segment.
    let mut latencies = latencies.split_off(100);
    latencies.sort_unstable();
    say(&format!(
        "live: produced -> on disk p50 {:.2} ms, p99 {:.2} ms ({} messages, one at a time)",
        quantile(&latencies, 0.50),
        quantile(&latencies, 0.99),
        latencies.len()
    ))
}

/// Time from the start of the process to its first 200 on /health/ready, with a new database.
fn start(args: &Args) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for _ in 0..10 {
        let service = Service::start(args, "bench-none")?;
        times.push(service.until_ready()?.as_secs_f64() * 1000.0);
    }
    say(&format!(
        "start: ready after {:.0} ms (median of 10)",
        median(&mut times)
    ))
}

/// Waits this long. A single park may end early.
fn wait(length: Duration) {
    let watch = now();
    while let Some(rest) = length
        .checked_sub(watch.elapsed())
        .filter(|rest| !rest.is_zero())
    {
        std::thread::park_timeout(rest);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Milliseconds.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index"
)]
fn quantile(sorted: &[Duration], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q) as usize].as_secs_f64() * 1000.0
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a new name for each run")]
fn now_ms() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis())
}

fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}
