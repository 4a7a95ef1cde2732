//! The real program, killed at bad moments: totals are right, every alert exists once, every notification arrives.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Child, Command, Stdio},
};

use rusqlite::{Connection, OpenFlags, Row, types::Value};
use wiremock::MockServer;

use crate::harness::{
    Setup, TOPIC, TestApp, broker, database, folder, received, receiver, sample, send, substance,
    until,
};

/// Minutes of the sample file to send; the second incident is among them.
const MINUTES: usize = 560;
const ROUNDS: usize = 10;

/// A running program. Dropping it sends SIGKILL.
struct Running(Child);

impl Running {
    fn start(brokers: &str, folder: &Path, webhook: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-service"));
        command
            .env_clear()
            .env("KAFKA_BOOTSTRAP_SERVERS", brokers)
            .env("DATABASE_PATH", database(folder));
        command
            .env("KAFKA_TOPIC", TOPIC)
            .env("HTTP_ADDR", "127.0.0.1:0")
            .env("RUST_LOG", "off");
        command
            .env("PAGE_MAX_AGE", "36500d")
            .env("ALERT_WEBHOOK_URL", webhook);
        Self(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("started"),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("killed");
    }
}

/// Minutes stored so far, over a read-only connection.
fn stored(folder: &Path) -> usize {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let count = |sql: Connection| {
        sql.query_one(
            "SELECT count(DISTINCT minute) FROM minute_counts",
            [],
            |row| row.get(0),
        )
    };
    // At first the file and then its tables do not exist.
    Connection::open_with_flags(database(folder), flags)
        .and_then(count)
        .unwrap_or(0)
}

/// Every row with the findings of both policies.
fn findings(folder: &Path) -> Vec<Vec<Value>> {
    let sql = Connection::open(database(folder)).expect("readable");
    let mut rows = sql
        .prepare("SELECT * FROM minute_counts ORDER BY stream_id, minute, status_id")
        .expect("a statement");
    let columns = rows.column_count();
    let row = |row: &Row<'_>| (0..columns).map(|at| row.get(at)).collect();
    let rows = rows.query_map([], row).expect("rows");
    rows.collect::<Result<_, _>>().expect("values")
}

/// What happened to each incident, in order.
fn incident_events(folder: &Path) -> Vec<(String, u32, String)> {
    let sql = Connection::open(database(folder)).expect("readable");
    let mut rows = sql
        .prepare("SELECT incident_id, sequence, kind FROM incident_events ORDER BY 1, 2")
        .expect("a statement");
    let event = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let rows = rows.query_map([], event).expect("rows");
    rows.collect::<Result<_, _>>().expect("values")
}

/// How many of them each policy found CRITICAL.
fn critical(folder: &Path) -> [usize; 2] {
    let sql = Connection::open(database(folder)).expect("readable");
    ["state", "adaptive_state"].map(|column| {
        let query = format!("SELECT count(*) FROM minute_counts WHERE {column} = 5");
        sql.query_one(&query, [], |row| row.get(0))
            .expect("a count")
    })
}

async fn notified_ids(receiver: &MockServer) -> BTreeSet<String> {
    received(receiver)
        .await
        .iter()
        .map(|post| post["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_kills_lose_and_double_nothing() {
    let (messages, webhook) = (sample(MINUTES), receiver(200).await);
    let setup = || Setup {
        webhook: Some(webhook.uri()),
        ..Setup::default()
    };
    let (summary, alerts, undisturbed, events) = {
        let (broker, folder, other) = (broker().await, folder(), receiver(200).await);
        send(&broker, messages.clone());
        let setup = Setup {
            webhook: Some(other.uri()),
            ..Setup::default()
        };
        let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup).await;
        app.until_consumed(MINUTES as u64).await;
        let found = (
            app.get("/transactions/summary").await,
            substance(&app.alerts().await),
        );
        app.stop().await.expect("a clean stop");
        assert!(critical(folder.path()).iter().all(|found| *found > 5));
        let (findings, events) = (findings(folder.path()), incident_events(folder.path()));
        (found.0, found.1, findings, events)
    };
    let (broker, folder) = (broker().await, folder());
    for round in messages.chunks(MINUTES / ROUNDS) {
        let before = stored(folder.path());
        let running = Running::start(&broker.bootstrap_servers(), folder.path(), &webhook.uri());
        let (first, second) = round.split_at(round.len() / 2);
        send(&broker, first.to_vec());
        until("some of it is stored", async || {
            stored(folder.path()) > before
        })
        .await;
        // Killed with messages in flight, alerts stored and not sent, or sent and not recorded as delivered.
        send(&broker, second.to_vec());
        drop(running);
    }
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup()).await;
    until("all of it is stored", async || {
        app.get("/transactions/summary").await == summary
    })
    .await;
    assert_eq!(substance(&app.alerts().await), alerts);
    let ids: BTreeSet<_> = alerts
        .iter()
        .filter(|alert| alert.is_notified())
        .map(|alert| alert.id.to_string())
        .collect();
    assert!(ids.len() > 5, "{} notifications", ids.len());
    until("all are notified", async || {
        notified_ids(&webhook).await == ids
    })
    .await;
    app.stop().await.expect("a clean stop");
    assert!(
        findings(folder.path()) == undisturbed,
        "the findings of both policies are those of an undisturbed run"
    );
    let resolved = events.iter().filter(|(_, _, kind)| kind == "resolved");
    assert!(resolved.count() > 2, "{events:?}");
    assert_eq!(incident_events(folder.path()), events);
}
