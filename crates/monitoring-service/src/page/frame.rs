//! The frame around every view: head, navigation, footer. Every link is relative, so that the page works below a path prefix.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, Uri, header, request::Parts},
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};

use super::assets::{SCRIPT, STYLE};
use crate::routes::AppState;

/// Only files of this service, no inline script or style, no frame around the page. The icon is in the document.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The views in the navigation.
const VIEWS: [(&str, &str); 4] = [
    ("", "Overview"),
    ("page/policies", "Policies"),
    ("page/deliveries", "Deliveries"),
    ("page/silences", "Silences"),
];

/// Seconds after which a browser without scripts loads a live view again.
const REFRESH_S: u32 = 60;

pub(super) fn security_headers() -> [(HeaderName, HeaderValue); 3] {
    [
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(CONTENT_SECURITY_POLICY),
        ),
        // Within the page, so that forms have an `Origin`.
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("same-origin"),
        ),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ]
}

/// Where a request is, seen from the root of the service.
#[derive(Clone, Debug)]
pub(super) struct Here {
    /// The path and the query, with the first slash.
    path: String,
    /// The way back to the root, such as `../../`.
    root: String,
}

impl Here {
    pub(super) fn of(uri: &Uri) -> Self {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let depth = uri.path().matches('/').count().saturating_sub(1);
        Self {
            path: path.to_owned(),
            root: if depth == 0 {
                "./".to_owned()
            } else {
                "../".repeat(depth)
            },
        }
    }

    /// A link to a path that starts at the root of the service.
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    /// The path and the query from the root of the service.
    pub(super) fn path(&self) -> &str {
        self.path.trim_start_matches('/')
    }

    fn is_in(&self, view: &str) -> bool {
        let path = self.path().split('?').next().unwrap_or_default();
        path == view || (view.is_empty() && is_of_overview(path))
    }
}

fn is_of_overview(path: &str) -> bool {
    path.starts_with("page/streams/") || path.starts_with("page/incidents/")
}

/// Whether a view changes by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changes {
    Never,
    /// Also in a browser without scripts, which loads it again.
    Always,
    /// Only by the script: to load it again would lose what a person types.
    ByScript,
}

/// The frame of one answer.
pub(super) struct Frame<'a> {
    here: &'a Here,
    changes: Changes,
    /// Without the navigation, where nobody is logged in or nothing can be shown.
    bare: bool,
    can_log_out: bool,
}

impl<'a> Frame<'a> {
    /// The frame of a view with live parts.
    pub(super) fn live(view: &'a View) -> Self {
        Self {
            changes: Changes::Always,
            ..Self::still(view)
        }
    }

    /// The frame of a view with live parts and a form for a text.
    pub(super) fn live_with_form(view: &'a View) -> Self {
        Self {
            changes: Changes::ByScript,
            ..Self::still(view)
        }
    }

    /// The frame of a view without live parts.
    pub(super) fn still(view: &'a View) -> Self {
        Self {
            here: &view.here,
            changes: Changes::Never,
            bare: false,
            can_log_out: view.can_log_out,
        }
    }

    /// The frame of the login and of problems.
    pub(super) fn bare(here: &'a Here) -> Self {
        Self {
            here,
            changes: Changes::Never,
            bare: true,
            can_log_out: false,
        }
    }

    pub(super) fn around(&self, title: &str, body: &Markup) -> Markup {
        let here = self.here;
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (title) " · Transaction monitoring" }
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href=(here.link(&STYLE.path()));
                    script defer src=(here.link(&SCRIPT.path())) {}
                    @if self.changes == Changes::Always {
                        noscript { meta http-equiv="refresh" content=(REFRESH_S); }
                    }
                }
                body data-events=[(self.changes != Changes::Never).then(|| here.link("events"))] {
                    a class="skip" href="#main" { "Skip to the content" }
                    @if !self.bare { (self.header()) }
                    main id="main" tabindex="-1" { (body) }
                    (self.footer())
                }
            }
        }
    }

    fn header(&self) -> Markup {
        let here = self.here;
        html! {
            header {
                nav aria-label="Views" {
                    @for (path, name) in VIEWS {
                        a href=(here.link(path)) aria-current=[here.is_in(path).then_some("page")] { (name) }
                    }
                    a href=(here.link("docs/")) { "API" }
                    @if self.can_log_out {
                        form method="post" action=(here.link("logout")) { button class="plain" { "Log out" } }
                    }
                }
            }
        }
    }

    fn footer(&self) -> Markup {
        html! {
            footer {
                p {
                    noscript { "Times are UTC. " }
                    span id="zone" {}
                    @if self.changes != Changes::Never {
                        noscript {
                            "Scripts are off: "
                            @if self.changes == Changes::Always { "the page loads again every " (REFRESH_S) " s." } @else { "load the page again to see what changed." }
                        }
                        span id="link" role="status" {}
                    }
                }
            }
        }
    }

    /// The answer with this frame.
    pub(super) fn answer(&self, title: &str, body: &Markup) -> Response {
        (
            security_headers(),
            Html(self.around(title, body).into_string()),
        )
            .into_response()
    }
}

/// What every handler of a view needs to know of its request.
pub(super) struct View {
    pub(super) here: Here,
    can_log_out: bool,
}

impl FromRequestParts<Arc<AppState>> for View {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &Arc<AppState>,
    ) -> Result<Self, Infallible> {
        Ok(Self {
            here: Here::of(&parts.uri),
            can_log_out: state.api_token.is_some(),
        })
    }
}
