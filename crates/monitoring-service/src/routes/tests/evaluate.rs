//! `POST /alerts/evaluate`: the finding, its alert, its cooldown, its spans.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use detection::Baseline;
use opentelemetry::trace::TraceId;
use serde_json::{Value, json};

use super::harness::{Api, NOW_MS, minute, now};
use crate::alerts::json::BaselineView;

const FAILED_100: &str = r#"{"status":"failed","count":100}"#;

#[tokio::test]
async fn without_history_a_problem_is_critical() {
    let api = Api::new();
    let answer = api.evaluate(FAILED_100).await.json;
    let expected = json!({
        "status": "failed", "count": 100, "timestamp": "2025-07-12T15:00:00Z", "stream": "default", "severity": "CRITICAL",
        "policy": "zscore", "direction": "up", "z_score": null, "threshold": 4.0,
        "baseline": {"kind": "missing", "mean": null, "std_dev": null, "minutes": 0}, "adaptive": null,
        "message": "CRITICAL: failed = 100 with no established baseline (none in 0 observed minutes): any occurrence is critical",
        "alert_dispatched": true, "suppressed": null, "suppressed_by": null, "suppressed_before": 0,
        "record_id": answer["record_id"], "trace_id": answer["trace_id"],
    });
    assert_eq!(answer, expected);
    let recorded = api
        .ok(&format!(
            "/alerts/{}",
            answer["record_id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(
        (&recorded["origin"], &recorded["suppressed"]),
        (&json!("evaluate"), &Value::Null)
    );
    assert_eq!(
        recorded["deliveries"][0]["state"], "pending",
        "a submission is notified for a minute of any age"
    );
    assert_eq!(
        api.ok("/streams").await["streams"],
        json!([]),
        "no stream is created"
    );
}

#[tokio::test]
async fn a_repeated_submission_is_suppressed() {
    let api = Api::new();
    let first = api.evaluate(FAILED_100).await.json;
    api.state.clock.set_ms(NOW_MS + 299_000);
    let second = api.evaluate(FAILED_100).await.json;
    assert_eq!(
        (&second["alert_dispatched"], &second["suppressed_by"]),
        (&json!(false), &first["record_id"])
    );
    assert_eq!(second["suppressed"], "cooldown");
    assert_ne!(second["record_id"], Value::Null);
    let other = api
        .evaluate(r#"{"status":"denied","count":100}"#)
        .await
        .json;
    assert_eq!(
        other["alert_dispatched"], true,
        "another status has its own cooldown"
    );
    api.state.clock.set_ms(NOW_MS + 300_000);
    let third = api.evaluate(FAILED_100).await.json;
    assert_eq!(
        (&third["alert_dispatched"], &third["suppressed_before"]),
        (&json!(true), &json!(1))
    );
}

#[tokio::test]
async fn a_normal_count_is_not_recorded() {
    let mut api = Api::new();
    api.consume_usual("default", now(), 60);
    api.publish("default", NOW_MS);
    let answer = api.evaluate(r#"{"status":"denied","count":6}"#).await.json;
    assert_eq!(
        (&answer["severity"], &answer["record_id"]),
        (&json!("NORMAL"), &Value::Null)
    );
    assert_eq!(
        (&answer["alert_dispatched"], &answer["direction"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(
        (&answer["baseline"]["kind"], &answer["baseline"]["minutes"]),
        (&json!("spread"), &json!(60))
    );
    assert_eq!(api.ok("/alerts").await["alerts"], json!([]));
}

#[tokio::test]
async fn snapshot_and_database_give_the_same_baseline() {
    let mut api = Api::new();
    api.consume_usual("acme", now(), 90);
    for (minute, minutes) in [
        ("2025-07-12T15:00:00Z", 60),
        ("2025-07-12T14:10:00Z", 40),
        ("2025-07-12T13:00:00Z", 0),
    ] {
        let body = json!({"status": "denied", "count": 6, "stream": "acme", "timestamp": minute})
            .to_string();
        let from_database = api.evaluate(body.clone()).await.json["baseline"].clone();
        api.publish("acme", NOW_MS);
        assert_eq!(api.evaluate(body).await.json["baseline"], from_database);
        assert_eq!(from_database["minutes"], minutes);
    }
}

#[tokio::test]
async fn a_submission_enters_no_baseline_and_no_total() {
    let mut api = Api::new();
    api.consume_usual("default", now(), 60);
    let before = (
        api.evaluate(FAILED_100).await.json["baseline"].clone(),
        api.ok("/transactions/summary").await,
    );
    let after = (
        api.evaluate(FAILED_100).await.json["baseline"].clone(),
        api.ok("/transactions/summary").await,
    );
    assert_eq!(before, after);
}

#[tokio::test]
async fn the_default_minute_is_now_or_the_newest() {
    let mut api = Api::new();
    let live_newest = now().plus(-2);
    api.consume("live", live_newest, &[("denied", 6)], NOW_MS - 60_000);
    api.consume(
        "replayed",
        minute("2025-07-01T10:00:00Z"),
        &[("denied", 6)],
        NOW_MS - 60_000,
    );
    for published in [false, true] {
        if published {
            api.publish("live", NOW_MS - 60_000);
            api.publish("replayed", NOW_MS - 60_000);
        }
        for (stream, timestamp) in [
            ("live", "2025-07-12T15:00:00Z"),
            ("replayed", "2025-07-01T10:00:00Z"),
        ] {
            let body = json!({"status": "denied", "count": 0, "stream": stream}).to_string();
            assert_eq!(
                api.evaluate(body).await.json["timestamp"],
                timestamp,
                "{stream}, published: {published}"
            );
        }
    }
}

#[tokio::test]
async fn a_timestamp_may_be_five_minutes_ahead() {
    let api = Api::new();
    for (given, answered) in [
        ("2025-07-12T15:05:59Z", "2025-07-12T15:05:00Z"),
        ("2025-07-12 13:45", "2025-07-12T13:45:00Z"),
        ("2025-07-12T15:45:30+02:00", "2025-07-12T13:45:00Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ] {
        let body = json!({"status": "approved", "count": 1, "timestamp": given}).to_string();
        let answer = api.evaluate(body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json["timestamp"], answered);
    }
}

#[tokio::test]
async fn a_warning_is_recorded_and_not_notified() {
    let mut api = Api::new();
    api.consume_usual("default", now(), 60);
    // Denied is 5, 6 and 7 in turn: mean 6, deviation 0.82.
    let answer = api.evaluate(r#"{"status":"denied","count":9}"#).await.json;
    assert_eq!(
        (&answer["severity"], &answer["suppressed"]),
        (&json!("WARNING"), &json!("below_critical"))
    );
    let alert = api
        .ok(&format!(
            "/alerts/{}",
            answer["record_id"].as_str().unwrap()
        ))
        .await;
    assert_eq!(alert["deliveries"], json!([]));
}

#[tokio::test]
async fn a_recorded_submission_is_one_trace() {
    let (recorded, _guard) = common::testing::record_thread();
    let api = Api::new();
    let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = Request::post("/alerts/evaluate").header("content-type", "application/json");
    let request = request
        .header("traceparent", caller)
        .body(Body::from(FAILED_100))
        .unwrap();
    let answer = api.send(request).await.json;
    assert_eq!(answer["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    let server = recorded.span("POST /alerts/evaluate");
    assert_eq!(
        server.span_context.trace_id(),
        TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").unwrap()
    );
    let of_trace = recorded
        .spans()
        .into_iter()
        .filter(|s| s.span_context.trace_id() == server.span_context.trace_id());
    let children = of_trace.filter(|span| span.parent_span_id == server.span_context.span_id());
    let names: Vec<_> = children.map(|span| span.name.into_owned()).collect();
    assert_eq!(
        names,
        ["history fetch", "evaluate", "insert", "dispatch"],
        "in the order of their ends"
    );
    let attribute = |span: &str, name: &str| common::testing::attribute(&recorded.span(span), name);
    assert_eq!(
        attribute("history fetch", "db.operation.name").as_deref(),
        Some("SELECT")
    );
    assert_eq!(
        attribute("insert", "db.operation.name").as_deref(),
        Some("INSERT")
    );
    let id = answer["record_id"].as_str().unwrap().parse().unwrap();
    let (alert, _) = api.state.store.alert(id).await.unwrap().unwrap();
    assert_eq!(
        alert.span_id,
        Some(server.span_context.span_id().to_string()),
        "its delivery links to it"
    );
    api.evaluate(FAILED_100).await;
    let lines = recorded
        .logs()
        .into_iter()
        .filter(|line| line["target"] == "monitoring_service::alerts")
        .count();
    assert_eq!(lines, 1, "a suppressed submission writes no line");
}

#[test]
fn a_baseline_shows_its_kind() {
    let view = |baseline: Baseline| serde_json::to_value(BaselineView::from(baseline)).unwrap();
    let flat = Baseline::Flat {
        mean: 2.0,
        minutes: 3,
    };
    assert_eq!(
        view(flat),
        json!({"kind": "flat", "mean": 2.0, "std_dev": 0.0, "minutes": 3})
    );
}

#[tokio::test]
async fn an_unknown_stream_beside_known_ones_is_refused() {
    let mut api = Api::new();
    let seed = r#"{"status":"failed","count":100}"#;
    assert_eq!(api.evaluate(seed).await.json["severity"], "CRITICAL");
    api.consume_usual("acme", now(), 60);
    let answer = api
        .evaluate(r#"{"status":"failed","count":1,"stream":"acmee"}"#)
        .await;
    assert_eq!(
        (answer.status, &answer.json["field"]),
        (StatusCode::NOT_FOUND, &json!("stream"))
    );
    assert_eq!(
        api.ok("/alerts").await["alerts"].as_array().unwrap().len(),
        1
    );
}
