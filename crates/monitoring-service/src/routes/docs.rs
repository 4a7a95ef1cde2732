//! Serves the contract: `/openapi.json` for programs, `/docs` for people. All assets are in the binary and all links are relative, so
//! that both work below a path prefix.

use axum::{
    Router,
    body::Bytes,
    extract::Path,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
    routing::get,
};
use swagger_ui_redist::{SwaggerUi, SwaggerUiStaticFile};

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

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page. Its scripts are files, since the policy above allows no other.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API of the transaction monitor</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="swagger-ui-bundle.js"></script>
<script src="start.js"></script>
</body>
</html>
"#;

const START: &str = r##"SwaggerUIBundle({ url: "../openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
"##;

/// Serves this document and its page.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(document: Bytes) -> Router<S> {
    let document = move || async move { ([(header::CONTENT_TYPE, "application/json")], document) };
    let to_page = || async { (StatusCode::SEE_OTHER, [(header::LOCATION, "docs/")]) };
    Router::new()
        .route("/docs", get(to_page))
        .route(
            "/docs/",
            get(|| async { content("text/html; charset=utf-8", PAGE.as_bytes()) }),
        )
        .route("/docs/{file}", get(file))
        .layer(middleware::map_response(secure))
        .route("/openapi.json", get(document))
}

async fn file(Path(name): Path<String>) -> Response {
    let swagger = |wanted| {
        let mut files = SwaggerUi::static_files().iter();
        files.find_map(|(file, content)| (*file == wanted).then_some(*content))
    };
    let (kind, found) = match name.as_str() {
        "swagger-ui.css" => ("text/css; charset=utf-8", swagger(SwaggerUiStaticFile::Css)),
        "swagger-ui-bundle.js" => (SCRIPT, swagger(SwaggerUiStaticFile::Js)),
        "start.js" => (SCRIPT, Some(START.as_bytes())),
        _ => ("", None),
    };
    match found {
        Some(found) => content(kind, found),
        None => Problem::new(Kind::NotFound, "the page has no such file")
            .fix("open /docs/")
            .into_response(),
    }
}

fn content(kind: &'static str, content: &'static [u8]) -> Response {
    ([(header::CONTENT_TYPE, kind)], content).into_response()
}

async fn secure(mut response: Response) -> Response {
    response.headers_mut().extend(SECURITY_HEADERS);
    response
}
