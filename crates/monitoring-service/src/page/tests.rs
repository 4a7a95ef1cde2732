//! The views over a temporary database: hostile texts, empty states, refusals, the login, links below a prefix.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use crate::{
    config::ApiToken,
    routes::harness::{Answer, Api, NOW_MS, after_a_burst, now},
};

const TOKEN: &str = "a-long-secret-token";

/// What browsers send.
const HTML: (&str, &str) = ("accept", "text/html,*/*;q=0.8");

/// Every view without a parameter.
const VIEWS: [&str; 4] = ["/", "/page/policies", "/page/deliveries", "/page/silences"];

fn with_token() -> Api {
    Api::new().with(|state| state.api_token = Some(ApiToken::parse(TOKEN).unwrap()))
}

async fn submit(api: &Api, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    api.send(request.body(Body::from(form.to_owned())).unwrap())
        .await
}

async fn get(api: &Api, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers
        .iter()
        .fold(Request::get(path), |request, (name, value)| {
            request.header(*name, *value)
        });
    api.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_view_has_an_empty_state() {
    let api = Api::new();
    for path in VIEWS {
        let answer = get(&api, path, &[HTML]).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        assert!(
            answer.text.contains("class=\"empty\""),
            "{path}: {}",
            answer.text
        );
    }
}

#[tokio::test]
async fn a_view_allows_only_its_own_files() {
    let api = after_a_burst();
    for path in [
        "/",
        "/page/streams/default",
        "/page/streams/nothing",
        "/page/silences",
    ] {
        let answer = get(&api, path, &[HTML]).await;
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "),
            "{policy}"
        );
        for forbidden in [
            "style=\"",
            "<style",
            "onclick",
            "http://",
            "https://",
            "javascript:",
        ] {
            assert!(!answer.text.contains(forbidden), "{path} has {forbidden}");
        }
    }
}

#[tokio::test]
async fn files_are_kept_by_their_content() {
    let api = Api::new();
    let text = api.get("/").await.text;
    let files: Vec<_> = text
        .split('"')
        .filter(|text| text.contains("/assets/"))
        .collect();
    assert_eq!(files.len(), 2, "one stylesheet and one script");
    for file in files {
        let answer = api.get(file.trim_start_matches('.')).await;
        assert_eq!(answer.status, StatusCode::OK, "{file}");
        assert!(
            answer.headers[header::CACHE_CONTROL]
                .to_str()
                .unwrap()
                .contains("immutable")
        );
    }
    assert_eq!(
        api.get("/page/assets/style-00000000.css").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_hostile_reason_is_shown_as_text() {
    let api = Api::new();
    let reason = "<script>alert(1)</script>\u{202e}\"'&";
    let form: String = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([
            ("stream", ""),
            ("minutes", "60"),
            ("weekly", ""),
            ("reason", reason),
        ])
        .finish();
    let answer = submit(&api, "/page/silences", &form, &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    assert_eq!(answer.headers[header::LOCATION], "../page/silences");
    let text = api.get("/page/silences").await.text;
    assert!(
        text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{text}"
    );
    assert!(!text.contains("<script>alert"), "{text}");
    let hostile = get(&api, "/page/streams/%3Cscript%3E", &[HTML]).await;
    assert_eq!(hostile.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!hostile.text.contains("<script>"), "{}", hostile.text);
}

#[tokio::test]
async fn the_longest_name_is_shown_and_linked() {
    let mut api = Api::new();
    let name = "x".repeat(128);
    api.consume_usual(&name, now(), 40);
    let text = api.get("/").await.text;
    assert!(
        text.contains(&format!("href=\"./page/streams/{name}\"")),
        "{text}"
    );
    assert_eq!(
        api.get(&format!("/page/streams/{name}")).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_silence_is_made_and_ended_by_forms() {
    let mut api = Api::new();
    api.consume_usual("day-1", now(), 3);
    submit(
        &api,
        "/page/silences",
        "stream=day*&status=denied&minutes=15&reason=test",
        &[],
    )
    .await;
    let silences = api.state.store.silences(NOW_MS).await.unwrap();
    assert!(silences[0].silence.covers_stream("day-1"));
    let end = format!("/page/silences/{}/end", silences[0].silence.id);
    assert!(api.get("/page/silences").await.text.contains(&end[1..]));
    assert_eq!(
        submit(&api, &end, "", &[]).await.status,
        StatusCode::SEE_OTHER
    );
    assert!(api.state.store.silences(NOW_MS).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_form_of_another_site_is_refused() {
    let api = Api::new();
    for headers in [
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let form = "minutes=15&reason=none";
        let answer = submit(
            &api,
            "/page/silences",
            form,
            &[headers, ("host", "pay.example")],
        )
        .await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{headers:?}");
    }
    assert!(api.state.store.silences(NOW_MS).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_burst_is_seen_on_the_overview_and_the_stream() {
    let api = after_a_burst();
    let overview = api.get("/").await.text;
    assert!(overview.contains("(1) Overview"), "{overview}");
    assert!(overview.contains("default: denied up"), "{overview}");
    assert!(overview.contains(
        "<span class=\"badge crit\">CRITICAL</span> <a href=\"./page/streams/default\">"
    ));
    let stream = api
        .get("/page/streams/default?minute=2025-07-12T15:00&status=denied")
        .await
        .text;
    for text in [
        "id=\"explanation\"",
        "standard deviations above",
        "href=\"?last=6h&amp;policy=zscore&amp;minute=2025-07-12T15:00:00Z&amp;status=denied#explanation\"",
        "2025-07-12 15:00 UTC: 40, usual",
        "No failed in this range.",
        "class=\"hole\"",
    ] {
        assert!(stream.contains(text), "{text}");
    }
}

#[tokio::test]
async fn a_range_is_from_to_or_its_length() {
    let api = after_a_burst();
    let path = "/page/streams/default";
    for (query, status) in [
        ("?last=7d", StatusCode::OK),
        (
            "?from=2025-07-12T14:00&to=2025-07-12T15:00&policy=zscore",
            StatusCode::OK,
        ),
        ("?from=&to=", StatusCode::OK),
        ("?last=2d", StatusCode::UNPROCESSABLE_ENTITY),
        (
            "?from=2025-07-12T15:00&to=2025-07-12T14:00",
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("?from=2020-07-12T15:00", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let answer = get(&api, &format!("{path}{query}"), &[HTML]).await;
        assert_eq!(answer.status, status, "{query}: {}", answer.text);
        assert!(answer.text.contains("<h1>"), "{query}");
    }
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

#[tokio::test]
async fn five_hundred_streams_fit_the_budget() {
    let mut api = Api::new();
    for stream in 0..500 {
        let name = format!("merchant-{stream:03}");
        api.consume_usual(&name, now(), 5);
        api.publish(&name, NOW_MS);
    }
    let bytes = api.get("/").await.text.len();
    assert!(bytes <= 150_000, "{bytes}");
}

#[tokio::test]
async fn policies_are_compared_at_another_threshold() {
    let api = after_a_burst();
    let text = api
        .get("/page/policies?stream=default&days=1&tenths=500")
        .await
        .text;
    for expected in [
        "CRITICAL episodes by zscore, alerts",
        "by zscore, what if",
        "None in this range.",
        "50.0",
        "Incidents labelled real, found</th><td>0 of 0</td>",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let unknown = api.get("/page/policies?stream=nothing").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

async fn the_open_incident(api: &Api) -> String {
    let incidents = api.ok("/incidents?state=open").await;
    incidents["incidents"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_incident_is_acknowledged_labelled_and_resolved() {
    let api = after_a_burst();
    let id = the_open_incident(&api).await;
    let path = format!("/page/incidents/{id}");
    assert!(
        api.get("/")
            .await
            .text
            .contains(&format!("action=\"./page/incidents/{id}/acknowledge\""))
    );
    let answer = submit(&api, &format!("{path}/acknowledge"), "", &[]).await;
    assert_eq!(
        answer.headers[header::LOCATION],
        format!("../../../page/incidents/{id}")
    );
    assert!(
        !api.get("/").await.text.contains("/acknowledge"),
        "nothing to acknowledge is left"
    );
    let label = "verdict=false_alarm&note=%3Cb%3Ea+test%3C%2Fb%3E&by=";
    let answer = submit(&api, &format!("{path}/feedback"), label, &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let answer = submit(&api, &format!("{path}/resolve"), "", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    let text = api.get(&path).await.text;
    for expected in [
        "<h1>default: denied up",
        "Acknowledged by somebody.",
        "calls it <b>false alarm</b>",
        "&lt;b&gt;a test&lt;/b&gt;",
        "A person resolved it.",
        "class=\"inc\"",
        "<b>Opened</b>",
        "<b>Resolved</b>",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("/resolve"), "{text}");
    let again = submit(&api, &format!("{path}/acknowledge"), "", &[HTML]).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn an_incident_that_does_not_exist_is_not_found() {
    let api = Api::new();
    let path = "/page/incidents/0190a7b2-6c1e-7d3f-9a44-5b0e1c2d3f4a";
    let answer = get(&api, path, &[HTML]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(
        answer.text.contains("there is no incident"),
        "{}",
        answer.text
    );
    for action in ["acknowledge", "resolve"] {
        let answer = submit(&api, &format!("{path}/{action}"), "", &[]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{action}");
    }
}

#[tokio::test]
async fn an_alert_leads_to_its_explanation() {
    let api = after_a_burst();
    let alerts = api.ok("/alerts?limit=1").await;
    let id = alerts["alerts"][0]["id"].as_str().unwrap();
    let answer = api.get(&format!("/page/alerts/{id}")).await;
    let location = answer.headers[header::LOCATION].to_str().unwrap();
    assert!(
        location.starts_with("../../page/streams/default?from=2025-07-12T10:00:00Z"),
        "{location}"
    );
    assert!(
        location.ends_with("&minute=2025-07-12T15:00:00Z&status=denied#explanation"),
        "{location}"
    );
}
