//! Alerts to the receiver: delivery, cooldown, silences, submissions.

use std::time::Duration;

use detection::{MinuteCounts, Monitor, MonitorSettings, RowChange, Suppression};
use embedded_kafka::EmbeddedKafka;
use monitoring_service::{alerts::Alert, clock::Clock};
use serde_json::Value;
use tempfile::TempDir;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use crate::harness::{
    Message, NOW_MS, Setup, TestApp, broker, folder, minute, post, received, receiver, send, until,
    usual,
};

fn setup(server: &MockServer, clock: &Clock) -> Setup {
    Setup {
        clock: clock.clone(),
        webhook: Some(server.uri()),
        ..Setup::default()
    }
}

/// The minute before [`NOW_MS`] with failures.
fn failures() -> Message {
    Message::new(minute(
        "2025-12-31T23:59:00Z",
        &[("approved", 101), ("failed", 9)],
    ))
}

/// The metric labels of such an alert.
fn of_failures(suppressed: &'static str) -> [(&'static str, &'static str); 5] {
    [
        ("origin", "stream"),
        ("policy", "zscore"),
        ("status", "failed"),
        ("severity", "CRITICAL"),
        ("suppressed", suppressed),
    ]
}

async fn start(
    broker: &EmbeddedKafka,
    folder: &TempDir,
    server: &MockServer,
    clock: &Clock,
) -> TestApp {
    let setup = setup(server, clock);
    TestApp::start(&broker.bootstrap_servers(), folder.path(), setup).await
}

/// Sends an hour of usual minutes and [`failures`].
async fn send_failures(broker: &EmbeddedKafka, app: &TestApp) {
    send(broker, usual(60, NOW_MS - 60_000));
    send(broker, [failures()]);
    app.until_consumed(61).await;
}

fn reason(alert: &Alert) -> Option<&'static str> {
    alert.suppression.map(Suppression::reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_alert_is_sent_once_a_warning_never() {
    let (broker, folder, server) = (broker().await, folder(), receiver(204).await);
    let app = start(&broker, &folder, &server, &Clock::fixed(NOW_MS)).await;
    let mut messages = usual(60, NOW_MS - 60_000);
    messages.push(Message::new(minute(
        "2025-12-31T23:59:00Z",
        &[("approved", 97), ("failed", 9)],
    )));
    send(&broker, messages);
    app.until_consumed(61).await;
    until("it is delivered", async || {
        !received(&server).await.is_empty()
    })
    .await;
    let alerts = app.alerts().await;
    let names: Vec<_> = alerts
        .iter()
        .map(|alert| (alert.severity().name(), reason(alert)))
        .collect();
    assert_eq!(
        names,
        [
            ("WARNING", Some("below_critical")),
            ("CRITICAL", None),
            ("CRITICAL", Some("shadow"))
        ]
    );
    let id = alerts[1].id.to_string();
    assert_eq!(
        app.counted("monitoring_alerts_total", &of_failures("none")),
        1
    );
    until("it is settled", async || {
        app.get(&format!("/alerts/{id}")).await["deliveries"][0]["state"] == "delivered"
    })
    .await;
    let posts = received(&server).await;
    assert_eq!(posts.len(), 1);
    assert_eq!(
        (&posts[0]["id"], &posts[0]["status"]),
        (&Value::from(id), &Value::from("failed"))
    );
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_delivers_the_pending_alert() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
    let away = receiver(503).await;
    let app = start(&broker, &folder, &away, &clock).await;
    send_failures(&broker, &app).await;
    until("it was tried", async || !received(&away).await.is_empty()).await;
    app.stop().await.expect("a clean stop");
    let back = receiver(200).await;
    clock.set_ms(NOW_MS + 60_000);
    let app = start(&broker, &folder, &back, &clock).await;
    until("it is delivered", async || {
        !received(&back).await.is_empty()
    })
    .await;
    assert_eq!(
        received(&back).await[0]["id"],
        received(&away).await[0]["id"]
    );
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_alert_keeps_its_id() {
    let (broker, folder, server) = (broker().await, folder(), MockServer::start().await);
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    let app = start(&broker, &folder, &server, &Clock::system()).await;
    send_failures(&broker, &app).await;
    let delivered =
        || async { app.get("/deliveries").await["deliveries"][0]["state"] == "delivered" };
    until("it is delivered", delivered).await;
    let ids: Vec<_> = received(&server)
        .await
        .iter()
        .map(|post| post["id"].clone())
        .collect();
    let id = Value::from(app.alerts().await[0].id.to_string());
    assert_eq!(ids, [id.clone(), id]);
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn catching_up_notifies_one_summary_of_old_minutes() {
    let (broker, folder, server, clock) = (
        broker().await,
        folder(),
        receiver(200).await,
        Clock::fixed(NOW_MS + 3_600_000),
    );
    let change = |config: &mut monitoring_service::config::Config| {
        config.page_max_age = Some(Duration::from_mins(30));
        config.alert_check_interval = Duration::from_millis(20);
    };
    let app = TestApp::start(
        &broker.bootstrap_servers(),
        folder.path(),
        Setup {
            change,
            ..setup(&server, &clock)
        },
    )
    .await;
    send_failures(&broker, &app).await;
    let alerts = app.alerts().await;
    assert_eq!(reason(&alerts[0]), Some("too_old"));
    assert_eq!(
        app.get("/health").await["parts"]["deliveries"]["pending"],
        0
    );
    assert_eq!(
        app.counted("monitoring_alerts_total", &of_failures("too_old")),
        1
    );
    let explained = app
        .get("/explain?minute=2025-12-31T23:59:00Z&status=failed")
        .await
        .to_string();
    assert!(
        explained.contains("was not notified") && explained.contains("PAGE_MAX_AGE"),
        "{explained}"
    );
    // Nothing more is too old for a minute.
    clock.set_ms(NOW_MS + 3_600_000 + 60_000);
    until("it is summed up", async || {
        !received(&server).await.is_empty()
    })
    .await;
    let summary = &received(&server).await[0];
    assert_eq!(summary["type"], "ingest.summary");
    let message = summary["message"].as_str().expect("text");
    assert!(
        message
            .contains("1 alert of 1 stream between 2025-12-31T23:59:00Z and 2025-12-31T23:59:00Z"),
        "{message}"
    );
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silenced_alert_shows_its_reason_everywhere() {
    let (broker, folder, server) = (broker().await, folder(), receiver(200).await);
    let app = start(&broker, &folder, &server, &Clock::fixed(NOW_MS)).await;
    let silence = r#"{"status":"failed","until":"2026-01-01T01:00:00Z","reason":"maintenance"}"#;
    let silence = post(&format!("{}/silences", app.url), silence).await["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    send_failures(&broker, &app).await;
    let alerts = app.get("/alerts?status=failed").await;
    assert_eq!(
        (
            &alerts["alerts"][0]["suppressed"],
            &alerts["alerts"][0]["suppressed_by"]
        ),
        (&"silence".into(), &Value::from(&*silence))
    );
    let explained = app
        .get("/explain?minute=2025-12-31T23:59:00Z&status=failed")
        .await
        .to_string();
    assert!(
        explained.contains(&format!("a silence covers it (silence {silence})")),
        "{explained}"
    );
    assert_eq!(
        app.counted("monitoring_alerts_total", &of_failures("silence")),
        1
    );
    assert!(received(&server).await.is_empty());
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_is_notified_without_kafka() {
    let (folder, server, clock) = (folder(), receiver(200).await, Clock::fixed(NOW_MS));
    // Nothing listens on port 9.
    let app = TestApp::start("127.0.0.1:9", folder.path(), setup(&server, &clock)).await;
    let body = r#"{"status":"failed","count":100}"#;
    let first = app.evaluate(body).await;
    assert_eq!(
        (&first["severity"], &first["alert_dispatched"]),
        (&Value::from("CRITICAL"), &Value::from(true))
    );
    until("it is delivered", async || {
        !received(&server).await.is_empty()
    })
    .await;
    assert_eq!(received(&server).await[0]["id"], first["record_id"]);
    clock.set_ms(NOW_MS + 4 * 60_000);
    let second = app.evaluate(body).await;
    assert_eq!(
        (&second["alert_dispatched"], &second["suppressed_by"]),
        (&Value::from(false), &first["record_id"])
    );
    clock.set_ms(NOW_MS + 5 * 60_000);
    let third = app.evaluate(body).await;
    assert_eq!(
        (&third["alert_dispatched"], &third["suppressed_before"]),
        (&Value::from(true), &Value::from(1))
    );
    let summary = app.get("/transactions/summary").await;
    assert_eq!(
        summary["minutes_observed"], 0,
        "a submission is not an observed minute"
    );
    assert_eq!(app.alerts().await.len(), 3);
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_changes_no_baseline() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
    let app = TestApp::start(
        &broker.bootstrap_servers(),
        folder.path(),
        Setup {
            clock,
            ..Setup::default()
        },
    )
    .await;
    let mut messages = usual(41, NOW_MS);
    let last = messages.split_off(40);
    send(&broker, messages.clone());
    app.until_consumed(40).await;
    for body in [
        r#"{"status":"approved","count":4000000}"#,
        r#"{"status":"failed","count":100}"#,
    ] {
        assert_eq!(app.evaluate(body).await["severity"], "CRITICAL");
    }
    send(&broker, last.clone());
    app.until_consumed(41).await;
    let mut alone = Monitor::new(MonitorSettings::default());
    let minutes = messages
        .iter()
        .chain(&last)
        .map(|message| message.payload.as_ref().expect("there"));
    let observe = |payload: &Vec<u8>| {
        alone.observe(
            MinuteCounts::from_json(payload).expect("minute counts"),
            &[],
        )
    };
    let observed = minutes.map(observe).last();
    let status = app.get("/alerts/status").await;
    for (row, shown) in observed
        .expect("some")
        .rows
        .iter()
        .zip(status["streams"][0]["statuses"].as_array().expect("a list"))
    {
        let RowChange::Judged { judgement, .. } = row.change else {
            panic!("not evaluated: {row:?}")
        };
        assert_eq!(shown["status"], row.status.name());
        assert_eq!(
            shown["baseline"]["mean"],
            serde_json::json!(judgement.evidence().and_then(detection::Evidence::expected))
        );
        assert_eq!(shown["state"], judgement.state().name());
    }
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_bounded_while_the_receiver_hangs() {
    let (broker, folder, server) = (broker().await, folder(), MockServer::start().await);
    let hang = ResponseTemplate::new(200).set_delay(Duration::from_mins(1));
    Mock::given(method("POST"))
        .respond_with(hang)
        .mount(&server)
        .await;
    let app = start(&broker, &folder, &server, &Clock::fixed(NOW_MS)).await;
    app.evaluate(r#"{"status":"failed","count":100}"#).await;
    broker.hang();
    let stopped = tokio::time::timeout(Duration::from_secs(10), app.stop()).await;
    stopped.expect("within its deadline").expect("a clean stop");
}
