//! Each fault, and how the clients recover from it.

use std::time::Duration;

use embedded_kafka::{ApiKey, EmbeddedKafka, ErrorCode};
use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode;

use crate::support::{
    PATIENCE, TOPIC, consumer, consumer_at, next, next_in_the_end, producer, send, text,
};

#[tokio::test]
async fn refused_produces_are_sent_again_and_written_once() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    kafka.refuse_produces(3);
    let producer = producer(&kafka);
    assert_eq!(send(&producer, "first").await, 0);
    assert_eq!(send(&producer, "second").await, 1);
}

#[tokio::test]
async fn a_produce_whose_answer_is_lost_is_written_once() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let producer = producer(&kafka);
    send(&producer, "first").await;
    kafka.lose_answers(ApiKey::Produce, 1);
    assert_eq!(send(&producer, "second").await, 1);
    assert_eq!(kafka.next_offset(TOPIC, 0), Some(2));
}

#[tokio::test]
async fn a_raw_error_code_reaches_the_producer() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let producer = producer(&kafka);
    send(&producer, "first").await;
    kafka.fail(ApiKey::Produce, 1, ErrorCode::MessageTooLarge);
    let record = rdkafka::producer::FutureRecord::to(TOPIC)
        .key("k")
        .payload("too large");
    let (error, _) = producer.send(record, PATIENCE).await.unwrap_err();
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge)
    );
}

#[tokio::test]
async fn failed_fetches_are_tried_again() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    send(&producer(&kafka), "first").await;
    kafka.fail_fetches(2);
    let message = next_in_the_end(&consumer_at(&kafka, 0));
    assert_eq!(text(&message), "first");
}

#[tokio::test]
async fn a_corrupt_fetch_is_a_checksum_error() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    send(&producer(&kafka), "first").await;
    kafka.corrupt_fetches(1);
    let error = next(&consumer_at(&kafka, 0)).unwrap_err();
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::BadMessage)
    );
}

#[tokio::test]
async fn damaged_records_stay_damaged() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let producer = producer(&kafka);
    for text in ["good", "damaged", "later"] {
        send(&producer, text).await;
    }
    kafka.damage_records(TOPIC, 0, 1).unwrap();
    for _ in 0..2 {
        let consumer = consumer_at(&kafka, 0);
        assert_eq!(text(&next(&consumer).unwrap()), "good");
        let error = next(&consumer).unwrap_err();
        assert_eq!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::BadMessage)
        );
    }
    assert_eq!(text(&next(&consumer_at(&kafka, 2)).unwrap()), "later");
    kafka.damage_records(TOPIC, 0, 3).unwrap_err();
}

#[tokio::test]
async fn a_restarted_broker_keeps_its_data_and_port() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let producer = producer(&kafka);
    send(&producer, "before").await;
    let consumer = consumer_at(&kafka, 0);
    assert_eq!(text(&next(&consumer).unwrap()), "before");

    kafka.go_down();
    let unsent = producer
        .send_result(
            rdkafka::producer::FutureRecord::to(TOPIC)
                .key("k")
                .payload("during"),
        )
        .unwrap();
    let unreachable = consumer.fetch_watermarks(TOPIC, 0, Duration::from_millis(100));
    unreachable.unwrap_err();
    kafka.come_back();

    assert_eq!(unsent.await.unwrap().unwrap().offset, 1);
    let message = next_in_the_end(&consumer);
    assert_eq!((message.offset(), text(&message)), (1, "during"));
}

#[tokio::test]
async fn a_hung_broker_answers_after_it_came_back() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    kafka.create_topic(TOPIC, 1).unwrap();
    let consumer = consumer(&kafka);
    consumer.fetch_metadata(Some(TOPIC), PATIENCE).unwrap();

    kafka.hang();
    let unanswered = consumer.fetch_metadata(Some(TOPIC), Duration::from_millis(100));
    unanswered.unwrap_err();
    kafka.come_back();
    consumer.fetch_metadata(Some(TOPIC), PATIENCE).unwrap();
}

#[tokio::test]
#[should_panic(expected = "no fault can be put into JoinGroup")]
async fn a_fault_for_an_unused_request_panics() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    kafka.fail(ApiKey::JoinGroup, 1, ErrorCode::UnknownServerError);
}

#[tokio::test]
#[should_panic(expected = "use fail_fetches")]
async fn a_fetch_fault_that_no_client_parses_panics() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    kafka.fail(ApiKey::Fetch, 1, ErrorCode::OffsetOutOfRange);
}
