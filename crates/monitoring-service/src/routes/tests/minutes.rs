//! Stored minutes, row by row and as series, why each stands as it does, and the way back from what went wrong.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::harness::{Api, NOW_MS, now};
use crate::store::{Attempt, DeliveryOutcome};

/// An hour of usual minutes, then one with a burst of `denied` at 15:00.
fn after_a_burst() -> Api {
    let mut api = Api::new();
    api.consume_usual("default", now(), 60);
    api.consume(
        "default",
        now(),
        &[("approved", 120), ("denied", 40), ("refunded", 2)],
        NOW_MS + 60_000,
    );
    api
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a Vec<Value> {
    answer[name]
        .as_array()
        .unwrap_or_else(|| panic!("{name} in {answer}"))
}

#[tokio::test]
async fn rows_come_newest_first_and_pages_stay_the_same_when_minutes_arrive() {
    let mut api = after_a_burst();
    let all = api.ok("/transactions?status=denied&limit=500").await;
    assert_eq!(list(&all, "transactions").len(), 61);
    let newest = &all["transactions"][0];
    assert_eq!(
        (&newest["minute"], &newest["count"]),
        (&json!("2025-07-12T15:00:00Z"), &json!(40))
    );
    assert_eq!(
        (&newest["severity"], &newest["direction"]),
        (&json!("CRITICAL"), &json!("up"))
    );
    let first = api.ok("/transactions?status=denied&limit=30").await;
    api.consume(
        "default",
        now().plus(1),
        &[("approved", 120)],
        NOW_MS + 120_000,
    );
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api
        .ok(&format!(
            "/transactions?status=denied&limit=500&cursor={cursor}"
        ))
        .await;
    let paged: Vec<_> = list(&first, "transactions")
        .iter()
        .chain(list(&second, "transactions"))
        .cloned()
        .collect();
    assert_eq!(&paged, list(&all, "transactions"));
}

#[tokio::test]
async fn a_range_is_from_its_start_to_before_its_end() {
    let api = after_a_burst();
    let rows = api
        .ok("/transactions?from=2025-07-12T14:58:00Z&to=2025-07-12T15:00:00Z")
        .await;
    assert_eq!(list(&rows, "transactions").len(), 2 * 5);
    let empty = api
        .get("/transactions?from=2025-07-12T15:00:00Z&to=2025-07-12T15:00:00Z")
        .await;
    assert_eq!(empty.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn recent_minutes_have_all_their_statuses_and_their_worst_severity() {
    let api = after_a_burst();
    let recent = api.ok("/transactions/recent?limit=2").await;
    let minutes = list(&recent, "minutes");
    assert_eq!(minutes.len(), 2);
    assert_eq!(
        (&minutes[0]["minute"], &minutes[0]["severity"]),
        (&json!("2025-07-12T15:00:00Z"), &json!("CRITICAL"))
    );
    let names: Vec<_> = list(&minutes[0], "statuses")
        .iter()
        .map(|status| &status["status"])
        .collect();
    assert_eq!(
        names,
        [
            "approved",
            "denied",
            "failed",
            "reversed",
            "backend_reversed",
            "refunded"
        ]
    );
    assert_eq!(
        list(&api.ok("/transactions/recent").await, "minutes").len(),
        10
    );
    assert_eq!(
        Api::new().ok("/transactions/recent").await,
        json!({"stream": "default", "minutes": []})
    );
}

#[tokio::test]
async fn the_distribution_is_the_share_of_each_status() {
    let api = after_a_burst();
    let shares = api
        .ok("/transactions/status-distribution?from=2025-07-12T15:00:00Z")
        .await;
    assert_eq!(shares["total"], 162);
    assert_eq!(
        shares["statuses"][1],
        json!({"status": "denied", "count": 40, "share": 40.0 / 162.0})
    );
}

#[tokio::test]
async fn a_series_has_the_verdict_and_band_of_each_minute_and_sums_longer_steps() {
    let api = after_a_burst();
    let series = api.ok("/transactions/timeseries?status=denied").await;
    let points = list(&series["series"][0], "points");
    assert_eq!(points.len(), 61);
    let last = &points[60];
    assert_eq!(
        (&last["minute"], &last["count"]),
        (&json!("2025-07-12T15:00:00Z"), &json!(40))
    );
    assert_eq!(
        (&last["severity"], &last["baseline"]["kind"]),
        (&json!("CRITICAL"), &json!("spread"))
    );
    let hourly = api
        .ok("/transactions/timeseries?status=approved&step=1h")
        .await;
    let points = list(&hourly["series"][0], "points");
    let sums: Vec<_> = points
        .iter()
        .map(|point| (&point["count"], &point["minutes_observed"]))
        .collect();
    assert_eq!(sums, [(&json!(7200), &json!(60)), (&json!(120), &json!(1))]);
    assert_eq!(points[0]["baseline"], Value::Null);
    for step in ["0m", "90s", "25h", "x"] {
        let answer = api
            .get(&format!("/transactions/timeseries?step={step}"))
            .await;
        assert_eq!(
            (answer.status, &answer.json["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("step")),
            "{step}"
        );
    }
}

#[tokio::test]
async fn each_outcome_is_explained_in_words() {
    let mut api = after_a_burst();
    api.consume(
        "default",
        now().plus(1),
        &[("approved", 120), ("denied", 60)],
        NOW_MS + 120_000,
    );
    api.consume(
        "default",
        now().plus(4),
        &[("approved", 120)],
        NOW_MS + 300_000,
    );
    let explain = async |minute: &str, status: &str| {
        let answer = api
            .ok(&format!(
                "/explain?minute=2025-07-12T{minute}:00Z&status={status}"
            ))
            .await;
        (
            answer["outcome"].as_str().unwrap().to_owned(),
            answer["explanation"].as_str().unwrap().to_owned(),
            answer,
        )
    };
    let cases = [
        ("15:00", "denied", "fired", "the alert was notified"),
        (
            "15:01",
            "denied",
            "suppressed",
            "an alert of the same key was raised within ALERT_COOLDOWN",
        ),
        ("15:00", "approved", "normal", "NORMAL: approved = 120"),
        ("15:01", "failed", "normal", "so its 0 is implied"),
        ("14:10", "denied", "learning", "still learning"),
        (
            "15:00",
            "refunded",
            "not_judged",
            "this status is not monitored",
        ),
        (
            "15:02",
            "denied",
            "unknown",
            "that is silence, and never counts as zero",
        ),
        (
            "15:09",
            "denied",
            "unknown",
            "no batch has come for this one yet",
        ),
    ];
    for (minute, status, outcome, words) in cases {
        let (is, said, _) = explain(minute, status).await;
        assert_eq!(is, outcome, "{minute} {status}: {said}");
        assert!(said.contains(words), "{minute} {status}: {said}");
    }
    let (_, _, fired) = explain("15:00", "denied").await;
    assert_eq!(
        (list(&fired, "window").len(), list(&fired, "alerts").len()),
        (60, 1)
    );
    assert_eq!(fired["window"][0]["minute"], "2025-07-12T14:59:00Z");
    for (query, field) in [
        ("minute=2025-07-12T15:00:00Z", "status"),
        ("status=denied", "minute"),
    ] {
        let answer = api.get(&format!("/explain?{query}")).await;
        assert_eq!(
            (answer.status, &answer.json["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(field))
        );
    }
}

#[tokio::test]
async fn a_delivery_given_up_is_listed_and_can_be_asked_for_again() {
    let mut api = Api::new();
    api.consume_usual("default", now(), 60);
    api.consume(
        "default",
        now(),
        &[("approved", 120), ("denied", 40)],
        NOW_MS,
    );
    let pending = api.ok("/deliveries").await;
    let id = pending["deliveries"][0]["id"].as_i64().unwrap();
    assert_eq!(pending["deliveries"][0]["alert"]["status"], "denied");
    let conflict = api
        .method(Method::POST, &format!("/deliveries/{id}/replay"))
        .await;
    assert_eq!(conflict.status, StatusCode::CONFLICT);
    let attempt = Attempt {
        outcome: DeliveryOutcome::Dead,
        at_ms: NOW_MS,
        http_status: Some(410),
        error: None,
    };
    api.state.store.finish_attempt(id, attempt).await.unwrap();
    assert_eq!(
        list(&api.ok("/deliveries?state=dead").await, "deliveries").len(),
        1
    );
    let again = api
        .method(Method::POST, &format!("/deliveries/{id}/replay"))
        .await;
    assert_eq!(
        (again.status, again.json),
        (StatusCode::ACCEPTED, json!({"id": id, "state": "pending"}))
    );
    assert_eq!(
        list(&api.ok("/deliveries?state=dead").await, "deliveries").len(),
        0
    );
    let due = api.state.store.due_deliveries(i64::MAX, 9).await.unwrap();
    assert_eq!(
        (due.len(), due[0].attempts),
        (1, 1),
        "the same delivery, and its tries stay counted"
    );
    for (id, status) in [
        ("999", StatusCode::NOT_FOUND),
        ("x", StatusCode::UNPROCESSABLE_ENTITY),
        ("%ff", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = api
            .method(Method::POST, &format!("/deliveries/{id}/replay"))
            .await;
        assert_eq!(
            (answer.status, &answer.json["field"]),
            (status, &json!("id")),
            "{id}"
        );
    }
    assert_eq!(
        api.get("/deliveries?state=lost").await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
}

#[tokio::test]
async fn lost_offsets_are_listed() {
    let api = Api::new();
    assert_eq!(
        api.ok("/gaps").await,
        json!({"gaps": [], "next_cursor": null})
    );
    api.gap(60, 80);
    let gap = json!({"topic": "transactions", "partition": 0, "from_offset": 60, "to_offset": 80, "reason": "retention",
        "detected_at": "2025-07-12T15:00:00.000Z"});
    assert_eq!(list(&api.ok("/gaps").await, "gaps"), &vec![gap]);
}
