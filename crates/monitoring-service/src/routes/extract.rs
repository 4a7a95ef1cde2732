//! What handlers take out of requests: JSON bodies, queries and ids, each refusal a problem that names the field, the
//! value and the fix. Which fields there are is up to the routes.

use std::{str::FromStr, time::Duration};

use axum::{
    RequestPartsExt as _,
    body::{Body, Bytes, HttpBody as _},
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use http_body_util::{BodyExt as _, Collected, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::Segment;
use uuid::Uuid;

use super::error::{Kind, Problem};

/// Longest body that is read.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Longest time for a body to arrive after its head.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// A body or a query, and how to get its fields right.
pub(super) trait Fields: DeserializeOwned {
    /// Each field and its fix. `body` stands for a JSON body as a whole.
    const FIELDS: &'static [(&'static str, &'static str)];
}

fn fix_of<T: Fields>(field: &str) -> Option<&'static str> {
    T::FIELDS
        .iter()
        .find(|(name, _)| *name == field)
        .map(|(_, fix)| *fix)
}

/// A field without which the request says nothing.
pub(super) fn missing<T: Fields>(field: &'static str) -> Problem {
    Problem::new(Kind::InvalidValue, format!("the field {field} is missing"))
        .field(field)
        .fix(fix_of::<T>(field))
}

/// A JSON object of `Content-Type: application/json`.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: Fields, S: Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        // Before anything is read: a client that waits for "100 Continue" then sends nothing in vain.
        if request.body().size_hint().lower() > MAX_BODY_BYTES as u64 {
            return Err(too_large());
        }
        let body = read(request.into_body()).await?;
        // Serde would take a list as well, member by member.
        if body.trim_ascii_start().starts_with(b"[") {
            let detail = "body: it is a list, and must be a JSON object";
            return Err(Problem::new(Kind::InvalidValue, detail)
                .field("body")
                .fix(fix_of::<T>("body")));
        }
        // Paths cost an allocation for each key, so they are asked for only where something is wrong.
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|_| explain_json::<T>(&body))
    }
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

pub(super) fn not_json(content_type: &str) -> Problem {
    Problem::new(
        Kind::UnsupportedMediaType,
        "the body is not declared to be JSON",
    )
    .field("Content-Type")
    .value(content_type)
    .fix("send the header Content-Type: application/json")
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    let body = Limited::new(body, MAX_BODY_BYTES).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, body)
        .await
        .map_err(|_| too_late())?;
    body.map(Collected::to_bytes).map_err(|error| {
        if error.is::<LengthLimitError>() {
            return too_large();
        }
        Problem::new(Kind::Unparsable, "the body ended early or was badly framed").field("body")
    })
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

pub(super) fn too_large() -> Problem {
    Problem::new(
        Kind::BodyTooLarge,
        format!("the body is longer than {MAX_BODY_BYTES} bytes"),
    )
    .field("body")
    .fix("send less; no body that is understood here is that long")
}

/// Why the body is not a `T`: parsed once more, with the path.
fn explain_json<T: Fields>(body: &[u8]) -> Problem {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parsed = serde_path_to_error::deserialize::<_, T>(&mut deserializer);
    let (field, error, value) = match parsed {
        Err(error) => {
            let value = serde_json::from_slice(body)
                .ok()
                .and_then(|body| at_path(&body, error.path()));
            (field_name(error.path()), error.into_inner(), value)
        }
        // The value itself is good, so something follows it.
        Ok(_) => match deserializer.end() {
            Err(error) => ("body".to_owned(), error, None),
            Ok(()) => {
                return Problem::new(Kind::Unparsable, "the body cannot be read twice alike")
                    .field("body");
            }
        },
    };
    // A name that is only the client's says nothing about what is understood here.
    let (field, value) = if fix_of::<T>(&field).is_some() {
        (field, value)
    } else {
        ("body".to_owned(), None)
    };
    let (kind, detail) = match error.classify() {
        Category::Data => (Kind::InvalidValue, format!("{field}: {error}")),
        Category::Syntax | Category::Eof | Category::Io => {
            (Kind::Unparsable, format!("the body is not JSON: {error}"))
        }
    };
    Problem::new(kind, detail)
        .fix(fix_of::<T>(&field))
        .field(field)
        .value(value.as_deref())
}

/// The path with dots; `body` for the whole, and where a body that ends early leaves the path open.
fn field_name(path: &serde_path_to_error::Path) -> String {
    let mut segments = path.iter().peekable();
    if segments.peek().is_none() || segments.any(|segment| matches!(segment, Segment::Unknown)) {
        return "body".into();
    }
    path.to_string()
}

/// The scalar at this path, as text.
fn at_path(body: &serde_json::Value, path: &serde_path_to_error::Path) -> Option<String> {
    let value = path.iter().try_fold(body, |value, segment| match segment {
        Segment::Map { key } => value.get(key),
        Segment::Seq { index } => value.get(index),
        _ => None,
    })?;
    (!value.is_object() && !value.is_array()).then(|| match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    })
}

/// The query string. Parameters that `T` does not know are ignored.
pub(super) struct QueryParams<T>(pub(super) T);

impl<T: Fields, S: Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse_query(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn parse_query<T: Fields>(query: &str) -> Result<T, Problem> {
    let deserializer =
        serde_urlencoded::Deserializer::new(url::form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let field = match field_name(error.path()) {
            whole if whole == "body" => return given_twice::<T>(query),
            field => field,
        };
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let value = pairs
            .find(|(name, _)| *name == field)
            .map(|(_, value)| value);
        Problem::new(Kind::InvalidValue, format!("{field}: {}", error.inner()))
            .fix(fix_of::<T>(&field))
            .field(field)
            .value(value.as_deref())
    })
}

/// Why a query is wrong in none of its values: it has one of them twice.
fn given_twice<T: Fields>(query: &str) -> Problem {
    let times = |field: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == field)
            .count()
    };
    let twice = T::FIELDS
        .iter()
        .map(|(field, _)| *field)
        .find(|field| times(field) > 1)
        .unwrap_or("query");
    Problem::new(
        Kind::InvalidValue,
        format!("{twice}: it is given more than once"),
    )
    .field(twice)
    .fix("give it once")
}

/// The `id` of a path such as `/alerts/{id}`.
pub(super) struct PathId<T>(pub(super) T);

/// What can be an id.
pub(super) trait Id: FromStr {
    /// What it is not, where it cannot be read.
    const REFUSAL: &'static str;
    /// Where to find one.
    const FIX: &'static str;
}

impl Id for Uuid {
    const REFUSAL: &'static str = "id is not a UUID";
    const FIX: &'static str = "take the id from the list that this is one of";
}

/// The number of a delivery.
impl Id for i64 {
    const REFUSAL: &'static str = "id is not a whole number";
    const FIX: &'static str = "take the id from GET /deliveries";
}

impl<T: Id, S: Send + Sync> FromRequestParts<S> for PathId<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let text = parts
            .extract::<Path<String>>()
            .await
            .map_or_else(|_| String::new(), |Path(text)| text);
        T::from_str(&text)
            .map(Self)
            .map_err(|_| Problem::invalid("id", &text, T::REFUSAL).fix(T::FIX))
    }
}
