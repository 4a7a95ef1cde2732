//! Serves the contract: `/openapi.json` for programs, `/docs` for people. All assets are in the binary and all links are relative, so
//! that both work below a path prefix.

use axum::{
    Router,
    body::Bytes,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::error::{Kind, Problem};

/// Allows only the page's own files, inline styles and inline images, and no frame around the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(HeaderName, HeaderValue); 3] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_POLICY),
    ),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// Serves this document and its page.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(document: Bytes) -> Router<S> {
    let page =
        SwaggerUi::new("/docs").config(Config::from("../openapi.json").validator_url("none"));
    let document = move || async move { ([(header::CONTENT_TYPE, "application/json")], document) };
    Router::from(page)
        .layer(middleware::map_response(secure))
        .route("/openapi.json", get(document))
}

async fn secure(mut response: Response) -> Response {
    if response.status() == StatusCode::NOT_FOUND {
        response = Problem::new(Kind::NotFound, "the page has no such file")
            .fix("open /docs/")
            .into_response();
    }
    let headers = response.headers_mut();
    headers.extend(SECURITY_HEADERS);
    // The redirect from `/docs` to `/docs/` is the only one; keep it relative.
    if let Some(location) = headers.get_mut(header::LOCATION) {
        *location = HeaderValue::from_static("docs/");
    }
    response
}
