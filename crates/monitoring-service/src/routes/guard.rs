//! The middleware around all routes: token or session, request id, limit of concurrent requests, timeout, problem documents, security
//! headers. Of the routes it knows only the probes and which ones are for people.
//!
//! It is one middleware instead of a stack of layers, so a request costs only one boxed future.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

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
use uuid::Uuid;

use super::{
    error::{Kind, Problem},
    place::{NoPlace, Places},
    session::{Sessions, is_cross_site},
};
use crate::{clock::Clock, page};

/// Maximum concurrent requests; further ones are refused at once.
const MAX_REQUESTS: usize = 256;

/// Maximum requests whose bodies are awaited; a further one takes the place of the oldest. A usual body comes with its head.
const MAX_BODIES: usize = 64;

/// Time limit from the head of a request to its answer. The body has its own, shorter limit.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum bytes of answers that clients have not read yet; a further answer is refused.
const MAX_ANSWERS_BYTES: usize = 64 << 20;

/// The fix of an internal fault.
pub(super) const REPORT: &str = "report the request id to the operators of this service";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The limits of requests and who may send them. A clone shares them.
#[derive(Clone)]
pub(super) struct Guard {
    places: Places,
    response_memory: ResponseMemory,
    timeout: Duration,
    access: Access,
}

/// Who may send requests.
#[derive(Clone, Default)]
pub(super) struct Access {
    /// `None`: everyone.
    pub(super) sessions: Option<Sessions>,
    pub(super) public_url: Option<String>,
    pub(super) clock: Clock,
}

impl Access {
    /// True for the routes that are open, with the token, and within a session.
    fn admits(&self, request: &Request) -> bool {
        let Some(sessions) = &self.sessions else {
            return true;
        };
        let headers = request.headers();
        is_open(request.uri().path())
            || sessions.accepts(bearer_token(headers))
            || sessions.is_open(headers, self.clock.now_ms())
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        if !request.method().is_safe() && is_cross_site(request, self.public_url.as_deref()) {
            return Err(cross_site());
        }
        if self.admits(request) {
            Ok(())
        } else {
            Err(unauthorized())
        }
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(Places::new(MAX_REQUESTS, MAX_BODIES), REQUEST_TIMEOUT)
    }
}

impl Guard {
    pub(super) fn new(places: Places, timeout: Duration) -> Self {
        Self {
            places,
            response_memory: ResponseMemory::new(MAX_ANSWERS_BYTES),
            timeout,
            access: Access::default(),
        }
    }

    /// Only for those who may send requests.
    pub(super) fn only_for(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Runs a request within the limits.
    async fn run(&self, mut request: Request, next: Next) -> Result<Response, Problem> {
        self.access.check(&request)?;
        let bounded = !is_probe(request.uri().path());
        let place = bounded.then(|| self.places.take()).transpose()?;
        if let Some(place) = &place {
            // It is given back while the body is awaited.
            request.extensions_mut().insert(place.clone());
        }
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
    let reader = page::Reader::of(&request);
    let mut response = guard
        .run(request, next)
        .await
        .unwrap_or_else(IntoResponse::into_response);
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        problem.write(&mut response, &request_id);
        reader.show(&problem, &mut response);
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

/// Whether the route needs no token: the two probes, and what a person needs to log in.
fn is_open(path: &str) -> bool {
    matches!(path, "/health/live" | "/health/ready" | "/login") || page::is_asset(path)
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

pub(super) fn cross_site() -> Problem {
    Problem::new(Kind::CrossSite, "a page of another site sent the request")
        .field("Origin")
        .fix("send it from the page of this service, under the address in PUBLIC_URL")
}

pub(crate) fn overloaded() -> Problem {
    Problem::new(
        Kind::Overloaded,
        "the limit of concurrent requests is reached",
    )
    .fix("try again in a second")
}

impl From<NoPlace> for Problem {
    fn from(no_place: NoPlace) -> Self {
        match no_place {
            NoPlace::Full => overloaded(),
            NoPlace::SlowBody => Self::new(
                Kind::Overloaded,
                "too many requests are waiting for their bodies, and this one waited for longest",
            )
            .field("body")
            .fix("send the body at once, and try again in a second"),
        }
    }
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
