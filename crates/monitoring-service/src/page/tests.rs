//! The views over a temporary database: empty states, refusals, ranges, sizes.

mod charts;
mod health;
mod incidents;
mod login;
mod silences;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};

use crate::routes::harness::{Answer, Api, NOW_MS, after_a_burst, now};

/// What browsers send.
const HTML: (&str, &str) = ("accept", "text/html,*/*;q=0.8");

/// Every view without a parameter.
const VIEWS: [&str; 4] = ["/", "/page/policies", "/page/deliveries", "/page/silences"];

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
async fn a_burst_is_seen_on_the_overview_and_the_stream() {
    let api = after_a_burst();
    let overview = api.get("/").await.text;
    assert!(overview.contains("(1) Overview"), "{overview}");
    assert!(overview.contains("default: denied up"), "{overview}");
    assert!(
        overview.contains("<li class=\"crit\"><a href=\"./page/streams/default\">default</a>"),
        "its incident says why, so its stream is a tile: {overview}"
    );
    assert!(overview.contains("problem payments more than expected so far."));
    let stream = api
        .get("/page/streams/default?minute=2025-07-12T15:00&status=denied")
        .await
        .text;
    for text in [
        "id=\"explanation\"",
        "standard deviations above",
        "href=\"?last=6h&amp;policy=zscore&amp;minute=2025-07-12T15:00:00Z&amp;status=denied#explanation\"",
        "2025-07-12 15:00 UTC: 40, usual",
        "None in this range.",
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
async fn five_hundred_streams_fit_the_budget() {
    let mut api = Api::new();
    for stream in 0..500 {
        let name = format!("a-merchant-with-a-long-name-{stream:03}");
        api.consume_usual(&name, now(), 5);
        api.publish(&name, NOW_MS);
    }
    let text = api.get("/").await.text;
    assert!(text.len() <= 120_000, "{}", text.len());
    assert_eq!(text.matches("<a href=\"./page/streams/").count(), 500);
    // On PostgreSQL, where other instances commit, too, each is read from the database.
    let drawn = if crate::store::tests::place::server().is_some() {
        50
    } else {
        200
    };
    assert_eq!(text.matches("<svg").count(), drawn);
    let said = format!("newest hour, drawn for the first {drawn}.");
    assert!(text.contains(&said));
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
