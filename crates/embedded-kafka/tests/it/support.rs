//! Kafka clients with the settings of the service and the producer.

use std::time::Duration;

use embedded_kafka::EmbeddedKafka;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// Far longer than any step takes; only a broken broker exceeds it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const TOPIC: &str = "transactions";
pub(crate) const GROUP: &str = "monitoring-service";

fn config(kafka: &EmbeddedKafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", kafka.bootstrap_servers())
        .set("reconnect.backoff.max.ms", "1000")
        // Outages are intended here; do not log them.
        .set("log_level", "0");
    config
}

/// Sends at most ten records per request, so that a test knows how much arrives between two trims.
pub(crate) fn producer(kafka: &EmbeddedKafka) -> FutureProducer {
    config(kafka)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "0")
        .set("batch.num.messages", "10")
        .create()
        .unwrap()
}

pub(crate) fn consumer(kafka: &EmbeddedKafka) -> BaseConsumer {
    config(kafka)
        .set("group.id", GROUP)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .create()
        .unwrap()
}

/// A consumer of partition 0 of [`TOPIC`] from `offset` on.
pub(crate) fn consumer_at(kafka: &EmbeddedKafka, offset: i64) -> BaseConsumer {
    let consumer = consumer(kafka);
    consumer.assign(&position(Offset::Offset(offset))).unwrap();
    consumer
}

/// Commits `offset` for [`GROUP`] without being a member of the group.
pub(crate) fn commit(consumer: &BaseConsumer, offset: i64) {
    consumer
        .commit(&position(Offset::Offset(offset)), CommitMode::Sync)
        .unwrap();
}

fn position(offset: Offset) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(TOPIC, 0, offset).unwrap();
    list
}

/// Produces one record to [`TOPIC`] and returns its offset.
pub(crate) async fn send(producer: &FutureProducer, payload: &str) -> i64 {
    let record = FutureRecord::to(TOPIC).key("default").payload(payload);
    producer.send(record, PATIENCE).await.unwrap().offset
}

/// The next record or the next error of the consumer.
pub(crate) fn next(consumer: &BaseConsumer) -> rdkafka::error::KafkaResult<OwnedMessage> {
    let polled = consumer.poll(PATIENCE).expect("a record or an error");
    polled.map(|message| message.detach())
}

/// The next record; skips errors.
pub(crate) fn next_in_the_end(consumer: &BaseConsumer) -> OwnedMessage {
    loop {
        if let Ok(message) = next(consumer) {
            return message;
        }
    }
}

pub(crate) fn text(message: &OwnedMessage) -> &str {
    std::str::from_utf8(message.payload().unwrap()).unwrap()
}
