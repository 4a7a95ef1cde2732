//! Stored minutes: rows, recent minutes, totals, shares, series.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::{Value, json};

use super::harness::{Api, NOW_MS, after_a_burst, list, minute, now};

#[tokio::test]
async fn minutes_that_nobody_takes_are_sent_again() {
    let api = Api::new();
    let body = r#"{"timestamp":"2025-07-12T15:00:00Z","transactions":[]}"#;
    let post = async |content_type: &str, body: &str| {
        let request = Request::post("/transactions").header("content-type", content_type);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        api.send(request).await
    };
    let answer = post("application/json", body).await;
    assert_eq!(
        (answer.status, answer.headers["retry-after"].as_bytes()),
        (StatusCode::SERVICE_UNAVAILABLE, &b"5"[..])
    );
    let answer = post("text/plain", body).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let answer = post("application/json", &" ".repeat(2_048_001)).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    // All places are taken.
    let _place = api.state.requests.place(usize::MAX).await.unwrap();
    let answer = post("application/json", body).await;
    assert_eq!(
        (answer.status, &answer.json["type"]),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            &json!("/problems/overloaded")
        )
    );
}

#[tokio::test]
async fn new_minutes_do_not_shift_pages() {
    let mut api = after_a_burst();
    let all = api.ok("/transactions?status=denied&limit=500").await;
    assert_eq!(list(&all, "transactions").len(), 61);
    let newest = &all["transactions"][0];
    assert_eq!(
        (&newest["minute"], &newest["count"]),
        (&json!("2025-07-12T15:00:00Z"), &json!(40))
    );
    assert_eq!(
        (&newest["state"], &newest["direction"]),
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
    let of_pages: Vec<_> = list(&first, "transactions")
        .iter()
        .chain(list(&second, "transactions"))
        .cloned()
        .collect();
    assert_eq!(&of_pages, list(&all, "transactions"));
}

#[tokio::test]
async fn a_range_has_its_start_and_not_its_end() {
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
async fn recent_minutes_have_all_their_statuses() {
    let api = after_a_burst();
    let recent = api.ok("/transactions/recent?limit=2").await;
    let minutes = list(&recent, "minutes");
    assert_eq!(minutes.len(), 2);
    assert_eq!(
        (&minutes[0]["minute"], &minutes[0]["state"]),
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
async fn the_summary_counts_a_range_without_its_end() {
    let mut api = Api::new();
    for (at, approved) in [
        ("2025-07-12T13:45:00Z", 1),
        ("2025-07-12T13:46:00Z", 10),
        ("2025-07-12T13:47:00Z", 100),
    ] {
        api.consume(
            "acme",
            minute(at),
            &[("approved", approved), ("refunded", 2)],
            NOW_MS,
        );
    }
    let summary = api
        .ok("/transactions/summary?from=2025-07-12T13:45:00Z&to=2025-07-12%2013:47")
        .await;
    let total = |summary: &Value, status: &str| {
        let statuses = summary["statuses"].as_array().unwrap();
        statuses
            .iter()
            .find(|total| total["status"] == status)
            .map(|total| total["count"].clone())
    };
    assert_eq!(
        (total(&summary, "approved"), total(&summary, "refunded")),
        (Some(json!(11)), Some(json!(4)))
    );
    assert_eq!(total(&summary, "denied"), Some(json!(0)));
    assert_eq!(
        (&summary["stream"], &summary["minutes_observed"]),
        (&json!("acme"), &json!(2))
    );
    assert_eq!(summary["last_minute"], "2025-07-12T13:46:00Z");
    assert_eq!(
        total(&api.ok("/transactions/summary").await, "approved"),
        Some(json!(111))
    );
}

#[tokio::test]
async fn without_default_a_stream_must_be_named() {
    let mut api = Api::new();
    api.consume("a", now(), &[("approved", 1)], NOW_MS);
    api.consume("b", now(), &[("approved", 2)], NOW_MS);
    let answer = api.get("/transactions/summary").await;
    assert_eq!(
        (answer.status, &answer.json["field"]),
        (StatusCode::NOT_FOUND, &json!("stream"))
    );
    assert_eq!(
        api.ok("/transactions/summary?stream=b").await["statuses"][0]["count"],
        2
    );
    api.consume("default", now(), &[("approved", 3)], NOW_MS);
    assert_eq!(
        api.ok("/transactions/summary").await["statuses"][0]["count"],
        3
    );
}

#[tokio::test]
async fn a_series_sums_steps_longer_than_a_minute() {
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
        (&last["state"], &last["baseline"]["kind"]),
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
