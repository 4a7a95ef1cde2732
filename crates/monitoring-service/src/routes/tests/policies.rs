//! The parameter `policy`: the same minutes as either policy judged them.

use axum::http::StatusCode;
use detection::{Detector, MonitorSettings, detector::adaptive::AdaptiveSettings};
use serde_json::{Value, json};

use super::harness::{Api, NOW_MS, now};

const RANGE: &str = "from=2025-07-12T14:50:00Z&to=2025-07-12T15:10:00Z";

fn adaptive() -> Detector {
    Detector::Adaptive(AdaptiveSettings::default())
}

/// Both policies; this one alerts. Usual minutes, and three of many `denied` from 15:00 on.
fn api(alerting: Detector, shadow: Detector) -> Api {
    let mut api = Api::judging(MonitorSettings {
        detector: alerting,
        shadow: Some(shadow),
        ..MonitorSettings::default()
    });
    api.consume_usual("default", now(), 200);
    for minute in 0..3 {
        let arrived_at_ms = NOW_MS + (minute + 1) * 60_000;
        let counts = [("approved", 120), ("denied", 60)];
        api.consume("default", now().plus(minute), &counts, arrived_at_ms);
    }
    api
}

fn zscore_alerts() -> Api {
    api(Detector::default(), adaptive())
}

/// The row of `denied` in an answer of `/alerts/status`.
fn denied(status: &Value) -> &Value {
    let statuses = status["streams"][0]["statuses"].as_array().unwrap();
    statuses
        .iter()
        .find(|row| row["status"] == "denied")
        .unwrap()
}

#[tokio::test]
async fn the_status_is_that_of_the_asked_policy() {
    let api = zscore_alerts();
    for (query, policy) in [("", "zscore"), ("?policy=adaptive", "adaptive")] {
        let status = api.ok(&format!("/alerts/status{query}")).await;
        let row = denied(&status);
        assert_eq!(row["policy"], policy);
        assert_eq!(row["baseline"].is_null(), policy == "adaptive", "{row}");
        assert_eq!(row["adaptive"].is_null(), policy == "zscore", "{row}");
        assert_eq!(row["last_alert"]["policy"], policy);
        assert_eq!(status["streams"][0]["last_alert"]["policy"], policy);
    }
    let status = api.ok("/alerts/status?policy=adaptive").await;
    let row = denied(&status);
    assert_eq!(
        (&row["state"], &row["z_score"]),
        (&json!("CRITICAL"), &Value::Null)
    );
    let message = row["message"].as_str().unwrap();
    assert!(message.contains("payments"), "{message}");
}

#[tokio::test]
async fn alerts_are_listed_of_one_policy_or_of_both() {
    let api = zscore_alerts();
    let alerts = async |query: &str| {
        let answer = api.ok(&format!("/alerts{query}")).await;
        answer["alerts"].as_array().unwrap().clone()
    };
    let shadow = alerts("?policy=adaptive").await;
    let [alert] = &shadow[..] else {
        panic!("one episode, not {shadow:?}")
    };
    assert_eq!(
        (&alert["suppressed"], &alert["severity"], &alert["minute"]),
        (
            &json!("shadow"),
            &json!("CRITICAL"),
            &json!("2025-07-12T15:00:00Z")
        )
    );
    let zscore = alerts("?policy=zscore").await;
    assert!(zscore.iter().any(|alert| alert["suppressed"].is_null()));
    assert_eq!(alerts("").await.len(), zscore.len() + 1);
    assert_eq!(alerts("?notified=true&policy=adaptive").await.len(), 0);
}

#[tokio::test]
async fn a_count_is_explained_by_the_asked_policy() {
    let api = zscore_alerts();
    let explain = async |minute: &str, policy: &str| {
        let query = format!("minute=2025-07-12T{minute}:00Z&status=denied&policy={policy}");
        api.ok(&format!("/explain?{query}")).await
    };
    let opened = explain("15:00", "adaptive").await;
    assert_eq!(
        (&opened["outcome"], &opened["row"]["policy"]),
        (&json!("fired"), &json!("adaptive"))
    );
    let text = opened["explanation"].as_str().unwrap();
    assert!(text.contains("SHADOW_POLICY"), "{text}");
    assert_eq!(explain("15:01", "adaptive").await["outcome"], "in_episode");
    let repeated = explain("15:01", "zscore").await;
    assert_eq!(repeated["outcome"], "suppressed");
    assert_eq!(repeated["alerts"][0]["policy"], "zscore");
}

#[tokio::test]
async fn a_range_is_analyzed_as_either_policy_judged() {
    let api = zscore_alerts();
    let analyze = async |query: &str| api.ok(&format!("/alerts/analyze?{RANGE}{query}")).await;
    let stored = analyze("&policy=adaptive").await;
    assert_eq!(
        (&stored["policy"], &stored["window"]),
        (&json!("adaptive"), &Value::Null)
    );
    assert_eq!(
        (&stored["critical"], &stored["warning"]),
        (&json!(5.0), &json!(4.0))
    );
    assert_eq!(stored["alerts_raised"], 1);
    assert_eq!(stored["findings"]["denied"]["CRITICAL"], 3);
    let recomputed = analyze("&policy=adaptive&critical=5").await;
    assert_eq!(recomputed["mode"], "recomputed");
    for member in ["findings", "alerts", "alerts_raised"] {
        assert_eq!(recomputed[member], stored[member], "{member}");
    }
    let strict = analyze("&policy=adaptive&critical=100").await;
    assert_eq!(strict["alerts_raised"], 0);
    assert_eq!(analyze("").await["policy"], "zscore");
    let refused = api
        .get(&format!(
            "/alerts/analyze?{RANGE}&policy=adaptive&window=30"
        ))
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.json["field"], "window");
}

#[tokio::test]
async fn a_series_has_the_band_of_either_policy() {
    let api = zscore_alerts();
    for (policy, evidence) in [("zscore", "baseline"), ("adaptive", "adaptive")] {
        let query = format!("{RANGE}&status=denied&policy={policy}");
        let answer = api.ok(&format!("/transactions/timeseries?{query}")).await;
        let points = answer["series"][0]["points"].as_array().unwrap();
        for point in points {
            let at = |end: &str| point["band"][end].as_f64().unwrap();
            let expected = point["expected"].as_f64().unwrap();
            assert!(at("low") <= expected && expected <= at("high"), "{point}");
            assert!(!point[evidence].is_null(), "{point}");
            let outside = point["count"].as_f64().unwrap() > at("high");
            assert_eq!(outside, point["state"] != "NORMAL", "{point}");
        }
        assert_eq!(points.len(), 13);
    }
}

#[tokio::test]
async fn an_unknown_policy_is_refused() {
    let answer = zscore_alerts().get("/alerts/status?policy=shewhart").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.json["field"], "policy");
    assert_eq!(answer.json["fix"], "use zscore or adaptive");
}

#[tokio::test]
async fn submissions_are_judged_by_the_alerting_policy() {
    let api = api(adaptive(), Detector::default());
    let body = r#"{"status":"failed","count":40}"#;
    let from_store = api.evaluate(body).await.json;
    assert_eq!(from_store["severity"], "CRITICAL", "{from_store}");
    let message = from_store["message"].as_str().unwrap();
    assert!(message.starts_with("failed: 40"), "{message}");
    api.publish("default", NOW_MS);
    let from_memory = api.evaluate(body).await.json;
    assert_eq!(from_memory["message"], from_store["message"]);
}
