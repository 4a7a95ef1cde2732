//! Alerts: lists, filters, pages, the test alert.

use axum::http::{Method, StatusCode};
use detection::Severity;
use serde_json::{Value, json};

use super::harness::{Api, NOW_MS, now};

#[tokio::test]
async fn new_alerts_do_not_shift_pages() {
    let mut api = Api::new();
    api.consume_usual("acme", now(), 60);
    let counts = [("approved", 120), ("denied", 40)];
    for later in 0..7 {
        api.consume("acme", now().plus(later), &counts, NOW_MS);
    }
    let all = api.ok("/alerts").await["alerts"]
        .as_array()
        .unwrap()
        .clone();
    let ids = |alerts: &[Value]| {
        alerts
            .iter()
            .map(|alert| alert["id"].clone())
            .collect::<Vec<_>>()
    };
    assert!(all.len() >= 3, "{all:?}");

    let first = api.ok("/alerts?limit=2").await;
    api.evaluate(r#"{"status":"reversed","count":9,"stream":"acme"}"#)
        .await;
    let mut of_pages = first["alerts"].as_array().unwrap().clone();
    let mut cursor = first["next_cursor"].clone();
    while let Some(next) = cursor.as_str() {
        let page = api.ok(&format!("/alerts?limit=2&cursor={next}")).await;
        of_pages.extend(page["alerts"].as_array().unwrap().clone());
        cursor = page["next_cursor"].clone();
    }
    assert_eq!(ids(&of_pages), ids(&all));

    for (query, member, value) in [
        ("origin=evaluate", "origin", "evaluate"),
        ("severity=CRITICAL", "severity", Severity::Critical.name()),
        ("stream=acme", "stream", "acme"),
        ("status=denied", "status", "denied"),
    ] {
        let found = api.ok(&format!("/alerts?{query}")).await["alerts"]
            .as_array()
            .unwrap()
            .clone();
        assert!(
            !found.is_empty() && found.iter().all(|alert| alert[member] == value),
            "{query}: {found:?}"
        );
    }
    assert_eq!(api.ok("/alerts?stream=other").await["alerts"], json!([]));
    for notified in [true, false] {
        let found = api.ok(&format!("/alerts?notified={notified}")).await;
        let found = found["alerts"].as_array().unwrap();
        assert!(!found.is_empty());
        let is_null = |alert: &Value| alert["suppressed"].is_null();
        assert!(found.iter().all(|alert| is_null(alert) == notified));
    }
}

#[tokio::test]
async fn a_range_has_alerts_by_their_minute() {
    let mut api = Api::new();
    api.consume_usual("acme", now(), 60);
    for later in 0..3 {
        api.consume(
            "acme",
            now().plus(later),
            &[("denied", 40)],
            NOW_MS + later * 60_000,
        );
    }
    api.method(Method::POST, "/alerts/test").await;
    let minutes = async |query: &str| {
        let alerts = api.ok(&format!("/alerts?{query}")).await;
        let alerts = alerts["alerts"].as_array().unwrap().iter();
        alerts
            .map(|alert| alert["minute"].clone())
            .collect::<Vec<_>>()
    };
    let (first, second) = ("2025-07-12T15:00:00Z", "2025-07-12T15:01:00Z");
    let in_first = format!("from={first}&to={second}");
    assert_eq!(minutes(&format!("{in_first}&status=denied")).await, [first]);
    let from_second = minutes(&format!("from={second}&status=denied")).await;
    assert_eq!(from_second, ["2025-07-12T15:02:00Z", second]);
    // An alert of the monitor has no minute: the one of its recording counts.
    let of_monitor = minutes(&format!("{in_first}&origin=monitor")).await;
    assert_eq!(of_monitor, [Value::Null]);
    assert!(minutes(&format!("to={first}")).await.is_empty());
}

#[tokio::test]
async fn a_test_alert_is_marked_and_delivered() {
    let api = Api::new();
    let answer = api.method(Method::POST, "/alerts/test").await;
    assert_eq!(
        (answer.status, &answer.json["type"]),
        (StatusCode::ACCEPTED, &json!("alert.test"))
    );
    let id = answer.json["id"].as_str().unwrap();
    assert_eq!(
        api.ok(&format!("/alerts/{id}")).await["deliveries"][0]["state"],
        "pending"
    );
}
