//! Minutes by `POST /transactions`, with Kafka and without, and dead letters that are read again.

use std::time::Duration;

use detection::mapping::Pointer;
use monitoring_service::{clock::Clock, config::Config, ingest::KafkaInput};
use serde_json::{Value, json};

use crate::harness::{
    Message, NOW_MS, Setup, TestApp, broker, client, folder, minute, sample, send, substance,
    until, usual,
};

/// Minutes of the sample file; the first incident is among them.
const MINUTES: usize = 300;

/// No broker at all.
const NONE: &str = "none";

fn at(clock: &Clock) -> Setup {
    Setup {
        clock: clock.clone(),
        change: |config| config.alert_check_interval = Duration::from_millis(20),
        ..Setup::default()
    }
}

/// The status and the JSON of an answer.
async fn post(app: &TestApp, path: &str, body: &str) -> (u16, Value) {
    post_with(app, path, body, &[]).await
}

async fn post_with(
    app: &TestApp,
    path: &str,
    body: &str,
    headers: &[(&str, &str)],
) -> (u16, Value) {
    let mut request = client().post(format!("{}{path}", app.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.header("content-type", "application/json");
    let answer = request.body(body.to_owned()).send().await.expect("sent");
    let status = answer.status().as_u16();
    let text = answer.bytes().await.expect("a body");
    (status, serde_json::from_slice(&text).expect("JSON"))
}

/// A list of messages as a body.
fn list(messages: &[Message]) -> String {
    let payload = |message: &Message| {
        let payload = message.payload.clone().expect("a payload");
        String::from_utf8(payload).expect("text")
    };
    let payloads: Vec<_> = messages.iter().map(payload).collect();
    format!("[{}]", payloads.join(","))
}

async fn rows(app: &TestApp) -> Value {
    let mut rows = app.get("/transactions?limit=500").await;
    rows["next_cursor"] = Value::Null;
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn posted_minutes_are_those_of_kafka() {
    let messages = sample(MINUTES);
    let (broker, of_kafka) = (broker().await, folder());
    let app = TestApp::with_defaults(&broker, &of_kafka).await;
    send(&broker, messages.clone());
    app.until_consumed(MINUTES as u64).await;
    let expected = (
        rows(&app).await,
        app.get("/transactions/summary").await,
        substance(&app.alerts().await),
    );
    // The same minutes by both ways are corrections that change nothing.
    let (status, answer) = post(&app, "/transactions", &list(&messages[MINUTES - 20..])).await;
    assert_eq!((status, &answer["state"]), (200, &Value::Null));
    let results = answer["minutes"].as_array().expect("minutes");
    assert!(results.iter().all(|of| of["result"] == "unchanged"));
    assert_eq!(rows(&app).await, expected.0);
    app.stop().await.expect("a clean stop");

    let by_request = folder();
    let mut app = TestApp::start(NONE, by_request.path(), Setup::default()).await;
    let (first, second) = messages.split_at(MINUTES / 2);
    let (status, _) = post(&app, "/transactions", &list(first)).await;
    assert_eq!(status, 200);
    app.stop().await.expect("a clean stop");
    app = TestApp::start(NONE, by_request.path(), Setup::default()).await;
    // In any order within a request.
    let mut second = second.to_vec();
    second.reverse();
    let (status, answer) = post(&app, "/transactions", &list(&second)).await;
    assert_eq!((status, &answer["state"]), (200, &json!("CRITICAL")));
    let minutes = answer["minutes"].as_array().expect("minutes");
    assert_eq!(minutes.len(), second.len());
    assert!(minutes[0]["minute"].as_str() > minutes[1]["minute"].as_str());
    let (got, summary) = (rows(&app).await, app.get("/transactions/summary").await);
    assert_eq!((got, summary), (expected.0, expected.1));
    let alerts = substance(&app.alerts().await);
    assert_eq!(alerts, expected.2);
    let named = answer["findings"][0]["alert_id"].as_str();
    assert!(
        alerts
            .iter()
            .any(|alert| Some(&*alert.id.to_string()) == named),
        "{named:?}"
    );
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_minute_stores_none_of_its_request() {
    let folder = folder();
    let setup = Setup {
        clock: Clock::fixed(NOW_MS),
        change: |config| config.max_streams = 2,
        ..Setup::default()
    };
    let app = TestApp::start(NONE, folder.path(), setup).await;
    let of = |stream: &str, rest: &str| {
        format!(r#"{{"timestamp":"2025-12-31T23:00:00Z","stream":"{stream}",{rest}}}"#)
    };
    let good = of("a", r#""transactions":[{"status":"denied","count":1}]"#);
    let empty = |stream| of(stream, r#""transactions":[]"#);
    let too_many = vec!["{}"; 1001].join(",");
    for (second, field, detail, fix) in [
        (
            of("a", r#""transactions":[{"status":"denied","count":-1}]"#),
            "/1/transactions/0/count",
            "minute 1 of the list: /count is -1",
            "nothing is stored",
        ),
        (
            of("a", r#""transactions":[],"merchnat":"x","stram":"b""#),
            "/1/merchnat",
            "there is no field merchnat",
            "timestamp, stream or transactions",
        ),
        (
            of("a", r#""transactoins":[]"#),
            "/1/transactoins",
            "there is no field transactoins",
            "did you mean transactions?",
        ),
        (
            of(
                "a",
                r#""transactions":[{"status":"denied","count":1},{"status":"failed","count":1,"cont":2}]"#,
            ),
            "/1/transactions/cont",
            "there is no field transactions/cont",
            "did you mean count?",
        ),
        (
            r#"{"timestamp":"2026-01-01T00:06:00Z","transactions":[]}"#.to_owned(),
            "/1/timestamp",
            "ahead of the clock",
            "nothing is stored",
        ),
        (
            format!("{},{}", empty("b"), empty("c")),
            "/2/stream",
            "MAX_STREAMS",
            "nothing is stored",
        ),
        (
            of("a", r#""transactions":[{"status":"failed","count":1}]"#),
            "/1/timestamp",
            "minute 1 of the list: 2025-12-31T23:00:00Z of the stream a is minute 0, too",
            "send all counts of a minute in one entry",
        ),
        ("7".to_owned(), "/1", "not an object", "nothing is stored"),
        (too_many, "body", "more than 1000", "at most 1000"),
    ] {
        let (status, problem) = post(&app, "/transactions", &format!("[{good},{second}]")).await;
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(
            (status, text("field")),
            (422, field.to_owned()),
            "{problem}"
        );
        assert!(text("detail").contains(detail), "{problem}");
        assert!(text("fix").contains(fix), "{problem}");
    }
    let (status, problem) = post(&app, "/transactions", "[{]").await;
    assert_eq!((status, &problem["field"]), (400, &json!("body")));
    let (status, problem) = post(&app, "/transactions", " [ ] ").await;
    assert_eq!((status, &problem["field"]), (422, &json!("body")));
    assert_eq!(
        problem["detail"],
        "the list is empty: nothing would be stored"
    );
    let (status, problem) = post(&app, "/transactions?stream=a", &good).await;
    assert_eq!((status, &problem["field"]), (422, &json!("stream")));
    assert_eq!(app.get("/streams").await["streams"], json!([]));
    let (status, _) = post(&app, "/transactions", &format!("[{good},{}]", empty("b"))).await;
    assert_eq!(status, 200);
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_says_what_was_not_evaluated() {
    let folder = folder();
    let setup = Setup {
        change: |config| {
            config.input.status_aliases = "DECLINED=denied".parse().expect("aliases");
            config.input.transaction_stream = "/merchant".parse::<Pointer>().expect("a pointer");
        },
        ..Setup::default()
    };
    let app = TestApp::start(NONE, folder.path(), setup).await;
    let of = |minute: u32, denied: u32| {
        json!({"timestamp": format!("2025-07-12 13:{minute:02}"), "merchant": 7, "transactions": [
            {"status": "Declined", "count": denied}, {"status": "refunded", "count": 3}]})
    };
    let (status, answer) = post(&app, "/transactions", &of(30, 5).to_string()).await;
    assert_eq!((status, &answer["state"]), (200, &json!("LEARNING")));
    let expected = json!([{
        "stream": "7", "minute": "2025-07-12T13:30:00Z", "result": "stored", "state": "LEARNING",
        "not_evaluated": "still learning, 0 earlier minutes observed", "not_monitored": ["refunded"],
    }]);
    assert_eq!(answer["minutes"], expected);
    let more = json!([of(30, 6), of(19, 5), of(29, 5)]);
    let (_, answer) = post(&app, "/transactions", &more.to_string()).await;
    let results = answer["minutes"].as_array().expect("minutes").iter();
    let results: Vec<_> = results.map(|of| of["result"].as_str()).collect();
    assert_eq!(
        results,
        [Some("corrected"), Some("too_late"), Some("stored")]
    );
    assert_eq!(
        answer["minutes"][1]["not_evaluated"],
        "minute older than ALLOWED_LATENESS"
    );
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_nothing_misses_it() {
    let (folder, clock) = (folder(), Clock::fixed(NOW_MS));
    let app = TestApp::start(NONE, folder.path(), at(&clock)).await;
    let health = app.get("/health").await;
    assert_eq!(
        (&health["status"], &health["parts"]["kafka"]),
        (&json!("ok"), &Value::Null)
    );
    let (status, _) = post(&app, "/transactions", &list(&usual(40, NOW_MS))).await;
    assert_eq!(status, 200);
    let types = async || {
        let alerts = app.alerts().await;
        let types: Vec<_> = alerts.iter().map(|alert| alert.subject.kind()).collect();
        types
    };
    // Far beyond the time after which ingest would be down.
    clock.set_ms(NOW_MS + 240_000);
    until("the stream is stale", async || {
        types().await == ["stream.stale"]
    })
    .await;
    let (_, answer) = post(
        &app,
        "/transactions",
        &list(&[Message::new(minute(
            "2026-01-01T00:03:00Z",
            &[("approved", 101)],
        ))]),
    )
    .await;
    assert_eq!(answer["minutes"][0]["result"], "stored");
    until("the stream is back", async || {
        types().await == ["stream.stale", "stream.resumed"]
    })
    .await;
    let metrics = client().get(format!("{}/metrics", app.url)).send();
    let metrics = metrics.await.expect("sent").text().await.expect("text");
    assert!(metrics.contains("monitoring_posted_minute_counts_total 41"));
    assert!(!metrics.contains("monitoring_kafka_connected"));
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_are_taken_while_the_brokers_do_not_answer() {
    let folder = folder();
    let app = TestApp::start("127.0.0.1:9", folder.path(), Setup::default()).await;
    let (status, answer) = post(&app, "/transactions", &list(&sample(2))).await;
    assert_eq!(status, 200, "{answer}");
    app.stop().await.expect("a clean stop");
}

#[test]
fn the_trace_of_the_request_is_that_of_its_alerts() {
    let recorded = common::testing::record_process();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let folder = folder();
        let app = TestApp::start(NONE, folder.path(), Setup::default()).await;
        let trace_id = "2cf7651916cd43dd8448eb211c80319e";
        let traceparent = format!("00-{trace_id}-b7ad6b7169203331-01");
        let (_, answer) = post_with(
            &app,
            "/transactions",
            &list(&sample(MINUTES)),
            &[("traceparent", &traceparent)],
        )
        .await;
        assert_eq!(answer["trace_id"], trace_id);
        let alerts = app.alerts().await;
        assert!(!alerts.is_empty());
        for alert in alerts {
            assert_eq!(alert.trace_id.as_deref(), Some(trace_id));
        }
        app.stop().await.expect("a clean stop");
        let spans = recorded.spans();
        let of_trace = |name: &str| {
            let spans = spans.iter().filter(|span| {
                span.name == name && span.span_context.trace_id().to_string() == trace_id
            });
            spans.count()
        };
        assert_eq!(of_trace("store batch"), 1);
    });
}

async fn letters(app: &TestApp) -> Value {
    app.get("/dead-letters").await["dead_letters"].clone()
}

async fn replay(app: &TestApp, letter: &Value) -> (u16, Value) {
    post(app, &format!("/dead-letters/{}/replay", letter["id"]), "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_read_again_with_the_settings_of_now() {
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::with_defaults(&broker, &folder).await;
    let upper =
        r#"{"Timestamp":"2025-07-12T13:45:00Z","transactions":[{"status":"denied","count":6}]}"#;
    send(
        &broker,
        [Message::new(upper), Message::new("{oops")].map(|message| Message {
            key: "shop-a".into(),
            ..message
        }),
    );
    app.until_consumed(2).await;
    let listed = letters(&app).await;
    let hint = "these settings read its names: TRANSACTION_TIMESTAMP=/Timestamp";
    assert_eq!(
        (&listed[1]["key"], &listed[1]["hint"], &listed[0]["hint"]),
        (&json!("shop-a"), &json!(hint), &Value::Null)
    );
    let (status, problem) = replay(&app, &listed[1]).await;
    assert_eq!((status, &problem["field"]), (409, &json!("id")));
    assert!(
        problem["detail"].as_str().expect("text").contains(hint),
        "{problem}"
    );
    app.stop().await.expect("a clean stop");

    let setup = Setup {
        change: |config: &mut Config| {
            config.input.transaction_timestamp =
                "/Timestamp".parse::<Pointer>().expect("a pointer");
        },
        ..Setup::default()
    };
    let app = TestApp::start(NONE, folder.path(), setup).await;
    let (status, answer) = replay(&app, &listed[1]).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["minute"]["minute"], &answer["minute"]["result"]),
        (&json!("2025-07-12T13:45:00Z"), &json!("stored"))
    );
    let again = letters(&app).await;
    assert_eq!(
        (&again[1]["replayed_at"], &again[0]["replayed_at"]),
        (&answer["replayed_at"], &Value::Null)
    );
    for (letter, expected) in [(&listed[1], "it was replayed at"), (&listed[0], "not JSON")] {
        let (status, problem) = replay(&app, letter).await;
        let detail = problem["detail"].as_str().expect("text");
        assert!(status == 409 && detail.contains(expected), "{problem}");
    }
    let (status, _) = post(&app, "/dead-letters/99/replay", "").await;
    assert_eq!(status, 404);
    let (status, _) = post(&app, "/dead-letters/x/replay", "").await;
    assert_eq!(status, 422);
    assert_eq!(
        app.get("/transactions/summary").await["minutes_observed"],
        1
    );
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_transaction_is_added_once() {
    let (broker, folder) = (broker().await, folder());
    let setup = |change| Setup {
        clock: Clock::fixed(NOW_MS),
        change,
        ..Setup::default()
    };
    let brokers = broker.bootstrap_servers();
    let of = |second: i64, field: &str| {
        let at = NOW_MS / 1000 - 600 + second;
        Message::new(format!(r#"{{"timestamp":{at},"{field}":"denied"}}"#))
    };
    let transactions = |config: &mut Config| config.input.kafka_input = KafkaInput::Transactions;
    let app = TestApp::start(&brokers, folder.path(), setup(transactions)).await;
    send(
        &broker,
        [of(0, "status"), of(1, "state"), of(130, "status")],
    );
    app.until_consumed(3).await;
    let letter = letters(&app).await[0].clone();
    app.stop().await.expect("a clean stop");
    let app = TestApp::start(
        &brokers,
        folder.path(),
        setup(|config| {
            config.input.kafka_input = KafkaInput::Transactions;
            config.input.transaction_status = "/state".parse::<Pointer>().expect("a pointer");
        }),
    )
    .await;
    until("the topic is read", async || {
        app.get("/health").await["parts"]["kafka"]["caught_up"] == true
    })
    .await;
    let (status, answer) = replay(&app, &letter).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["minute"]["result"], "corrected", "{answer}");
    assert_eq!(replay(&app, &letter).await.0, 409);
    let oldest = app.get("/transactions?status=denied").await["transactions"].clone();
    let oldest = oldest.as_array().expect("rows").last().cloned();
    assert_eq!(oldest.expect("a row")["count"], 2);
    app.stop().await.expect("a clean stop");
}
