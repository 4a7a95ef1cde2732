//! Two policies in one service: what is notified, and what a change of the policy does.

use detection::{Minute, PolicyName};
use monitoring_service::{
    alerts::Alert,
    clock::Clock,
    config::{Config, Notify, Shadow},
};
use wiremock::MockServer;

use crate::harness::{
    Message, NOW_MS, Setup, TestApp, broker, folder, minute, received, receiver, send, until,
};

fn setup(server: &MockServer, change: fn(&mut Config)) -> Setup {
    Setup {
        clock: Clock::fixed(NOW_MS),
        webhook: Some(server.uri()),
        change,
    }
}

/// Minutes of usual traffic that end at `end`, with many `denied` in those at `incident`.
fn minutes(count: i64, end: i64, incident: std::ops::Range<i64>) -> Vec<Message> {
    let message = |at: i64| {
        let start = Minute::from_epoch_minutes(NOW_MS / 60_000 - end + at);
        let denied = match at {
            at if incident.contains(&at) => 60,
            _ => 4 + u32::from(at % 3 == 0),
        };
        let counts = [("approved", 120), ("denied", denied)];
        Message::new(minute(&start.to_string(), &counts))
    };
    (0..count).map(message).collect()
}

fn of(alerts: &[Alert], policy: PolicyName) -> Vec<&Alert> {
    let is_of = |alert: &&Alert| {
        alert
            .anomaly()
            .is_some_and(|anomaly| anomaly.key.policy == policy)
    };
    alerts.iter().filter(is_of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_in_shadow_notifies_nobody() {
    let (broker, folder, server) = (broker().await, folder(), receiver(200).await);
    let change: fn(&mut Config) = |config| {
        (config.detection_policy, config.notify) = (PolicyName::Adaptive, Some(Notify::Alerts));
    };
    let app = TestApp::start(
        &broker.bootstrap_servers(),
        folder.path(),
        setup(&server, change),
    )
    .await;
    send(&broker, minutes(320, 320, 300..310));
    app.until_consumed(320).await;
    let alerts = app.alerts().await;
    let zscore = of(&alerts, PolicyName::ZScore);
    assert!(zscore.len() > 1);
    assert!(zscore.iter().all(|alert| !alert.is_notified()));
    let adaptive = of(&alerts, PolicyName::Adaptive);
    let [alert] = &adaptive[..] else {
        panic!("one episode, not {adaptive:#?}")
    };
    assert!(alert.is_notified());
    until("it is delivered", async || {
        !received(&server).await.is_empty()
    })
    .await;
    let found = [("zscore", 1), ("adaptive", 10)].map(|(policy, least)| {
        let labels = [
            ("policy", policy),
            ("status", "denied"),
            ("severity", "CRITICAL"),
        ];
        (app.counted("monitoring_findings_total", &labels), least)
    });
    assert!(
        found.iter().all(|(found, least)| found >= least),
        "{found:?}"
    );
    app.stop().await.expect("a clean stop");
    let sent = received(&server).await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["policy"], "adaptive");
    assert!(sent[0]["adaptive"]["score"].as_f64() > Some(5.0));
    assert!(sent[0]["z_score"].is_null() && sent[0]["baseline"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_policy_alerts_nobody_about_the_past() {
    let (broker, folder, server) = (broker().await, folder(), receiver(200).await);
    let all = minutes(420, 420, 300..310);
    let alone: fn(&mut Config) = |config| config.shadow_policy = Some(Shadow(None));
    let app = TestApp::start(
        &broker.bootstrap_servers(),
        folder.path(),
        setup(&server, alone),
    )
    .await;
    send(&broker, all[..400].to_vec());
    app.until_consumed(400).await;
    let before = app.alerts().await;
    assert!(!before.is_empty() && of(&before, PolicyName::Adaptive).is_empty());
    app.stop().await.expect("a clean stop");

    let adaptive: fn(&mut Config) = |config| config.detection_policy = PolicyName::Adaptive;
    let app = TestApp::start(
        &broker.bootstrap_servers(),
        folder.path(),
        setup(&server, adaptive),
    )
    .await;
    send(&broker, all[400..].to_vec());
    app.until_consumed(20).await;
    assert_eq!(app.alerts().await, before, "the incident is over");
    let status = app.get("/alerts/status").await;
    let row = &status["streams"][0]["statuses"][1];
    assert_eq!(row["policy"], "adaptive");
    assert_eq!(row["state"], "NORMAL", "it learned from what is stored");
    let first = app
        .get("/explain?status=denied&minute=2025-12-31T21:00:00Z")
        .await;
    assert_eq!(first["row"]["policy"], serde_json::Value::Null);
    let incident = minutes(421, 420, 420..421).split_off(420);
    send(&broker, incident);
    app.until_consumed(21).await;
    let alerts = app.alerts().await;
    assert_eq!(of(&alerts, PolicyName::Adaptive).len(), 1);
    app.stop().await.expect("a clean stop");
}
