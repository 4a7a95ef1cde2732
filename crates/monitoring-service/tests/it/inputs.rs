//! The three inputs of the same data: closed minutes, growing updates and single transactions give the same counts and findings,
//! through restarts too. And what is noticed in messages.

use std::collections::BTreeMap;

use monitoring_service::{clock::Clock, config::Config, ingest::KafkaInput};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{
    Message, NOW_MS, Setup, TestApp, broker, client, folder, minute, sample, send, until,
};
use crate::sql;

/// Minutes of the sample file; the first incident is among them.
const MINUTES: usize = 200;

fn updates(config: &mut Config) {
    config.input.kafka_input = KafkaInput::Updates;
}

fn transactions(config: &mut Config) {
    config.input.kafka_input = KafkaInput::Transactions;
}

/// The minutes with a count above zero, and the findings of both policies. From the second minute of the sample on each status was
/// named, so the rest is the same too.
fn stored(folder: &TempDir) -> Vec<Vec<Option<String>>> {
    let query = "SELECT stream_id, minute, status_id, count, state, mean, std_dev, direction, adaptive_state, expected FROM minute_counts
         WHERE status_id < 5 ORDER BY stream_id, minute, status_id";
    sql::rows(folder.path(), query).expect("rows")
}

fn counts(message: &Message) -> (String, BTreeMap<String, u64>) {
    let payload = message.payload.as_ref().expect("a payload");
    let message: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
    let list = message["transactions"].as_array().expect("a list");
    let count = |of: &serde_json::Value| {
        let status = of["status"].as_str().expect("a name");
        (status.to_owned(), of["count"].as_u64().expect("a count"))
    };
    let timestamp = message["timestamp"].as_str().expect("a time");
    (timestamp.to_owned(), list.iter().map(count).collect())
}

/// Each minute as one message for each transaction, its statuses one after the other and its seconds in disorder.
fn as_transactions(minutes: &[Message]) -> Vec<Message> {
    let mut all = Vec::new();
    for message in minutes {
        let (timestamp, counts) = counts(message);
        let mut number = 0_u64;
        for (status, count) in counts {
            for _ in 0..count {
                number += 1;
                let second = (number * 37) % 60;
                let at = format!("{}:{second:02}", &timestamp[..16]);
                all.push((
                    at.clone(),
                    json!({"id": number, "timestamp": at, "status": status}),
                ));
            }
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    // Out of order by up to five seconds.
    all.chunks_mut(9).for_each(<[_]>::reverse);
    let message =
        |(_, transaction): (String, serde_json::Value)| Message::new(transaction.to_string());
    all.into_iter().map(message).collect()
}

/// Each minute as half of its counts, then each status alone.
fn as_updates(minutes: &[Message]) -> Vec<Message> {
    let mut all = Vec::new();
    for message in minutes {
        let (timestamp, counts) = counts(message);
        let update = |named: &[(&str, u64)]| {
            let named: Vec<_> = named
                .iter()
                .map(|&(of, count)| (of, u32::try_from(count).expect("small")))
                .collect();
            Message::new(minute(&timestamp, &named))
        };
        let half: Vec<_> = counts
            .iter()
            .map(|(of, count)| (of.as_str(), count / 2))
            .collect();
        all.push(update(&half));
        all.extend(
            counts
                .iter()
                .map(|(of, count)| update(&[(of.as_str(), *count)])),
        );
    }
    all
}

async fn until_minutes(app: &TestApp, minutes: usize) {
    until("the minutes are closed", async || {
        app.get("/transactions/summary").await["minutes_observed"] == minutes
    })
    .await;
}

/// Everything stored after these messages, with restarts while they are read. They are old, so the clock closes the last minute only
/// when it has gone on.
async fn read(
    messages: &[Message],
    parts: usize,
    change: fn(&mut Config),
) -> Vec<Vec<Option<String>>> {
    let (broker, folder) = (broker().await, folder());
    send(&broker, messages.to_vec());
    for part in 1..=parts {
        let clock = Clock::fixed(NOW_MS);
        let setup = Setup {
            clock: clock.clone(),
            change,
            ..Setup::default()
        };
        let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup).await;
        let caught_up = async || app.get("/health").await["parts"]["kafka"]["caught_up"] == true;
        if part < parts {
            until("something is read", async || {
                app.consumed() > 0 || caught_up().await
            })
            .await;
        } else {
            until("all is read", caught_up).await;
            clock.set_ms(NOW_MS + 70_000);
            until_minutes(&app, MINUTES).await;
        }
        app.stop().await.expect("a clean stop");
    }
    stored(&folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_inputs_of_the_same_data_give_the_same() {
    let minutes = sample(MINUTES);
    let expected = read(&minutes, 1, |_| {}).await;
    assert_eq!(expected.len(), MINUTES * 5);
    for parts in [1, 4] {
        let updates = read(&as_updates(&minutes), parts, updates).await;
        assert!(updates == expected, "updates in {parts} parts");
        let transactions = read(&as_transactions(&minutes), parts, transactions).await;
        assert!(transactions == expected, "transactions in {parts} parts");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_transaction_is_added_to_its_minute() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
    let setup = Setup {
        clock: clock.clone(),
        change: transactions,
        ..Setup::default()
    };
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup).await;
    let of = |second: i64, status: &str| {
        Message::new(
            json!({"timestamp": NOW_MS / 1000 - 600 + second, "status": status}).to_string(),
        )
    };
    send(
        &broker,
        [
            of(0, "approved"),
            of(1, "Approved"),
            of(2, "refunded"),
            of(130, "approved"),
        ],
    );
    app.until_consumed(4).await;
    clock.set_ms(NOW_MS + 60_000);
    // The minute between them is a short pause: zeros.
    until_minutes(&app, 3).await;
    send(
        &broker,
        [of(3, "approved"), of(4, "refunded"), of(5, "denied")],
    );
    app.until_consumed(7).await;
    let oldest = async || {
        let recent = app.get("/transactions/recent").await;
        let minutes = recent["minutes"].as_array().expect("minutes").clone();
        let rows = minutes.last().expect("a minute")["statuses"].clone();
        let count = |row: &serde_json::Value| (row["status"].to_string(), row["count"].as_u64());
        rows.as_array()
            .expect("rows")
            .iter()
            .map(count)
            .collect::<BTreeMap<_, _>>()
    };
    until("the counts are added", async || {
        let added = oldest().await;
        let of = |status: &str| added.get(status).copied().flatten();
        let expected = (Some(3), Some(2), Some(1));
        (of("\"approved\""), of("\"refunded\""), of("\"denied\"")) == expected
    })
    .await;
    // The three messages are one batch or more.
    let corrected = app.counted(
        "monitoring_late_minute_counts_total",
        &[("result", "corrected")],
    );
    assert!((1..=3).contains(&corrected), "{corrected}");
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stops_while_others_go_on_is_zero_at_once() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS - 40_000));
    let setup = Setup {
        clock: clock.clone(),
        change: transactions,
        ..Setup::default()
    };
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup).await;
    let of = |minute: i64, stream: &str| {
        let at = NOW_MS / 1000 - (50 - minute) * 60 + 20;
        Message::new(json!({"timestamp": at, "status": "approved", "stream": stream}).to_string())
    };
    let both = (0..49).flat_map(|minute| ["a", "b"].map(|stream| vec![of(minute, stream); 20]));
    let only_b = (0..20).map(|_| of(49, "b"));
    send(&broker, both.flatten().chain(only_b));
    app.until_consumed(49 * 40 + 20).await;
    until("the minutes before are closed", async || {
        app.get("/transactions/summary?stream=a").await["minutes_observed"] == 49
    })
    .await;
    assert!(app.get("/alerts?stream=a").await["alerts"] == json!([]));
    clock.set_ms(NOW_MS + 10_000);
    until("the outage of a is found", async || {
        app.get("/alerts?stream=a&severity=CRITICAL").await["alerts"][0]["status"] == "approved"
    })
    .await;
    assert!(app.get("/alerts?stream=b").await["alerts"] == json!([]));
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_stream_has_no_zeros_until_it_comes_back() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
    let setup = Setup {
        clock: clock.clone(),
        change: transactions,
        ..Setup::default()
    };
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup).await;
    let of = |minute: i64, stream: &str| {
        let at = NOW_MS / 1000 + minute * 60;
        Message::new(json!({"timestamp": at, "status": "approved", "stream": stream}).to_string())
    };
    let observed = async |stream: &str, minutes: u64| {
        let path = format!("/transactions/summary?stream={stream}");
        until(&format!("{stream} has {minutes} minutes"), async || {
            app.get(&path).await["minutes_observed"] == minutes
        })
        .await;
    };
    // The two newest minutes of both are open.
    let both = (-10..0).flat_map(|minute| ["a", "b"].map(|stream| vec![of(minute, stream); 5]));
    send(&broker, both.flatten());
    app.until_consumed(100).await;
    observed("a", 8).await;
    let retired = client()
        .delete(format!("{}/streams/a", app.url))
        .send()
        .await;
    assert_eq!(retired.expect("an answer").status().as_u16(), 204);
    send(&broker, (0..3).map(|minute| of(minute, "b")));
    observed("b", 11).await;
    observed("a", 8).await;
    let names = async |path: &str| {
        let streams = app.get(path).await["streams"].clone();
        let streams = streams.as_array().expect("a list").iter();
        streams
            .map(|stream| stream["stream"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names("/streams").await, ["b"]);
    assert_eq!(names("/streams?retired=true").await, ["a"]);
    send(&broker, [of(3, "a"), of(5, "b")]);
    observed("b", 14).await;
    observed("a", 9).await;
    assert_eq!(names("/streams").await, ["a", "b"]);
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_grow_in_closed_minutes_are_noticed() {
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::with_defaults(&broker, &folder).await;
    let of = |at: u32, count: u32| {
        let payload = json!({"timestamp": format!("2025-07-12T{:02}:{:02}:00Z", 13 + at / 60, at % 60),
            "transactions": [{"status": "approved", "count": count}]});
        Message::new(payload.to_string())
    };
    send(&broker, (0..60).map(|at| of(at, 100 + at % 7)));
    app.until_consumed(60).await;
    let messages = app.get("/health").await["parts"]["messages"].clone();
    assert_eq!(messages["fault"], json!(null), "{messages}");
    send(
        &broker,
        (60..70).flat_map(|at| [of(at, 5), of(at, 40), of(at, 100)]),
    );
    app.until_consumed(90).await;
    until("health shows it", async || {
        let messages = app.get("/health").await["parts"]["messages"].clone();
        let fault = messages["fault"].as_str().unwrap_or_default();
        messages["status"] == "degraded" && fault.contains("set KAFKA_INPUT=updates")
    })
    .await;
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_under_one_name_are_noticed() {
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::with_defaults(&broker, &folder).await;
    let of = |at: u32, merchant: &str, count: u32| {
        let payload = json!({"timestamp": format!("2025-07-12T13:{at:02}:00Z"), "merchant": merchant,
            "transactions": [{"status": "approved", "count": count}]});
        Message {
            key: merchant.into(),
            ..Message::new(payload.to_string())
        }
    };
    send(
        &broker,
        (10..20).flat_map(|at| [of(at, "shop-a", 900), of(at, "shop-b", 20)]),
    );
    app.until_consumed(20).await;
    until("health shows it", async || {
        app.get("/health").await["parts"]["messages"]["unknown_fields"] == json!({"merchant": 20})
    })
    .await;
    // The clock of the service is far from these minutes, so the minutes count by their arrival.
    let messages = app.get("/health").await["parts"]["messages"].clone();
    assert_eq!(
        (&messages["status"], &messages["other_keys"]),
        (&json!("degraded"), &json!(20))
    );
    app.stop().await.expect("a clean stop");
}
