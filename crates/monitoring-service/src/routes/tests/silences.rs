//! `/silences`: suppression, end, and refusals.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::json;

use super::harness::{Answer, Api, NOW_MS};

async fn silence(api: &Api, body: serde_json::Value) -> Answer {
    let request = Request::post("/silences").header("content-type", "application/json");
    api.send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

#[tokio::test]
async fn a_silence_suppresses_until_it_ends() {
    let api = Api::new();
    let asked = json!({"status": "failed", "until": "2025-07-12T16:00:00Z", "reason": "maintenance of the switch"});
    let answer = silence(&api, asked).await;
    assert_eq!(
        (answer.status, &answer.json["until"]),
        (StatusCode::CREATED, &json!("2025-07-12T16:00:00.000Z"))
    );
    let id = answer.json["id"].as_str().unwrap();
    assert_eq!(
        api.ok("/silences?stream=any").await["silences"][0]["id"],
        id
    );
    let suppressed = api
        .evaluate(r#"{"status":"failed","count":100}"#)
        .await
        .json;
    assert_eq!(
        (&suppressed["severity"], &suppressed["alert_dispatched"]),
        (&json!("CRITICAL"), &json!(false))
    );
    assert_eq!(suppressed["suppressed_by"], id);
    let recorded = api.ok("/alerts").await;
    assert_eq!(recorded["alerts"][0]["suppressed"], "silence");
    let other = api
        .evaluate(r#"{"status":"denied","count":100}"#)
        .await
        .json;
    assert_eq!(other["alert_dispatched"], true);
    assert_eq!(
        api.method(Method::DELETE, &format!("/silences/{id}"))
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(api.ok("/silences").await, json!({"silences": []}));
    let heard = api
        .evaluate(r#"{"status":"failed","count":100}"#)
        .await
        .json;
    assert_eq!(
        heard["alert_dispatched"], true,
        "a silenced alert starts no cooldown"
    );
    assert_eq!(
        api.method(Method::DELETE, &format!("/silences/{id}"))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_silence_ends_at_its_time() {
    let api = Api::new();
    silence(
        &api,
        json!({"until": "2025-07-12T15:30:00Z", "reason": "deploy"}),
    )
    .await;
    api.state.clock.set_ms(NOW_MS + 30 * 60_000);
    let heard = api
        .evaluate(r#"{"status":"failed","count":100}"#)
        .await
        .json;
    assert_eq!(heard["alert_dispatched"], true);
    assert_eq!(api.ok("/silences").await, json!({"silences": []}));
}

#[tokio::test]
async fn an_end_without_a_zone_is_utc() {
    let asked =
        json!({"status": null, "stream": null, "until": "2025-07-12 16:00", "reason": "deploy"});
    let answer = silence(&Api::new(), asked).await;
    assert_eq!(
        (answer.status, &answer.json["until"]),
        (StatusCode::CREATED, &json!("2025-07-12T16:00:00.000Z"))
    );
}

#[tokio::test]
async fn a_refused_silence_names_the_field() {
    let api = Api::new();
    let until = "2025-07-12T16:00:00Z";
    for (field, body) in [
        ("until", json!({"reason": "x"})),
        (
            "until",
            json!({"until": "2025-07-12T14:00:00Z", "reason": "x"}),
        ),
        (
            "until",
            json!({"until": "2025-07-13T15:00:01Z", "reason": "x"}),
        ),
        ("until", json!({"until": "soon", "reason": "x"})),
        ("reason", json!({"until": until})),
        ("reason", json!({"until": until, "reason": "  "})),
        ("reason", json!({"until": until, "reason": "x".repeat(501)})),
        (
            "status",
            json!({"until": until, "reason": "x", "status": "refunded"}),
        ),
        (
            "stream",
            json!({"until": until, "reason": "x", "stream": "a b"}),
        ),
        (
            "from",
            json!({"until": until, "reason": "x", "from": "2026-07-14T15:00:00Z"}),
        ),
        (
            "until",
            json!({"until": until, "reason": "x", "from": "2025-07-12T16:00:00Z"}),
        ),
        (
            "weekly",
            json!({"until": until, "reason": "x", "weekly": "saturday 01:00-03:00"}),
        ),
    ] {
        let answer = silence(&api, body.clone()).await;
        assert_eq!(
            (answer.status, &answer.json["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_silence_may_begin_later() {
    let api = Api::new();
    let asked = json!({"from": "2025-07-12T15:30:00Z", "until": "2025-07-12T16:00:00Z", "reason": "deploy"});
    let answer = silence(&api, asked).await;
    assert_eq!(
        (answer.status, &answer.json["active"]),
        (StatusCode::CREATED, &json!(false))
    );
    let failing = r#"{"status":"failed","count":100}"#;
    assert_eq!(
        api.evaluate(failing).await.json["suppressed_by"],
        json!(null)
    );
    api.state.clock.set_ms(NOW_MS + 30 * 60_000);
    let suppressed = api.evaluate(failing).await.json;
    assert_eq!(suppressed["suppressed_by"], answer.json["id"]);
    assert_eq!(api.ok("/silences").await["silences"][0]["active"], true);
}

/// 2025-07-12 is a Saturday.
#[tokio::test]
async fn a_weekly_silence_of_some_streams_recurs() {
    let api = Api::new();
    let asked = json!({
        "stream": "day*", "weekly": "sat,sun 16:00-17:00", "until": "2026-01-01T00:00:00Z", "reason": "settlement",
    });
    let answer = silence(&api, asked).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let id = &answer.json["id"];
    let suppressed_by = async |stream: &str| {
        let body = json!({"status": "failed", "count": 100, "stream": stream}).to_string();
        api.evaluate(body).await.json["suppressed_by"].clone()
    };
    assert_ne!(suppressed_by("day1").await, *id);
    for week in [0, 7] {
        api.state
            .clock
            .set_ms(NOW_MS + (week * 24 * 60 + 90) * 60_000);
        assert_eq!(suppressed_by("day1").await, *id);
        assert_ne!(suppressed_by("night").await, *id);
    }
    let listed = api.ok("/silences?stream=day1").await;
    assert_eq!(listed["silences"][0]["weekly"], "sat,sun 16:00-17:00");
    assert_eq!(
        api.ok("/silences?stream=night").await,
        json!({"silences": []})
    );
}
