//! The contract as one document: what the handlers say of themselves, the problems they share, and real answers as examples.
//!
//! Paths, parameters and shapes stand at the handlers. The examples are answers of a running service, kept up to date by a
//! test (`tests/it/contract.rs`).

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde_json::Value;
use utoipa::{
    IntoResponses, OpenApi, PartialSchema as _, ToSchema as _,
    openapi::{
        ContentBuilder, Header, HttpMethod, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder,
        Schema,
        example::Example,
        schema::Type,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{
    error::{Document, Kind, Problem},
    extract, guard, no_such_method, params, schema,
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
        description = "What is stored of the transaction minutes, how each was judged and why, what was sent to whom, and the way to steer it.\n\n\
            Times are UTC, ranges are [from, to), members that do not apply are null and never left out. Every answer carries `x-request-id` \
            (the caller's, where it is 1 to 64 characters of A-Z, a-z, 0-9, `-`, `_` and `.`) and honours `traceparent`. What goes wrong is \
            `application/problem+json` (RFC 9457) with the field, the value and the fix. Before a request reaches the router the HTTP layer may \
            answer a bare 400 (not HTTP), 414 (long URI) or 431 (head over 32 KiB), and closes a connection whose head takes longer than 5 s.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "this service")),
    security(("token" = [])),
    // Those that only parameters name; the handlers bring the others.
    components(schemas(schema::AlertSeverity, schema::CursorText, schema::StatusName, schema::StepText)),
    tags(
        (name = "alerts", description = "What was found, what was sent, and judging on demand"),
        (name = "transactions", description = "Stored minutes"),
        (name = "steering", description = "Silences, test pages, sending again"),
        (name = "faults", description = "What went wrong on the way in and out"),
        (name = "operations", description = "Health and metrics"),
    ),
)]
struct Preamble;

/// The document before the handlers add themselves.
pub(super) fn preamble() -> utoipa::openapi::OpenApi {
    let mut document = Preamble::openapi();
    let components = document.components.get_or_insert_default();
    components
        .schemas
        .insert(Document::name().into_owned(), Document::schema());
    for kind in Kind::ALL {
        components
            .responses
            .entry(name(kind))
            .or_insert_with(|| response(kind).into());
    }
    let mut token = Http::new(HttpAuthScheme::Bearer);
    token.description =
        Some("The value of API_TOKEN. Where none is set, everything is open.".to_owned());
    components
        .security_schemes
        .insert(TOKEN.to_owned(), SecurityScheme::Http(token).into());
    document
}

/// The document with all that the handlers said, as JSON.
pub(super) fn complete(mut document: utoipa::openapi::OpenApi) -> Bytes {
    require_members(&mut document);
    add_examples(&mut document);
    serde_json::to_vec_pretty(&document)
        .expect("a document can always be written")
        .into()
}

/// Members of answers are never left out: `null` says that one does not apply.
fn require_members(document: &mut utoipa::openapi::OpenApi) {
    let schemas = &mut document.components.get_or_insert_default().schemas;
    for (_, schema) in schemas
        .iter_mut()
        .filter(|(name, _)| name.ends_with("View"))
    {
        match schema {
            RefOr::T(Schema::Object(object)) => {
                object.required = object.properties.keys().cloned().collect()
            }
            RefOr::T(Schema::AllOf(all)) => {
                for part in &mut all.items {
                    if let RefOr::T(Schema::Object(object)) = part {
                        object.required = object.properties.keys().cloned().collect();
                    }
                }
            }
            _ => {}
        }
    }
}

fn add_examples(document: &mut utoipa::openapi::OpenApi) {
    let examples: BTreeMap<String, Value> =
        serde_json::from_str(EXAMPLES).expect("the examples are JSON");
    for (path, item) in &mut document.paths.paths {
        let operations = [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Delete, &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            let Some(example) = examples.get(&operation_name(&method, path)) else {
                continue;
            };
            let answers = operation
                .responses
                .responses
                .iter_mut()
                .filter(|(status, _)| status.starts_with('2'));
            let contents = answers.filter_map(|(_, answer)| match answer {
                RefOr::T(answer) => Some(&mut answer.content),
                RefOr::Ref(_) => None,
            });
            for content in contents.flat_map(|contents| contents.values_mut()) {
                if let RefOr::T(content) = content {
                    content.example = Some(example.clone());
                }
            }
        }
    }
}

fn operation_name(method: &HttpMethod, path: &str) -> String {
    let method = match method {
        HttpMethod::Post => "POST",
        HttpMethod::Delete => "DELETE",
        _ => "GET",
    };
    format!("{method} {path}")
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
            text("Ties the answer to the log of the service"),
        );
    if kind.retry_after_s().is_some() {
        response = response.header(
            "Retry-After",
            text("Seconds after which another try makes sense"),
        );
    }
    if kind == Kind::Unauthorized {
        response = response.header("WWW-Authenticate", text("Bearer"));
    }
    response.build()
}

/// One of each kind, made where it is made when it happens, as far as that needs no request.
fn example_problems() -> [Problem; Kind::ALL.len()] {
    [
        Problem::new(
            Kind::Unparsable,
            "the body is not JSON: expected value at line 1 column 11",
        )
        .field("body"),
        guard::unauthorized(),
        params::unknown_stream(&"acquirer-7".parse().expect("a name")),
        no_such_method(),
        params::still_pending("17"),
        extract::too_late(),
        extract::too_large(),
        extract::not_json("text/plain"),
        Problem::invalid("limit", "0", "limit: is not a whole number from 1 to 500")
            .fix(params::LIMIT_FIX),
        Problem::new(Kind::Internal, "the service failed while answering").fix(guard::REPORT),
        StoreError::Closed.into(),
        guard::overloaded(),
    ]
}

/// Defines the problems of a group of routes, for `responses(...)` at a handler.
macro_rules! problems {
    ($(#[$about:meta])* $name:ident: $($kind:ident)*) => {
        $(#[$about])*
        pub(super) enum $name {}

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(Kind::$kind),*].map(|kind| (kind.status().as_str().to_owned(), Ref::from_response_name(name(kind)).into())).into()
            }
        }
    };
}

problems!(
    /// Of a probe: it asks for no token.
    Probe: Internal Unavailable
);
problems!(
    /// Of every other route.
    Any: Unauthorized Internal Unavailable
);
problems!(
    /// Of a route with a query.
    Query: Unauthorized InvalidValue Internal Unavailable
);
problems!(
    /// Of a route about one thing, which need not be there.
    OfOne: Unauthorized NotFound InvalidValue Internal Unavailable
);
problems!(
    /// Of a route that takes a body.
    WithBody: Unparsable Unauthorized RequestTimeout BodyTooLarge UnsupportedMediaType InvalidValue Internal Unavailable
);
problems!(
    /// Of sending something again.
    Again: Unauthorized NotFound Conflict InvalidValue Internal Unavailable
);
