//! What a client is told when a request fails: RFC 9457 `application/problem+json`.
//!
//! A [`Problem`] is made where something goes wrong and written by the [`guard`](super::guard), which knows the
//! request id. What only operators may know goes into the log, never into the answer.

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

/// Longest value that is repeated to the client, in characters.
const MAX_VALUE_CHARS: usize = 80;

/// What went wrong, as a client can tell it apart. Each has a stable `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The body is not what its content type says.
    Unparsable,
    /// Without the token, or with another one.
    Unauthorized,
    /// No such path, stream or alert.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// It is there, but not in a state for this.
    Conflict,
    /// The request did not arrive in time.
    RequestTimeout,
    /// The body is over the limit.
    BodyTooLarge,
    /// The body is not JSON, says its header.
    UnsupportedMediaType,
    /// A field is missing or has a value it cannot have.
    InvalidValue,
    /// Our fault.
    Internal,
    /// The service cannot do its work now.
    Unavailable,
    /// Too many requests at a time.
    Overloaded,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 12] = [
        Self::Unparsable,
        Self::Unauthorized,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidValue,
        Self::Internal,
        Self::Unavailable,
        Self::Overloaded,
    ];

    pub(super) const fn status(self) -> StatusCode {
        self.parts().0
    }

    /// The last part of `type`.
    pub(super) const fn slug(self) -> &'static str {
        self.parts().1
    }

    pub(super) const fn title(self) -> &'static str {
        self.parts().2
    }

    /// The status, the last part of `type`, and the title.
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Unparsable => (
                StatusCode::BAD_REQUEST,
                "unparsable",
                "The request cannot be read",
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "A token is needed",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The path has no such method",
            ),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "This cannot be done now"),
            Self::RequestTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "request-timeout",
                "The request did not arrive in time",
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body-too-large",
                "The body is too large",
            ),
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body must be JSON",
            ),
            Self::InvalidValue => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid-value",
                "A value is wrong",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "The service failed",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The service cannot do this now",
            ),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "Too many requests at a time",
            ),
        }
    }

    /// Seconds after which another try makes sense.
    pub(super) const fn retry_after_s(self) -> Option<u16> {
        match self {
            Self::Overloaded => Some(1),
            Self::Unavailable => Some(5),
            _ => None,
        }
    }
}

/// An error answer on its way out. Boxed: it is the rare half of every handler's `Result`.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Details>);

#[derive(Clone, Debug)]
struct Details {
    kind: Kind,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    value: Option<String>,
    fix: Option<&'static str>,
    cause: Option<String>,
}

impl Problem {
    /// A problem told in one sentence.
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

    /// A field with a value it cannot have.
    pub(crate) fn invalid(
        field: &'static str,
        value: &str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Kind::InvalidValue, detail)
            .field(field)
            .value(value)
    }

    /// The path, or what it names, is not there.
    pub(crate) fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    /// Names the field that is wrong.
    pub(crate) fn field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Repeats the value that is wrong, if there is one, cut short.
    pub(crate) fn value<'a>(mut self, value: impl Into<Option<&'a str>>) -> Self {
        self.0.value = value
            .into()
            .map(|value| match value.char_indices().nth(MAX_VALUE_CHARS) {
                Some((end, _)) => format!("{}…", &value[..end]),
                None => value.to_owned(),
            });
        self
    }

    /// Says what to do, if anything can be done.
    pub(crate) fn fix(mut self, fix: impl Into<Option<&'static str>>) -> Self {
        self.0.fix = fix.into();
        self
    }

    /// Keeps what only the log may say.
    pub(crate) fn cause(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Writes the body into the `response` that this problem was carried by, keeping its headers, and logs the cause.
    pub(super) fn write(self, response: &mut Response, request_id: &HeaderValue) {
        let request_id = request_id.to_str().unwrap_or_default();
        let (_, slug, _) = self.0.kind.parts();
        if let Some(cause) = &self.0.cause {
            tracing::error!(request_id, problem = slug, cause, "a request failed");
        }
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.0.kind.retry_after_s() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.0.kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let body = serde_json::to_vec(&self.document(request_id)).unwrap_or_default();
        *response.body_mut() = Body::from(body);
    }

    pub(super) fn kind(&self) -> Kind {
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
        let (status, slug, title) = kind.parts();
        Document {
            kind: format!("/problems/{slug}"),
            title,
            status: status.as_u16(),
            detail,
            field: field.as_deref(),
            value: value.as_deref(),
            fix: *fix,
            request_id,
        }
    }
}

/// What went wrong: the members of RFC 9457 and our own four.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct Document<'a> {
    /// Stable: what kind of problem it is.
    #[serde(rename = "type")]
    kind: String,
    /// The same in words.
    title: &'a str,
    /// That of the answer.
    status: u16,
    /// What is wrong this time.
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
    /// That of the header `x-request-id`: ties the answer to the log of the service.
    request_id: &'a str,
}

impl IntoResponse for Problem {
    /// Only the status: the guard writes the rest.
    fn into_response(self) -> Response {
        let (status, ..) = self.0.kind.parts();
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::new(Kind::Unavailable, "the database cannot be used now")
            .fix("try again; GET /health says what is wrong")
            .cause(error.to_string())
    }
}
