//! Sessions of people: a browser exchanges `API_TOKEN` for a signed cookie. Nothing is stored: a session survives a restart, and ends after
//! twelve hours or when the token changes. Also tells requests of other sites apart.

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderValue,
        header::{COOKIE, HOST, ORIGIN},
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use url::{Position, Url};

use crate::config::ApiToken;

/// The cookie of a session.
const COOKIE_NAME: &str = "monitoring_session";

/// Length of a session.
const SESSION_S: i64 = 12 * 3600;

/// The message of the authentication codes that are compared instead of tokens.
const TOKEN_MESSAGE: &[u8] = b"api token";

/// Checks tokens and sessions against the one API token.
#[derive(Clone)]
pub(crate) struct Sessions(hmac::Key);

impl Sessions {
    pub(crate) fn new(token: &ApiToken) -> Self {
        Self(key(token.expose()))
    }

    /// Compares authentication codes made with the tokens, in constant time.
    pub(crate) fn accepts(&self, token: &str) -> bool {
        let given = hmac::sign(&key(token), TOKEN_MESSAGE);
        hmac::verify(&self.0, TOKEN_MESSAGE, given.as_ref()).is_ok()
    }

    /// The `Set-Cookie` header of a new session. `public_url` decides its path, and whether it needs https.
    pub(crate) fn begin(&self, now_ms: i64, public_url: Option<&str>) -> String {
        let end_s = now_ms.div_euclid(1000) + SESSION_S;
        let code = hmac::sign(&self.0, message(end_s).as_bytes());
        let code = BASE64_URL_SAFE_NO_PAD.encode(code);
        cookie(&format!("{end_s}.{code}"), SESSION_S, public_url)
    }

    /// True if the request has the cookie of a session that has not ended.
    pub(crate) fn is_open(&self, headers: &HeaderMap, now_ms: i64) -> bool {
        session_cookie(headers)
            .and_then(|value| value.split_once('.'))
            .is_some_and(|(end_s, code)| {
                let Ok(end_s) = end_s.parse() else {
                    return false;
                };
                let code = BASE64_URL_SAFE_NO_PAD.decode(code).unwrap_or_default();
                now_ms.div_euclid(1000) < end_s
                    && hmac::verify(&self.0, message(end_s).as_bytes(), &code).is_ok()
            })
    }
}

fn key(token: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes())
}

fn message(end_s: i64) -> String {
    format!("session until {end_s}")
}

/// The `Set-Cookie` header that removes the cookie of a session.
pub(crate) fn end(public_url: Option<&str>) -> String {
    cookie("", 0, public_url)
}

fn cookie(value: &str, max_age_s: i64, public_url: Option<&str>) -> String {
    let public = public_url.and_then(|url| Url::parse(url).ok());
    let path = public.as_ref().map_or("/", Url::path);
    let secure = match &public {
        Some(url) if url.scheme() == "https" => "; Secure",
        _ => "",
    };
    format!(
        "{COOKIE_NAME}={value}; Path={path}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"
    )
}

fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter();
    let cookies = cookies.filter_map(|header| header.to_str().ok());
    cookies
        .flat_map(|header| header.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value)
}

/// True if a page of another site caused the request. Programs send neither header; browsers send `Origin` with every POST, and
/// `Sec-Fetch-Site` over https and to this machine.
pub(super) fn is_cross_site(request: &Request, public_url: Option<&str>) -> bool {
    let header = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
    if let Some(site) = header("sec-fetch-site") {
        return !matches!(site, b"same-origin" | b"none");
    }
    let Some(origin) = header(ORIGIN.as_str()) else {
        return false;
    };
    let origin = std::str::from_utf8(origin).map(Url::parse);
    let Ok(Ok(origin)) = origin else {
        // `null`, of a page that hides where it is from.
        return true;
    };
    let authority = |url: &Url| url[Position::BeforeHost..Position::AfterPort].to_owned();
    let is_host = header(HOST.as_str())
        .is_some_and(|host| host.eq_ignore_ascii_case(authority(&origin).as_bytes()));
    let public = public_url.and_then(|url| Url::parse(url).ok());
    !is_host && public.is_none_or(|public| public.origin() != origin.origin())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn sessions(token: &str) -> Sessions {
        Sessions::new(&ApiToken::parse(token).unwrap())
    }

    fn with_cookie(set_cookie: &str) -> HeaderMap {
        let cookie = set_cookie.split(';').next().unwrap();
        let header = HeaderValue::from_str(&format!("theme=dark; {cookie}")).unwrap();
        HeaderMap::from_iter([(COOKIE, header)])
    }

    #[test]
    fn a_session_ends_after_twelve_hours() {
        let sessions = sessions("a-long-secret-token");
        let headers = with_cookie(&sessions.begin(0, None));
        assert!(sessions.is_open(&headers, SESSION_S * 1000 - 1));
        assert!(!sessions.is_open(&headers, SESSION_S * 1000));
    }

    #[test]
    fn another_token_or_another_end_is_no_session() {
        let ours = sessions("a-long-secret-token");
        let cookie = ours.begin(0, None);
        assert!(!sessions("another-secret-token").is_open(&with_cookie(&cookie), 0));
        let later = cookie.replacen("=43200.", "=43201.", 1);
        assert_ne!(later, cookie);
        assert!(!ours.is_open(&with_cookie(&later), 0));
        assert!(!ours.is_open(&with_cookie("monitoring_session=1.!"), 0));
        assert!(!ours.is_open(&HeaderMap::new(), 0));
    }

    #[test]
    fn a_cookie_is_secure_behind_https_and_has_the_prefix() {
        let sessions = sessions("a-long-secret-token");
        let cookie = sessions.begin(0, Some("https://pay.example/monitor"));
        assert!(cookie.contains("; Path=/monitor;"), "{cookie}");
        assert!(
            cookie.ends_with("HttpOnly; SameSite=Strict; Secure"),
            "{cookie}"
        );
        assert!(
            !sessions
                .begin(0, Some("http://pay.example"))
                .contains("Secure")
        );
        assert!(end(None).contains("=; Path=/; Max-Age=0;"));
    }

    #[test]
    fn requests_of_other_sites_are_told_apart() {
        let public = Some("https://pay.example/monitor");
        for (headers, cross_site) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (
                &[
                    ("origin", "http://10.0.0.5:8000"),
                    ("host", "10.0.0.5:8000"),
                ],
                false,
            ),
            (
                &[
                    ("origin", "http://10.0.0.5:8001"),
                    ("host", "10.0.0.5:8000"),
                ],
                true,
            ),
            (
                &[("origin", "https://pay.example"), ("host", "backend:8000")],
                false,
            ),
            (
                &[
                    ("origin", "https://pay.example.evil"),
                    ("host", "pay.example"),
                ],
                true,
            ),
            (&[("origin", "null"), ("host", "pay.example")], true),
        ] {
            let request = headers
                .iter()
                .fold(Request::post("/"), |request, (name, value)| {
                    request.header(*name, *value)
                });
            let request = request.body(Body::empty()).unwrap();
            assert_eq!(is_cross_site(&request, public), cross_site, "{headers:?}");
        }
    }
}
