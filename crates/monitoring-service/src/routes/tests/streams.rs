//! `GET /streams` and `GET /alerts/status`: the state of streams.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::harness::{Api, NOW_MS, now};
use crate::{
    alerts::{
        NotifyPolicy,
        stale::{self, StaleRules},
    },
    store::DeadLetterCount,
};

#[tokio::test]
async fn an_empty_database_has_answers() {
    let api = Api::new();
    let status = api.ok("/alerts/status").await;
    assert_eq!(
        (
            &status["state"],
            &status["streams_total"],
            &status["streams"]
        ),
        (&json!("NOT_JUDGED"), &json!(0), &json!([]))
    );
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
async fn a_stream_shows_each_status_with_its_last_alert() {
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
        (&status["state"], &status["streams_total"]),
        (&json!("CRITICAL"), &json!(1))
    );
    let stream = &status["streams"][0];
    let expected = json!({
        "stream": "acme", "state": "CRITICAL", "newest_minute": "2025-07-12T15:00:00Z", "arrived_at": "2025-07-12T15:01:00.000Z",
        "age_seconds": 90, "live": true, "stale_after_seconds": 180, "hours_off": null, "retired_at": null, "stale_since": null, "only_old_minutes_since": null,
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&stream[name], value, "{name}");
    }
    let statuses = stream["statuses"].as_array().unwrap();
    assert_eq!(statuses.len(), 5);
    let denied = statuses
        .iter()
        .find(|status| status["status"] == "denied")
        .unwrap();
    assert_eq!(
        (&denied["state"], &denied["count"]),
        (&json!("CRITICAL"), &json!(40))
    );
    assert_eq!(denied["last_alert"]["id"], alerts[0].id.to_string());
    let failed = statuses
        .iter()
        .find(|status| status["status"] == "failed")
        .unwrap();
    assert_eq!(
        (&failed["state"], &failed["implied"]),
        (&json!("NORMAL"), &json!(true))
    );
    assert_eq!(
        (&failed["never_sent"], &denied["never_sent"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        failed["message"],
        "failed: not sent; this stream never named it."
    );
    assert_eq!(api.ok("/alerts/status?stream=acme").await, status);
}

#[tokio::test]
async fn the_worst_of_many_streams_come_first() {
    let mut api = Api::new();
    for stream in 0..25 {
        api.consume(&format!("s{stream}"), now(), &[("approved", 1)], NOW_MS);
    }
    api.consume_usual("bad", now(), 60);
    api.consume("bad", now(), &[("approved", 0), ("denied", 6)], NOW_MS);
    let status = api.ok("/alerts/status").await;
    assert_eq!(
        (&status["state"], &status["streams_total"]),
        (&json!("CRITICAL"), &json!(26))
    );
    let by_state = &status["streams_by_state"];
    assert_eq!(
        (
            &by_state["CRITICAL"],
            &by_state["LEARNING"],
            &by_state["STALE"]
        ),
        (&json!(1), &json!(25), &json!(0))
    );
    let worst = status["streams"].as_array().unwrap();
    assert!(
        worst
            .iter()
            .all(|stream| stream["statuses"].as_array().unwrap().len() == 5)
    );
    assert_eq!(
        (worst.len(), &worst[0]["stream"], &worst[1]["stream"]),
        (20, &json!("bad"), &json!("s0"))
    );
}

#[tokio::test]
async fn a_stale_stream_keeps_its_findings() {
    let mut api = Api::new();
    api.consume_usual("acme", now(), 60);
    let rules = StaleRules {
        stale_after_ms: 180_000,
        silences: Vec::new(),
        dead_letters: DeadLetterCount::default(),
        policy: NotifyPolicy::default(),
    };
    api.state
        .store
        .change_stale_streams(
            NOW_MS + 600_000,
            move |streams| stale::change(streams, &rules, NOW_MS + 600_000),
            |_| panic!("none is open"),
        )
        .await
        .unwrap();
    let status = api.ok("/alerts/status").await;
    let stale = |stream: &Value| (stream["state"].clone(), stream["stale_since"].clone());
    let expected = (json!("STALE"), json!("2025-07-12T15:10:00.000Z"));
    assert_eq!(status["state"], "STALE");
    assert_eq!(stale(&status["streams"][0]), expected);
    // The findings stay those of the newest minute.
    assert_eq!(status["streams"][0]["statuses"][0]["state"], "NORMAL");
    assert_eq!(stale(&api.ok("/streams").await["streams"][0]), expected);
    let stale = api.ok("/alerts?origin=monitor").await;
    assert_eq!(
        (&stale["alerts"][0]["type"], &stale["alerts"][0]["streams"]),
        (&json!("stream.stale"), &json!(["acme"]))
    );
}

#[tokio::test]
async fn a_retired_stream_is_gone_until_its_next_minute() {
    let mut api = Api::new();
    api.consume_usual("acme", now(), 60);
    api.consume_usual("other", now(), 60);
    let retire = async |api: &Api, stream: &str| {
        let path = format!("/streams/{stream}");
        api.method(Method::DELETE, &path).await.status
    };
    assert_eq!(retire(&api, "unknown").await, StatusCode::NOT_FOUND);
    assert_eq!(retire(&api, "acme").await, StatusCode::NO_CONTENT);
    assert_eq!(retire(&api, "acme").await, StatusCode::NO_CONTENT);
    let names = async |api: &Api, path: &str| {
        let answer = api.ok(path).await;
        let names = answer["streams"].as_array().unwrap().iter();
        names
            .map(|stream| stream["stream"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&api, "/streams").await, ["other"]);
    assert_eq!(names(&api, "/alerts/status").await, ["other"]);
    assert_eq!(names(&api, "/streams?retired=true").await, ["acme"]);
    let history = api.ok("/transactions/summary?stream=acme").await;
    assert_eq!(history["minutes_observed"], 60);

    let rules = StaleRules {
        stale_after_ms: 180_000,
        silences: Vec::new(),
        dead_letters: DeadLetterCount::default(),
        policy: NotifyPolicy::default(),
    };
    let alerts = api
        .state
        .store
        .change_stale_streams(
            NOW_MS + 600_000,
            move |streams| stale::change(streams, &rules, NOW_MS + 600_000),
            |_| panic!("none is open"),
        )
        .await
        .unwrap();
    assert_eq!(alerts.0[0].subject.streams(), ["other"]);

    api.consume("acme", now(), &[("approved", 120)], NOW_MS + 60_000);
    assert_eq!(names(&api, "/streams").await, ["acme", "other"]);
}

#[tokio::test]
async fn local_times_without_a_zone_are_named() {
    let mut api = Api::new();
    for at in 0..7 {
        let arrived_ms = NOW_MS + (at + 1) * 60_000;
        api.consume("acme", now().plus(at - 180), &[("approved", 9)], arrived_ms);
    }
    let streams = api.ok("/streams").await;
    assert_eq!(streams["streams"][0]["hours_off"], 3);
    assert_eq!(streams["streams"][0]["live"], false);
}
