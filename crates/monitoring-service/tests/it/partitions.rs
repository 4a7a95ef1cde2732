//! A stream without key, spread over partitions, that is read after it was written: as if it had one partition.

use std::time::Duration;

use embedded_kafka::EmbeddedKafka;
use monitoring_service::alerts::Alert;
use rdkafka::producer::{BaseRecord, Producer as _};

use crate::harness::{Message, TOPIC, TestApp, folder, producer, sample, substance};

const MINUTES: usize = 360;

/// The partition of each minute.
type Spread = fn(usize) -> i32;

fn spread_over(broker: &EmbeddedKafka, messages: Vec<Message>, spread: Spread) {
    let producer = producer(broker);
    for (at, message) in messages.into_iter().enumerate() {
        let payload = message.payload.expect("a payload");
        let record = BaseRecord::<(), _>::to(TOPIC).partition(spread(at));
        let sent = producer.send(record.payload(&payload));
        sent.map_err(|(error, _)| error).expect("room");
    }
    producer.flush(Duration::from_secs(30)).expect("sent");
}

/// The alerts of a catch-up without any late minute.
async fn caught_up(partitions: i32, spread: Spread) -> Vec<Alert> {
    let broker = EmbeddedKafka::start().await.expect("a broker");
    broker.create_topic(TOPIC, partitions).expect("a topic");
    spread_over(&broker, sample(MINUTES), spread);
    let folder = folder();
    let app = TestApp::with_defaults(&broker, &folder).await;
    app.until_consumed(MINUTES as u64).await;
    for result in ["evaluated", "corrected", "too_late"] {
        let late = app.counted("monitoring_late_minute_counts_total", &[("result", result)]);
        assert_eq!(late, 0, "{result}");
    }
    let summary = app.get("/transactions/summary").await;
    assert_eq!(summary["minutes_observed"], MINUTES);
    let alerts = substance(&app.alerts().await);
    app.stop().await.expect("a clean stop");
    alerts
}

#[tokio::test(flavor = "multi_thread")]
async fn every_minute_of_a_catch_up_is_evaluated() {
    let expected = caught_up(1, |_| 0).await;
    assert!(expected.len() > 5, "{} alerts", expected.len());
    let in_turn: Spread = |at| i32::try_from(at % 4).expect("small");
    let in_blocks: Spread = |at| i32::try_from(at / 37 % 4).expect("small");
    let newest_first: Spread = |at| 3 - i32::try_from(at / 90).expect("small");
    for spread in [in_turn, in_blocks, newest_first] {
        let found = caught_up(4, spread).await;
        assert_eq!(found, expected);
    }
}
