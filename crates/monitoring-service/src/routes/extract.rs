//! The extractors of handlers: a JSON body, a query, an id. Every refusal is a problem that names the field, the value and the fix.
//! The fields themselves are declared at the routes.

use std::time::Duration;

use axum::{
    RequestPartsExt as _,
    body::{Bytes, HttpBody as _},
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use http_body_util::{BodyExt as _, Collected, LengthLimitError, Limited};

use super::{
    error::{Kind, Problem},
    fields::{Declared, Field, Fields},
    given::Given,
    place::Place,
};

/// Maximum length of a body.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// Time limit for a body to arrive after its head.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// No fields.
pub(super) struct Nothing;

impl Fields for Nothing {
    fn declared() -> Vec<Declared> {
        Vec::new()
    }

    fn read(_: &Given<'_>) -> Result<Self, Problem> {
        Ok(Self)
    }
}

/// The query of a request; `QueryParams<Nothing>` refuses every parameter.
pub(super) struct QueryParams<T>(pub(super) T);

impl<T: Fields, S: Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Given::in_query(parts.uri.query().unwrap_or_default())
            .read()
            .map(Self)
    }
}

/// The query of a view, which its forms send with empty fields.
pub(crate) struct PageQuery<T>(pub(crate) T);

impl<T: Fields, S: Sync> FromRequestParts<S> for PageQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Given::in_form(parts.uri.query().unwrap_or_default())
            .read()
            .map(Self)
    }
}

/// The `id` of a path such as `/alerts/{id}`, without a query.
pub(crate) struct PathId<T>(pub(crate) T);

impl<T: Field, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        QueryParams::<Nothing>::from_request_parts(parts, state).await?;
        let path = parts.extract::<Path<String>>().await;
        let text = path.map_or_else(|_| String::new(), |Path(text)| text);
        T::read(&text)
            .map(Self)
            .map_err(|error| Problem::invalid("id", &*text, format!("id {error}")).fix(T::fix()))
    }
}

/// A JSON object of `Content-Type: application/json`, without a query.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: Fields, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_json(&request, MAX_BODY_BYTES)?;
        let body = read(request, MAX_BODY_BYTES).await?;
        Given::in_body(&body)
            .map_err(|error| not_an_object::<T>(&body, &error))?
            .read()
            .map(Self)
    }
}

/// A form that a browser sent.
pub(crate) struct FormBody<T>(pub(crate) T);

impl<T: Fields, S: Sync> FromRequest<S> for FormBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = read(request, MAX_BODY_BYTES).await?;
        let text = std::str::from_utf8(&body).unwrap_or_default();
        Given::in_form(text).read().map(Self)
    }
}

/// The `id` of a path such as `/incidents/{id}/resolve`, and a JSON object.
pub(super) struct JsonBodyOf<I, T>(pub(super) I, pub(super) T);

impl<I: Field + Send, T: Fields, S: Send + Sync> FromRequest<S> for JsonBodyOf<I, T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let PathId(id) = PathId::from_request_parts(&mut parts, state).await?;
        let request = Request::from_parts(parts, body);
        let JsonBody(body) = JsonBody::from_request(request, state).await?;
        Ok(Self(id, body))
    }
}

/// The `id` of a path, and a form that a browser sent.
pub(crate) struct FormBodyOf<I, T>(pub(crate) I, pub(crate) T);

impl<I: Field + Send, T: Fields, S: Send + Sync> FromRequest<S> for FormBodyOf<I, T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let PathId(id) = PathId::from_request_parts(&mut parts, state).await?;
        let request = Request::from_parts(parts, body);
        let FormBody(body) = FormBody::from_request(request, state).await?;
        Ok(Self(id, body))
    }
}

/// Checks the head of a request with a JSON body of at most `max_bytes`, without a query. Returns the bytes that it may have.
pub(super) fn check_json(request: &Request, max_bytes: usize) -> Result<usize, Problem> {
    Given::in_query(request.uri().query().unwrap_or_default()).read::<Nothing>()?;
    require_json(request.headers())?;
    let size = request.body().size_hint();
    // Refuse before reading: a client that waits for "100 Continue" then sends no body.
    if size.lower() > max_bytes as u64 {
        return Err(too_large(max_bytes));
    }
    let bytes = size.upper().and_then(|upper| usize::try_from(upper).ok());
    Ok(bytes.unwrap_or(max_bytes).min(max_bytes))
}

fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let essence = given
        .split(|&b| b == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        return Ok(());
    }
    Err(not_json(&String::from_utf8_lossy(given)))
}

/// Reads a body of at most this many bytes.
pub(super) async fn read(mut request: Request, max_bytes: usize) -> Result<Bytes, Problem> {
    let place = request.extensions_mut().remove::<Place>();
    let body = Limited::new(request.into_body(), max_bytes).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, body);
    let body = match place {
        Some(place) => place.during(body).await?,
        None => body.await,
    };
    let body = body.map_err(|_| too_late())?;
    body.map(Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            return too_large(max_bytes);
        }
        Problem::new(
            Kind::Unparsable,
            "the body ended early or its chunks are malformed",
        )
        .field("body")
        .fix("send the whole body")
    })
}

/// The problem of a body that is not a JSON object.
fn not_an_object<T: Fields>(body: &[u8], error: &serde_json::Error) -> Problem {
    let problem = if error.is_data() {
        Problem::new(
            Kind::InvalidValue,
            format!("the body is not a JSON object: {error}"),
        )
    } else {
        Problem::new(Kind::Unparsable, format!("the body is not JSON: {error}"))
    };
    let names: Vec<_> = T::declared().iter().map(|field| field.name).collect();
    problem
        .field("body")
        .value(serde_json::from_slice::<String>(body).ok().as_deref())
        .fix(format!(
            "send a JSON object with the fields {}",
            names.join(", ")
        ))
}

pub(super) fn not_json(content_type: &str) -> Problem {
    Problem::new(
        Kind::UnsupportedMediaType,
        "the content type of the body is not JSON",
    )
    .field("Content-Type")
    .value(content_type)
    .fix("send the header Content-Type: application/json")
}

pub(super) fn too_late() -> Problem {
    let detail = format!(
        "the body did not arrive within {} s",
        BODY_TIMEOUT.as_secs()
    );
    Problem::new(Kind::RequestTimeout, detail)
        .field("body")
        .fix("send the request again")
}

pub(super) fn too_large(max_bytes: usize) -> Problem {
    let detail = format!("the body is longer than {max_bytes} bytes");
    Problem::new(Kind::BodyTooLarge, detail)
        .field("body")
        .fix(format!(
            "reduce the body to {} KiB or less",
            max_bytes / 1024
        ))
}
