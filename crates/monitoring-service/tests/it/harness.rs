//! A whole service on port 0 with a temporary database, and clients for tests.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use common::metrics::MetricsRegistry;
use embedded_kafka::EmbeddedKafka;
use monitoring_service::{
    alerts::Alert,
    app::App,
    clock::Clock,
    config::{Config, SecretUrl},
    store::{AlertFilter, PostgresUrl, Store},
};
use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::place;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

pub(crate) const TOPIC: &str = "transactions";

/// Time limit of one wait of a test.
const PATIENCE: Duration = Duration::from_mins(2);

/// A fixed clock for tests: 2026-01-01T00:00Z.
pub(crate) const NOW_MS: i64 = 1_767_225_600_000;

/// The settings of a test.
pub(crate) struct Setup {
    pub(crate) clock: Clock,
    pub(crate) webhook: Option<String>,
    pub(crate) change: fn(&mut Config),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            webhook: None,
            change: |_| {},
        }
    }
}

/// A running service.
pub(crate) struct TestApp {
    pub(crate) url: String,
    pub(crate) registry: MetricsRegistry,
    store: Store,
    stop: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
}

impl TestApp {
    /// Starts with the default settings.
    pub(crate) async fn with_defaults(broker: &EmbeddedKafka, folder: &TempDir) -> Self {
        Self::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await
    }

    /// Starts on the database in `folder`, with the broker at `brokers`.
    pub(crate) async fn start(brokers: &str, folder: &Path, setup: Setup) -> Self {
        until_free(folder).await;
        Self::start_beside(brokers, folder, setup).await
    }

    /// The same, while other instances may use the database.
    pub(crate) async fn start_beside(brokers: &str, folder: &Path, setup: Setup) -> Self {
        common::install_tls_provider();
        let mut config = Config {
            database_path: database(folder),
            database_url: address(folder),
            kafka_bootstrap_servers: brokers.to_owned(),
            // The sample is older than every limit.
            page_max_age: None,
            alert_webhook_url: setup
                .webhook
                .map(|url| SecretUrl::parse(&url).expect("an address")),
            ..Config::default()
        };
        (setup.change)(&mut config);
        let registry = MetricsRegistry::new();
        let app = App::open(config, setup.clock, registry.clone()).expect("a usable database");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (stop, store) = (CancellationToken::new(), app.store().clone());
        let mut running = JoinSet::new();
        running.spawn(app.run(listener, stop.clone()));
        Self {
            url,
            registry,
            store,
            stop,
            running,
        }
    }

    /// Stops as on SIGTERM, and returns the result of the service.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits until the service ends, and returns its result.
    pub(crate) async fn ended(mut self) -> anyhow::Result<()> {
        drop(self.store);
        let ended = tokio::time::timeout(PATIENCE, self.running.join_next())
            .await
            .expect("in time");
        ended.expect("running").expect("no panic")
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let client = client();
        let answer = client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .expect("an answer");
        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
    }

    pub(crate) async fn evaluate(&self, body: &str) -> Value {
        evaluate(&self.url, body).await
    }

    /// All alerts, oldest first.
    pub(crate) async fn alerts(&self) -> Vec<Alert> {
        let filter = AlertFilter {
            limit: 10_000,
            ..AlertFilter::default()
        };
        let newest_first = self.store.alerts(filter).await.expect("readable");
        newest_first
            .into_iter()
            .rev()
            .map(|(_, alert)| alert)
            .collect()
    }

    /// Messages consumed since the start: stored ones and dead letters.
    pub(crate) fn consumed(&self) -> u64 {
        ["stored", "dead_letter"]
            .iter()
            .map(|result| self.counted("monitoring_messages_consumed_total", &[("result", result)]))
            .sum()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count"
    )]
    pub(crate) fn counted(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        common::testing::value(&self.registry, name, labels) as u64
    }

    pub(crate) async fn until_consumed(&self, messages: u64) {
        until("the messages are consumed", async || {
            self.consumed() >= messages
        })
        .await;
        assert_eq!(self.consumed(), messages);
    }
}

/// Submits a count to the service at `url`.
pub(crate) async fn evaluate(url: &str, body: &str) -> Value {
    post(&format!("{url}/alerts/evaluate"), body).await
}

/// POSTs JSON.
pub(crate) async fn post(url: &str, body: &str) -> Value {
    let request = client()
        .post(url)
        .header("content-type", "application/json");
    let answer = request
        .body(body.to_owned())
        .send()
        .await
        .expect("an answer");
    serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
}

/// A receiver of alerts that answers with this status.
pub(crate) async fn receiver(status: u16) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(status))
        .mount(&server)
        .await;
    server
}

/// The alerts that were received.
pub(crate) async fn received(server: &MockServer) -> Vec<Value> {
    let requests = server.received_requests().await.expect("recorded");
    requests
        .iter()
        .map(|request| serde_json::from_slice(&request.body).expect("JSON"))
        .collect()
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(PATIENCE)
        .build()
        .expect("a client")
}

pub(crate) fn database(folder: &Path) -> PathBuf {
    folder.join("monitoring.db")
}

/// The address of the database in `folder`, if it is one of PostgreSQL.
pub(crate) fn address(folder: &Path) -> Option<PostgresUrl> {
    let url = place::address(&database(folder))?;
    Some(PostgresUrl::parse(&url).expect("an address"))
}

/// Waits until no instance leads: a session of PostgreSQL ends a moment after its connection.
async fn until_free(folder: &Path) {
    const HOLDERS: &str = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = hashtext(current_schema())::oid";
    let Some(url) = place::address(&database(folder)) else {
        return;
    };
    until("the database is free", async || {
        place::query(&url, HOLDERS).is_some_and(|holders| holders.is_empty())
    })
    .await;
}

/// The store of a service that has stopped.
pub(crate) async fn open_store(folder: &Path) -> (Store, impl Sized) {
    until_free(folder).await;
    match address(folder) {
        None => Store::open(&database(folder)).expect("no service has it"),
        Some(url) => Store::connect(url).expect("a server"),
    }
}

/// The variable of a program on the database in `folder`.
pub(crate) fn database_variable(folder: &Path) -> (&'static str, String) {
    let path = database(folder);
    match place::address(&path) {
        Some(url) => ("DATABASE_URL", url),
        None => ("DATABASE_PATH", path.display().to_string()),
    }
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

pub(crate) async fn broker() -> EmbeddedKafka {
    let broker = EmbeddedKafka::start().await.expect("a broker");
    broker.create_topic(TOPIC, 1).expect("a topic");
    broker
}

/// Polls until the condition is true.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let mut again = tokio::time::interval(Duration::from_millis(5));
    let asked = async {
        while !condition().await {
            again.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .unwrap_or_else(|_| panic!("waited too long until {what}"));
}

/// One message.
#[derive(Clone, Default)]
pub(crate) struct Message {
    pub(crate) key: String,
    pub(crate) payload: Option<Vec<u8>>,
    pub(crate) traceparent: Option<String>,
}

impl Message {
    pub(crate) fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self {
            key: "default".into(),
            payload: Some(payload.into()),
            traceparent: None,
        }
    }
}

/// Sends messages, in order, and waits until the broker has them.
pub(crate) fn send(broker: &EmbeddedKafka, messages: impl IntoIterator<Item = Message>) {
    send_with(&producer(broker), messages);
}

pub(crate) fn producer(broker: &EmbeddedKafka) -> BaseProducer {
    producer_to(&broker.bootstrap_servers())
}

pub(crate) fn producer_to(brokers: &str) -> BaseProducer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("message.max.bytes", "4000000");
    config.set("linger.ms", "0").create().expect("a producer")
}

pub(crate) fn send_with(producer: &BaseProducer, messages: impl IntoIterator<Item = Message>) {
    for message in messages {
        let mut record = BaseRecord::to(TOPIC).key(&message.key);
        if let Some(payload) = &message.payload {
            record = record.payload(payload);
        }
        if let Some(traceparent) = &message.traceparent {
            let header = Header {
                key: "traceparent",
                value: Some(traceparent),
            };
            record = record.headers(OwnedHeaders::new().insert(header));
        }
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("room in the queue");
    }
    producer.flush(PATIENCE).expect("acknowledged");
}

/// A minute of the default stream as JSON.
pub(crate) fn minute(timestamp: &str, counts: &[(&str, u32)]) -> Vec<u8> {
    let transactions: Vec<_> = counts
        .iter()
        .map(|(status, count)| serde_json::json!({ "status": status, "count": count }))
        .collect();
    serde_json::json!({ "timestamp": timestamp, "transactions": transactions })
        .to_string()
        .into_bytes()
}

/// The first `minutes` minutes of the sample file: one message each.
pub(crate) fn sample(minutes: usize) -> Vec<Message> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../sample_data/transactions.csv"
    );
    let text = std::fs::read_to_string(path).expect("the sample file");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect())
        .collect();
    let blocks: Vec<_> = rows.chunks(4320).collect();
    let message = |at: usize| {
        let counts: Vec<_> = blocks
            .iter()
            .map(|rows| (rows[at][1], rows[at][2].parse().expect("a count")))
            .collect();
        Message::new(minute(blocks[0][at][0], &counts))
    };
    (0..minutes).map(message).collect()
}

/// `minutes` usual minutes that end before `end_ms`, with approvals only.
pub(crate) fn usual(minutes: i64, end_ms: i64) -> Vec<Message> {
    let message = |back: i64| {
        let minute_start = detection::Minute::from_epoch_minutes(end_ms / 60_000 - back);
        Message::new(minute(
            &minute_start.to_string(),
            &[("approved", 100 + u32::try_from(back % 7).expect("small"))],
        ))
    };
    (1..=minutes).rev().map(message).collect()
}

/// The alerts without the fields that depend on the time of recording and the trace.
pub(crate) fn substance(alerts: &[Alert]) -> Vec<Alert> {
    let bare = |alert: &Alert| Alert {
        recorded_at_ms: 0,
        trace_id: None,
        span_id: None,
        ..alert.clone()
    };
    alerts.iter().map(bare).collect()
}

/// The real program on the database in this folder.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-service"));
    command
        .env_clear()
        .envs([database_variable(folder)])
        .env("HTTP_ADDR", "127.0.0.1:0");
    command
}

/// What a program printed.
pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
