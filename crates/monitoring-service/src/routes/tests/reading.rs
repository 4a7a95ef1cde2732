//! What the other routes show of what is stored.

use axum::http::StatusCode;
use detection::Severity;
use serde_json::{Value, json};

use super::harness::{Api, NOW_MS, minute, now};
use crate::{
    alerts::{NotifyPolicy, stale},
    liveness::Task,
};

#[tokio::test]
async fn an_empty_database_has_an_answer_for_everything() {
    let api = Api::new();
    let nothing =
        json!({"severity": "NOT_JUDGED", "stream": null, "freshness": null, "statuses": []});
    assert_eq!(api.ok("/alerts/status").await, nothing);
    assert_eq!(api.ok("/streams").await, json!({"streams": []}));
    assert_eq!(
        api.ok("/alerts").await,
        json!({"alerts": [], "next_cursor": null})
    );
    assert_eq!(
        api.ok("/dead-letters").await,
        json!({"dead_letters": [], "next_cursor": null})
    );
    let summary = json!({"stream": "default", "statuses": [], "first_minute": null, "last_minute": null, "minutes_observed": 0});
    assert_eq!(api.ok("/transactions/summary").await, summary);
}

#[tokio::test]
async fn the_status_of_the_only_stream_shows_each_status_with_its_last_alert() {
    let mut api = Api::new();
    api.consume_usual("acme", now(), 60);
    let alerts = api.consume(
        "acme",
        now(),
        &[("approved", 120), ("denied", 40)],
        NOW_MS + 60_000,
    );
    api.state.clock.set_ms(NOW_MS + 90_000);
    let status = api.ok("/alerts/status").await;
    assert_eq!(
        (&status["stream"], &status["severity"]),
        (&json!("acme"), &json!("CRITICAL"))
    );
    let freshness = json!({
        "newest_minute": "2025-07-12T15:00:00Z", "arrived_at": "2025-07-12T15:01:00.000Z", "age_seconds": 90,
        "live": true, "quiet": false, "quiet_since": null, "only_old_minutes_since": null,
    });
    assert_eq!(status["freshness"], freshness);
    let statuses = status["statuses"].as_array().unwrap();
    assert_eq!(statuses.len(), 5);
    let denied = statuses
        .iter()
        .find(|status| status["status"] == "denied")
        .unwrap();
    assert_eq!(
        (&denied["severity"], &denied["count"]),
        (&json!("CRITICAL"), &json!(40))
    );
    assert_eq!(denied["last_alert"]["id"], alerts[0].id.to_string());
    let failed = statuses
        .iter()
        .find(|status| status["status"] == "failed")
        .unwrap();
    assert_eq!(
        (&failed["severity"], &failed["implied"]),
        (&json!("NORMAL"), &json!(true))
    );
    assert_eq!(api.ok("/alerts/status?stream=acme").await, status);
}

#[tokio::test]
async fn the_status_of_several_streams_is_the_worst_with_counts_and_the_worst_first() {
    let mut api = Api::new();
    for stream in 0..25 {
        api.consume(&format!("s{stream}"), now(), &[("approved", 1)], NOW_MS);
    }
    api.consume_usual("bad", now(), 60);
    api.consume("bad", now(), &[("approved", 0), ("denied", 6)], NOW_MS);
    let status = api.ok("/alerts/status").await;
    assert_eq!(
        (&status["severity"], &status["streams"]),
        (&json!("CRITICAL"), &json!(26))
    );
    assert_eq!(
        (&status["counts"]["CRITICAL"], &status["counts"]["LEARNING"]),
        (&json!(1), &json!(25))
    );
    let worst = status["worst"].as_array().unwrap();
    assert_eq!(
        (worst.len(), &worst[0]["stream"], &worst[1]["stream"]),
        (20, &json!("bad"), &json!("s0"))
    );
}

#[tokio::test]
async fn a_quiet_stream_is_stale_whatever_its_last_verdict_was() {
    let mut api = Api::new();
    api.consume_usual("acme", now(), 60);
    api.state
        .store
        .change_stale_streams(NOW_MS + 600_000, |streams| {
            stale::change(streams, 180_000, &NotifyPolicy::default(), NOW_MS + 600_000)
        })
        .await
        .unwrap();
    let status = api.ok("/alerts/status").await;
    assert_eq!(
        (&status["severity"], &status["freshness"]["quiet"]),
        (&json!("STALE"), &json!(true))
    );
    assert!(
        status["statuses"]
            .as_array()
            .unwrap()
            .iter()
            .all(|status| status["severity"] == "STALE")
    );
    let streams = api.ok("/streams").await;
    assert_eq!(
        (
            &streams["streams"][0]["severity"],
            &streams["streams"][0]["quiet"]
        ),
        (&json!("STALE"), &json!(true))
    );
    let stale = api.ok("/alerts?origin=monitor").await;
    assert_eq!(
        (&stale["alerts"][0]["type"], &stale["alerts"][0]["streams"]),
        (&json!("stream.stale"), &json!(["acme"]))
    );
}

#[tokio::test]
async fn alerts_are_filtered_and_paged_and_new_ones_do_not_shift_the_pages() {
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
    api.evaluate(r#"{"status":"reversed","count":9}"#).await;
    let mut paged = first["alerts"].as_array().unwrap().clone();
    let mut cursor = first["next_cursor"].clone();
    while let Some(next) = cursor.as_str() {
        let page = api.ok(&format!("/alerts?limit=2&cursor={next}")).await;
        paged.extend(page["alerts"].as_array().unwrap().clone());
        cursor = page["next_cursor"].clone();
    }
    assert_eq!(ids(&paged), ids(&all));

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
    for notified in [true, false] {
        let found = api.ok(&format!("/alerts?notified={notified}")).await;
        let found = found["alerts"].as_array().unwrap().clone();
        assert!(
            !found.is_empty()
                && found
                    .iter()
                    .all(|alert| alert["suppressed"].is_null() == notified),
            "{notified}: {found:?}"
        );
    }
    assert_eq!(api.ok("/alerts?stream=other").await["alerts"], json!([]));
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
async fn among_several_streams_default_is_meant_and_without_it_one_must_be_named() {
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
async fn dead_letters_are_listed_newest_first_in_pages() {
    let api = Api::new();
    for offset in 0..3 {
        api.dead_letter(offset, b"{oops");
    }
    let first = api.ok("/dead-letters?limit=2").await;
    let offsets = |page: &Value| {
        page["dead_letters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|letter| letter["offset"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(offsets(&first), [json!(2), json!(1)]);
    assert_eq!(
        (
            &first["dead_letters"][0]["payload"],
            &first["dead_letters"][0]["headers"]
        ),
        (&json!("{oops"), &json!({}))
    );
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = api
        .ok(&format!("/dead-letters?limit=2&cursor={cursor}"))
        .await;
    assert_eq!(
        (offsets(&second), &second["next_cursor"]),
        (vec![json!(0)], &Value::Null)
    );
}

#[tokio::test]
async fn health_is_always_answered_and_says_which_part_is_degraded() {
    let mut api = Api::new();
    let condition = |health: &Value| {
        (
            health["status"].clone(),
            health["parts"]["kafka"]["status"].clone(),
        )
    };
    let health = api.ok("/health").await;
    assert_eq!(
        condition(&health),
        (json!("degraded"), json!("degraded")),
        "Kafka is not there yet"
    );
    api.state.ingest.update(NOW_MS, |status| {
        (status.connected, status.consuming) = (true, true);
    });
    assert_eq!(api.ok("/health").await["status"], "ok");

    api.consume_usual("acme", now(), 60);
    api.consume("acme", now(), &[("approved", 120), ("denied", 40)], NOW_MS);
    assert_eq!(api.ok("/health").await["parts"]["deliveries"]["pending"], 1);
    let due = api.state.store.due_deliveries(i64::MAX, 1).await.unwrap();
    let given_up = crate::store::Attempt {
        outcome: crate::store::DeliveryOutcome::Dead,
        at_ms: NOW_MS,
        http_status: Some(500),
        error: None,
    };
    api.state
        .store
        .finish_attempt(due[0].id, given_up)
        .await
        .unwrap();
    let health = api.ok("/health").await;
    assert_eq!(
        (&health["status"], &health["parts"]["deliveries"]["dead"]),
        (&json!("degraded"), &json!(1))
    );
}

#[tokio::test]
async fn the_service_is_alive_while_its_tasks_beat_and_kafka_does_not_matter() {
    let api = Api::new();
    api.state.clock.set_ms(NOW_MS + 59_999);
    assert_eq!(api.get("/health/live").await.status, StatusCode::OK);
    api.state.clock.set_ms(NOW_MS + 60_000);
    let answer = api.get("/health/live").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json["type"], "/problems/unavailable");
    for task in Task::ALL {
        api.state.liveness.report(task, NOW_MS + 30_000);
    }
    assert_eq!(api.get("/health/live").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_service_is_ready_until_it_stops() {
    let api = Api::new();
    assert_eq!(api.get("/health/ready").await.status, StatusCode::OK);
    api.state.draining.cancel();
    assert_eq!(
        api.get("/health/ready").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(api.get("/health/live").await.status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_each_route_by_its_pattern() {
    let api = Api::new();
    api.get("/alerts/00000000-0000-0000-0000-000000000000")
        .await;
    api.get("/nothing/here").await;
    let answer = api.get("/metrics").await;
    assert!(
        answer.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    for line in [
        r#"http_requests_total{method="GET",route="/alerts/{id}",status="404"} 1"#,
        r#"http_requests_total{method="GET",route="unmatched",status="404"} 1"#,
    ] {
        assert!(answer.text.contains(line), "{line}\n{}", answer.text);
    }
}
