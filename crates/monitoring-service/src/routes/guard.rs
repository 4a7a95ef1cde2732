//! The middleware around all routes: token, request id, limit of concurrent requests, timeout, problem documents, security headers.
//! Of the routes it knows only the probes.
//!
//! It is one middleware instead of a stack of layers, so a request costs only one boxed future.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{AUTHORIZATION, CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use http_listener::ResponseMemory;
use ring::hmac;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::error::{Kind, Problem};
use crate::config::ApiToken;

/// Maximum concurrent requests; further ones are refused at once.
const MAX_REQUESTS: usize = 256;

/// Time limit from the head of a request to its answer. The body has its own, shorter limit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum bytes of answers that clients have not read yet; a further answer is refused.
const MAX_ANSWERS_BYTES: usize = 64 << 20;

/// The message of the authentication codes that are compared instead of tokens.
const MESSAGE: &[u8] = b"api token";

/// The fix of an internal fault.
pub(super) const REPORT: &str = "report the request id to the operators of this service";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The limits of requests and the required token. A clone shares them.
#[derive(Clone)]
pub(super) struct Guard {
    permits: Arc<Semaphore>,
    response_memory: ResponseMemory,
    timeout: Duration,
    token: Option<hmac::Key>,
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(MAX_REQUESTS, REQUEST_TIMEOUT)
    }
}

impl Guard {
    pub(super) fn new(max_requests: usize, timeout: Duration) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max_requests)),
            response_memory: ResponseMemory::new(MAX_ANSWERS_BYTES),
            timeout,
            token: None,
        }
    }

    /// Requires this token of every request but the probes.
    pub(super) fn requiring(mut self, token: Option<&ApiToken>) -> Self {
        self.token =
            token.map(|token| hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes()));
        self
    }

    /// Compares authentication codes made with the tokens, in constant time.
    fn admits(&self, request: &Request) -> bool {
        let Some(expected) = &self.token else {
            return true;
        };
        let given = bearer_token(request.headers());
        let given = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, given.as_bytes()),
            MESSAGE,
        );
        is_open(request.uri().path()) || hmac::verify(expected, MESSAGE, given.as_ref()).is_ok()
    }

    /// Runs a request within the limits.
    async fn run(&self, request: Request, next: Next) -> Result<Response, Problem> {
        if !self.admits(&request) {
            return Err(unauthorized());
        }
        let bounded = !is_probe(request.uri().path());
        let _permit = bounded
            .then(|| self.permits.try_acquire())
            .transpose()
            .map_err(|_| overloaded())?;
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
        let answer = tokio::time::timeout(self.timeout, answer)
            .await
            .map_err(|_| too_slow(self.timeout))?;
        let answer = answer.map_err(|panic| panicked(&*panic))?;
        if bounded {
            self.response_memory.reserve(answer).ok_or_else(overloaded)
        } else {
            Ok(answer)
        }
    }
}

/// Middleware for `Router::layer`.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let request_id = request_id(request.headers());
    let mut response = guard
        .run(request, next)
        .await
        .unwrap_or_else(IntoResponse::into_response);
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.write(&mut response, &request_id);
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, request_id);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Answers are private and soon outdated. Static files set their own header.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The bearer token of a request; empty without one.
fn bearer_token(headers: &HeaderMap) -> &str {
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '));
    given
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map_or("", |(_, token)| token.trim())
}

/// Routes without traces: machines request them every few seconds.
pub(super) const PROBES: [&str; 3] = ["/metrics", "/health/live", "/health/ready"];

/// Whether the limit of concurrent requests does not apply: probes and scrapes are cheap, and needed most under load.
fn is_probe(path: &str) -> bool {
    path == "/metrics" || path.starts_with("/health")
}

/// Whether the route needs no token: only the two probes.
fn is_open(path: &str) -> bool {
    matches!(path, "/health/live" | "/health/ready")
}

/// The request id of the client if it is a short plain token, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    match headers.get(REQUEST_ID) {
        Some(id) if is_token(id.as_bytes()) => id.clone(),
        _ => {
            let mut text = Uuid::encode_buffer();
            HeaderValue::from_str(Uuid::new_v4().hyphenated().encode_lower(&mut text))
                .expect("a UUID is a header value")
        }
    }
}

fn is_token(id: &[u8]) -> bool {
    (1..=64).contains(&id.len())
        && id
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

pub(super) fn unauthorized() -> Problem {
    Problem::new(Kind::Unauthorized, "the token is missing or wrong")
        .field("Authorization")
        .fix("send the header Authorization: Bearer TOKEN, with the value of API_TOKEN")
}

pub(super) fn overloaded() -> Problem {
    Problem::new(
        Kind::Overloaded,
        "the limit of concurrent requests is reached",
    )
    .fix("try again in a second")
}

fn too_slow(timeout: Duration) -> Problem {
    Problem::new(
        Kind::Unavailable,
        format!("the answer took longer than {} s", timeout.as_secs()),
    )
    .fix("try again; GET /health shows the reason")
    .cause("request timed out")
}

fn panicked(panic: &(dyn Any + Send)) -> Problem {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    Problem::new(Kind::Internal, "the service failed while answering")
        .fix(REPORT)
        .cause(format!("a handler panicked: {text}"))
}
