//! The real program, killed at bad moments: every count right, every alert once.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::harness::{Message, Setup, TOPIC, TestApp, broker, database, folder, sample, send, substance, until};

const MINUTES: usize = 400;

/// Starts the program; whoever drops the guard has killed it.
struct Running(Child);

impl Running {
    fn start(brokers: &str, folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-service"));
        command.env_clear().env("KAFKA_BOOTSTRAP_SERVERS", brokers).env("DATABASE_PATH", database(folder));
        command.env("KAFKA_TOPIC", TOPIC).env("HTTP_ADDR", "127.0.0.1:0").env("RUST_LOG", "off");
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("started"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("killed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_again_and_again_ends_with_the_right_totals_and_alerts() {
    let messages = sample(MINUTES);
    let undisturbed = {
        let (broker, folder) = (broker().await, folder());
        send(&broker, messages.clone());
        let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await;
        app.until_consumed(MINUTES as u64).await;
        let found = (app.get("/transactions/summary").await, substance(&app.alerts().await));
        app.stop().await.expect("a clean stop");
        found
    };
    let (broker, folder) = (broker().await, folder());
    for round in messages.chunks(MINUTES / 8) {
        let running = Running::start(&broker.bootstrap_servers(), folder.path());
        let wanted = broker.next_offset(TOPIC, 0).expect("there") + 10;
        send(&broker, round.iter().map(Message::clone));
        // Told offsets are those of commits: it is killed with some of this round stored, and some not or not yet told.
        let told = || broker.committed_offset("monitoring-service", TOPIC, 0).unwrap_or(0);
        until("some of it is stored", async || told() >= wanted.min(10)).await;
        drop(running);
    }
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await;
    until("all of it is stored", async || app.get("/transactions/summary").await == undisturbed.0).await;
    let alerts = substance(&app.alerts().await);
    assert_eq!(alerts, undisturbed.1);
    assert_eq!(alerts.iter().map(|alert| alert.id).collect::<BTreeSet<_>>().len(), alerts.len());
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_database_is_refused_with_a_reason() {
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-service"));
    command.env_clear().env("DATABASE_PATH", database(folder.path())).env("HTTP_ADDR", "127.0.0.1:0");
    let output = command.output().expect("started");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("another monitoring-service uses this database"), "{said}");
    app.stop().await.expect("a clean stop");
}
