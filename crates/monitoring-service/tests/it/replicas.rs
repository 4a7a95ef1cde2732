//! Two instances on one PostgreSQL database: they share the partitions, each answers every request, and one takes over from the other. Without
//! `TEST_DATABASE_URL` there is none. The broker is librdkafka's own, since the embedded one has groups of one member.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use common::kafka::KafkaProperties;
use detection::Minute;
use monitoring_service::{clock::Clock, config::Config, ingest::KafkaInput};
use rdkafka::{
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::{Value, json};

use crate::{
    harness::{
        Message, NOW_MS, Setup, TOPIC, TestApp, client, folder, post, producer_to, sample,
        send_with, until,
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
    TestApp::start_beside(brokers, folder, quick()).await
}

/// librdkafka's broker waits nearly as long as a session for members that may come.
fn quick() -> Setup {
    Setup {
        change: assign_soon,
        ..Setup::default()
    }
}

fn assign_soon(config: &mut Config) {
    let properties = "session.timeout.ms=4000,heartbeat.interval.ms=200";
    config.kafka_properties = KafkaProperties::parse(properties, &[]).expect("properties");
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
    let send = async |app: &TestApp, body: String| {
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
        assert_eq!(send(app, list(minutes)).await, 200, "minutes {number}");
        assert_eq!(send(&only, list(minutes)).await, 200, "minutes {number}");
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
        let (one, other) = tokio::join!(send(&first, body(at)), send(&second, body(at + 1)));
        assert_eq!((one, other), (200, 200), "minute {at}");
    }
    assert_eq!(sql::count(both.path(), ROWS), minutes + 20);
    for app in [first, second, only] {
        app.stop().await.expect("a clean stop");
    }
}

fn send_to(producer: &BaseProducer, partition: i32, messages: &[Message]) {
    for message in messages {
        let payload = message.payload.as_ref().expect("a payload");
        let record = BaseRecord::to(TOPIC).partition(partition);
        let sent = producer.send(record.key(&message.key).payload(payload));
        sent.map_err(|(error, _)| error).expect("room");
    }
    producer.flush(Duration::from_secs(30)).expect("sent");
}

/// Two instances with as many partitions each.
async fn start_two(
    brokers: &str,
    folder: &Path,
    each: u64,
    setup: impl Fn() -> Setup,
) -> [TestApp; 2] {
    let apps = [
        TestApp::start_beside(brokers, folder, setup()).await,
        TestApp::start_beside(brokers, folder, setup()).await,
    ];
    until("each has its partitions", async || {
        partitions(&apps[0]).await == each && partitions(&apps[1]).await == each
    })
    .await;
    apps
}

/// Appends a batch of one record with a wrong checksum to a partition, as a disk does that fails (a Produce request of version 3).
fn damage(brokers: &str, partition: i32) {
    let mut batch = Vec::new();
    // Leader epoch, format, checksum, attributes, delta of the last offset, first and last timestamp, producer with epoch and sequence.
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend(7_u32.to_be_bytes());
    batch.extend([0; 6]);
    batch.extend([0; 16]);
    batch.extend([0xff; 14]);
    // One record: its length, attributes, deltas of time and offset, no key, an empty value, no headers.
    batch.extend(1_i32.to_be_bytes());
    batch.extend([12, 0, 0, 0, 1, 0, 0]);
    let mut records = vec![0; 8];
    records.extend(length(&batch));
    records.extend(batch);
    let mut body = Vec::new();
    // API, version, number and client; no transaction, all acknowledge, 10 s.
    body.extend([0, 0, 0, 3, 0, 0, 0, 1, 0xff, 0xff]);
    body.extend([0xff, 0xff, 0xff, 0xff]);
    body.extend(10_000_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend([0, u8::try_from(TOPIC.len()).expect("short")]);
    body.extend(TOPIC.as_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(length(&records));
    body.extend(records);
    let mut request = length(&body).to_vec();
    request.extend(body);
    let mut broker = TcpStream::connect(brokers).expect("a broker");
    broker.write_all(&request).expect("sent");
    let mut answer = [0; 4];
    broker.read_exact(&mut answer).expect("acknowledged");
}

fn length(bytes: &[u8]) -> [u8; 4] {
    i32::try_from(bytes.len()).expect("short").to_be_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_partition_stays_alone_in_a_group() {
    const PART: usize = 10;
    if place::server().is_none() {
        return;
    }
    let (broker, folder) = (MockCluster::new(1).expect("a broker"), folder());
    broker.create_topic(TOPIC, 4, 1).expect("created");
    let brokers = broker.bootstrap_servers();
    let producer = producer_to(&brokers);
    let send_parts = |partitions: std::ops::Range<i32>, part: usize| {
        for partition in partitions {
            let stream = STREAMS[usize::try_from(partition).expect("small")];
            let minutes = of_stream(stream, (part + 1) * PART);
            send_to(&producer, partition, &minutes[part * PART..]);
        }
    };
    let until_stored = async |minutes: usize| {
        until("the others are read", async || {
            sql::count(folder.path(), ROWS) == minutes
        })
        .await;
    };
    let [first, second] = start_two(&brokers, folder.path(), 2, quick).await;
    send_parts(0..4, 0);
    until_stored(4 * PART).await;
    damage(&brokers, 0);
    send_parts(0..4, 1);
    until_stored(7 * PART).await;
    first.stop().await.expect("a clean stop");
    send_parts(1..4, 2);
    until_stored(10 * PART).await;
    until("it is known which one stands still", async || {
        let health = second.get("/health").await.to_string();
        health.contains("BadMessage") && partitions(&second).await == 4
    })
    .await;
    second.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_on_the_partitions_of_two_instances_is_split() {
    if place::server().is_none() {
        return;
    }
    let (broker, folder) = (MockCluster::new(1).expect("a broker"), folder());
    broker.create_topic(TOPIC, 2, 1).expect("created");
    let brokers = broker.bootstrap_servers();
    let producer = producer_to(&brokers);
    // By this clock no minute closes.
    let setup = || Setup {
        clock: Clock::fixed(NOW_MS),
        change: |config: &mut Config| {
            assign_soon(config);
            config.input.kafka_input = KafkaInput::Transactions;
        },
        ..Setup::default()
    };
    let transaction = |second: u32| {
        let timestamp = format!("2025-12-31T23:58:{second:02}Z");
        let transaction = json!({"stream": "one", "timestamp": timestamp, "status": "approved"});
        [Message::new(transaction.to_string())]
    };
    let letters = "SELECT count(*) FROM dead_letters WHERE replayed_at_ms IS NULL";
    let open = "SELECT count(*) FROM open_minutes";
    let [first, second] = start_two(&brokers, folder.path(), 1, setup).await;
    send_to(&producer, 0, &transaction(1));
    until("it is open", async || sql::count(folder.path(), open) == 1).await;
    send_to(&producer, 1, &transaction(2));
    until("the other refuses it", async || {
        sql::count(folder.path(), letters) == 1
    })
    .await;
    let letter = second.get("/dead-letters").await["dead_letters"][0].take();
    assert_eq!(letter["reason"], "split_stream");
    let detail = letter["detail"].as_str().expect("a text");
    assert!(
        detail.contains("stream one is also on partition 0"),
        "{detail}"
    );

    // One instance reads both.
    first.stop().await.expect("a clean stop");
    until("the other has both", async || {
        partitions(&second).await == 2
    })
    .await;
    send_to(&producer, 1, &transaction(3));
    let replay = format!("{}/dead-letters/{}/replay", second.url, letter["id"]);
    until("it is read again", async || {
        post(&replay, "").await;
        sql::count(folder.path(), letters) == 0
    })
    .await;
    let counts = "SELECT counts FROM open_minutes";
    until("all three are counted", async || {
        let rows = sql::rows(folder.path(), counts).unwrap_or_default();
        let row = rows.first().and_then(|row| row[0].as_deref());
        row.is_some_and(|counts| counts.contains('3'))
    })
    .await;
    assert_eq!(sql::count(folder.path(), letters), 0);
    second.stop().await.expect("a clean stop");
}
