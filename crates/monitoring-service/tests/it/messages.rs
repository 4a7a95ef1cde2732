//! What becomes of messages: totals, verdicts, dead letters, traces.

use std::collections::BTreeMap;

use common::testing::{Recorded, SpanData, attribute};
use detection::{MinuteCounts, Severity};
use monitoring_service::alerts::Alert;
use serde_json::Value;

use crate::harness::{
    Message, Setup, TestApp, broker, folder, minute, producer, receiver, sample, send, send_with,
    substance, until,
};

/// Minutes of the sample file that these tests send: the first incident is in them.
const MINUTES: usize = 320;

fn total(summary: &Value, status: &str) -> u64 {
    let statuses = summary["statuses"].as_array().expect("a list");
    statuses
        .iter()
        .find(|s| s["status"] == status)
        .map_or(0, |s| s["count"].as_u64().expect("a count"))
}

/// What the messages say, per status.
fn totals(messages: &[Message]) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    for message in messages {
        let batch =
            MinuteCounts::from_json(message.payload.as_ref().expect("there")).expect("a batch");
        for transaction in batch.transactions() {
            *totals
                .entry(transaction.status.name().to_owned())
                .or_default() += u64::from(transaction.count);
        }
    }
    totals
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_sent_twice_counts_once_and_alerts_once() {
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await;
    send(&broker, sample(MINUTES));
    app.until_consumed(MINUTES as u64).await;
    let (first, alerts) = (app.get("/transactions/summary").await, app.alerts().await);
    assert_eq!(first["minutes_observed"], MINUTES);
    let expected = totals(&sample(MINUTES));
    assert_eq!(expected.len(), 6, "five monitored statuses and refunds");
    for (status, count) in expected {
        assert_eq!(total(&first, &status), count, "{status}");
    }
    assert!(
        alerts
            .iter()
            .any(|alert| alert.severity() == Severity::Critical && !alert.is_muted())
    );
    send(&broker, sample(MINUTES));
    app.until_consumed(2 * MINUTES as u64).await;
    assert_eq!(app.get("/transactions/summary").await, first);
    assert_eq!(app.alerts().await, alerts);
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_by_one_at_full_speed_and_as_one_backlog_give_the_same_alerts() {
    // One at a time takes a tenth of a second each, so: enough to learn from, then the incident.
    let messages = sample(300).split_off(225);
    let mut found = Vec::new();
    for way in ["one by one", "at full speed", "as one backlog"] {
        let (broker, folder) = (broker().await, folder());
        if way == "as one backlog" {
            send(&broker, messages.clone());
        }
        let app =
            TestApp::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await;
        let producer = producer(&broker);
        match way {
            "one by one" => {
                for (before, message) in (0..).zip(messages.clone()) {
                    send_with(&producer, [message]);
                    app.until_consumed(before + 1).await;
                }
            }
            "at full speed" => send(&broker, messages.clone()),
            _ => {}
        }
        app.until_consumed(messages.len() as u64).await;
        found.push(substance(&app.alerts().await));
        app.stop().await.expect("a clean stop");
    }
    let unmuted = |way: &[Alert]| way.iter().filter(|alert| !alert.is_muted()).count();
    assert!(
        (1..found[0].len()).contains(&unmuted(&found[0])),
        "some were muted and some were not"
    );
    assert_eq!(found[0], found[1]);
    assert_eq!(found[0], found[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_message_is_a_dead_letter_with_its_reason_and_its_neighbours_are_stored() {
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::start(
        &broker.bootstrap_servers(),
        folder.path(),
        Setup {
            change: |config| config.max_streams = 1,
            ..Setup::default()
        },
    )
    .await;
    let with = |transactions: &str| {
        format!(r#"{{"timestamp":"2025-07-12T13:45:00Z","transactions":[{transactions}]}}"#)
    };
    let many: Vec<_> = (0..65)
        .map(|i| format!(r#"{{"status":"s{i}","count":1}}"#))
        .collect();
    let bad = [
        ("invalid_json", "not JSON", Some("not json".to_owned())),
        (
            "invalid_message",
            "invalid type",
            Some(with(r#"{"status":"denied","count":"3"}"#)),
        ),
        (
            "invalid_message",
            "-1",
            Some(with(r#"{"status":"denied","count":-1}"#)),
        ),
        (
            "invalid_message",
            "4294967296",
            Some(with(r#"{"status":"denied","count":4294967296}"#)),
        ),
        (
            "invalid_message",
            "yesterday",
            Some(r#"{"timestamp":"yesterday","transactions":[]}"#.to_owned()),
        ),
        (
            "future",
            "ahead of the clock",
            Some(r#"{"timestamp":"2999-01-01T00:00:00Z","transactions":[]}"#.to_owned()),
        ),
        (
            "invalid_message",
            "occurs twice",
            Some(with(
                r#"{"status":"denied","count":1},{"status":"denied","count":2}"#,
            )),
        ),
        (
            "invalid_message",
            "65 statuses",
            Some(with(&many.join(","))),
        ),
        ("null_payload", "no payload", None),
        ("too_large", "1000000 bytes", Some(" ".repeat(1_000_000))),
        (
            "too_many_streams",
            "MAX_STREAMS",
            Some(
                r#"{"timestamp":"2025-07-12T13:45:00Z","stream":"b","transactions":[]}"#.to_owned(),
            ),
        ),
    ];
    let neighbour = |at: usize| {
        Message::new(minute(
            &format!("2025-07-12T14:{at:02}:00Z"),
            &[("approved", 1)],
        ))
    };
    let bad_messages = bad.iter().map(|(_, _, payload)| Message {
        payload: payload.clone().map(String::into_bytes),
        ..Message::default()
    });
    let mut messages: Vec<_> = bad_messages
        .enumerate()
        .flat_map(|(at, bad)| [neighbour(at), bad])
        .collect();
    messages.push(Message::new(
        r#"{"v":9,"timestamp":"2025-07-12T15:00:00Z","transactions":[{"status":"approved","count":1,"note":"x"}]}"#,
    ));
    let sent = messages.len() as u64;
    send(&broker, messages);
    app.until_consumed(sent).await;
    let letters = app.get("/dead-letters").await;
    let letters = letters["dead_letters"].as_array().expect("a list");
    assert_eq!(letters.len(), bad.len());
    for ((reason, detail, _), letter) in bad.iter().zip(letters.iter().rev()) {
        assert_eq!(letter["reason"], *reason, "{letter}");
        assert!(
            letter["detail"].as_str().expect("text").contains(detail),
            "{letter}"
        );
    }
    let summary = app.get("/transactions/summary").await;
    assert_eq!(
        total(&summary, "approved"),
        bad.len() as u64 + 1,
        "every neighbour, and the one with unknown fields"
    );
    app.stop().await.expect("a clean stop");
}

/// The span of the first delivery of this alert.
fn delivery(recorded: &Recorded, id: &str) -> Option<SpanData> {
    let mut spans = recorded
        .spans()
        .into_iter()
        .filter(|span| span.name == "webhook delivery");
    spans.find(|span| attribute(span, "monitoring.alert.id").as_deref() == Some(id))
}

#[test]
fn a_message_its_judging_its_alert_and_its_storing_are_one_trace_and_the_delivery_links_to_it() {
    let recorded = common::testing::record_process();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (broker, folder) = (broker().await, folder());
        let receiver = receiver(200).await;
        let setup = Setup {
            webhook: Some(receiver.uri()),
            ..Setup::default()
        };
        let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup).await;
        send(&broker, sample(40));
        app.until_consumed(40).await;
        let trace_id = "0af7651916cd43dd8448eb211c80319c";
        let traceparent = Some(format!("00-{trace_id}-b7ad6b7169203331-01"));
        let payload = minute("2025-07-12T14:40:00Z", &[("approved", 120), ("failed", 7)]);
        send(
            &broker,
            [Message {
                traceparent,
                ..Message::new(payload)
            }],
        );
        app.until_consumed(41).await;
        let spans = recorded.spans();
        let of_trace: Vec<_> = spans
            .iter()
            .filter(|s| s.span_context.trace_id().to_string() == trace_id)
            .collect();
        let consumer = of_trace
            .iter()
            .find(|span| span.name == "process transactions")
            .expect("the consumer's span");
        assert_eq!(consumer.parent_span_id.to_string(), "b7ad6b7169203331");
        let store = of_trace
            .iter()
            .find(|span| span.name == "store batch")
            .expect("the span of the transaction");
        assert_eq!(store.parent_span_id, consumer.span_context.span_id());
        let judge = of_trace
            .iter()
            .find(|span| span.name == "judge")
            .expect("the span of the judging");
        assert_eq!(judge.parent_span_id, consumer.span_context.span_id());
        assert!(consumer.start_time <= judge.start_time && judge.end_time <= consumer.end_time);
        assert_eq!(
            of_trace.iter().filter(|span| span.name == "alert").count(),
            1
        );
        let alert = of_trace
            .iter()
            .find(|span| span.name == "alert")
            .expect("counted");
        assert_eq!(alert.parent_span_id, judge.span_context.span_id());
        until("the alert is there", async || {
            !app.alerts().await.is_empty()
        })
        .await;
        let failed = app
            .alerts()
            .await
            .into_iter()
            .next_back()
            .expect("an alert");
        assert_eq!(failed.trace_id.as_deref(), Some(trace_id));
        assert_eq!(
            failed.span_id,
            Some(alert.span_context.span_id().to_string())
        );
        assert_eq!(
            attribute(alert, "monitoring.alert.id"),
            Some(failed.id.to_string())
        );
        assert_eq!(
            attribute(alert, "monitoring.severity").as_deref(),
            Some("CRITICAL")
        );
        assert_eq!(
            attribute(alert, "monitoring.status").as_deref(),
            Some("failed")
        );
        assert_eq!(
            attribute(alert, "monitoring.stream").as_deref(),
            Some("default")
        );
        assert_eq!(
            attribute(store, "db.system.name").as_deref(),
            Some("sqlite")
        );
        until("the delivery's span has ended", async || {
            delivery(&recorded, &failed.id.to_string()).is_some()
        })
        .await;
        let delivery = delivery(&recorded, &failed.id.to_string()).expect("there");
        assert_eq!(
            delivery.links.links[0].span_context.span_id(),
            alert.span_context.span_id()
        );
        assert_eq!(
            delivery.links.links[0].span_context.trace_id().to_string(),
            trace_id
        );
        app.stop().await.expect("a clean stop");
    });
}

#[test]
fn an_alert_of_a_message_that_is_not_sampled_keeps_its_trace_and_has_no_span_to_link_to() {
    let recorded = common::testing::record_process();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (broker, folder) = (broker().await, folder());
        let app =
            TestApp::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await;
        send(&broker, sample(40));
        app.until_consumed(40).await;
        let trace_id = "1bf7651916cd43dd8448eb211c80319d";
        let traceparent = Some(format!("00-{trace_id}-b7ad6b7169203331-00"));
        let payload = minute("2025-07-12T14:40:00Z", &[("approved", 120), ("failed", 7)]);
        send(
            &broker,
            [Message {
                traceparent,
                ..Message::new(payload)
            }],
        );
        app.until_consumed(41).await;
        until("the alert is there", async || {
            !app.alerts().await.is_empty()
        })
        .await;
        let failed = app
            .alerts()
            .await
            .into_iter()
            .next_back()
            .expect("an alert");
        assert_eq!(
            (failed.trace_id.as_deref(), failed.span_id),
            (Some(trace_id), None)
        );
        app.stop().await.expect("a clean stop");
        let exported = recorded
            .spans()
            .into_iter()
            .filter(|s| s.span_context.trace_id().to_string() == trace_id)
            .count();
        assert_eq!(exported, 0);
    });
}

#[test]
fn each_alert_of_a_backlog_has_a_span_in_the_trace_of_its_message() {
    let recorded = common::testing::record_process();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let alerts = runtime.block_on(async {
        let (broker, folder) = (broker().await, folder());
        send(&broker, sample(MINUTES));
        let app =
            TestApp::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await;
        app.until_consumed(MINUTES as u64).await;
        let alerts = app.alerts().await;
        app.stop().await.expect("a clean stop");
        alerts
    });
    assert!(!alerts.is_empty());
    let spans = recorded.spans();
    let with_id = |id: &str| {
        spans
            .iter()
            .find(|span| span.span_context.span_id().to_string() == id)
            .expect("exported")
    };
    for alert in alerts {
        let span = with_id(&alert.span_id.expect("sampled"));
        assert_eq!(
            Some(span.span_context.trace_id().to_string()),
            alert.trace_id
        );
        let parent = with_id(&span.parent_span_id.to_string());
        assert!(
            ["process transactions", "judge"].contains(&&*parent.name),
            "{}",
            parent.name
        );
        assert_eq!(parent.span_context.trace_id(), span.span_context.trace_id());
    }
}
