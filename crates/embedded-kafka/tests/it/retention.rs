//! Memory stays bounded, and no unread record is deleted.

use embedded_kafka::EmbeddedKafka;
use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::producer::FutureRecord;

use crate::support::{PATIENCE, TOPIC, commit, consumer, consumer_at, next, producer, send, text};

const BOUND: usize = 64 * 1024;

#[tokio::test]
async fn committed_records_are_deleted() {
    let kafka = EmbeddedKafka::start_bounded(BOUND).await.unwrap();
    let (producer, payload) = (producer(&kafka), "x".repeat(1024));
    send(&producer, &payload).await;
    let consumer = consumer_at(&kafka, 0);
    for offset in 0..500 {
        assert_eq!(next(&consumer).unwrap().offset(), offset);
        commit(&consumer, offset + 1);
        send(&producer, &payload).await;
    }

    let (low, high) = consumer.fetch_watermarks(TOPIC, 0, PATIENCE).unwrap();
    assert_eq!(high, 501);
    let kept = high - low;
    // An eighth of the limit always stays, and logs are trimmed at every 16th request.
    assert!(
        (7..=7 + 16).contains(&kept),
        "{kept} records of 1 KiB are kept"
    );
}

#[tokio::test]
async fn a_full_broker_delays_producers_and_loses_nothing() {
    let kafka = EmbeddedKafka::start_bounded(BOUND).await.unwrap();
    kafka.create_topic(TOPIC, 1).unwrap();
    let producer = producer(&kafka);
    let sent: Vec<_> = (0..2_000)
        .map(|number: i64| {
            let payload = format!("{number:01024}");
            producer
                .send_result(FutureRecord::to(TOPIC).key("default").payload(&payload))
                .unwrap()
        })
        .collect();

    let consumer = consumer_at(&kafka, 0);
    for number in 0..2_000 {
        let message = next(&consumer).unwrap();
        assert_eq!(message.offset(), number);
        assert_eq!(text(&message), format!("{number:01024}"));
        let unread = kafka.next_offset(TOPIC, 0).unwrap() - number;
        // 64 KiB, and 16 requests of ten records.
        assert!(unread <= 64 + 160, "{unread} records of 1 KiB are held");
        commit(&consumer, number + 1);
    }
    for (number, delivery) in (0..).zip(sent) {
        assert_eq!(delivery.await.unwrap().unwrap().offset, number);
    }
}

#[tokio::test]
async fn deleted_records_move_the_low_watermark() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let producer = producer(&kafka);
    for payload in ["a", "b", "c"] {
        send(&producer, payload).await;
    }
    kafka.delete_records(TOPIC, 0, 2).unwrap();
    let watermarks = consumer(&kafka).fetch_watermarks(TOPIC, 0, PATIENCE);
    assert_eq!(watermarks.unwrap(), (2, 3));
    assert_eq!(text(&next(&consumer_at(&kafka, 2)).unwrap()), "c");

    kafka.delete_records(TOPIC, 0, 99).unwrap();
    let watermarks = consumer(&kafka).fetch_watermarks(TOPIC, 0, PATIENCE);
    assert_eq!(watermarks.unwrap(), (3, 3));
}
