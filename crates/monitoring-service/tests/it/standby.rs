//! Two instances on one PostgreSQL database: one works, the other stands by and takes over. Without `TEST_DATABASE_URL` there is none.

use std::process::{Child, Stdio};

use common::metrics::MetricsRegistry;
use monitoring_service::{
    alerts::Alert,
    app,
    clock::Clock,
    config::Config,
    store::{AlertFilter, Store},
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{
        TestApp, address, broker, client, folder, open_store, program, sample, send, substance,
        until,
    },
    place, sql,
};

const MINUTES: usize = 300;

/// A running program. Dropping it sends SIGKILL.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("killed");
    }
}

async fn alerts(store: &Store) -> Vec<Alert> {
    let filter = AlertFilter {
        limit: 10_000,
        ..AlertFilter::default()
    };
    let alerts = store.alerts(filter).await.expect("readable");
    let alerts: Vec<_> = alerts.into_iter().rev().map(|(_, alert)| alert).collect();
    substance(&alerts)
}

/// The alerts of an instance that works alone.
async fn undisturbed() -> Vec<Alert> {
    let (broker, folder) = (broker().await, folder());
    send(&broker, sample(MINUTES));
    let app = TestApp::with_defaults(&broker, &folder).await;
    app.until_consumed(MINUTES as u64).await;
    let alerts = substance(&app.alerts().await);
    app.stop().await.expect("a clean stop");
    alerts
}

async fn get(url: &str, path: &str) -> (u16, String) {
    let answer = client()
        .get(format!("{url}{path}"))
        .send()
        .await
        .expect("an answer");
    (
        answer.status().as_u16(),
        answer.text().await.expect("a body"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_from_an_instance_that_is_killed() {
    if place::server().is_none() {
        return;
    }
    let (broker, folder) = (broker().await, folder());
    let minutes = "SELECT count(DISTINCT minute) FROM minute_counts";
    let (before, after) = {
        let mut all = sample(MINUTES);
        let after = all.split_off(200);
        (all, after)
    };
    send(&broker, before);
    let mut active = program(folder.path());
    active
        .env("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers())
        .env("PAGE_MAX_AGE", "36500d")
        .stdout(Stdio::null());
    let active = Running(active.spawn().expect("started"));
    until("the first instance works", async || {
        sql::count(folder.path(), minutes) == 200
    })
    .await;

    let config = Config {
        database_url: address(folder.path()),
        kafka_bootstrap_servers: broker.bootstrap_servers(),
        page_max_age: None,
        ..Config::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (stop, registry) = (CancellationToken::new(), MetricsRegistry::new());
    let mut standby = JoinSet::new();
    standby.spawn(app::run(
        config,
        listener,
        Clock::system(),
        registry,
        stop.clone(),
    ));
    let (status, reason) = get(&url, "/health/ready").await;
    assert_eq!(status, 503, "{reason}");
    assert!(reason.contains("this one stands by"), "{reason}");
    assert_eq!(get(&url, "/health/live").await.0, 200);
    assert_eq!(get(&url, "/metrics").await.0, 200);
    assert_eq!(get(&url, "/alerts").await.0, 503);

    send(&broker, after);
    drop(active);
    until("the standby has taken over", async || {
        get(&url, "/health/ready").await.0 == 200
    })
    .await;
    until("it has read the rest", async || {
        sql::count(folder.path(), minutes) == MINUTES
    })
    .await;
    stop.cancel();
    let stopped = standby.join_next().await.expect("running");
    stopped.expect("no panic").expect("a clean stop");
    let expected = undisturbed().await;
    assert!(expected.len() > 3, "{} alerts", expected.len());
    let (store, _writer) = open_store(folder.path()).await;
    assert_eq!(alerts(&store).await, expected);
}
