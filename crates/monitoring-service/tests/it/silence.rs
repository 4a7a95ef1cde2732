//! What no message announces: a feed that goes quiet, a monitor that goes blind.

use std::time::Duration;

use embedded_kafka::EmbeddedKafka;
use monitoring_service::clock::Clock;

use crate::harness::{Message, NOW_MS, Setup, TestApp, broker, folder, minute, sample, send, until, usual};

const MINUTE_MS: i64 = 60_000;

fn often(clock: &Clock) -> Setup {
    Setup {
        clock: clock.clone(),
        change: |config| config.alert_check_interval = Duration::from_millis(20),
        ..Setup::default()
    }
}

async fn types(app: &TestApp) -> Vec<&'static str> {
    app.alerts().await.iter().map(|alert| alert.alert_type.name()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_stream_that_goes_quiet_is_one_alert_and_its_return_another() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), often(&clock)).await;
    send(&broker, usual(40, NOW_MS));
    app.until_consumed(40).await;
    clock.set_ms(NOW_MS + 3 * MINUTE_MS + 1);
    until("the silence is noticed", async || types(&app).await == ["stream.stale"]).await;
    assert_eq!(app.get("/alerts/status").await["severity"], "STALE");
    send(&broker, [Message::new(minute("2026-01-01T00:02:00Z", &[("approved", 101)]))]);
    app.until_consumed(41).await;
    until("the return is noticed", async || types(&app).await == ["stream.stale", "stream.resumed"]).await;
    assert_eq!(app.get("/alerts/status").await["severity"], "NORMAL");
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_an_old_file_never_goes_quiet() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), often(&clock)).await;
    send(&broker, sample(40));
    app.until_consumed(40).await;
    clock.set_ms(NOW_MS + 60 * MINUTE_MS);
    // The live stream proves that a pass of the scheduler has looked at both.
    let live = r#"{"timestamp":"2026-01-01T00:59:00Z","stream":"live","transactions":[]}"#;
    send(&broker, [Message::new(live)]);
    app.until_consumed(41).await;
    clock.set_ms(NOW_MS + 70 * MINUTE_MS);
    until("the live one is noticed", async || types(&app).await.contains(&"stream.stale")).await;
    let stale = app.alerts().await.into_iter().find(|a| a.alert_type.name() == "stream.stale").expect("there");
    assert_eq!(stale.streams, ["live"]);
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_that_cannot_see_says_so_once_even_across_a_restart() {
    let (broker, folder, clock) = (EmbeddedKafka::start().await.expect("a broker"), folder(), Clock::fixed(NOW_MS));
    broker.go_down();
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), often(&clock)).await;
    clock.set_ms(NOW_MS + 4 * MINUTE_MS);
    until("blindness is noticed", async || types(&app).await == ["monitor.blind"]).await;
    app.stop().await.expect("a clean stop");
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), often(&clock)).await;
    clock.set_ms(NOW_MS + 9 * MINUTE_MS);
    broker.come_back();
    until("sight is noticed", async || types(&app).await == ["monitor.blind", "monitor.resumed"]).await;
    app.stop().await.expect("a clean stop");
}
