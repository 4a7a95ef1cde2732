//! The HTTP client of receivers: one request, one classified answer. It neither retries nor logs, and never shows the
//! address.

use std::{borrow::Cow, error::Error, time::Duration};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{
    RequestBuilder, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION},
    redirect,
};
use ring::hmac;
use uuid::Uuid;

mod error;
mod words;

pub(crate) use error::{RetryAfter, WebhookError};

/// Time limit of an answer, including the connection.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit of reading the body of a refusal.
const WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a refusal that are read.
const MAX_READ: usize = 2048;

/// Calls one receiver. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WebhookClient {
    http: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    timeout: Duration,
    keys: Vec<hmac::Key>,
    /// Secrets in the bodies.
    hidden: Vec<String>,
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
            hidden: Vec::new(),
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

    /// The same, hiding a secret of the bodies where an answer repeats it.
    pub(crate) fn hiding(mut self, secret: &str) -> Self {
        self.hidden.push(secret.to_owned());
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
    fn secrets(&self) -> Vec<String> {
        let url = &self.url;
        let parts = [
            Some(url.path()),
            url.query(),
            url.password(),
            Some(url.username()),
        ];
        let segments = url.path_segments().into_iter().flatten();
        let raw = url.query().into_iter();
        let raw = raw.flat_map(|query| query.split(['=', '&']));
        let of_url = parts.into_iter().flatten().chain(segments).chain(raw);
        let decoded = url.query_pairs().flat_map(<[_; 2]>::from);
        let headers = self
            .headers
            .values()
            .filter_map(|value| value.to_str().ok());
        let mut secrets: Vec<_> = of_url.map(ToOwned::to_owned).collect();
        secrets.extend(decoded.map(Cow::into_owned));
        secrets.extend(headers.flat_map(words::secrets_of_header));
        secrets.extend(self.hidden.iter().cloned());
        secrets
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
mod tests;
