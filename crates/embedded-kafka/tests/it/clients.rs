//! The requests of the programs without faults.

use embedded_kafka::EmbeddedKafka;
use rdkafka::consumer::Consumer;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use rdkafka::topic_partition_list::Offset;

use crate::support::{
    GROUP, PATIENCE, TOPIC, commit, consumer, consumer_at, next, producer, send, text,
};

#[tokio::test]
async fn a_record_arrives_with_its_key_payload_and_headers() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    kafka.create_topic(TOPIC, 1).unwrap();
    let headers = OwnedHeaders::new().insert(Header {
        key: "traceparent",
        value: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    });
    let record = FutureRecord::to(TOPIC)
        .key("acquirer-7")
        .payload("{}")
        .headers(headers);
    producer(&kafka).send(record, PATIENCE).await.unwrap();

    let message = next(&consumer_at(&kafka, 0)).unwrap();
    assert_eq!(message.key(), Some(&b"acquirer-7"[..]));
    assert_eq!(text(&message), "{}");
    let header = message.headers().unwrap().get_as::<str>(0).unwrap();
    assert_eq!(header.key, "traceparent");
    assert_eq!(
        header.value,
        Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    );
}

#[tokio::test]
async fn ten_thousand_records_make_the_round_trip_in_order() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    kafka.create_topic(TOPIC, 1).unwrap();
    let producer = producer(&kafka);
    let sent: Vec<_> = (0..10_000)
        .map(|number: i64| {
            let payload = number.to_string();
            producer
                .send_result(FutureRecord::to(TOPIC).key("default").payload(&payload))
                .unwrap()
        })
        .collect();
    for (number, delivery) in (0..).zip(sent) {
        assert_eq!(delivery.await.unwrap().unwrap().offset, number);
    }

    let consumer = consumer_at(&kafka, 0);
    for number in 0..10_000 {
        let message = next(&consumer).unwrap();
        assert_eq!(message.offset(), number);
        assert_eq!(text(&message), number.to_string());
    }
}

#[tokio::test]
async fn every_start_has_another_cluster_id() {
    let first = EmbeddedKafka::start().await.unwrap();
    let second = EmbeddedKafka::start().await.unwrap();
    let seen = consumer(&first).client().fetch_cluster_id(PATIENCE);
    assert_eq!(seen, Some(first.cluster_id()));
    assert_ne!(first.cluster_id(), second.cluster_id());
}

#[tokio::test]
async fn a_topic_appears_when_it_is_first_produced_to() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    assert_eq!(send(&producer(&kafka), "first").await, 0);
    assert_eq!(kafka.next_offset(TOPIC, 0), Some(1));
}

#[tokio::test]
async fn a_metadata_request_creates_no_topic() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let consumer = consumer(&kafka);
    let metadata = consumer.fetch_metadata(Some(TOPIC), PATIENCE).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 0);
    assert_eq!(kafka.next_offset(TOPIC, 0), None);
}

#[tokio::test]
async fn metadata_and_watermarks_describe_the_topic() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    kafka.create_topic(TOPIC, 2).unwrap();
    kafka.add_partitions(TOPIC, 3).unwrap();
    let producer = producer(&kafka);
    for payload in ["a", "b"] {
        let record = FutureRecord::<str, str>::to(TOPIC)
            .partition(1)
            .payload(payload);
        producer.send(record, PATIENCE).await.unwrap();
    }

    let consumer = consumer(&kafka);
    let metadata = consumer.fetch_metadata(Some(TOPIC), PATIENCE).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 3);
    assert_eq!(
        consumer.fetch_watermarks(TOPIC, 0, PATIENCE).unwrap(),
        (0, 0)
    );
    assert_eq!(
        consumer.fetch_watermarks(TOPIC, 1, PATIENCE).unwrap(),
        (0, 2)
    );
}

#[tokio::test]
async fn a_group_without_members_commits_offsets() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    send(&producer(&kafka), "first").await;
    let consumer = consumer_at(&kafka, 0);
    next(&consumer).unwrap();
    assert_eq!(kafka.committed_offset(GROUP, TOPIC, 0), None);

    commit(&consumer, 1);
    assert_eq!(kafka.committed_offset(GROUP, TOPIC, 0), Some(1));
    let committed = consumer.committed(PATIENCE).unwrap();
    assert_eq!(
        committed.find_partition(TOPIC, 0).unwrap().offset(),
        Offset::Offset(1)
    );
}

#[tokio::test]
async fn a_recreated_topic_is_empty_and_unread() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let producer = producer(&kafka);
    send(&producer, "old").await;
    let consumer = consumer(&kafka);
    commit(&consumer, 1);

    assert!(kafka.delete_topic(TOPIC));
    assert!(!kafka.delete_topic(TOPIC));
    kafka.create_topic(TOPIC, 1).unwrap();
    assert_eq!(
        consumer.fetch_watermarks(TOPIC, 0, PATIENCE).unwrap(),
        (0, 0)
    );
    assert_eq!(kafka.committed_offset(GROUP, TOPIC, 0), None);
    assert_eq!(send(&producer, "new").await, 0);
}

#[tokio::test]
async fn a_refused_topic_is_named_in_the_error() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    kafka.create_topic(TOPIC, 1).unwrap();
    let taken = kafka.create_topic(TOPIC, 1).unwrap_err().to_string();
    assert!(taken.contains("transactions exists already"), "{taken}");
    let empty = kafka.create_topic("other", 0).unwrap_err().to_string();
    assert!(empty.contains("at least 1 partition"), "{empty}");
    kafka.add_partitions("other", 2).unwrap_err();
    kafka.delete_records("other", 0, 1).unwrap_err();
}

#[tokio::test]
async fn shutdown_closes_the_port() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let address = kafka.bootstrap_servers();
    let open = tokio::net::TcpStream::connect(&address).await;
    open.unwrap();
    kafka.shutdown().await.unwrap();
    tokio::net::TcpStream::connect(&address).await.unwrap_err();
}
