//! The contract as one document: the operations, the problems they share, and real answers as examples.
//!
//! Each operation is documented at its handler. The examples are answers of a running service; a test
//! (`tests/it/contract.rs`) keeps them up to date.

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde_json::Value;
use strum::VariantArray as _;
use utoipa::{
    IntoResponses, OpenApi, PartialSchema as _, ToSchema as _,
    openapi::{
        ContentBuilder, Header, Object, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder,
        Schema, Server,
        example::Example,
        path::Operation,
        schema::Type,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{
    deliveries,
    error::{Document, Kind, Problem},
    extract,
    fields::Field,
    guard, no_such_method,
    parameters::{self, Limit},
    schema,
};
use crate::store::StoreError;

/// Answers of a running service by operation, such as `GET /alerts`.
const EXAMPLES: &str = include_str!("examples.json");

/// The name of the one security scheme.
const TOKEN: &str = "token";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Transaction monitoring",
        description = "Stored transaction minutes, the finding of each and its reason, alerts, deliveries and silences.\n\n\
            Times are UTC, ranges are [from, to), members that do not apply are null and never left out. A parameter or a member of a body that \
            an operation does not know is refused. With `API_TOKEN` set, every operation but the two probes requires it as a bearer token, and \
            this document says so. Every answer has `x-request-id` (that of the request, if it is 1 to 64 characters of A-Z, a-z, 0-9, `-`, \
            `_` and `.`), and `traceparent` is continued. An error is `application/problem+json` (RFC 9457) with the field, the value and the \
            fix. The HTTP layer answers a bare 400 (not HTTP), 414 (long URI) or 431 (head over 32 KiB), and closes a connection whose head \
            takes longer than 5 s.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    security(("token" = [])),
    // Schemas of requests; the handlers add those of answers.
    components(schemas(schema::CursorText, schema::StatusName, schema::StreamName, schema::Timestamp)),
    tags(
        (name = "alerts", description = "Findings, alerts, and evaluation on demand"),
        (name = "incidents", description = "Alerts of one trouble as one story, and what people do with it"),
        (name = "transactions", description = "Stored minutes"),
        (name = "control", description = "Silences, a test notification, replay of deliveries"),
        (name = "faults", description = "Messages, offsets and notifications that failed"),
        (name = "operations", description = "Health and metrics"),
    ),
)]
struct Preamble;

/// The document without the operations.
pub(super) fn preamble() -> utoipa::openapi::OpenApi {
    let mut document = Preamble::openapi();
    let components = document.components.get_or_insert_default();
    components
        .schemas
        .insert(Document::name().into_owned(), Document::schema());
    for kind in Kind::VARIANTS {
        components
            .responses
            .entry(name(*kind))
            .or_insert_with(|| response(*kind).into());
    }
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components
        .security_schemes
        .insert(TOKEN.to_owned(), token.into());
    document
}

/// The settings that change the document.
pub(super) struct Served<'a> {
    /// True if requests need a token.
    pub(super) token: bool,
    /// The public address of the service, if it is configured.
    pub(super) public_url: Option<&'a str>,
}

/// The document of this server with all operations, as JSON.
pub(super) fn complete(mut document: utoipa::openapi::OpenApi, served: &Served<'_>) -> Bytes {
    // Relative to the document, so that a path prefix needs no setting.
    let url = served
        .public_url
        .map_or(".", |url| url.trim_end_matches('/'));
    document.servers = Some(vec![Server::new(url)]);
    require_members(&mut document);
    add_examples(&mut document);
    if !served.token {
        open(&mut document);
    }
    serde_json::to_vec_pretty(&document)
        .expect("a document can always be written")
        .into()
}

/// Removes the token from the document of a server that requires none.
fn open(document: &mut utoipa::openapi::OpenApi) {
    document.security = None;
    let components = document.components.get_or_insert_default();
    components.security_schemes.clear();
    components.responses.remove(&name(Kind::Unauthorized));
    for operation in operations(document).map(|(_, _, operation)| operation) {
        operation.security = None;
        let status = Kind::Unauthorized.status();
        operation.responses.responses.remove(status.as_str());
    }
}

/// Every operation with its method and path.
fn operations(
    document: &mut utoipa::openapi::OpenApi,
) -> impl Iterator<Item = (&'static str, &String, &mut Operation)> {
    document.paths.paths.iter_mut().flat_map(|(path, item)| {
        let of_path = [
            ("GET", &mut item.get),
            ("POST", &mut item.post),
            ("DELETE", &mut item.delete),
        ];
        of_path
            .into_iter()
            .filter_map(move |(method, operation)| Some((method, path, operation.as_mut()?)))
    })
}

/// Marks members of answers as required: they are `null` instead of absent.
fn require_members(document: &mut utoipa::openapi::OpenApi) {
    let schemas = &mut document.components.get_or_insert_default().schemas;
    for (_, schema) in schemas
        .iter_mut()
        .filter(|(name, _)| **name != *Document::name())
    {
        match schema {
            RefOr::T(Schema::Object(object)) => require_all(object),
            RefOr::T(Schema::AllOf(all)) => {
                for part in &mut all.items {
                    if let RefOr::T(Schema::Object(object)) = part {
                        require_all(object);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Skips requests, which declare their required members themselves and allow no others.
fn require_all(object: &mut Object) {
    if object.additional_properties.is_none() {
        object.required = object.properties.keys().cloned().collect();
    }
}

fn add_examples(document: &mut utoipa::openapi::OpenApi) {
    let examples: BTreeMap<String, Value> =
        serde_json::from_str(EXAMPLES).expect("the examples are JSON");
    for (method, path, operation) in operations(document) {
        let Some(example) = examples.get(&format!("{method} {path}")) else {
            continue;
        };
        for (status, answer) in &mut operation.responses.responses {
            let RefOr::T(answer) = answer else { continue };
            // The first form is the one that the example has: CSV comes after JSON.
            if let (Some(RefOr::T(content)), true) =
                (answer.content.values_mut().next(), status.starts_with('2'))
            {
                content.example = Some(example.clone());
            }
        }
    }
}

/// The name of the shared response: one for each status.
fn name(kind: Kind) -> String {
    match kind {
        Kind::Overloaded => name(Kind::Unavailable),
        kind => kind.slug().to_owned(),
    }
}

fn response(kind: Kind) -> Response {
    let mut content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Document::name())));
    let of_kind = example_problems()
        .into_iter()
        .filter(|problem| name(problem.kind()) == name(kind));
    content = content.examples_from_iter(of_kind.map(|problem| {
        let value =
            serde_json::to_value(problem.document("6f1c1a52-0a7e-4c1b-9d8e-2f1f0a3b4c5d")).ok();
        (
            problem.kind().slug(),
            Example::builder().value(value).build(),
        )
    }));
    let text = |about: &str| {
        let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String));
        header.description = Some(about.to_owned());
        header
    };
    let mut response = ResponseBuilder::new()
        .description(kind.title())
        .content("application/problem+json", content.build())
        .header(
            "x-request-id",
            text("The id of the request, in the log of the service too"),
        );
    if kind.retry_after_s().is_some() {
        response = response.header("Retry-After", text("Seconds after which to try again"));
    }
    if kind == Kind::Unauthorized {
        response = response.header("WWW-Authenticate", text("Bearer"));
    }
    response.build()
}

/// One problem of each kind.
fn example_problems() -> [Problem; Kind::VARIANTS.len()] {
    [
        Problem::new(
            Kind::Unparsable,
            "the body is not JSON: expected value at line 1 column 11",
        )
        .field("body"),
        guard::unauthorized(),
        guard::cross_site(),
        parameters::unknown_stream(&"acquirer-7".parse().expect("a name")),
        no_such_method(),
        deliveries::still_pending(17),
        extract::too_late(),
        extract::too_large(extract::MAX_BODY_BYTES),
        extract::not_json("text/plain"),
        Problem::invalid("limit", "0", "limit is not a whole number from 1 to 500")
            .fix(<Limit as Field>::fix()),
        Problem::new(Kind::Internal, "the service failed while answering").fix(guard::REPORT),
        StoreError::Closed.into(),
        guard::overloaded(),
    ]
}

/// Defines the problems of a group of operations, for `responses(...)` at a handler.
macro_rules! problems {
    ($($(#[$about:meta])* $name:ident: $($kind:ident)*;)+) => {$(
        $(#[$about])*
        pub(super) enum $name {}

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                let reference = |kind: Kind| {
                    (kind.status().as_str().to_owned(), Ref::from_response_name(name(kind)).into())
                };
                [$(Kind::$kind),*].map(reference).into()
            }
        }
    )+};
}

problems! {
    /// Problems of a probe, which requires no token and ignores parameters.
    Probe: Internal Unavailable;
    /// Problems of the metrics, which ignore parameters.
    Metrics: Unauthorized Internal Unavailable;
    /// Problems of an operation with or without parameters.
    Query: Unauthorized InvalidValue Internal Unavailable;
    /// Problems of an operation on one resource, which may not exist.
    OfOne: Unauthorized NotFound InvalidValue Internal Unavailable;
    /// Problems of an operation with a body.
    WithBody: Unparsable Unauthorized CrossSite RequestTimeout BodyTooLarge UnsupportedMediaType InvalidValue Internal Unavailable;
    /// Problems of an operation with a body that names a stream.
    Evaluate: Unparsable Unauthorized CrossSite NotFound RequestTimeout BodyTooLarge UnsupportedMediaType InvalidValue Internal Unavailable;
    /// Problems of an action on one incident.
    ActionOfOne: Unparsable Unauthorized CrossSite NotFound RequestTimeout Conflict BodyTooLarge UnsupportedMediaType InvalidValue Internal Unavailable;
    /// Problems of the replay of a delivery.
    Replay: Unauthorized CrossSite NotFound Conflict InvalidValue Internal Unavailable;
}
