//! Stale streams, and ingest that is down.

use std::{collections::BTreeSet, time::Duration};

use monitoring_service::clock::Clock;

use crate::harness::{
    Message, NOW_MS, Setup, TOPIC, TestApp, broker, folder, minute, receiver, sample, send, until,
    usual,
};

const MINUTE_MS: i64 = 60_000;

fn often(clock: &Clock) -> Setup {
    Setup {
        clock: clock.clone(),
        change: |config| config.alert_check_interval = Duration::from_millis(20),
        ..Setup::default()
    }
}

async fn types(app: &TestApp) -> Vec<&'static str> {
    app.alerts()
        .await
        .iter()
        .map(|alert| alert.subject.kind())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_streams_are_one_alert_their_return_another() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), often(&clock)).await;
    send(&broker, usual(40, NOW_MS));
    let other = |timestamp: &str| {
        Message::new(format!(
            r#"{{"timestamp":"{timestamp}","stream":"acquirer-7","transactions":[]}}"#
        ))
    };
    send(&broker, [other("2025-12-31T23:59:00Z")]);
    app.until_consumed(41).await;
    clock.set_ms(NOW_MS + 3 * MINUTE_MS + 1);
    until("the streams are stale", async || {
        types(&app).await == ["stream.stale"]
    })
    .await;
    assert_eq!(
        app.alerts().await[0].subject.streams(),
        ["acquirer-7", "default"]
    );
    assert_eq!(app.get("/alerts/status").await["state"], "STALE");
    send(
        &broker,
        [
            other("2026-01-01T00:02:00Z"),
            Message::new(minute("2026-01-01T00:02:00Z", &[("approved", 101)])),
        ],
    );
    app.until_consumed(43).await;
    let noticed = || async {
        let alerts = app.alerts().await;
        // The two messages may be committed in two transactions with a check between them; then each stream has its own alert.
        let back = alerts
            .iter()
            .filter(|alert| alert.subject.kind() == "stream.resumed");
        back.flat_map(|alert| alert.subject.streams().to_vec())
            .collect::<BTreeSet<_>>()
            .len()
            == 2
    };
    until("the return is noticed", noticed).await;
    assert_eq!(
        app.get("/alerts/status?stream=default").await["state"],
        "NORMAL"
    );
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_alert_names_dead_letters_that_came_first() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), often(&clock)).await;
    send(&broker, usual(40, NOW_MS));
    send(&broker, (0..5).map(|_| Message::new("no JSON")));
    app.until_consumed(45).await;
    // Longer than STALE_AFTER after the last of them.
    clock.set_ms(NOW_MS + 3 * MINUTE_MS + 1);
    until("the stream is stale", async || {
        types(&app).await == ["stream.stale"]
    })
    .await;
    let message = app.alerts().await[0].message.clone();
    let named = "; since 2026-01-01 00:00 UTC 5 message(s) were dead letters, the last one: ";
    assert!(message.contains(named), "{message}");
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_old_file_is_never_stale() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), often(&clock)).await;
    send(&broker, sample(40));
    app.until_consumed(40).await;
    clock.set_ms(NOW_MS + 60 * MINUTE_MS);
    // The alert of the live stream proves that the scheduler has checked both.
    let live = r#"{"timestamp":"2026-01-01T00:59:00Z","stream":"live","transactions":[]}"#;
    send(&broker, [Message::new(live)]);
    app.until_consumed(41).await;
    clock.set_ms(NOW_MS + 70 * MINUTE_MS);
    until("the live one is noticed", async || {
        types(&app).await.contains(&"stream.stale")
    })
    .await;
    let stale = app
        .alerts()
        .await
        .into_iter()
        .find(|a| a.subject.kind() == "stream.stale")
        .expect("there");
    assert_eq!(stale.subject.streams(), ["live"]);
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_down_is_recorded_once_across_a_restart() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
    // The delivery stays in flight, so its age shows that the scheduler has read the clock.
    let away = receiver(503).await;
    let setup = || Setup {
        webhook: Some(away.uri()),
        ..often(&clock)
    };
    let age_s = |app: &TestApp| {
        app.counted(
            "monitoring_deliveries_oldest_age_seconds",
            &[("receiver", "default")],
        )
    };
    broker.go_down();
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup()).await;
    clock.set_ms(NOW_MS + 4 * MINUTE_MS);
    until("ingest down is noticed", async || {
        types(&app).await == ["ingest.down"]
    })
    .await;
    clock.set_ms(NOW_MS + 8 * MINUTE_MS);
    until("the scheduler has checked", async || age_s(&app) == 4 * 60).await;
    app.stop().await.expect("a clean stop");
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup()).await;
    clock.set_ms(NOW_MS + 12 * MINUTE_MS);
    until("the scheduler has checked", async || age_s(&app) == 8 * 60).await;
    assert_eq!(types(&app).await, ["ingest.down"]);
    broker.come_back();
    until("ingest up is noticed", async || {
        types(&app).await == ["ingest.down", "ingest.up"]
    })
    .await;
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_ingest_down() {
    let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), often(&clock)).await;
    send(&broker, sample(10));
    app.until_consumed(10).await;
    app.stop().await.expect("a clean stop");
    assert!(broker.delete_topic(TOPIC));
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), often(&clock)).await;
    until("it is connected", async || {
        app.get("/health").await["parts"]["kafka"]["connected"] == true
    })
    .await;
    clock.set_ms(NOW_MS + 4 * MINUTE_MS);
    until("ingest down is noticed", async || {
        types(&app).await == ["ingest.down"]
    })
    .await;
    broker.create_topic(TOPIC, 1).expect("recreated");
    until("ingest up is noticed", async || {
        types(&app).await == ["ingest.down", "ingest.up"]
    })
    .await;
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_stands_still_is_ingest_down() {
    for (partitions, what, others) in [
        (1, "nothing is monitored", ""),
        (
            3,
            "not everything is monitored",
            "; the other 2 partitions are read",
        ),
    ] {
        let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
        let brokers = broker.bootstrap_servers();
        let start = || TestApp::start(&brokers, folder.path(), often(&clock));
        let app = start().await;
        send(&broker, sample(10));
        app.until_consumed(10).await;
        // Between two runs, because a fetch that waits at the broker would still get good records.
        app.stop().await.expect("a clean stop");
        send(&broker, sample(20).split_off(10));
        if partitions > 1 {
            broker.add_partitions(TOPIC, partitions).expect("more");
        }
        broker.corrupt_fetches(100_000);
        let app = start().await;
        until("health says so, and the others are read", async || {
            let kafka = app.get("/health").await["parts"]["kafka"].take();
            kafka["error"].is_string() && (partitions == 1 || kafka["consuming"] == true)
        })
        .await;
        clock.set_ms(NOW_MS + 4 * MINUTE_MS);
        until("ingest down is noticed", async || {
            types(&app).await == ["ingest.down"]
        })
        .await;
        let message = app.alerts().await[0].message.clone();
        let still = "partition 0 stands still at offset 10 since 2026-01-01 00:00 UTC, and 10 messages wait (";
        assert!(
            message.starts_with(&format!("{what}: {still}"))
                && message.ends_with(&format!("){others}")),
            "{message}"
        );
        let kafka = app.get("/health").await["parts"]["kafka"].take();
        assert_eq!(kafka["status"], "degraded", "{kafka}");
        assert_eq!(kafka["standing_still"][0]["partition"], 0, "{kafka}");
        broker.come_back();
        let app = if partitions > 1 {
            // The partition would be tried again after half a minute.
            app.stop().await.expect("a clean stop");
            start().await
        } else {
            app
        };
        app.until_consumed(10).await;
        until("ingest up is noticed", async || {
            types(&app).await == ["ingest.down", "ingest.up"]
        })
        .await;
        app.stop().await.expect("a clean stop");
    }
}
