//! The periodic check of the topic while it is read. Runs ingest alone, with a short interval.

use std::{path::Path, thread::JoinHandle, time::Duration};

use common::metrics::MetricsRegistry;
use embedded_kafka::EmbeddedKafka;
use monitoring_service::{
    clock::Clock,
    config::Config,
    context::Context,
    ingest::{self, status::SharedStatus},
    metrics::ServiceMetrics,
    store::Store,
};
use rdkafka::producer::{BaseRecord, Producer as _};
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use crate::harness::{Message, TOPIC, broker, database, folder, producer, sample, send, until};

/// The ingest thread and the writer of its store.
struct Reading {
    store: Store,
    registry: MetricsRegistry,
    status: SharedStatus,
    stop: CancellationToken,
    ingest: JoinHandle<anyhow::Result<()>>,
}

impl Reading {
    fn start(broker: &EmbeddedKafka, folder: &Path) -> Self {
        let (store, writer) = Store::open(&database(folder)).expect("a usable database");
        std::thread::spawn(move || writer.run());
        let (registry, stop) = (MetricsRegistry::new(), CancellationToken::new());
        let config = Config::default();
        let settings = ingest::Settings {
            bootstrap_servers: Some(broker.bootstrap_servers()),
            topic: TOPIC.to_owned(),
            group_id: config.kafka_group_id.clone(),
            joins_group: false,
            properties: config.kafka_properties.clone(),
            max_streams: 10,
            input: config.input.kafka_input,
            mapping: config.input.mapping(),
            open_minutes: config.input.open_minutes(config.stale_after),
            refresh: Duration::from_millis(50),
        };
        let context = Context::new(
            store.clone(),
            Clock::system(),
            ServiceMetrics::new(&registry),
            config.monitor_settings(),
            config.notify_policy(),
            0,
        );
        let (status, runtime) = (context.ingest.clone(), tokio::runtime::Handle::current());
        let token = stop.clone();
        let (_, queue) = ingest::Requests::new(settings.mapping.clone());
        let ingest =
            std::thread::spawn(move || ingest::run(settings, context, queue, runtime, &token));
        Self {
            store,
            registry,
            status,
            stop,
            ingest,
        }
    }

    fn consumed(&self) -> f64 {
        common::testing::value(
            &self.registry,
            "monitoring_messages_consumed_total",
            &[("result", "stored")],
        )
    }

    async fn minutes(&self, stream: &str) -> u64 {
        self.store
            .summary(stream, None, None)
            .await
            .expect("readable")
            .minutes_observed
    }

    fn recreated(&self) -> f64 {
        self.gaps("recreated")
    }

    fn gaps(&self, reason: &str) -> f64 {
        let name = "monitoring_offset_gaps_total";
        common::testing::value(&self.registry, name, &[("reason", reason)])
    }

    async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        tokio::task::spawn_blocking(|| self.ingest.join().expect("no panic"))
            .await
            .expect("joined")
    }
}

/// The messages as messages of this stream, with its name as the key.
fn of_stream(name: &str, messages: Vec<Message>) -> Vec<Message> {
    let renamed = |message: Message| {
        let payload = String::from_utf8(message.payload.expect("there")).expect("text");
        let payload = payload
            .replacen('{', &format!(r#"{{"stream":"{name}","#), 1)
            .into_bytes();
        Message {
            key: name.to_owned(),
            payload: Some(payload),
            ..message
        }
    };
    messages.into_iter().map(renamed).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn added_partitions_are_found_and_read_once() {
    let (broker, folder) = (broker().await, folder());
    let reading = Reading::start(&broker, folder.path());
    send(&broker, sample(20));
    until("the first are consumed", async || {
        reading.minutes("default").await == 20
    })
    .await;
    broker.add_partitions(TOPIC, 6).expect("more partitions");
    until("they are found", async || {
        reading.status.get().partitions == 6
    })
    .await;
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    send(
        &broker,
        names.iter().flat_map(|name| of_stream(name, sample(5))),
    );
    let used = (1..6).filter(|partition| {
        broker
            .next_offset(TOPIC, *partition)
            .is_some_and(|next| next > 0)
    });
    assert!(used.count() > 0, "several partitions are used");
    until("all are consumed", async || reading.consumed() >= 60.0).await;
    assert_eq!(reading.minutes("h").await, 5);
    assert!(
        (reading.consumed() - 60.0).abs() < 0.5,
        "{}",
        reading.consumed()
    );
    reading.end().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_recreated_while_reading_is_noticed() {
    let (broker, folder) = (broker().await, folder());
    let reading = Reading::start(&broker, folder.path());
    send(&broker, sample(30));
    until("the first are consumed", async || {
        reading.minutes("default").await == 30
    })
    .await;
    assert!(broker.delete_topic(TOPIC));
    broker.create_topic(TOPIC, 1).expect("recreated");
    send(&broker, of_stream("again", sample(70)));
    until("all are consumed", async || {
        reading.minutes("again").await == 70
    })
    .await;
    assert!(
        (reading.recreated() - 1.0).abs() < 0.5,
        "{} gaps",
        reading.recreated()
    );
    assert_eq!(reading.minutes("default").await, 30);
    reading.end().await.expect("a clean stop");
}

/// Sends enough messages that a batch is being written, then one of a stream with unreadable minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_message_keeps_earlier_ones_counted() {
    let (broker, folder) = (broker().await, folder());
    let reading = Reading::start(&broker, folder.path());
    send(&broker, of_stream("damaged", sample(1)));
    until("it is consumed", async || reading.consumed() > 0.5).await;
    reading.end().await.expect("a clean stop");
    let sql = Connection::open(database(folder.path())).expect("a second connection");
    sql.execute_batch("PRAGMA ignore_check_constraints = ON; UPDATE minute_counts SET count = -1")
        .expect("damaged");
    drop(sql);
    send(
        &broker,
        sample(1500)
            .into_iter()
            .chain(of_stream("damaged", sample(1))),
    );
    let reading = Reading::start(&broker, folder.path());
    until("it gives up", async || reading.ingest.is_finished()).await;
    let stored = reading.minutes("default").await;
    assert!(stored > 0, "a batch was written before");
    let counted = reading.consumed();
    assert!(
        (counted - f64::from(u32::try_from(stored).expect("small"))).abs() < 0.5,
        "{counted} of {stored} are counted"
    );
    let error = reading.end().await.expect_err("it cannot go on");
    assert!(
        format!("{error:#}").contains("refused a statement"),
        "{error:#}"
    );
}

fn send_to(broker: &EmbeddedKafka, partition: i32, messages: Vec<Message>) {
    let producer = producer(broker);
    for Message { payload, .. } in messages {
        let payload = payload.expect("a payload");
        let record = BaseRecord::<(), _>::to(TOPIC).partition(partition);
        let sent = producer.send(record.payload(&payload));
        sent.map_err(|(error, _)| error).expect("room");
    }
    producer.flush(Duration::from_secs(30)).expect("sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_partition_holds_no_other_back() {
    let (broker, folder) = (broker().await, folder());
    broker.add_partitions(TOPIC, 3).expect("more partitions");
    let part = |name: &str, part: usize| of_stream(name, sample(30)[part * 10..][..10].to_vec());
    for at in 0..3 {
        send_to(&broker, 0, part("damaged", at));
    }
    broker.damage_records(TOPIC, 0, 10).expect("there");
    send_to(&broker, 1, part("other", 0));
    let reading = Reading::start(&broker, folder.path());
    for at in 1..3 {
        let read = async || reading.minutes("other").await == 10 * at as u64;
        until("the other partition is read", read).await;
        send_to(&broker, 1, part("other", at));
    }
    until("all of it is read", async || {
        reading.minutes("other").await == 30
    })
    .await;
    let status = reading.status.get();
    let still = status.standing_still.first().expect("it stands still");
    assert_eq!((still.partition, still.offset, still.waiting), (0, 10, 20));
    assert!(status.consuming && !status.caught_up, "{status:?}");
    assert_eq!((status.partitions, status.lag), (3, Some(20)));
    let error = status.error.expect("the error stays");
    assert!(error.contains("BadMessage"), "{error}");
    assert_eq!(reading.minutes("damaged").await, 10);
    broker.delete_records(TOPIC, 0, 20).expect("there");
    until("it goes on after the gap", async || {
        reading.minutes("damaged").await == 20
    })
    .await;
    assert!((0.5..1.5).contains(&reading.gaps("retention")));
    until("all is well", async || {
        let status = reading.status.get();
        status.caught_up && status.error.is_none() && status.standing_still.is_empty()
    })
    .await;
    reading.end().await.expect("no error");
}
