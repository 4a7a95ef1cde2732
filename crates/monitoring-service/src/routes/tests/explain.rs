//! `GET /explain`: the text of each outcome.

use axum::http::StatusCode;
use serde_json::json;

use super::harness::{NOW_MS, after_a_burst, list, now};

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
            "it is unknown, which never counts as zero",
        ),
        ("15:09", "denied", "unknown", "this minute has not arrived"),
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
