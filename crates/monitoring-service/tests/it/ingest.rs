//! Ingest from Kafka: offsets across restarts, offset gaps, outages, topics that are created late or recreated.

use std::time::Duration;

use embedded_kafka::EmbeddedKafka;
use rdkafka::producer::{BaseRecord, Producer as _};
use serde_json::Value;

use crate::{
    harness::{TOPIC, TestApp, broker, folder, printed, producer, program, sample, send, until},
    sql,
};

async fn observed(app: &TestApp) -> u64 {
    app.get("/transactions/summary").await["minutes_observed"]
        .as_u64()
        .expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_reads_nothing_twice() {
    let (broker, folder) = (broker().await, folder());
    send(&broker, sample(100));
    let app = TestApp::with_defaults(&broker, &folder).await;
    app.until_consumed(100).await;
    app.stop().await.expect("a clean stop");
    send(&broker, sample(130).split_off(100));
    let app = TestApp::with_defaults(&broker, &folder).await;
    app.until_consumed(30).await;
    assert_eq!(observed(&app).await, 130);
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_by_retention_are_an_offset_gap() {
    let (broker, folder) = (broker().await, folder());
    send(&broker, sample(50));
    let app = TestApp::with_defaults(&broker, &folder).await;
    app.until_consumed(50).await;
    assert_eq!(app.get("/health").await["status"], "ok");
    app.stop().await.expect("a clean stop");
    send(&broker, sample(80).split_off(50));
    broker.delete_records(TOPIC, 0, 60).expect("deleted");
    let app = TestApp::with_defaults(&broker, &folder).await;
    app.until_consumed(20).await;
    assert_eq!(
        app.counted("monitoring_offset_gaps_total", &[("reason", "retention")]),
        1
    );
    assert_eq!(app.get("/health").await["status"], "degraded");
    let gap = &app.get("/offset-gaps").await["offset_gaps"][0];
    assert_eq!(
        (&gap["from_offset"], &gap["to_offset"], &gap["reason"]),
        (&50.into(), &60.into(), &"retention".into())
    );
    app.stop().await.expect("a clean stop");
}

/// Partition, first offset and end of each gap, oldest first.
async fn gaps(app: &TestApp) -> Vec<(u64, u64, u64)> {
    let gaps = app.get("/offset-gaps").await["offset_gaps"].take();
    let number = |gap: &Value, field: &str| gap[field].as_u64().expect("a number");
    let gap = |gap: &Value| {
        assert_eq!(gap["reason"], "retention");
        let [partition, from, to] =
            ["partition", "from_offset", "to_offset"].map(|field| number(gap, field));
        (partition, from, to)
    };
    gaps.as_array()
        .expect("a list")
        .iter()
        .rev()
        .map(gap)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_deleted_before_any_was_read_are_an_offset_gap() {
    let (broker, folder) = (broker().await, folder());
    // What was deleted before the first start was never to be read.
    send(&broker, sample(4));
    broker.delete_records(TOPIC, 0, 4).expect("deleted");
    let start = || async {
        let app = TestApp::with_defaults(&broker, &folder).await;
        until("it consumes", async || {
            app.get("/health").await["parts"]["kafka"]["caught_up"] == true
        })
        .await;
        app
    };
    let app = start().await;
    assert_eq!(gaps(&app).await, []);
    app.stop().await.expect("a clean stop");
    send(&broker, sample(10));
    broker.delete_records(TOPIC, 0, 9).expect("deleted");
    // A partition that is new, and has lost records, too.
    broker.add_partitions(TOPIC, 3).expect("more partitions");
    let producer = producer(&broker);
    for message in sample(6) {
        let payload = message.payload.expect("a payload");
        let record = BaseRecord::<(), _>::to(TOPIC).partition(2);
        let sent = producer.send(record.payload(&payload));
        sent.map_err(|(error, _)| error).expect("room");
    }
    producer.flush(Duration::from_secs(30)).expect("sent");
    broker.delete_records(TOPIC, 2, 5).expect("deleted");
    let app = start().await;
    app.until_consumed(6).await;
    assert_eq!(gaps(&app).await, [(0, 4, 9), (2, 0, 5)]);
    assert_eq!(app.get("/health").await["status"], "degraded");
    app.stop().await.expect("a clean stop");
    let app = start().await;
    assert_eq!(gaps(&app).await.len(), 2, "each is recorded once");
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_is_read_from_its_start() {
    for again in [30, 90] {
        let (broker, folder) = (broker().await, folder());
        send(&broker, sample(60));
        let app = TestApp::with_defaults(&broker, &folder).await;
        app.until_consumed(60).await;
        app.stop().await.expect("a clean stop");
        assert!(broker.delete_topic(TOPIC));
        broker.create_topic(TOPIC, 1).expect("recreated");
        send(&broker, sample(again));
        let app = TestApp::with_defaults(&broker, &folder).await;
        app.until_consumed(again as u64).await;
        assert_eq!(
            app.counted("monitoring_offset_gaps_total", &[("reason", "recreated")]),
            1,
            "{again} messages"
        );
        assert_eq!(observed(&app).await, again.max(60) as u64);
        app.stop().await.expect("a clean stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_before_the_broker_and_before_the_topic() {
    let (broker, folder) = (EmbeddedKafka::start().await.expect("a broker"), folder());
    broker.go_down();
    let app = TestApp::with_defaults(&broker, &folder).await;
    until("the outage is noticed", async || {
        app.get("/health").await["status"] == "degraded"
    })
    .await;
    let answer = app.evaluate(r#"{"status":"failed","count":100}"#).await;
    assert_eq!(answer["severity"], "CRITICAL", "it serves without a broker");
    broker.come_back();
    until("it is connected", async || {
        app.get("/health").await["parts"]["kafka"]["connected"] == true
    })
    .await;
    broker.create_topic(TOPIC, 3).expect("a topic");
    send(&broker, sample(20));
    app.until_consumed(20).await;
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advertised_name_that_is_unknown_is_named() {
    for has_topic in [true, false] {
        let (broker, folder) = (broker().await, folder());
        broker.advertise("broker.invalid");
        if !has_topic {
            assert!(broker.delete_topic(TOPIC));
        }
        let app = TestApp::with_defaults(&broker, &folder).await;
        until("health names it", async || {
            let health = app.get("/health").await;
            let error = health["parts"]["kafka"]["error"].as_str();
            error.is_some_and(|error| {
                error.starts_with("the broker advertises broker.invalid:")
                    && error.contains("advertised.listeners")
            })
        })
        .await;
        app.stop().await.expect("a clean stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_broker_loses_nothing() {
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::with_defaults(&broker, &folder).await;
    send(&broker, sample(40));
    app.until_consumed(40).await;
    for round in 1..=3 {
        broker.go_down();
        until("the outage is noticed", async || {
            app.get("/health").await["status"] == "degraded"
        })
        .await;
        broker.come_back();
        send(&broker, sample(40 + round * 10).split_off(30 + round * 10));
        app.until_consumed(40 + round as u64 * 10).await;
    }
    assert_eq!(observed(&app).await, 70);
    until("health is back", async || {
        app.get("/health").await["status"] == "ok"
    })
    .await;
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_lose_and_double_nothing() {
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::with_defaults(&broker, &folder).await;
    for part in sample(200).chunks(50) {
        broker.fail_fetches(1);
        send(&broker, part.to_vec());
    }
    app.until_consumed(200).await;
    assert_eq!(observed(&app).await, 200);
    app.stop().await.expect("a clean stop");
}

/// Each embedded broker has its own cluster id.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_cluster_is_an_offset_gap() {
    let (first, folder) = (broker().await, folder());
    let app = TestApp::with_defaults(&first, &folder).await;
    send(&first, sample(40));
    app.until_consumed(40).await;
    app.stop().await.expect("a clean stop");
    drop(first);
    let rebuilt = broker().await;
    for _ in 0..2 {
        let app = TestApp::with_defaults(&rebuilt, &folder).await;
        until("it consumes", async || {
            app.get("/health").await["parts"]["kafka"]["consuming"] == true
        })
        .await;
        let gaps = app.get("/offset-gaps").await;
        let gaps = gaps["offset_gaps"].as_array().expect("a list");
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert_eq!(gaps[0]["reason"], "new_cluster");
        assert_eq!(
            (&gaps[0]["from_offset"], &gaps[0]["to_offset"]),
            (&40.into(), &0.into())
        );
        let health = app.get("/health").await;
        assert_eq!(health["parts"]["offset_gaps"]["status"], "degraded");
        app.stop().await.expect("a clean stop");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_skipped_are_an_offset_gap() {
    let (broker, folder) = (broker().await, folder());
    send(&broker, sample(50));
    let app = TestApp::with_defaults(&broker, &folder).await;
    app.until_consumed(50).await;
    let skip = |to_offset: &str| {
        let mut command = program(folder.path());
        command.args(["skip", "--partition", "0", "--to-offset", to_offset]);
        let output = command.output().expect("started");
        (output.status.code(), printed(&output))
    };
    let (code, text) = skip("60");
    assert!(
        code == Some(1) && text.contains("another monitoring-service uses"),
        "{text}"
    );
    app.stop().await.expect("a clean stop");
    let (code, text) = skip("50");
    assert!(
        code == Some(1) && text.contains("from offset 50 on"),
        "{text}"
    );
    let (code, text) = skip("60");
    assert!(
        code == Some(0) && text.contains("from 50 to before 60"),
        "{text}"
    );
    send(&broker, sample(80).split_off(50));
    let app = TestApp::with_defaults(&broker, &folder).await;
    app.until_consumed(20).await;
    let gaps = app.get("/offset-gaps").await["offset_gaps"].take();
    assert_eq!(
        (
            &gaps[0]["from_offset"],
            &gaps[0]["to_offset"],
            &gaps[0]["reason"]
        ),
        (&50.into(), &60.into(), &"skipped".into())
    );
    assert_eq!(
        app.get("/health").await["parts"]["offset_gaps"]["status"],
        "degraded"
    );
    assert_eq!(observed(&app).await, 70);
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_commits_are_recorded_and_read_again() {
    const STANDBY: &str = "CREATE TABLE standby_counts AS SELECT * FROM minute_counts;
        CREATE TABLE standby_streams AS SELECT * FROM streams; CREATE TABLE standby_offsets AS SELECT * FROM offsets";
    const FAILOVER: &str = "BEGIN; DELETE FROM minute_counts; INSERT INTO minute_counts SELECT * FROM standby_counts;
        UPDATE streams SET newest_minute = (SELECT newest_minute FROM standby_streams), version = (SELECT version FROM standby_streams);
        UPDATE offsets SET last_offset = (SELECT last_offset FROM standby_offsets),
            last_timestamp_ms = (SELECT last_timestamp_ms FROM standby_offsets); COMMIT";
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::with_defaults(&broker, &folder).await;
    let messages = sample(21);
    send(&broker, messages[..10].to_vec());
    app.until_consumed(10).await;
    sql::change(folder.path(), STANDBY);
    send(&broker, messages[10..20].to_vec());
    app.until_consumed(20).await;
    sql::change(folder.path(), FAILOVER);
    send(&broker, messages[20..].to_vec());
    until("what was lost is read again", async || {
        app.get("/transactions/summary").await["minutes_observed"] == 21
    })
    .await;
    let gaps = app.get("/offset-gaps").await["offset_gaps"].take();
    let gaps = gaps.as_array().expect("a list");
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let gap = |member: &str| gaps[0][member].clone();
    assert_eq!(gap("reason"), "commits_lost");
    assert_eq!(
        (gap("from_offset"), gap("to_offset")),
        (10.into(), 20.into())
    );
    let counted = app.counted(
        "monitoring_offset_gaps_total",
        &[("reason", "commits_lost")],
    );
    assert_eq!(counted, 1);
    let health = app.get("/health").await;
    assert_eq!(health["parts"]["offset_gaps"]["status"], "degraded");
    app.stop().await.expect("a clean stop");
}
