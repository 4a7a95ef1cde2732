//! The middleware: request ids, faults of the service, limits, the token, headers.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, Method, Request, StatusCode},
    routing::{get, post},
};
use common::{metrics::MetricsRegistry, middleware::HttpMetrics};
use tokio::sync::oneshot;
use tower::ServiceExt as _;

use super::{
    harness::{Answer, Api},
    problems::assert_problem,
};
use crate::{
    config::ApiToken,
    routes::{
        extract::{FormBody, Nothing},
        guard::Guard,
        guarded,
        place::Places,
    },
    store::StoreError,
};

#[tokio::test]
async fn a_plain_request_id_is_kept() {
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

/// Routes with every kind of failure of the service, within small limits.
fn failing() -> Router {
    let routes = Router::new()
        .route(
            "/panic",
            get(async || -> () { panic!("the secret of the failure") }),
        )
        .route("/slow", get(std::future::pending::<()>))
        .route("/health/live", get(async || ()))
        .route("/form", post(async |_: FormBody<Nothing>| ()))
        .route(
            "/store",
            get(async || -> Result<(), crate::routes::error::Problem> {
                Err(StoreError::Unavailable("disk /var/secret is full".into()).into())
            }),
        );
    guarded(
        routes,
        Guard::new(Places::new(1, 2), Duration::from_secs(10)),
        HttpMetrics::new(&MetricsRegistry::new()),
    )
}

async fn ask(router: &Router, path: &str) -> Answer {
    let request = Request::get(path).body(Body::empty()).unwrap();
    Answer::of(router.clone().oneshot(request).await.unwrap()).await
}

#[tokio::test]
async fn the_cause_of_a_panic_is_only_logged() {
    let (recorded, _guard) = common::testing::record_thread();
    let answer = ask(&failing(), "/panic").await;
    assert_problem(&answer, 500, "internal");
    assert!(!answer.text.contains("secret"));
    let logs = recorded.logs();
    let logged: Vec<_> = logs
        .iter()
        .filter(|record| record.to_string().contains("the secret of the failure"))
        .collect();
    assert_eq!(logged.len(), 1, "{logs:?}");
    assert!(
        logged[0]
            .to_string()
            .contains(answer.json["request_id"].as_str().unwrap())
    );
}

#[tokio::test]
async fn an_unavailable_database_asks_for_a_retry() {
    let answer = ask(&failing(), "/store").await;
    assert_problem(&answer, 503, "unavailable");
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!answer.text.contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn too_many_requests_never_refuse_a_probe() {
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
        "the permit is free again"
    );
}

/// Posts a body that ends on a signal, or never.
async fn dribble(router: &Router, end: Option<oneshot::Receiver<()>>) -> Answer {
    let end = async {
        if let Some(end) = end {
            end.await.unwrap();
            return Ok::<_, Infallible>(Bytes::new());
        }
        std::future::pending().await
    };
    let body = Body::from_stream(futures_util::stream::once(end));
    let request = Request::post("/form").body(body).unwrap();
    Answer::of(router.clone().oneshot(request).await.unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn slow_bodies_keep_no_other_request_out() {
    let router = failing();
    let (end, ended) = oneshot::channel();
    let others = async {
        // There is one place for requests, and two bodies are awaited.
        assert_problem(&ask(&router, "/store").await, 503, "unavailable");
        let quick = Request::post("/form").body(Body::empty()).unwrap();
        let quick = router.clone().oneshot(quick).await.unwrap();
        assert_eq!(quick.status(), StatusCode::OK);
        end.send(()).unwrap();
    };
    let (oldest, second, third, ()) = tokio::join!(
        dribble(&router, None),
        dribble(&router, None),
        dribble(&router, Some(ended)),
        others
    );
    assert_problem(&oldest, 503, "overloaded");
    assert_eq!(oldest.json["field"], "body");
    assert_problem(&second, 408, "request-timeout");
    assert_eq!(third.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_needs_a_place() {
    let router = failing();
    let (end, ended) = oneshot::channel();
    let meanwhile = async {
        let slow = ask(&router, "/slow");
        end.send(()).unwrap();
        slow.await
    };
    let (late, slow) = tokio::join!(dribble(&router, Some(ended)), meanwhile);
    assert_problem(&slow, 503, "unavailable");
    assert_problem(&late, 503, "overloaded");
}

/// The paths of all routes, read from the source, so that new routes are included.
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
async fn only_probes_need_no_token() {
    let token = "correct-horse-battery-staple";
    let api = Api::new().with(|state| state.api_token = Some(ApiToken::parse(token).unwrap()));
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
async fn no_answer_is_sniffed_or_cached() {
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
