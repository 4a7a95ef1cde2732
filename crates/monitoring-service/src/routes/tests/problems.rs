//! Every refusal is a problem that names the field, the value and the fix.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, Method, Request, StatusCode},
    routing::get,
};
use common::{metrics::MetricsRegistry, middleware::HttpMetrics};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::harness::{Answer, Api};
use crate::{
    config::ApiToken,
    routes::{guard::Guard, guarded, router},
    store::StoreError,
};

/// The parts that must be there, and the status where it stands.
fn assert_problem(answer: &Answer, status: u16, kind: &str) {
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

#[tokio::test]
async fn each_bad_submission_is_a_problem_that_names_the_field() {
    let api = Api::new();
    let cases: [(&str, u16, &str, Value); 24] = [
        (r#"{"count":1}"#, 422, "status", Value::Null),
        (r#"{"status":"failed"}"#, 422, "count", Value::Null),
        (r#"{"status":null,"count":1}"#, 422, "status", Value::Null),
        (r#"{"status":7,"count":1}"#, 422, "status", json!("7")),
        (r#"{"status":"","count":1}"#, 422, "status", json!("")),
        (
            r#"{"status":"FAILED","count":1}"#,
            422,
            "status",
            json!("FAILED"),
        ),
        (
            r#"{"status":"refunded","count":1}"#,
            422,
            "status",
            json!("refunded"),
        ),
        (
            r#"{"status":"failed","count":-5}"#,
            422,
            "count",
            json!("-5"),
        ),
        (
            r#"{"status":"failed","count":1.5}"#,
            422,
            "count",
            json!("1.5"),
        ),
        (
            r#"{"status":"failed","count":"1"}"#,
            422,
            "count",
            json!("1"),
        ),
        (
            r#"{"status":"failed","count":4294967296}"#,
            422,
            "count",
            json!("4294967296"),
        ),
        (
            r#"{"status":"failed","count":{"a":[1]}}"#,
            422,
            "count",
            Value::Null,
        ),
        (
            r#"{"status":"failed","count":1,"timestamp":"yesterday"}"#,
            422,
            "timestamp",
            json!("yesterday"),
        ),
        (
            r#"{"status":"failed","count":1,"timestamp":1752332400}"#,
            422,
            "timestamp",
            json!("1752332400"),
        ),
        (
            r#"{"status":"failed","count":1,"timestamp":"2025-07-12T15:06:00Z"}"#,
            422,
            "timestamp",
            json!("2025-07-12T15:06:00Z"),
        ),
        (
            r#"{"status":"failed","count":1,"timestamp":"9999-12-30T00:00:00Z"}"#,
            422,
            "timestamp",
            json!("9999-12-30T00:00:00Z"),
        ),
        (
            r#"{"status":"failed","count":1,"stream":"a b"}"#,
            422,
            "stream",
            json!("a b"),
        ),
        (
            "{\"status\":\"failed\",\"count\":1,\"stream\":\"a\\u0000\"}",
            422,
            "stream",
            json!("a\u{0}"),
        ),
        (r#"["failed",1,null,null]"#, 422, "body", Value::Null),
        (r#""failed""#, 422, "body", json!("failed")),
        ("", 400, "body", Value::Null),
        ("status=failed&count=1", 400, "body", Value::Null),
        (
            r#"{"status":"failed","count":1} x"#,
            400,
            "body",
            Value::Null,
        ),
        (r#"{"status":"failed","count":1"#, 400, "body", Value::Null),
    ];
    for (body, status, field, value) in cases {
        let answer = api.evaluate(body).await;
        assert_problem(
            &answer,
            status,
            if status == 400 {
                "unparsable"
            } else {
                "invalid-value"
            },
        );
        assert_eq!(
            (&answer.json["field"], &answer.json["value"]),
            (&json!(field), &value),
            "{body}: {}",
            answer.text
        );
        assert!(answer.json["fix"].is_string(), "{body}: {}", answer.text);
    }
}

#[tokio::test]
async fn hostile_bodies_are_refused_and_nothing_is_recorded() {
    let api = Api::new();
    let deep = format!(r#"{{"status":{}"#, "[".repeat(30_000));
    let bodies: [(Vec<u8>, u16); 5] = [
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
            "an answer repeats little of the request"
        );
    }
    assert_eq!(api.ok("/alerts").await["alerts"], json!([]));
}

#[tokio::test]
async fn each_bad_query_is_a_problem_that_names_the_field() {
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
        assert_problem(&answer, 422, "invalid-value");
        assert_eq!(
            (&answer.json["field"], &answer.json["value"]),
            (&json!(field), &json!(value)),
            "{path}"
        );
        assert!(answer.json["fix"].is_string(), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_huge_query_is_read_and_what_is_unknown_in_it_ignored() {
    let query = "a=1&".repeat(15_000);
    assert_eq!(
        Api::new().get(&format!("/alerts?{query}")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
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
async fn a_wrong_method_is_told_the_right_one() {
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
async fn a_body_that_is_not_declared_json_is_refused() {
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
async fn a_body_that_does_not_come_is_a_timeout_of_the_request() {
    let silent = futures_util::stream::pending::<Result<Bytes, Infallible>>();
    let answer = Api::new().evaluate(Body::from_stream(silent)).await;
    assert_problem(&answer, 408, "request-timeout");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_read_to_the_limit_and_no_further() {
    let chunks =
        futures_util::stream::repeat(Bytes::from_static(&[b' '; 1024])).map(Ok::<_, Infallible>);
    let answer = Api::new().evaluate(Body::from_stream(chunks)).await;
    assert_problem(&answer, 413, "body-too-large");
}

#[tokio::test]
async fn the_callers_request_id_is_kept_if_it_is_a_plain_token() {
    let api = Api::new();
    let ask = async |id: &[u8]| {
        let request =
            Request::get("/streams").header("x-request-id", HeaderValue::from_bytes(id).unwrap());
        api.send(request.body(Body::empty()).unwrap()).await.headers["x-request-id"].clone()
    };
    assert_eq!(ask(b"deploy-7.retry_2").await, "deploy-7.retry_2");
    for bad in [&b""[..], b"a b", b"\xff", b"<script>", &[b'a'; 65]] {
        assert_eq!(ask(bad).await.len(), 36, "a new one instead of {bad:?}");
    }
}

/// Routes that fail in every way of our own, within small bounds.
fn failing() -> Router {
    let routes = Router::new()
        .route(
            "/panic",
            get(async || -> () { panic!("the secret of the failure") }),
        )
        .route("/slow", get(std::future::pending::<()>))
        .route("/health/live", get(async || ()))
        .route(
            "/store",
            get(async || -> Result<(), crate::routes::error::Problem> {
                Err(StoreError::Unavailable("disk /var/secret is full".into()).into())
            }),
        );
    guarded(
        routes,
        Guard::new(1, Duration::from_secs(10)),
        HttpMetrics::new(&MetricsRegistry::new()),
    )
}

async fn ask(router: &Router, path: &str) -> Answer {
    let request = Request::get(path).body(Body::empty()).unwrap();
    Answer::of(router.clone().oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn a_panic_is_answered_and_its_cause_stays_in_the_log_with_the_request_id() {
    let (recorded, _guard) = common::testing::record_thread();
    let answer = ask(&failing(), "/panic").await;
    assert_problem(&answer, 500, "internal");
    assert!(!answer.text.contains("secret"));
    let logs = recorded.logs();
    let told: Vec<_> = logs
        .iter()
        .filter(|record| record.to_string().contains("the secret of the failure"))
        .collect();
    assert_eq!(told.len(), 1, "{logs:?}");
    assert!(
        told[0]
            .to_string()
            .contains(answer.json["request_id"].as_str().unwrap())
    );
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_a_reason_to_try_again() {
    let answer = ask(&failing(), "/store").await;
    assert_problem(&answer, 503, "unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!answer.text.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_may_run_are_refused_at_once_but_probes_are_not() {
    let router = failing();
    let slow = ask(&router, "/slow");
    let meanwhile = async {
        let refused = ask(&router, "/store").await;
        assert_problem(&refused, 503, "overloaded");
        assert_eq!(refused.headers["retry-after"], "1");
        assert_eq!(ask(&router, "/health/live").await.status, StatusCode::OK);
    };
    let (slow, ()) = tokio::join!(slow, meanwhile);
    assert_problem(&slow, 503, "unavailable");
    assert_eq!(
        ask(&router, "/store").await.json["type"],
        "/problems/unavailable",
        "the place is free again"
    );
}

/// The paths of all routes, as they stand in the source: one that is added tomorrow is among them.
fn paths() -> BTreeSet<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/routes");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let sources = files
        .filter(|path| path.is_file())
        .map(|path| std::fs::read_to_string(path).unwrap());
    let mut paths = BTreeSet::new();
    for source in sources {
        let code = source
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.starts_with("//"))
            .collect::<String>();
        for start in [".route(\"", "path = \""] {
            let literals = code
                .split(start)
                .skip(1)
                .filter_map(|rest| rest.split_once('"'));
            paths.extend(
                literals
                    .map(|(path, _)| path.to_owned())
                    .filter(|path| path.starts_with('/')),
            );
        }
    }
    assert!(
        paths.len() >= 22 && paths.contains("/deliveries/{id}/replay"),
        "{paths:?}"
    );
    paths
}

#[tokio::test]
async fn with_a_token_everything_but_the_probes_asks_for_it() {
    let mut api = Api::new();
    let token = "correct-horse-battery-staple";
    api.state.api_token = Some(ApiToken::parse(token).unwrap());
    api.state.registry = MetricsRegistry::new();
    api.router = router(api.state.clone());
    let ask = async |method: &Method, path: &str, authorization: &[u8]| {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(
            "authorization",
            HeaderValue::from_bytes(authorization).unwrap(),
        );
        api.send(request.body(Body::empty()).unwrap()).await
    };
    for good in [format!("Bearer {token}"), format!("bearer   {token} ")] {
        assert_eq!(
            ask(&Method::GET, "/alerts", good.as_bytes()).await.status,
            StatusCode::OK
        );
    }
    let mut wrong: Vec<Vec<u8>> = [
        "",
        "Bearer",
        "Bearer ",
        "Basic Y29ycmVjdA==",
        "Bearer correct-horse-battery-stapl",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    wrong.extend([
        token.into(),
        format!("Bearer {token}x").into(),
        format!("Bearer Bearer {token}").into(),
    ]);
    wrong.extend([
        format!("Bearer {}", token.to_uppercase()).into(),
        format!("Bearer\t{token}").into(),
    ]);
    wrong.extend([
        b"Bearer \xff\xfe".to_vec(),
        [b"Bearer ".as_slice(), &[b'a'; 8192]].concat(),
    ]);
    let open = ["/health/live", "/health/ready"];
    let guarded =
        paths()
            .into_iter()
            .chain(["/".into(), "/nothing".into(), "/health/live/".into()]);
    for path in guarded.filter(|path| !open.contains(&path.as_str())) {
        let path = path.replace("{id}", "1");
        for method in [
            Method::GET,
            Method::POST,
            Method::DELETE,
            Method::HEAD,
            Method::OPTIONS,
        ] {
            for wrong in &wrong {
                let answer = ask(&method, &path, wrong).await;
                assert_eq!(
                    answer.status,
                    StatusCode::UNAUTHORIZED,
                    "{method} {path} {wrong:?}"
                );
                assert_eq!(
                    answer.headers["www-authenticate"], "Bearer",
                    "{method} {path}"
                );
                if method != Method::HEAD {
                    assert_problem(&answer, 401, "unauthorized");
                }
            }
        }
    }
    for path in open {
        assert_eq!(
            ask(&Method::GET, path, b"").await.status,
            StatusCode::OK,
            "{path}"
        );
    }
}

#[tokio::test]
async fn no_answer_is_taken_for_another_type_or_kept_by_a_cache() {
    let api = Api::new();
    for path in paths() {
        let answer = api.get(&path.replace("{id}", "1")).await;
        assert_eq!(
            answer.headers["x-content-type-options"], "nosniff",
            "{path}"
        );
        assert!(answer.headers.contains_key("cache-control"), "{path}");
    }
    for path in [
        "/alerts",
        "/metrics",
        "/health/live",
        "/nothing",
        "/alerts?limit=0",
    ] {
        assert_eq!(
            api.get(path).await.headers["cache-control"],
            "no-store",
            "{path}"
        );
    }
}
