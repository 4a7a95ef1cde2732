//! Deliveries, dead letters and offset gaps.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::harness::{Api, NOW_MS, list, now};
use crate::store::{Attempt, DeliveryOutcome};

#[tokio::test]
async fn a_dead_delivery_can_be_replayed() {
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
        in_doubt: false,
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
    let due = api
        .state
        .store
        .due_deliveries("default", false, i64::MAX, 9)
        .await
        .unwrap();
    assert_eq!(
        (due.len(), due[0].attempts),
        (1, 1),
        "the same delivery with its earlier attempts"
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
async fn dead_letters_come_newest_first() {
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
async fn offset_gaps_are_listed() {
    let api = Api::new();
    assert_eq!(
        api.ok("/offset-gaps").await,
        json!({"offset_gaps": [], "next_cursor": null})
    );
    api.gap(60, 80);
    let gap = json!({"topic": "transactions", "partition": 0, "from_offset": 60, "to_offset": 80, "reason": "retention",
        "detected_at": "2025-07-12T15:00:00.000Z"});
    assert_eq!(
        list(&api.ok("/offset-gaps").await, "offset_gaps"),
        &vec![gap]
    );
}
