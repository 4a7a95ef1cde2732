//! Health, probes and metrics.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::harness::{Api, NOW_MS, now};
use crate::{
    ingest::status::{Acceptance, StandStill},
    liveness::Task,
};

#[tokio::test]
async fn health_names_the_degraded_part() {
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
        "Kafka is not connected yet"
    );
    api.state.ingest.update(NOW_MS, |status| {
        (status.connected, status.consuming) = (true, true);
    });
    assert_eq!(api.ok("/health").await["status"], "ok");

    api.consume_usual("acme", now(), 60);
    api.consume("acme", now(), &[("approved", 120), ("denied", 40)], NOW_MS);
    assert_eq!(api.ok("/health").await["parts"]["deliveries"]["pending"], 1);
    let due = api
        .state
        .store
        .due_deliveries("default", false, i64::MAX, 1)
        .await
        .unwrap();
    let given_up = crate::store::Attempt {
        outcome: crate::store::DeliveryOutcome::Dead,
        at_ms: NOW_MS,
        http_status: Some(500),
        error: None,
        in_doubt: false,
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
async fn the_service_is_alive_while_its_tasks_report() {
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
async fn metrics_name_each_route_by_its_pattern() {
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

#[tokio::test]
async fn health_names_what_producers_send_wrongly() {
    let mut api = Api::new();
    let named = [("approved", 100), ("declined", 7), ("error", 3)];
    for at in 0..7 {
        let arrived_ms = NOW_MS + (at + 1) * 60_000;
        api.consume("shop", now().plus(at), &named, arrived_ms);
        api.consume("local", now().plus(at - 180), &[("denied", 9)], arrived_ms);
    }
    api.consume("shop", now().plus(-60), &named, NOW_MS + 480_000);
    api.state.clock.set_ms(NOW_MS + 480_000);
    let streams = &api.ok("/health").await["parts"]["streams"];
    assert_eq!(
        streams,
        &json!({"status": "degraded", "notes": [
            "shop: declined, error are not judged, and denied, failed, reversed, backend_reversed never came; send the names approved, denied, failed, reversed, backend_reversed",
            "shop: 1 minutes came too late to be judged; they are stored (ALLOWED_LATENESS)",
            "local: its minutes come 3 whole hours behind the clock, so it is never live and its alerts are too old; send timestamps with their zone, or in UTC",
        ]})
    );
}

#[tokio::test]
async fn a_receiver_is_degraded_from_its_first_failure() {
    let api = Api::new();
    let board = &api.state.receivers;
    let error = "no answer within 10 s".to_owned();
    // The next attempt is far away.
    board.failed("default", 0, error.clone(), NOW_MS + 50_000, NOW_MS);
    let health = api.ok("/health").await["parts"]["deliveries"].take();
    assert_eq!(health["status"], "degraded", "{health}");
    let receiver = &health["receivers"][0];
    assert_eq!(
        (&receiver["status"], &receiver["last_error"]),
        (&json!("degraded"), &json!(error))
    );
    board.accepted("default");
    let health = api.ok("/health").await["parts"]["deliveries"].take();
    assert_eq!(health["status"], "ok", "{health}");
}

#[tokio::test]
async fn rejected_messages_degrade_health() {
    let api = Api::new();
    let why = "5 of the newest 5 messages are dead letters".to_owned();
    api.state.ingest.update(NOW_MS, |status| {
        (status.connected, status.consuming) = (true, true);
        status.acceptance = Acceptance::Rejecting(why.clone());
    });
    let health = api.ok("/health").await;
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["parts"]["kafka"]["rejecting"], json!(why));
}

#[tokio::test]
async fn a_partition_that_stands_still_degrades_health() {
    let api = Api::new();
    let stands_still_since = |since_ms| {
        api.state.ingest.update(NOW_MS, |status| {
            (status.connected, status.consuming, status.partitions) = (true, true, 2);
            status.standing_still = vec![StandStill {
                partition: 1,
                offset: 10,
                waiting: 7,
                since_ms,
            }];
        });
    };
    stands_still_since(NOW_MS - 60_000);
    let kafka = api.ok("/health").await["parts"]["kafka"].take();
    assert_eq!(
        (&kafka["status"], &kafka["standing_still"]),
        (&json!("ok"), &json!([]))
    );
    stands_still_since(NOW_MS - 60_001);
    let kafka = api.ok("/health").await["parts"]["kafka"].take();
    assert_eq!(kafka["status"], "degraded");
    assert_eq!(
        kafka["standing_still"],
        json!([{"partition": 1, "offset": 10, "waiting": 7, "since": "2025-07-12T14:58:59.999Z"}])
    );
    assert_eq!(
        kafka["error"],
        "partition 1 stands still at offset 10 since 2025-07-12 14:58 UTC, and 7 messages wait; the other partition is read"
    );
}
