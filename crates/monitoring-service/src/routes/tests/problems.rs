//! Every refused request is a problem that names the field, the value and the fix.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::{Method, Request, StatusCode},
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::harness::{Answer, Api};

/// Checks the members that every problem has.
pub(super) fn assert_problem(answer: &Answer, status: u16, kind: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.json["status"], status);
    assert_eq!(answer.json["type"], format!("/problems/{kind}"));
    assert_eq!(
        answer.json["request_id"],
        answer.headers["x-request-id"].to_str().unwrap()
    );
    for member in ["title", "detail"] {
        assert!(
            answer.json[member]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{member}: {}",
            answer.text
        );
    }
}

/// Asserts a problem with an invalid value, these members and a fix.
fn assert_invalid(answer: &Answer, members: &Value) {
    assert_problem(answer, 422, "invalid-value");
    for (name, value) in members.as_object().expect("an object") {
        assert_eq!(&answer.json[name], value, "{name}: {}", answer.text);
    }
    assert!(answer.json["fix"].is_string(), "{}", answer.text);
}

/// Submissions, the wrong field, and its value in the answer.
const BAD_SUBMISSIONS: [(&str, &str, Option<&str>); 20] = [
    (r#"{"count":1}"#, "status", None),
    (r#"{"status":"failed"}"#, "count", None),
    (r#"{"status":null,"count":1}"#, "status", None),
    (r#"{"status":7,"count":1}"#, "status", Some("7")),
    (r#"{"status":"","count":1}"#, "status", Some("")),
    (r#"{"status":"FAILED","count":1}"#, "status", Some("FAILED")),
    (
        r#"{"status":"refunded","count":1}"#,
        "status",
        Some("refunded"),
    ),
    (r#"{"status":"failed","count":-5}"#, "count", Some("-5")),
    (r#"{"status":"failed","count":1.5}"#, "count", Some("1.5")),
    (r#"{"status":"failed","count":"1"}"#, "count", Some("1")),
    (
        r#"{"status":"failed","count":4294967296}"#,
        "count",
        Some("4294967296"),
    ),
    (r#"{"status":"failed","count":{"a":[1]}}"#, "count", None),
    (
        r#"{"status":"failed","count":1,"timestamp":"yesterday"}"#,
        "timestamp",
        Some("yesterday"),
    ),
    (
        r#"{"status":"failed","count":1,"timestamp":1752332400}"#,
        "timestamp",
        Some("1752332400"),
    ),
    (
        r#"{"status":"failed","count":1,"timestamp":"2025-07-12T15:06:00Z"}"#,
        "timestamp",
        Some("2025-07-12T15:06:00Z"),
    ),
    (
        r#"{"status":"failed","count":1,"timestamp":"9999-12-30T00:00:00Z"}"#,
        "timestamp",
        Some("9999-12-30T00:00:00Z"),
    ),
    (
        r#"{"status":"failed","count":1,"stream":"a b"}"#,
        "stream",
        Some("a b"),
    ),
    (
        r#"{"status":"failed","count":1,"stream":"a\u0000"}"#,
        "stream",
        Some("a\u{0}"),
    ),
    (r#"["failed",1,null,null]"#, "body", None),
    (r#""failed""#, "body", Some("failed")),
];

#[tokio::test]
async fn a_bad_submission_names_the_field() {
    let api = Api::new();
    for (body, field, value) in BAD_SUBMISSIONS {
        let answer = api.evaluate(body).await;
        assert_invalid(&answer, &json!({"field": field, "value": value}));
    }
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let api = Api::new();
    for body in [
        "",
        "status=failed&count=1",
        r#"{"status":"failed","count":1} x"#,
        r#"{"status":"failed","count":1"#,
    ] {
        let answer = api.evaluate(body).await;
        assert_problem(&answer, 400, "unparsable");
        assert_eq!(
            (&answer.json["field"], &answer.json["value"]),
            (&json!("body"), &Value::Null),
            "{body}"
        );
        assert!(answer.json["fix"].is_string(), "{body}: {}", answer.text);
    }
}

#[tokio::test]
async fn hostile_bodies_record_nothing() {
    let api = Api::new();
    // A body that is cut short is not JSON. A deep, complete one is JSON with a bad status.
    let cut_short = format!(r#"{{"status":{}"#, "[".repeat(30_000));
    let deep = format!("{cut_short}{}}}", "]".repeat(30_000));
    let bodies: [(Vec<u8>, u16); 6] = [
        (cut_short.into_bytes(), 400),
        (deep.into_bytes(), 422),
        (b"{\"status\":\"\xff\xfe\",\"count\":1}".to_vec(), 400),
        (vec![0; 1000], 400),
        (
            br#"{"status":"failed","status":"denied","count":1}"#.to_vec(),
            422,
        ),
        (vec![b' '; 64 * 1024 + 1], 413),
    ];
    for (body, status) in bodies {
        let start = String::from_utf8_lossy(&body[..20]).into_owned();
        let answer = api.evaluate(body).await;
        assert_eq!(answer.status.as_u16(), status, "{start}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert!(
            answer.text.len() < 1000,
            "an answer repeats little of its request"
        );
    }
    assert_eq!(api.ok("/alerts").await["alerts"], json!([]));
}

#[tokio::test]
async fn a_bad_parameter_names_the_field() {
    let api = Api::new();
    for (path, field, value) in [
        ("/alerts?limit=0", "limit", "0"),
        ("/alerts?limit=501", "limit", "501"),
        ("/alerts?limit=-1", "limit", "-1"),
        ("/alerts?limit=", "limit", ""),
        ("/alerts?cursor=x", "cursor", "x"),
        ("/alerts?cursor=p-1", "cursor", "p-1"),
        ("/alerts?status=refunded", "status", "refunded"),
        ("/alerts?severity=NORMAL", "severity", "NORMAL"),
        ("/alerts?origin=moon", "origin", "moon"),
        ("/alerts?notified=lost", "notified", "lost"),
        ("/alerts?stream=%00", "stream", "\u{0}"),
        ("/alerts/status?stream=-a", "stream", "-a"),
        ("/transactions/summary?from=noon", "from", "noon"),
        ("/transactions/summary?to=2025-07-12", "to", "2025-07-12"),
        (
            "/transactions/summary?from=2025-07-12T13:45Z&to=2025-07-12T13:45Z",
            "to",
            "2025-07-12T13:45:00Z",
        ),
        ("/dead-letters?limit=many", "limit", "many"),
        ("/alerts/7", "id", "7"),
    ] {
        let answer = api.get(path).await;
        assert_invalid(&answer, &json!({"field": field, "value": value}));
    }
}

#[tokio::test]
async fn an_unknown_parameter_names_the_nearest() {
    let api = Api::new();
    for (path, field, fix) in [
        ("/alerts?strem=a", "strem", "did you mean stream?"),
        (
            "/alerts?form=2025-07-12T13:45Z",
            "form",
            "did you mean from?",
        ),
        ("/alerts?Limit=5", "Limit", "did you mean limit?"),
        (
            "/deliveries?merchant=a",
            "merchant",
            "use stream, state, limit or cursor",
        ),
        ("/streams?stream=a", "stream", "use retired"),
        ("/health?verbose=1", "verbose", "leave it out"),
    ] {
        let answer = api.get(path).await;
        assert_invalid(&answer, &json!({"field": field, "fix": fix}));
    }
    let answer = api
        .evaluate(r#"{"status":"failed","count":100,"streem":"acme"}"#)
        .await;
    assert_invalid(
        &answer,
        &json!({"field": "streem", "value": "acme", "fix": "did you mean stream?"}),
    );
    assert_eq!(api.ok("/alerts").await["alerts"], json!([]));
}

#[tokio::test]
async fn every_operation_refuses_unknown_parameters() {
    let api = Api::new();
    let document = api.ok("/openapi.json").await;
    let probes = ["/health/live", "/health/ready", "/metrics"];
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            // A valid id, so that only the parameter is wrong.
            let id = if path.starts_with("/deliveries") {
                "1"
            } else {
                "00000000-0000-0000-0000-000000000000"
            };
            let target = format!("{}?unknown_parameter=1", path.replace("{id}", id));
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = api.method(method.clone(), &target).await;
            if probes.contains(&path.as_str()) {
                assert_eq!(answer.status, StatusCode::OK, "{target}");
            } else {
                assert_problem(&answer, 422, "invalid-value");
                assert_eq!(
                    answer.json["field"], "unknown_parameter",
                    "{method} {target}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_huge_query_is_refused_at_its_first_name() {
    for query in ["a=1&".repeat(15_000), "limit=1&".repeat(8_000)] {
        let answer = Api::new().get(&format!("/alerts?{query}")).await;
        assert_problem(&answer, 422, "invalid-value");
        assert!(answer.text.len() < 1000, "{}", answer.text);
    }
    let name = "n".repeat(60_000);
    let answer = Api::new().get(&format!("/alerts?{name}=1")).await;
    assert_problem(&answer, 422, "invalid-value");
    assert!(answer.text.len() < 1000, "{}", answer.text);
}

#[tokio::test]
async fn a_missing_thing_is_a_problem() {
    let api = Api::new();
    for (path, field) in [
        ("/nothing", Value::Null),
        ("/alerts/", Value::Null),
        ("/alerts/00000000-0000-0000-0000-000000000000", json!("id")),
        ("/alerts/status?stream=none", json!("stream")),
        ("/transactions/summary?stream=none", json!("stream")),
    ] {
        let answer = api.get(path).await;
        assert_problem(&answer, 404, "not-found");
        assert_eq!(answer.json["field"], field, "{path}");
    }
}

#[tokio::test]
async fn a_wrong_method_gets_the_allowed_ones() {
    let api = Api::new();
    for (method, path, allow) in [
        (Method::GET, "/alerts/evaluate", "POST"),
        (Method::DELETE, "/alerts", "GET,HEAD"),
        (Method::POST, "/metrics", "GET,HEAD"),
    ] {
        let answer = api.method(method, path).await;
        assert_problem(&answer, 405, "method-not-allowed");
        assert_eq!(answer.headers["allow"], allow, "{path}");
    }
}

#[tokio::test]
async fn a_body_must_be_declared_json() {
    let api = Api::new();
    for content_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
    ] {
        let request = Request::post("/alerts/evaluate").header("content-type", content_type);
        let answer = api
            .send(
                request
                    .body(Body::from(r#"{"status":"failed","count":0}"#))
                    .unwrap(),
            )
            .await;
        assert_problem(&answer, 415, "unsupported-media-type");
        assert_eq!(answer.json["field"], "Content-Type");
    }
    let request =
        Request::post("/alerts/evaluate").header("content-type", "Application/JSON; charset=utf-8");
    let answer = api
        .send(
            request
                .body(Body::from(r#"{"status":"failed","count":0}"#))
                .unwrap(),
        )
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_times_out() {
    let silent = futures_util::stream::pending::<Result<Bytes, Infallible>>();
    let answer = Api::new().evaluate(Body::from_stream(silent)).await;
    assert_problem(&answer, 408, "request-timeout");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_limited() {
    let chunks =
        futures_util::stream::repeat(Bytes::from_static(&[b' '; 1024])).map(Ok::<_, Infallible>);
    let answer = Api::new().evaluate(Body::from_stream(chunks)).await;
    assert_problem(&answer, 413, "body-too-large");
}
