//! The view of an incident and what a person does about it.

use axum::http::{StatusCode, header};

use super::{HTML, get, submit};
use crate::routes::harness::{Api, after_a_burst};

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
        answer.text.contains("There is no incident"),
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

#[tokio::test]
async fn an_incident_and_its_stream_lead_to_the_dashboard() {
    let api = after_a_burst()
        .with(|state| state.grafana_url = Some("https://pay.example/grafana".to_owned()));
    let id = the_open_incident(&api).await;
    let dashboard =
        "href=\"https://pay.example/grafana/d/monitoring-overview?var-stream=default&amp;";
    for (path, range) in [
        (
            format!("/page/incidents/{id}"),
            "from=1752328800000&amp;to=now\"",
        ),
        (
            "/page/streams/default?last=1h".to_owned(),
            "from=1752328860000&amp;to=1752332460000\"",
        ),
    ] {
        let text = api.get(&path).await.text;
        assert!(
            text.contains(&format!("{dashboard}{range}")),
            "{path}: {text}"
        );
    }
}

#[tokio::test]
async fn a_point_of_a_chart_leads_to_its_explanation() {
    let api = after_a_burst();
    let id = the_open_incident(&api).await;
    let text = api.get(&format!("/page/incidents/{id}")).await.text;
    let (_, rest) = text
        .split_once("<a href=\"../../page/streams/default?from=")
        .unwrap();
    let (query, _) = rest.split_once("#explanation\"").unwrap();
    let path = format!("/page/streams/default?from={}", query.replace("&amp;", "&"));
    let answer = api.get(&path).await;
    assert!(
        answer.text.contains("id=\"explanation\""),
        "{path}: {}",
        answer.text
    );
}
