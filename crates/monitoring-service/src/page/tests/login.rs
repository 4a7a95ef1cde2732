//! The login, and who is sent to it.

use axum::http::{StatusCode, header};

use super::{HTML, get, submit};
use crate::{config::ApiToken, routes::harness::Api};

const TOKEN: &str = "a-long-secret-token";

fn with_token() -> Api {
    Api::new().with(|state| state.api_token = Some(ApiToken::parse(TOKEN).unwrap()))
}

#[tokio::test]
async fn a_token_is_exchanged_for_a_session() {
    let api = with_token();
    let to = get(&api, "/page/streams/a?last=1h", &[HTML]).await;
    assert_eq!(to.status, StatusCode::SEE_OTHER);
    assert_eq!(
        to.headers[header::LOCATION],
        "../../login?to=page%2Fstreams%2Fa%3Flast%3D1h"
    );
    assert_eq!(get(&api, "/login", &[]).await.status, StatusCode::OK);
    let wrong = submit(&api, "/login", "token=wrong&to=page/silences", &[]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(!wrong.headers.contains_key(header::SET_COOKIE));
    let right = submit(
        &api,
        "/login",
        &format!("token={TOKEN}&to=page/silences"),
        &[],
    )
    .await;
    assert_eq!(right.headers[header::LOCATION], "./page/silences");
    let cookie = right.headers[header::SET_COOKIE].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap();
    for path in ["/", "/page/silences", "/alerts", "/docs/"] {
        assert_eq!(
            get(&api, path, &[("cookie", cookie)]).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
    let out = submit(&api, "/logout", "", &[("cookie", cookie)]).await;
    assert!(
        out.headers[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert_eq!(out.headers[header::LOCATION], "./login");
}

#[tokio::test]
async fn programs_are_not_sent_to_the_login() {
    let api = with_token();
    assert_eq!(
        get(&api, "/alerts", &[("accept", "*/*")]).await.status,
        StatusCode::UNAUTHORIZED
    );
    let browser = get(&api, "/docs/", &[HTML]).await;
    assert_eq!(browser.headers[header::LOCATION], "../login?to=docs%2F");
}

#[tokio::test]
async fn a_login_leads_nowhere_else() {
    let api = with_token();
    for to in [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "..%2F..%2Fevil",
        "javascript:alert(1)",
    ] {
        let answer = submit(&api, "/login", &format!("token={TOKEN}&to={to}"), &[]).await;
        assert_eq!(answer.headers[header::LOCATION], "./", "{to}");
    }
}
