//! HTTP middleware: one server span, one count and one duration for each request.
//!
//! No client can add label values: the route is the router's pattern, never the path, and unknown
//! methods become `OTHER`. It knows no route and answers no request.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use prometheus::IntGauge;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::metrics::MetricsRegistry;
use crate::propagation;

/// Upper bounds in seconds, from 0.5 ms to 10 s.
const DURATION_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// A longer path, in bytes, is left out of the span.
const MAX_PATH_BYTES: usize = 256;

/// `route` of a request that no route matched.
const UNMATCHED: &str = "unmatched";

crate::metrics! {
    /// The metrics of [`track`].
    struct RequestMetrics {
        /// HTTP requests answered
        requests: IntCounterVec("http_requests_total", labels ["method", "route", "status"]),
        /// Seconds from the head of the request to the head of the response
        duration: HistogramVec(
            "http_request_duration_seconds",
            labels ["method", "route"],
            buckets DURATION_BUCKETS
        ),
        /// HTTP requests in flight
        in_flight: IntGauge("http_requests_in_flight"),
    }
}

/// The metrics of an HTTP server, for [`track`]. A clone counts into the same metrics.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    metrics: RequestMetrics,
    untraced_routes: &'static [&'static str],
}

impl HttpMetrics {
    /// Registers the metrics of the HTTP server; once per registry.
    pub fn new(registry: &MetricsRegistry) -> Self {
        Self {
            metrics: RequestMetrics::register(registry),
            untraced_routes: &[],
        }
    }

    /// The same, but requests for these routes have no span. Probes and scrapes arrive every few
    /// seconds and would otherwise fill the trace store.
    #[must_use]
    pub fn without_spans_of(mut self, routes: &'static [&'static str]) -> Self {
        self.untraced_routes = routes;
        self
    }
}

/// Measures one request, in a server span whose parent is the caller's `traceparent`. Use it with
/// `axum::middleware::from_fn_with_state` on `Router::layer`, where the matched route is known.
pub async fn track(State(state): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let metrics = &state.metrics;
    let _in_flight = InFlight::enter(&metrics.in_flight);
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let method = known_method(request.method());
    let timer = metrics
        .duration
        .with_label_values(&[method, route])
        .start_timer();
    let span = if state.untraced_routes.contains(&route) {
        Span::none()
    } else {
        server_span(method, route, path(matched.as_ref(), &request), &request)
    };
    let response = next.run(request).instrument(span.clone()).await;
    timer.observe_duration();
    record_status(&span, response.status());
    metrics
        .requests
        .with_label_values(&[method, route, response.status().as_str()])
        .inc();
    response
}

/// The path for the span, if a route matched and it is not too long. The query is left out: it may
/// hold secrets.
fn path<'a>(matched: Option<&MatchedPath>, request: &'a Request) -> Option<&'a str> {
    matched
        .map(|_| request.uri().path())
        .filter(|path| path.len() <= MAX_PATH_BYTES)
}

fn server_span(method: &'static str, route: &str, path: Option<&str>, request: &Request) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "http request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        "error.type" = Empty,
        url.scheme = "http",
        url.path = path,
    );
    // Fails only without a tracing layer, where no span needs a parent.
    let _ = span.set_parent(propagation::extract_http(request.headers()));
    span
}

fn record_status(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR")
            .record("error.type", status.as_str());
    }
}

/// The method as a label: a client can send any word as its method.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// One request in flight. Its drop counts requests out that the client cancelled, too.
struct InFlight<'a>(&'a IntGauge);

impl<'a> InFlight<'a> {
    fn enter(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future as _, pending, poll_fn};
    use std::task::Poll;

    use axum::body::Body;
    use axum::routing::get;
    use axum::{Router, middleware};
    use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
    use tower::ServiceExt as _;

    use super::*;
    use crate::testing::{assert_value, attribute, record_thread};

    fn server() -> (Router, MetricsRegistry) {
        let registry = MetricsRegistry::new();
        let router = Router::new()
            .route("/items/{id}", get(|| async { "one" }))
            .route("/broken", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
            .route("/slow", get(|| async { pending::<()>().await }))
            .route("/live", get(|| async { "yes" }))
            .layer(middleware::from_fn_with_state(
                HttpMetrics::new(&registry).without_spans_of(&["/live"]),
                track,
            ));
        (router, registry)
    }

    fn request(method: &str, path: &str) -> Request {
        Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap()
    }

    #[tokio::test]
    async fn a_probe_is_counted_without_a_span() {
        let (recorded, _guard) = record_thread();
        let (server, registry) = server();
        server
            .clone()
            .oneshot(request("GET", "/live"))
            .await
            .unwrap();
        server.oneshot(request("GET", "/items/1")).await.unwrap();
        assert_value(
            &registry,
            "http_requests_total",
            &[("method", "GET"), ("route", "/live"), ("status", "200")],
            1.0,
        );
        let names: Vec<_> = recorded.spans().into_iter().map(|span| span.name).collect();
        assert_eq!(names, ["GET /items/{id}"]);
    }

    #[tokio::test]
    async fn requests_are_counted_by_route_pattern() {
        let (server, registry) = server();
        for path in ["/items/1", "/items/2", "/broken"] {
            server.clone().oneshot(request("GET", path)).await.unwrap();
        }
        let items = ("route", "/items/{id}");
        assert_value(
            &registry,
            "http_requests_total",
            &[("method", "GET"), items, ("status", "200")],
            2.0,
        );
        assert_value(
            &registry,
            "http_request_duration_seconds",
            &[("method", "GET"), items],
            2.0,
        );
        let broken = ("route", "/broken");
        assert_value(
            &registry,
            "http_requests_total",
            &[("method", "GET"), broken, ("status", "503")],
            1.0,
        );
    }

    #[tokio::test]
    async fn clients_cannot_add_label_values() {
        let (server, registry) = server();
        for n in 0..20 {
            server
                .clone()
                .oneshot(request("GET", &format!("/invented/{n}")))
                .await
                .unwrap();
            server
                .clone()
                .oneshot(request(&format!("METHOD{n}"), "/items/1"))
                .await
                .unwrap();
        }
        let unmatched = [("method", "GET"), ("route", UNMATCHED), ("status", "404")];
        assert_value(&registry, "http_requests_total", &unmatched, 20.0);
        let other = [
            ("method", "OTHER"),
            ("route", "/items/{id}"),
            ("status", "405"),
        ];
        assert_value(&registry, "http_requests_total", &other, 20.0);
        assert_eq!(
            registry
                .render()
                .lines()
                .filter(|line| line.starts_with("http_requests_total{"))
                .count(),
            2
        );
    }

    #[tokio::test]
    async fn the_caller_is_the_parent_of_the_span() {
        let (server, _) = server();
        let (recorded, _guard) = record_thread();
        let mut called = request("GET", "/items/1");
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            .parse()
            .unwrap();
        called.headers_mut().insert("traceparent", parent);
        server.oneshot(called).await.unwrap();
        let span = recorded.span("GET /items/{id}");
        assert_eq!(
            span.span_context.trace_id(),
            TraceId::from(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736)
        );
        assert_eq!(span.parent_span_id, SpanId::from(0x00f0_67aa_0ba9_02b7));
        assert_eq!(span.span_kind, SpanKind::Server);
        for (name, value) in [
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("http.route", "/items/{id}"),
            ("url.path", "/items/1"),
            ("url.scheme", "http"),
        ] {
            assert_eq!(attribute(&span, name).as_deref(), Some(value), "{name}");
        }
    }

    #[tokio::test]
    async fn spans_show_no_query_and_no_unmatched_path() {
        let (server, _) = server();
        let (recorded, _guard) = record_thread();
        for path in [
            "/items/1?token=hunter2".to_owned(),
            "/hunter2".to_owned(),
            format!("/items/{}", "x".repeat(300)),
        ] {
            server.clone().oneshot(request("GET", &path)).await.unwrap();
        }
        let paths: Vec<_> = recorded
            .spans()
            .iter()
            .map(|span| attribute(span, "url.path"))
            .collect();
        assert_eq!(paths, [Some("/items/1".to_owned()), None, None]);
        assert!(!format!("{:?}", recorded.spans()).contains("hunter2"));
    }

    #[tokio::test]
    async fn a_failed_request_marks_its_root_span() {
        let (server, _) = server();
        let (recorded, _guard) = record_thread();
        server.oneshot(request("GET", "/broken")).await.unwrap();
        let span = recorded.span("GET /broken");
        assert_eq!(span.parent_span_id, SpanId::INVALID);
        assert!(matches!(span.status, Status::Error { .. }));
        assert_eq!(attribute(&span, "error.type").as_deref(), Some("503"));
    }

    #[tokio::test]
    async fn a_cancelled_request_leaves_the_gauge() {
        let (server, registry) = server();
        let mut answer = Box::pin(server.oneshot(request("GET", "/slow")));
        assert!(poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending())).await);
        assert_value(&registry, "http_requests_in_flight", &[], 1.0);
        drop(answer);
        assert_value(&registry, "http_requests_in_flight", &[], 0.0);
    }
}
