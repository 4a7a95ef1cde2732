//! Who reads an answer: a person at a view gets problems as HTML, and the login instead of a 401; programs get JSON.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
};
use maud::{Markup, html};

use super::frame::{Frame, Here, security_headers};
use crate::{
    alerts::incident_text::capitalized,
    routes::error::{Kind, Problem},
};

/// The reader of an answer, as far as the request shows it.
pub(crate) struct Reader {
    here: Here,
    is_view: bool,
    is_get: bool,
    /// A browser that opens a page or sends a form.
    accepts_html: bool,
}

impl Reader {
    /// The reader of the answer to this request.
    pub(crate) fn of(request: &Request) -> Self {
        let path = request.uri().path();
        let accepts = request.headers().get(header::ACCEPT);
        let accepts_html = accepts
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"));
        Self {
            here: Here::of(request.uri()),
            is_view: path == "/" || path == "/login" || path.starts_with("/page/"),
            is_get: request.method() == Method::GET,
            accepts_html,
        }
    }

    /// Replaces the JSON of a problem where a person reads it.
    pub(crate) fn show(&self, problem: &Problem, response: &mut Response) {
        if !self.accepts_html {
            return;
        }
        if problem.kind() == Kind::Unauthorized && self.is_get {
            self.redirect_to_login(response);
        } else if self.is_view {
            let frame = Frame::bare(&self.here);
            let body = frame.around(problem.kind().title(), &explain(problem, &self.here));
            *response.body_mut() = Body::from(body.into_string());
            let headers = response.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            );
            headers.extend(security_headers());
        }
    }

    fn redirect_to_login(&self, response: &mut Response) {
        *response.status_mut() = StatusCode::SEE_OTHER;
        *response.body_mut() = Body::empty();
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("to", self.here.path())
            .finish();
        let location = self.here.link(&format!("login?{query}"));
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_TYPE);
        headers.remove(header::WWW_AUTHENTICATE);
        // Form encoding leaves only ASCII.
        if let Ok(location) = HeaderValue::from_str(&location) {
            headers.insert(header::LOCATION, location);
        }
    }
}

fn explain(problem: &Problem, here: &Here) -> Markup {
    html! {
        h1 { (problem.kind().title()) }
        p class="lead" { (capitalized(problem.detail())) "." }
        @if let Some(fix) = problem.what_to_do() {
            p { "What to do: " (fix) "." }
        }
        p { a href=(here.link("")) { "Back to the overview" } }
    }
}
