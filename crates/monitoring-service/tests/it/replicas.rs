//! Two instances on one PostgreSQL database: they share the partitions, each answers every request, and one takes over from the other. Without
//! `TEST_DATABASE_URL` there is none. The broker is librdkafka's own, since the embedded one has groups of one member.

use std::path::Path;

use detection::Minute;
use monitoring_service::config::Config;
use rdkafka::mocking::MockCluster;
use serde_json::{Value, json};

use crate::{
    harness::{
        Message, Setup, TOPIC, TestApp, client, folder, producer_to, sample, send_with, until,
    },
    place, sql,
};

const STREAMS: [&str; 4] = ["one", "two", "three", "four"];
const MINUTES: usize = 300;
const ROWS: &str =
    "SELECT count(*) FROM (SELECT DISTINCT stream_id, minute FROM minute_counts) AS minutes";

/// The sample of one stream: its name is the key.
fn of_stream(stream: &str, minutes: usize) -> Vec<Message> {
    let with_stream = |mut message: Message| {
        let payload = message.payload.take().expect("a payload");
        let mut minute: Value = serde_json::from_slice(&payload).expect("JSON");
        minute["stream"] = json!(stream);
        Message {
            key: stream.to_owned(),
            payload: Some(minute.to_string().into_bytes()),
            ..message
        }
    };
    sample(minutes).into_iter().map(with_stream).collect()
}

async fn start(brokers: &str, folder: &Path) -> TestApp {
    TestApp::start_beside(brokers, folder, Setup::default()).await
}

async fn partitions(app: &TestApp) -> u64 {
    let health = app.get("/health").await;
    health["parts"]["kafka"]["partitions"]
        .as_u64()
        .unwrap_or_default()
}

/// What was found: the ids of alerts and incidents.
async fn found(app: &TestApp) -> (Vec<String>, Vec<String>) {
    let ids = |mut list: Value, name: &str| {
        let list = list[name].take();
        let id = |entry: &Value| entry["id"].as_str().expect("an id").to_owned();
        let mut ids: Vec<_> = list.as_array().expect("a list").iter().map(id).collect();
        ids.sort_unstable();
        ids
    };
    let alerts = app.get("/alerts?limit=500").await;
    let incidents = app.get("/incidents?limit=500").await;
    (ids(alerts, "alerts"), ids(incidents, "incidents"))
}

/// What one instance finds.
async fn alone() -> (Vec<String>, Vec<String>) {
    let (broker, folder) = (MockCluster::new(1).expect("a broker"), folder());
    broker.create_topic(TOPIC, 4, 1).expect("created");
    let producer = producer_to(&broker.bootstrap_servers());
    for stream in STREAMS {
        send_with(&producer, of_stream(stream, MINUTES));
    }
    let app = start(&broker.bootstrap_servers(), folder.path()).await;
    until("all is stored", async || {
        sql::count(folder.path(), ROWS) == MINUTES * STREAMS.len()
    })
    .await;
    let found = found(&app).await;
    app.stop().await.expect("a clean stop");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_share_the_partitions() {
    if place::server().is_none() {
        return;
    }
    let (broker, folder) = (MockCluster::new(1).expect("a broker"), folder());
    broker.create_topic(TOPIC, 4, 1).expect("created");
    let brokers = broker.bootstrap_servers();
    let producer = producer_to(&brokers);
    let halves = STREAMS.map(|stream| {
        let mut first = of_stream(stream, MINUTES);
        let second = first.split_off(MINUTES / 2);
        (first, second)
    });
    let (first, second) = (
        start(&brokers, folder.path()).await,
        start(&brokers, folder.path()).await,
    );
    until("each has partitions", async || {
        let held = [partitions(&first).await, partitions(&second).await];
        held.iter().sum::<u64>() == 4 && held.iter().all(|held| *held > 0)
    })
    .await;
    for (first, _) in &halves {
        send_with(&producer, first.clone());
    }
    until("the first half is stored", async || {
        sql::count(folder.path(), ROWS) == MINUTES / 2 * STREAMS.len()
    })
    .await;
    first.stop().await.expect("a clean stop");
    for (_, second) in halves {
        send_with(&producer, second);
    }
    until("the other one has stored the rest", async || {
        sql::count(folder.path(), ROWS) == MINUTES * STREAMS.len()
    })
    .await;
    let shared = found(&second).await;
    second.stop().await.expect("a clean stop");
    let expected = alone().await;
    assert!(!expected.1.is_empty(), "an incident");
    assert_eq!(shared, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_two_instances_are_one_fold() {
    if place::server().is_none() {
        return;
    }
    let without_kafka = || Setup {
        change: |config: &mut Config| config.kafka_bootstrap_servers = "none".to_owned(),
        ..Setup::default()
    };
    let (both, single) = (folder(), folder());
    let first = TestApp::start_beside("none", both.path(), without_kafka()).await;
    let second = TestApp::start_beside("none", both.path(), without_kafka()).await;
    let only = TestApp::start_beside("none", single.path(), without_kafka()).await;
    let client = client();
    let post = async |app: &TestApp, body: String| {
        let request = client.post(format!("{}/transactions", app.url)).body(body);
        let request = request.header("content-type", "application/json");
        request.send().await.expect("an answer").status().as_u16()
    };
    let list = |messages: &[Message]| {
        let payload = |message: &Message| {
            let payload = message.payload.clone().expect("a payload");
            String::from_utf8(payload).expect("text")
        };
        let payloads: Vec<_> = messages.iter().map(payload).collect();
        format!("[{}]", payloads.join(","))
    };
    let minutes = of_stream("posted", MINUTES);
    for (number, minutes) in minutes.chunks(5).enumerate() {
        let app = if number % 3 == 0 { &first } else { &second };
        assert_eq!(post(app, list(minutes)).await, 200, "minutes {number}");
        assert_eq!(post(&only, list(minutes)).await, 200, "minutes {number}");
    }
    let expected = found(&only).await;
    assert!(!expected.1.is_empty(), "an incident");
    assert_eq!(found(&first).await, expected);
    assert_eq!(found(&second).await, expected);

    // At the same time: each goes on from what the other has stored.
    let minutes = sql::count(both.path(), ROWS);
    let from = "2025-08-01T00:00:00Z".parse::<Minute>().expect("a minute");
    let body = |at: i64| {
        let minute = json!({"timestamp": from.plus(at).to_string(), "stream": "posted",
            "transactions": [{"status": "approved", "count": 100}]});
        minute.to_string()
    };
    for at in (0..20).step_by(2) {
        let (one, other) = tokio::join!(post(&first, body(at)), post(&second, body(at + 1)));
        assert_eq!((one, other), (200, 200), "minute {at}");
    }
    assert_eq!(sql::count(both.path(), ROWS), minutes + 20);
    for app in [first, second, only] {
        app.stop().await.expect("a clean stop");
    }
}
