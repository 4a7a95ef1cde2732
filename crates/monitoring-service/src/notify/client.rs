//! The HTTP client of receivers: one request, one classified answer. It neither retries nor logs, and never shows the
//! address.

use std::{
    error::Error,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{
    RequestBuilder, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER},
    redirect,
};
use ring::hmac;
use uuid::Uuid;

mod words;

/// Time limit of an answer, including the connection.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit of reading the body of a refusal.
const WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a refusal that are read.
const MAX_READ: usize = 2048;

/// The longest accepted `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The reason why a receiver did not accept a request. No text contains its address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WebhookError {
    /// It accepts no more requests (410).
    #[error("the receiver is gone for good (410)")]
    Gone,
    /// It answered with another status than success. Redirects are not followed: they could send the alert to another
    /// server.
    #[error("the receiver answered {status}{words}")]
    Refused {
        /// Of the answer.
        status: u16,
        /// The wait that it asks for.
        retry_after: Option<RetryAfter>,
        /// The beginning of its answer, or the target of a redirect.
        words: String,
    },
    /// It did not answer in time.
    #[error("connected, no answer within {} s", limit.as_secs_f64())]
    NoAnswer {
        /// `WEBHOOK_TIMEOUT`.
        limit: Duration,
    },
    /// The message could not be written, so nothing was sent.
    #[error("the template of the receiver fails, correct it and start again: {reason}")]
    Template {
        /// What the template does wrong.
        reason: String,
    },
    /// There was no answer.
    #[error("the receiver cannot be reached: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
        /// True if it was connected, so that the request may have arrived.
        connected: bool,
    },
}

impl WebhookError {
    /// The HTTP status of the answer, if there was one.
    pub(crate) const fn status(&self) -> Option<u16> {
        match self {
            Self::Gone => Some(410),
            Self::Refused { status, .. } => Some(*status),
            Self::NoAnswer { .. } | Self::Unreachable { .. } | Self::Template { .. } => None,
        }
    }

    /// True if the receiver may have accepted the request.
    pub(crate) const fn may_have_arrived(&self) -> bool {
        match self {
            Self::Gone | Self::Refused { .. } | Self::Template { .. } => false,
            Self::NoAnswer { .. } => true,
            Self::Unreachable { connected, .. } => *connected,
        }
    }

    /// The status of the answer, or `template`, or `unreachable`, for metrics and traces.
    pub(crate) fn class(&self) -> String {
        if matches!(self, Self::Template { .. }) {
            return "template".to_owned();
        }
        self.status()
            .map_or_else(|| "unreachable".to_owned(), |status| status.to_string())
    }
}

/// A `Retry-After` header (RFC 9110, 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryAfter {
    /// A number of seconds.
    Delay(Duration),
    /// A date.
    At(SystemTime),
}

impl RetryAfter {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let seconds = text
            .parse()
            .ok()
            .map(|seconds| Self::Delay(Duration::from_secs(seconds)));
        seconds.or_else(|| httpdate::parse_http_date(text).ok().map(Self::At))
    }

    /// How long to wait from `now`: an hour at most, nothing if the date is past.
    pub(crate) fn delay(self, now: SystemTime) -> Duration {
        let delay = match self {
            Self::Delay(delay) => delay,
            Self::At(date) => date.duration_since(now).unwrap_or_default(),
        };
        delay.min(MAX_RETRY_AFTER)
    }
}

/// Calls one receiver. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WebhookClient {
    http: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
    keys: Vec<hmac::Key>,
}

impl WebhookClient {
    /// A client of the receiver at this http or https address.
    pub(crate) fn new(url: Url) -> anyhow::Result<Self> {
        Self::with(url, TIMEOUT, None, HeaderMap::new())
    }

    /// The same, with a limit on the time that an answer may take, through a proxy, with more headers.
    pub(crate) fn with(
        url: Url,
        timeout: Duration,
        proxy: Option<Url>,
        headers: HeaderMap,
    ) -> anyhow::Result<Self> {
        common::install_tls_provider();
        let builder = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(CONNECT_TIMEOUT.min(timeout))
            .redirect(redirect::Policy::none())
            .user_agent(concat!("transaction-monitor/", env!("CARGO_PKG_VERSION")));
        let builder = match proxy {
            Some(proxy) => {
                let proxy = reqwest::Proxy::all(proxy).map_err(reqwest::Error::without_url);
                builder.proxy(proxy.context("WEBHOOK_PROXY cannot be used")?)
            }
            // Ignore HTTP_PROXY and similar variables: all settings are in `--help`.
            None => builder.no_proxy(),
        };
        Ok(Self {
            http: builder.build().context("cannot create the HTTP client")?,
            url,
            headers,
            timeout,
            keys: Vec::new(),
        })
    }

    /// The same, signing with these keys (each signs, so that a receiver may check with any of them).
    pub(crate) fn signing_with(mut self, keys: &[Vec<u8>]) -> Self {
        self.keys = keys
            .iter()
            .map(|key| hmac::Key::new(hmac::HMAC_SHA256, key))
            .collect();
        self
    }

    /// The receiver's host, the only part of its address that may be shown.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The receiver's port.
    pub(crate) fn port(&self) -> Option<u16> {
        self.url.port_or_known_default()
    }

    /// Posts one alert, once. `id` is sent as `webhook-id` (Standard Webhooks), so that a receiver can drop
    /// duplicates; `sent_at_s` is the time of this attempt, seconds since 1970. Returns the status of success.
    pub(crate) async fn post(
        &self,
        id: Uuid,
        sent_at_s: i64,
        body: Vec<u8>,
    ) -> Result<u16, WebhookError> {
        let mut request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id.to_string())
            .header("webhook-timestamp", sent_at_s.to_string());
        if !self.keys.is_empty() {
            request = request.header("webhook-signature", self.signatures(id, sent_at_s, &body));
        }
        // Last, so that a header of the settings replaces one of ours.
        self.classify(request.headers(self.headers.clone()).body(body))
            .await
    }

    /// Calls the receiver with GET, once. Returns the status of success.
    pub(crate) async fn get(&self) -> Result<u16, WebhookError> {
        self.classify(self.http.get(self.url.clone())).await
    }

    /// `v1,BASE64` of HMAC-SHA256 over `id.timestamp.body`, one for each key (<https://www.standardwebhooks.com>).
    fn signatures(&self, id: Uuid, sent_at_s: i64, body: &[u8]) -> String {
        let signed = [format!("{id}.{sent_at_s}.").as_bytes(), body].concat();
        let sign = |key| format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(key, &signed)));
        self.keys.iter().map(sign).collect::<Vec<_>>().join(" ")
    }

    async fn classify(&self, request: RequestBuilder) -> Result<u16, WebhookError> {
        let answer = request
            .send()
            .await
            .map_err(|error| self.no_answer(error))?;
        match answer.status() {
            status if status.is_success() => Ok(status.as_u16()),
            StatusCode::GONE => Err(WebhookError::Gone),
            status => Err(WebhookError::Refused {
                status: status.as_u16(),
                retry_after: RetryAfter::of(answer.headers()),
                words: self.words(answer).await,
            }),
        }
    }

    fn no_answer(&self, error: reqwest::Error) -> WebhookError {
        if error.is_timeout() && !error.is_connect() {
            let limit = self.timeout;
            return WebhookError::NoAnswer { limit };
        }
        WebhookError::Unreachable {
            connected: !error.is_connect() && !error.is_builder(),
            reason: reason(error),
        }
    }

    /// What the receiver says about a refusal: where it redirects to, or the beginning of its answer.
    async fn words(&self, mut answer: reqwest::Response) -> String {
        if answer.status().is_redirection() {
            let target = answer.headers().get(LOCATION);
            let target = target.and_then(|target| self.url.join(target.to_str().ok()?).ok());
            let origin =
                target.map(|target| format!(" to {}", target.origin().ascii_serialization()));
            return format!(
                ": a redirect{}, which is not followed; set the address that it leads to",
                origin.unwrap_or_default()
            );
        }
        let mut body = Vec::new();
        let read = async {
            while let Ok(Some(chunk)) = answer.chunk().await {
                body.extend_from_slice(&chunk);
                if body.len() >= MAX_READ {
                    break;
                }
            }
        };
        // What arrived in time is used.
        let _ = tokio::time::timeout(WORDS_TIMEOUT, read).await;
        body.truncate(MAX_READ);
        words::clean(&String::from_utf8_lossy(&body), &self.secrets())
    }

    /// Texts that an answer may repeat and that must not be shown.
    fn secrets(&self) -> Vec<&str> {
        let url = &self.url;
        let headers = self
            .headers
            .values()
            .filter_map(|value| value.to_str().ok());
        let parts = [
            Some(url.path()),
            url.query(),
            url.password(),
            Some(url.username()),
        ];
        let segments = url.path_segments().into_iter().flatten();
        let values = url
            .query()
            .into_iter()
            .flat_map(|query| query.split(['=', '&']));
        let parts = parts.into_iter().flatten();
        parts.chain(segments).chain(values).chain(headers).collect()
    }
}

/// Headers of the settings; the values are marked as sensitive.
pub(crate) fn headers(pairs: &[(String, String)]) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let name: HeaderName = name
            .parse()
            .context("WEBHOOK_HEADERS has an invalid name")?;
        let mut value: HeaderValue = value
            .parse()
            .context("WEBHOOK_HEADERS has an invalid value")?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

/// The text of a client error with all its causes and without the address.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

    use super::*;

    async fn receiver(answer: ResponseTemplate) -> (MockServer, WebhookClient) {
        let server = MockServer::start().await;
        Mock::given(matchers::method("POST"))
            .respond_with(answer)
            .mount(&server)
            .await;
        let url = format!("http://user:hunter2@{}/secret-path", server.address())
            .parse()
            .expect("an address");
        (server, WebhookClient::new(url).expect("a client"))
    }

    async fn answer(answer: ResponseTemplate) -> Result<u16, WebhookError> {
        let (_server, client) = receiver(answer).await;
        client.post(Uuid::nil(), 0, b"{}".to_vec()).await
    }

    fn refused(status: u16, retry_after: Option<RetryAfter>) -> Result<u16, WebhookError> {
        Err(WebhookError::Refused {
            status,
            retry_after,
            words: String::new(),
        })
    }

    #[tokio::test]
    async fn the_reference_library_accepts_both_signatures() {
        let (server, client) = receiver(ResponseTemplate::new(200)).await;
        let keys = [vec![7; 32], vec![9; 24]];
        let now_s = crate::clock::Clock::system().now_ms() / 1000;
        client
            .signing_with(&keys)
            .post(Uuid::from_u128(7), now_s, b"{\"a\":1}".to_vec())
            .await
            .expect("taken");
        let requests = server.received_requests().await.expect("recorded");
        for key in keys {
            let reference = standardwebhooks::Webhook::from_bytes(key).expect("a key");
            reference
                .verify(&requests[0].body, &requests[0].headers)
                .expect("verified");
        }
        let stranger = standardwebhooks::Webhook::from_bytes(vec![1; 32]).expect("a key");
        assert!(
            stranger
                .verify(&requests[0].body, &requests[0].headers)
                .is_err()
        );
    }

    #[tokio::test]
    async fn every_answer_has_its_class() {
        for status in [200, 201, 204, 299] {
            assert_eq!(answer(ResponseTemplate::new(status)).await, Ok(status));
        }
        for status in [400, 401, 404, 408, 409, 429, 500, 503] {
            assert_eq!(
                answer(ResponseTemplate::new(status)).await,
                refused(status, None)
            );
        }
        assert_eq!(
            answer(ResponseTemplate::new(410)).await,
            Err(WebhookError::Gone)
        );
    }

    #[tokio::test]
    async fn a_redirect_is_refused_and_not_followed() {
        let (server, client) =
            receiver(ResponseTemplate::new(301).insert_header("location", "/elsewhere")).await;
        let refusal = client
            .post(Uuid::nil(), 0, Vec::new())
            .await
            .expect_err("refused")
            .to_string();
        assert!(
            refusal.starts_with("the receiver answered 301: a redirect to http://127.0.0.1:")
                && !refusal.contains("elsewhere"),
            "{refusal}"
        );
        assert_eq!(server.received_requests().await.expect("recorded").len(), 1);
    }

    #[tokio::test]
    async fn a_request_names_sender_alert_and_type() {
        let (server, client) = receiver(ResponseTemplate::new(200)).await;
        client
            .post(Uuid::from_u128(7), 1_752_332_400, b"{\"a\":1}".to_vec())
            .await
            .expect("taken");
        let requests = server.received_requests().await.expect("recorded");
        let header = |name| {
            requests[0]
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        assert_eq!(header("content-type"), Some("application/json"));
        assert_eq!(
            header("webhook-id"),
            Some("00000000-0000-0000-0000-000000000007")
        );
        assert_eq!(
            header("user-agent"),
            Some(concat!("transaction-monitor/", env!("CARGO_PKG_VERSION")))
        );
        assert_eq!(requests[0].body, b"{\"a\":1}");
    }

    #[tokio::test]
    async fn retry_after_is_read_as_seconds_and_as_a_date() {
        let limited = |value: &str| ResponseTemplate::new(429).insert_header("retry-after", value);
        let seconds = RetryAfter::Delay(Duration::from_mins(2));
        assert_eq!(answer(limited("120")).await, refused(429, Some(seconds)));
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(
            answer(limited("Sun, 06 Nov 1994 08:49:37 GMT")).await,
            refused(429, Some(RetryAfter::At(date)))
        );
        assert_eq!(answer(limited("soon")).await, refused(429, None));
    }

    #[test]
    fn a_wait_is_at_most_an_hour_and_never_negative() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let after = |seconds| RetryAfter::At(now + Duration::from_secs(seconds)).delay(now);
        assert_eq!(
            RetryAfter::Delay(Duration::from_secs(5)).delay(now),
            Duration::from_secs(5)
        );
        assert_eq!(
            RetryAfter::Delay(Duration::from_hours(24)).delay(now),
            MAX_RETRY_AFTER
        );
        assert_eq!(
            (after(90), after(7200)),
            (Duration::from_secs(90), MAX_RETRY_AFTER)
        );
        assert_eq!(
            RetryAfter::At(SystemTime::UNIX_EPOCH).delay(now),
            Duration::ZERO
        );
    }

    #[tokio::test]
    async fn an_unreachable_receiver_has_a_cause_and_no_address() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!(
            "http://user:hunter2@{}/secret-path",
            closed.local_addr().expect("bound")
        );
        drop(closed);
        let client = WebhookClient::new(url.parse().expect("an address")).expect("a client");
        let error = client
            .post(Uuid::nil(), 0, Vec::new())
            .await
            .expect_err("nobody listens")
            .to_string();
        assert!(error.contains("refused"), "{error}");
        assert!(
            !error.contains("hunter2") && !error.contains("secret-path"),
            "{error}"
        );
        assert_eq!(client.host(), "127.0.0.1");
    }

    #[tokio::test]
    async fn a_hung_receiver_times_out() {
        // Accepts connections (the backlog does) and never answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/", silent.local_addr().expect("bound"))
            .parse()
            .expect("an address");
        let client = WebhookClient::with(url, Duration::from_millis(20), None, HeaderMap::new())
            .expect("a client");
        let outcome = client.post(Uuid::nil(), 0, Vec::new()).await;
        assert!(
            matches!(&outcome, Err(WebhookError::NoAnswer { .. })),
            "{outcome:?}"
        );
    }
}
