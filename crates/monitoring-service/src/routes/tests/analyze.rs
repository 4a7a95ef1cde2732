//! `GET /alerts/analyze`: stored and recomputed findings.

use axum::http::StatusCode;
use serde_json::json;

use super::harness::{Api, NOW_MS, now};

const RANGE: &str = "from=2025-07-12T14:30:00Z&to=2025-07-12T15:10:00Z";

/// An hour and more of usual minutes with two bursts of `denied`, at 15:00 and, milder, at 15:07.
fn api() -> Api {
    let mut api = Api::new();
    api.consume_usual("default", now(), 80);
    for minute in 0..10 {
        let denied = [6, 40][usize::from(minute == 0)] + [0, 6][usize::from(minute == 7)];
        let counts = [("approved", 120), ("denied", denied)];
        api.consume(
            "default",
            now().plus(minute),
            &counts,
            NOW_MS + (minute + 1) * 60_000,
        );
    }
    api
}

#[tokio::test]
async fn stored_findings_keep_their_settings() {
    let analysis = api().ok(&format!("/alerts/analyze?{RANGE}")).await;
    assert_eq!(
        (&analysis["mode"], &analysis["window"]),
        (&json!("stored"), &json!(60))
    );
    assert_eq!(
        analysis["findings"]["denied"],
        json!({"CRITICAL": 1, "NORMAL": 39})
    );
    assert_eq!(
        (&analysis["alerts_raised"], &analysis["alerts"][0]["count"]),
        (&json!(1), &json!(40))
    );
}

#[tokio::test]
async fn minutes_that_did_not_arrive_are_listed() {
    let mut api = Api::new();
    for minute in [0, 1, 4, 5, 7] {
        let now_ms = NOW_MS + (minute + 1) * 60_000;
        api.consume("default", now().plus(minute), &[("denied", 6)], now_ms);
    }
    let holes = async |range: &str| {
        let analysis = api.ok(&format!("/alerts/analyze?{range}")).await;
        (
            analysis["minutes_missing"].clone(),
            analysis["holes"].clone(),
        )
    };
    let hole = |from: u8, to: u8| {
        let [from, to] = [from, to].map(|minute| format!("2025-07-12T15:0{minute}:00Z"));
        json!({"from": from, "to": to})
    };
    assert_eq!(
        holes(RANGE).await,
        (json!(3), json!([hole(2, 4), hole(6, 7)]))
    );
    let within = "from=2025-07-12T15:03:00Z&to=2025-07-12T15:06:00Z&window=10";
    assert_eq!(holes(within).await, (json!(0), json!([])));
}

#[tokio::test]
async fn the_same_settings_recompute_the_same() {
    let api = api();
    let stored = api.ok(&format!("/alerts/analyze?{RANGE}")).await;
    let recomputed = api.ok(&format!("/alerts/analyze?{RANGE}&window=60")).await;
    assert_eq!(recomputed["mode"], "recomputed");
    for member in ["findings", "alerts", "alerts_raised", "alerts_suppressed"] {
        assert_eq!(recomputed[member], stored[member], "{member}");
    }
}

#[tokio::test]
async fn a_window_shorter_than_min_history_evaluates() {
    let short = api()
        .ok(&format!("/alerts/analyze?{RANGE}&window=10"))
        .await;
    assert_eq!(short["findings"]["denied"].get("LEARNING"), None, "{short}");
    assert_eq!(short["findings"]["denied"]["CRITICAL"], 1, "{short}");
}

#[tokio::test]
async fn other_thresholds_record_nothing() {
    let api = api();
    let milder = api
        .ok(&format!("/alerts/analyze?{RANGE}&warning=0.5&critical=100"))
        .await;
    assert_eq!(
        (&milder["warning"], &milder["critical"]),
        (&json!(0.5), &json!(100.0))
    );
    assert!(
        milder["findings"]["denied"]["WARNING"].as_u64().unwrap() > 1,
        "{milder}"
    );
    assert_eq!(milder["findings"]["denied"].get("CRITICAL"), None);
    assert_eq!(
        api.ok("/alerts").await["alerts"].as_array().unwrap().len(),
        1,
        "nothing was recorded"
    );
}

#[tokio::test]
async fn a_refused_analysis_names_the_field() {
    let api = api();
    for (field, query) in [
        ("from", "to=2025-07-12T15:00:00Z".to_owned()),
        ("to", "from=2025-07-12T15:00:00Z".to_owned()),
        (
            "to",
            "from=2025-07-12T15:00:00Z&to=2025-08-12T15:01:00Z".to_owned(),
        ),
        ("warning", format!("{RANGE}&warning=9")),
        ("critical", format!("{RANGE}&critical=1")),
        ("critical", format!("{RANGE}&critical=NaN")),
        ("window", format!("{RANGE}&window=1")),
        ("window", format!("{RANGE}&window=x")),
    ] {
        let answer = api.get(&format!("/alerts/analyze?{query}")).await;
        assert_eq!(
            (answer.status, &answer.json["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)),
            "{query}"
        );
    }
}
