//! `/login` and `/logout`: a browser exchanges the API token for a session cookie, and gives it back.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use utoipa::openapi::{ObjectBuilder, schema::Type};

use super::frame::{Frame, View};
use crate::routes::{
    AppState,
    error::Problem,
    extract::{FormBody, PageQuery},
    fields::fields,
    parameters::values,
    session,
};

/// A text that is checked where it is used.
pub(super) struct Text(String);

values! {
    Text: ObjectBuilder::new().schema_type(Type::String),
        |text: &str| Ok(Text(text.to_owned())), "give a text";
}

fields! {
    /// Where to go after the login.
    pub(super) struct LoginQuery {
        /// A path from the root of the service.
        to: Option<Text>,
    }
}

fields! {
    /// The login.
    pub(super) struct LoginForm {
        /// The value of API_TOKEN.
        token: Option<Text>,
        /// Where to go after it.
        to: Option<Text>,
    }
}

pub(super) async fn view(
    State(state): State<Arc<AppState>>,
    view: View,
    PageQuery(query): PageQuery<LoginQuery>,
) -> Response {
    let to = target(query.to);
    if state.api_token.is_none() {
        return go(&view, &to);
    }
    answer(&view, StatusCode::OK, &to, None)
}

pub(super) async fn submit(
    State(state): State<Arc<AppState>>,
    view: View,
    FormBody(form): FormBody<LoginForm>,
) -> Result<Response, Problem> {
    let to = target(form.to);
    let Some(sessions) = state.sessions() else {
        return Ok(go(&view, &to));
    };
    let token = form.token.map_or_else(String::new, |Text(token)| token);
    if !sessions.accepts(token.trim()) {
        tracing::warn!("login refused: wrong token");
        let wrong = "This is not the token. It is the value of API_TOKEN of the service.";
        return Ok(answer(&view, StatusCode::UNAUTHORIZED, &to, Some(wrong)));
    }
    let cookie = sessions.begin(state.clock.now_ms(), state.public_url.as_deref());
    Ok(with_cookie(go(&view, &to), &cookie))
}

pub(super) async fn end(State(state): State<Arc<AppState>>, view: View) -> Response {
    let cookie = session::end(state.public_url.as_deref());
    with_cookie(go(&view, "login"), &cookie)
}

/// Only a path of this service: it stays below the root, and cannot name another host.
fn target(to: Option<Text>) -> String {
    let to = to.map_or_else(String::new, |Text(to)| to);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~/?=&%:+".contains(&b);
    let first = to.split(['/', '?']).next().unwrap_or_default();
    if to.bytes().all(allowed) && !first.contains([':', '.']) && !to.starts_with('/') {
        to
    } else {
        String::new()
    }
}

fn go(view: &View, to: &str) -> Response {
    let location =
        HeaderValue::from_str(&view.here.link(to)).unwrap_or(HeaderValue::from_static("./"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn answer(view: &View, status: StatusCode, to: &str, wrong: Option<&str>) -> Response {
    let body = form(view, to, wrong);
    (status, Frame::bare(&view.here).answer("Log in", &body)).into_response()
}

fn form(view: &View, to: &str, wrong: Option<&str>) -> Markup {
    html! {
        form class="card login" method="post" action=(view.here.link("login")) {
            h1 { "Transaction monitoring" }
            @if let Some(wrong) = wrong { p class="crit" role="alert" { (wrong) } }
            // Password managers need a name to store the token by; without a name of its own the field is not sent.
            input type="text" autocomplete="username" value="operator" hidden;
            label for="token" { "API token" }
            input id="token" name="token" type="password" required autocomplete="current-password" autofocus;
            input type="hidden" name="to" value=(to);
            button { "Log in" }
        }
    }
}
