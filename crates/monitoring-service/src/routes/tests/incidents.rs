//! `/incidents`: lists, one story, and what people do.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::{Value, json};

use super::harness::{Answer, Api, after_a_burst};

async fn post(api: &Api, path: &str, body: Value) -> Answer {
    let request = Request::post(path).header("content-type", "application/json");
    api.send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

async fn only(api: &Api) -> Value {
    let listed = api.ok("/incidents").await;
    assert_eq!(listed["incidents"].as_array().unwrap().len(), 1, "{listed}");
    listed["incidents"][0].clone()
}

#[tokio::test]
async fn an_incident_is_listed_and_filtered() {
    let api = after_a_burst();
    let incident = only(&api).await;
    assert_eq!(
        (
            &incident["title"],
            &incident["state"],
            &incident["suppressed"]
        ),
        (
            &json!("default: denied up"),
            &json!("open"),
            &json!("alerts")
        )
    );
    for (query, found) in [
        ("state=open", 1),
        ("state=resolved", 0),
        ("stream=default", 1),
        ("stream=other", 0),
        ("kind=anomaly&severity=CRITICAL", 1),
        ("kind=group", 0),
        ("from=2025-07-12T15:00:00Z&to=2025-07-12T15:01:00Z", 1),
        ("to=2025-07-12T15:00:00Z", 0),
    ] {
        let listed = api.ok(&format!("/incidents?{query}")).await;
        assert_eq!(
            listed["incidents"].as_array().unwrap().len(),
            found,
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_person_takes_over_and_resolves_once() {
    let api = after_a_burst();
    let path = format!("/incidents/{}", only(&api).await["id"].as_str().unwrap());
    let taken = post(&api, &format!("{path}/acknowledge"), json!({"by": "ops"})).await;
    assert_eq!(
        (taken.status, &taken.json["acknowledged_by"]),
        (StatusCode::OK, &json!("ops"))
    );
    let resolved = post(&api, &format!("{path}/resolve"), json!({})).await;
    assert_eq!(
        (&resolved.json["state"], &resolved.json["end_reason"]),
        (&json!("resolved"), &json!("by_hand"))
    );
    let again = post(&api, &format!("{path}/resolve"), json!({})).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let story = api.ok(&path).await;
    let events = story["events"].as_array().unwrap().iter();
    let events: Vec<_> = events.map(|event| event["event"].clone()).collect();
    assert_eq!(events, ["opened", "acknowledged", "resolved"]);
}

#[tokio::test]
async fn retiring_a_stream_ends_its_incident() {
    let api = after_a_burst();
    let path = format!("/incidents/{}", only(&api).await["id"].as_str().unwrap());
    let retired = api.method(Method::DELETE, "/streams/default").await;
    assert_eq!(retired.status, StatusCode::NO_CONTENT);
    let incident = only(&api).await;
    assert_eq!(
        (&incident["state"], &incident["end_reason"]),
        (&json!("resolved"), &json!("retired"))
    );
    let story = api.ok(&path).await;
    let events = story["events"].as_array().unwrap().iter();
    let events: Vec<_> = events.map(|event| event["event"].clone()).collect();
    assert_eq!(events, ["opened", "resolved"]);
}

#[tokio::test]
async fn feedback_labels_an_incident() {
    let api = after_a_burst();
    let path = format!("/incidents/{}", only(&api).await["id"].as_str().unwrap());
    let body = json!({"verdict": "false_alarm", "note": "a planned test", "by": "ops"});
    let labelled = post(&api, &format!("{path}/feedback"), body).await;
    assert_eq!(labelled.json["feedback"]["verdict"], "false_alarm");
    let refused = post(
        &api,
        &format!("{path}/feedback"),
        json!({"verdict": "maybe"}),
    )
    .await;
    assert_eq!(
        (refused.status, &refused.json["field"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("verdict"))
    );
    let table = api.get("/incidents?format=csv").await;
    assert_eq!(table.headers["content-type"], "text/csv; charset=utf-8");
    let lines: Vec<_> = table.text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[1].ends_with(",false_alarm,a planned test"),
        "{}",
        lines[1]
    );
}

#[tokio::test]
async fn an_unknown_incident_is_not_found() {
    let api = Api::new();
    let path = "/incidents/6f1d7ed0-1111-5222-8333-444455556666";
    assert_eq!(api.get(path).await.status, StatusCode::NOT_FOUND);
    for action in ["acknowledge", "resolve"] {
        let answer = post(&api, &format!("{path}/{action}"), json!({})).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
}
