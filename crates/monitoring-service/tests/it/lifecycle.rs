//! The real program: starts that are refused, the health check, and stops.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use monitoring_service::clock::Stopwatch;
use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use crate::harness::{
    TestApp, broker, database, database_variable, evaluate, folder, printed, program, until,
};
use crate::place;

/// The address in the program's log. A thread reads the rest of the log, so that the program never blocks on it.
fn address(child: &mut Child) -> String {
    let mut log = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    while log.read_line(&mut line).expect("text") > 0 {
        let record: Value = serde_json::from_str(&line).expect("JSON");
        if let Some(address) = record["address"].as_str() {
            let address = format!("http://{address}");
            std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
            return address;
        }
        line.clear();
    }
    panic!("it ended before it served")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_database_is_refused() {
    if place::server().is_some() {
        return; // It stands by.
    }
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::with_defaults(&broker, &folder).await;
    let output = program(folder.path()).output().expect("started");
    assert!(!output.status.success());
    assert!(
        printed(&output).contains("another monitoring-service uses this database"),
        "{}",
        printed(&output)
    );
    app.stop().await.expect("a clean stop");
}

#[test]
fn a_foreign_database_is_refused_and_not_changed() {
    if place::server().is_some() {
        return; // It is about a file.
    }
    let folder = folder();
    let path = database(folder.path());
    Connection::open(&path)
        .and_then(|sql| sql.execute_batch("CREATE TABLE theirs (x)"))
        .expect("made");
    let before = std::fs::read(&path).expect("readable");
    let output = program(folder.path()).output().expect("started");
    assert!(!output.status.success());
    assert!(
        printed(&output).contains("another program"),
        "{}",
        printed(&output)
    );
    assert_eq!(std::fs::read(&path).expect("readable"), before);
}

/// Runs `healthcheck` against this address, in an environment like that of the service.
fn healthcheck(folder: &Path, address: &str) -> Output {
    let mut command = program(folder);
    command
        .env("HTTP_ADDR", address)
        .env("API_TOKEN", "a-token-of-16-characters")
        .env("LOG_FORMAT", "");
    command.arg("healthcheck").output().expect("started")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_opens_no_database() {
    let (broker, folder, elsewhere) = (broker().await, folder(), folder());
    let app = TestApp::with_defaults(&broker, &folder).await;
    let address = app
        .url
        .strip_prefix("http://")
        .expect("an address")
        .to_owned();
    let port = address.rsplit(':').next().expect("a port");
    for asked in [address.clone(), format!("0.0.0.0:{port}")] {
        let output = healthcheck(elsewhere.path(), &asked);
        assert!(
            output.status.success() && printed(&output).is_empty(),
            "{asked}: {}",
            printed(&output)
        );
    }
    app.stop().await.expect("a clean stop");
    let output = healthcheck(elsewhere.path(), &address);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(
        printed(&output).contains(&format!("http://{address}/health/ready cannot be reached")),
        "{}",
        printed(&output)
    );
    assert!(!database(elsewhere.path()).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_bounded_while_everything_hangs() {
    common::install_tls_provider();
    let (broker, folder, receiver) = (broker().await, folder(), MockServer::start().await);
    let hang = ResponseTemplate::new(200).set_delay(Duration::from_mins(1));
    Mock::given(method("POST"))
        .respond_with(hang)
        .mount(&receiver)
        .await;
    // Accepts connections into its backlog and answers none.
    let collector = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let collector_url = format!("http://{}", collector.local_addr().expect("bound"));
    let mut command = program(folder.path());
    command
        .env("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers())
        .env("ALERT_WEBHOOK_URL", receiver.uri());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector_url);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
    let url = address(&mut child);
    broker.hang();
    let answer = evaluate(&url, r#"{"status":"failed","count":100}"#).await;
    assert_eq!(answer["alert_dispatched"], true);
    until("the receiver hangs", async || {
        receiver
            .received_requests()
            .await
            .is_some_and(|r| !r.is_empty())
    })
    .await;
    let stopping = Stopwatch::start();
    kill_process(Pid::from_child(&child), Signal::TERM).expect("signalled");
    let status = tokio::task::spawn_blocking(move || child.wait())
        .await
        .expect("joined")
        .expect("waited for");
    assert!(status.success(), "{status}");
    assert!(
        stopping.elapsed() <= Duration::from_secs(10),
        "took {:?}",
        stopping.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_terminal_stops_the_service_cleanly() {
    let (broker, folder) = (broker().await, folder());
    let mut command = program(folder.path());
    command.env("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
    address(&mut child);
    kill_process(Pid::from_child(&child), Signal::HUP).expect("signalled");
    let status = tokio::task::spawn_blocking(move || child.wait())
        .await
        .expect("joined")
        .expect("waited for");
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nohup_keeps_the_service_up() {
    let (broker, folder) = (broker().await, folder());
    let mut command = Command::new("nohup");
    command
        .env_clear()
        .arg(env!("CARGO_BIN_EXE_monitoring-service"))
        .envs([database_variable(folder.path())])
        .env("HTTP_ADDR", "127.0.0.1:0")
        .env("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
    let url = address(&mut child);
    let process = Pid::from_child(&child);
    kill_process(process, Signal::HUP).expect("signalled");
    let answer = evaluate(&url, r#"{"status":"failed","count":100}"#).await;
    assert_eq!(answer["alert_dispatched"], true);
    kill_process(process, Signal::TERM).expect("signalled");
    let status = tokio::task::spawn_blocking(move || child.wait())
        .await
        .expect("joined")
        .expect("waited for");
    assert!(status.success(), "{status}");
}
