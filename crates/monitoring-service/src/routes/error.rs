//! The answer to a failed request: RFC 9457 `application/problem+json`.
//!
//! A [`Problem`] is created where a request fails. The [`guard`](super::guard) adds the request id and writes it. Its cause is only
//! logged.

use std::{borrow::Cow, fmt};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use strum::{IntoStaticStr, VariantArray};
use utoipa::ToSchema;

use crate::store::StoreError;

/// Maximum characters of a request's text that an answer repeats.
const MAX_REPEATED_CHARS: usize = 80;

/// The kind of a problem, for programs. The text is the last part of `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum Kind {
    /// The body does not match its content type.
    Unparsable,
    /// The token is missing or wrong.
    Unauthorized,
    /// A page of another site wants to change something.
    CrossSite,
    /// No such path, stream or alert.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The present state of the resource does not allow the request.
    Conflict,
    /// The request did not arrive in time.
    RequestTimeout,
    /// The body is over the limit.
    BodyTooLarge,
    /// The content type is not JSON.
    UnsupportedMediaType,
    /// A field is missing, unknown or has a bad value.
    InvalidValue,
    /// A fault of the service.
    Internal,
    /// The service cannot answer now.
    Unavailable,
    /// Too many concurrent requests.
    Overloaded,
}

impl Kind {
    /// The last part of `type`.
    pub(super) fn slug(self) -> &'static str {
        self.into()
    }

    pub(crate) const fn status(self) -> StatusCode {
        self.status_and_title().0
    }

    pub(crate) const fn title(self) -> &'static str {
        self.status_and_title().1
    }

    const fn status_and_title(self) -> (StatusCode, &'static str) {
        match self {
            Self::Unparsable => (StatusCode::BAD_REQUEST, "The request cannot be read"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "A token is required"),
            Self::CrossSite => (StatusCode::FORBIDDEN, "Not from this site"),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not found"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "The path does not have this method",
            ),
            Self::Conflict => (StatusCode::CONFLICT, "Not possible in the present state"),
            Self::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "The request did not arrive in time",
            ),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be JSON")
            }
            Self::InvalidValue => (StatusCode::UNPROCESSABLE_ENTITY, "A value is invalid"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "The service failed"),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The service cannot answer now",
            ),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many requests at a time",
            ),
        }
    }

    /// Seconds after which to try again.
    pub(super) const fn retry_after_s(self) -> Option<u16> {
        match self {
            Self::Overloaded => Some(1),
            Self::Unavailable => Some(5),
            _ => None,
        }
    }
}

/// A failed request. Boxed, to keep the `Result` of handlers small.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Details>);

#[derive(Clone, Debug)]
struct Details {
    kind: Kind,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    value: Option<String>,
    fix: Option<Cow<'static, str>>,
    cause: Option<String>,
}

impl Problem {
    /// A problem in one sentence.
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self(Box::new(Details {
            kind,
            detail,
            field: None,
            value: None,
            fix: None,
            cause: None,
        }))
    }

    /// A field that is missing, unknown or has a bad value.
    pub(crate) fn invalid<'a>(
        field: impl Into<Cow<'static, str>>,
        value: impl Into<Option<&'a str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Kind::InvalidValue, detail)
            .field(field)
            .value(value)
    }

    /// A field that names something that does not exist.
    pub(crate) fn not_found(field: &'static str, thing: &str, name: impl fmt::Display) -> Self {
        let detail = format!("there is no {thing} {name}");
        Self::new(Kind::NotFound, detail)
            .field(field)
            .value(&*name.to_string())
    }

    /// Names the wrong parameter, member or header.
    pub(crate) fn field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Repeats the wrong value, shortened.
    pub(crate) fn value<'a>(mut self, value: impl Into<Option<&'a str>>) -> Self {
        self.0.value = value.into().map(shortened);
        self
    }

    /// Adds what to do.
    pub(crate) fn fix(mut self, fix: impl Into<Cow<'static, str>>) -> Self {
        self.0.fix = Some(fix.into());
        self
    }

    /// Adds a cause that is only logged.
    pub(crate) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Writes the body into `response`, keeps its headers, and logs the cause.
    pub(super) fn write(&self, response: &mut Response, request_id: &HeaderValue) {
        let request_id = request_id.to_str().unwrap_or_default();
        let kind = self.0.kind;
        if let Some(cause) = &self.0.cause {
            tracing::error!(request_id, problem = kind.slug(), cause, "request failed");
        }
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = kind.retry_after_s() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let body = serde_json::to_vec(&self.document(request_id)).unwrap_or_default();
        *response.body_mut() = Body::from(body);
    }

    /// What is wrong, in one sentence.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What to do.
    pub(crate) fn what_to_do(&self) -> Option<&str> {
        self.0.fix.as_deref()
    }

    pub(crate) fn kind(&self) -> Kind {
        self.0.kind
    }

    pub(super) fn document<'a>(&'a self, request_id: &'a str) -> Document<'a> {
        let Details {
            kind,
            detail,
            field,
            value,
            fix,
            cause: _,
        } = &*self.0;
        Document {
            kind: format!("/problems/{}", kind.slug()),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail,
            field: field.as_deref(),
            value: value.as_deref(),
            fix: fix.as_deref(),
            request_id,
        }
    }
}

/// The text, cut after 80 characters, so that an answer repeats little of its request.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_REPEATED_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The problem of a failed request: the members of RFC 9457 and four of this service.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document<'a> {
    /// The kind of problem; a stable text.
    #[serde(rename = "type")]
    kind: String,
    /// The kind in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request.
    detail: &'a str,
    /// The parameter, member or header that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
    /// Its value, cut after 80 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value: Option<&'a str>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    fix: Option<&'a str>,
    /// The header `x-request-id`, which the log of the service has too.
    request_id: &'a str,
}

impl IntoResponse for Problem {
    /// Sets only the status; the guard writes the rest.
    fn into_response(self) -> Response {
        let mut response = self.0.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::new(Kind::Unavailable, "the database is not available")
            .fix("try again; GET /health shows the reason")
            .cause(error.to_string())
    }
}
