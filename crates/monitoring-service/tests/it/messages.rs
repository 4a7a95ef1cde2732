//! Messages through the whole service: totals, alerts, dead letters, traces.

use std::collections::BTreeMap;

use common::testing::{Recorded, SpanData, attribute};
use detection::{MinuteCounts, Severity, Suppression};
use embedded_kafka::EmbeddedKafka;
use monitoring_service::alerts::Alert;
use serde_json::Value;

use crate::harness::{
    Message, Setup, TestApp, broker, folder, minute, producer, receiver, sample, send, send_with,
    substance, until,
};

/// Minutes of the sample file that these tests send. They contain the first incident.
const MINUTES: usize = 320;

fn total(summary: &Value, status: &str) -> u64 {
    let statuses = summary["statuses"].as_array().expect("a list");
    statuses
        .iter()
        .find(|s| s["status"] == status)
        .map_or(0, |s| s["count"].as_u64().expect("a count"))
}

/// Totals of the messages per status.
fn totals(messages: &[Message]) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    for message in messages {
        let payload = message.payload.as_ref().expect("a payload");
        let counts = MinuteCounts::from_json(payload).expect("minute counts");
        for transaction in counts.transactions() {
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
    let app = TestApp::with_defaults(&broker, &folder).await;
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
async fn the_speed_of_messages_changes_no_alert() {
    // Each message alone takes a tenth of a second, so only enough minutes to learn, then the incident.
    let messages = sample(300).split_off(225);
    let mut found = Vec::new();
    for way in ["one by one", "at full speed", "as one backlog"] {
        let (broker, folder) = (broker().await, folder());
        if way == "as one backlog" {
            send(&broker, messages.clone());
        }
        let app = TestApp::with_defaults(&broker, &folder).await;
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

/// Reason, a part of the detail, and the payload of each bad message.
fn bad_messages() -> Vec<(&'static str, &'static str, Option<String>)> {
    let with = |transactions: &str| {
        let minute = r#""timestamp":"2025-07-12T13:45:00Z""#;
        Some(format!(r#"{{{minute},"transactions":[{transactions}]}}"#))
    };
    let empty = |fields: &str| Some(format!(r#"{{{fields},"transactions":[]}}"#));
    let denied = |count: &str| with(&format!(r#"{{"status":"denied","count":{count}}}"#));
    let twice = with(r#"{"status":"denied","count":1},{"status":"denied","count":2}"#);
    let many: Vec<_> = (0..65)
        .map(|i| format!(r#"{{"status":"s{i}","count":1}}"#))
        .collect();
    let future = empty(r#""timestamp":"2999-01-01T00:00:00Z""#);
    let second = empty(r#""timestamp":"2025-07-12T13:45:00Z","stream":"b""#);
    let yesterday = empty(r#""timestamp":"yesterday""#);
    vec![
        ("invalid_json", "not JSON", Some("not json".to_owned())),
        ("invalid_message", "three", denied(r#""three""#)),
        ("invalid_message", "-1", denied("-1")),
        ("invalid_message", "4294967296", denied("4294967296")),
        ("invalid_message", "yesterday", yesterday),
        ("future", "ahead of the clock", future),
        ("invalid_message", "occurs twice", twice),
        ("invalid_message", "65 statuses", with(&many.join(","))),
        ("null_payload", "no payload", None),
        ("too_large", "1000000 bytes", Some(" ".repeat(1_000_000))),
        ("too_many_streams", "MAX_STREAMS", second),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_message_is_a_dead_letter_with_a_reason() {
    let (broker, folder) = (broker().await, folder());
    let setup = Setup {
        change: |config| config.max_streams = 1,
        ..Setup::default()
    };
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup).await;
    let bad = bad_messages();
    let good = |at: usize| {
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
        .flat_map(|(at, bad)| [good(at), bad])
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
        "every message between them, and the one with unknown fields"
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

/// Sends 40 usual minutes and a traced one with failures. Returns the alert, once it is stored.
async fn failure_in_trace(broker: &EmbeddedKafka, app: &TestApp, traceparent: String) -> Alert {
    send(broker, sample(40));
    app.until_consumed(40).await;
    let payload = minute("2025-07-12T14:40:00Z", &[("approved", 120), ("failed", 7)]);
    send(
        broker,
        [Message {
            traceparent: Some(traceparent),
            ..Message::new(payload)
        }],
    );
    app.until_consumed(41).await;
    until("the alert is stored", async || {
        !app.alerts().await.is_empty()
    })
    .await;
    let mut alerts = app.alerts().await.into_iter();
    let in_shadow = |alert: &Alert| alert.suppression == Some(Suppression::Shadow);
    alerts.rfind(|alert| !in_shadow(alert)).expect("an alert")
}

#[test]
fn evaluation_alert_and_commit_share_the_trace() {
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
        let trace_id = "0af7651916cd43dd8448eb211c80319c";
        let traceparent = format!("00-{trace_id}-b7ad6b7169203331-01");
        let failed = failure_in_trace(&broker, &app, traceparent).await;
        let mut of_trace = recorded.spans();
        of_trace.retain(|span| {
            let shadow =
                attribute(span, "monitoring.alert.suppressed").as_deref() == Some("shadow");
            span.span_context.trace_id().to_string() == trace_id && !shadow
        });
        let span = |name: &str| {
            let mut named = of_trace.iter().filter(|span| span.name == name);
            let span = named.next().unwrap_or_else(|| panic!("no span {name}"));
            assert_eq!(named.count(), 0, "one span {name}");
            span
        };
        let (consumer, store) = (span("process transactions"), span("store batch"));
        let (judge, alert) = (span("judge"), span("alert"));
        assert_eq!(consumer.parent_span_id.to_string(), "b7ad6b7169203331");
        assert_eq!(store.parent_span_id, consumer.span_context.span_id());
        assert_eq!(judge.parent_span_id, consumer.span_context.span_id());
        assert!(consumer.start_time <= judge.start_time && judge.end_time <= consumer.end_time);
        assert_eq!(alert.parent_span_id, judge.span_context.span_id());
        assert_eq!(failed.trace_id.as_deref(), Some(trace_id));
        let (id, alert_span) = (failed.id.to_string(), alert.span_context.span_id());
        assert_eq!(failed.span_id, Some(alert_span.to_string()));
        for (span, name, value) in [
            (alert, "monitoring.alert.id", &*id),
            (alert, "monitoring.severity", "CRITICAL"),
            (alert, "monitoring.status", "failed"),
            (alert, "monitoring.stream", "default"),
            (store, "db.system.name", "sqlite"),
        ] {
            assert_eq!(attribute(span, name).as_deref(), Some(value), "{name}");
        }
        until("the delivery's span has ended", async || {
            delivery(&recorded, &id).is_some()
        })
        .await;
        let delivery = delivery(&recorded, &id).expect("there");
        let link = &delivery.links.links[0].span_context;
        assert_eq!(link.span_id(), alert_span);
        assert_eq!(link.trace_id().to_string(), trace_id);
        app.stop().await.expect("a clean stop");
    });
}

#[test]
fn an_alert_of_an_unsampled_message_has_no_span() {
    let recorded = common::testing::record_process();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (broker, folder) = (broker().await, folder());
        let app = TestApp::with_defaults(&broker, &folder).await;
        let trace_id = "1bf7651916cd43dd8448eb211c80319d";
        let traceparent = format!("00-{trace_id}-b7ad6b7169203331-00");
        let failed = failure_in_trace(&broker, &app, traceparent).await;
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
fn each_alert_of_a_backlog_is_in_its_trace() {
    let recorded = common::testing::record_process();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let alerts = runtime.block_on(async {
        let (broker, folder) = (broker().await, folder());
        send(&broker, sample(MINUTES));
        let app = TestApp::with_defaults(&broker, &folder).await;
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
