//! The binary: exit codes, and what it writes to stdout and stderr.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use embedded_kafka::EmbeddedKafka;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::NamedTempFile;

use crate::harness::{TWO_STREAMS, consume};

fn csv(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

/// Runs it with an empty environment, so that variables of the shell cannot change a test.
fn run(
    file: &NamedTempFile,
    args: &[&str],
    variables: &[(&str, &str)],
) -> (Output, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_stream-processor"))
        .env_clear()
        .envs(variables.iter().copied())
        .arg("--file")
        .arg(file.path())
        .args(args)
        .output()
        .expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

#[test]
fn a_dry_run_prints_totals_and_needs_no_kafka() {
    let (output, stdout, stderr) = run(&csv(TWO_STREAMS), &["--dry-run"], &[]);
    assert!(output.status.success(), "{stderr}");
    for part in [
        "minutes   3, from 2025-07-12T13:45:00Z to 2025-07-12T13:47:00Z; streams: 2",
        "5 with 10 rows",
        "Dry run",
    ] {
        assert!(stdout.contains(part), "{part} in {stdout}");
    }
}

#[tokio::test]
async fn everything_acknowledged_is_exit_code_0() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let variables = [
        ("KAFKA_BOOTSTRAP_SERVERS", &*kafka.bootstrap_servers()),
        ("STREAM_SPEED", "max"),
    ];
    let (output, stdout, stderr) = run(
        &csv(TWO_STREAMS),
        &["--metrics-addr", "127.0.0.1:0"],
        &variables,
    );
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
    let record: serde_json::Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert!(
        record
            .to_string()
            .contains("all messages sent are acknowledged"),
        "{record}"
    );
    consume(&kafka, 5);
}

#[test]
fn an_unacknowledged_message_is_exit_code_1() {
    let variables = [
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9"),
        (
            "KAFKA_PROPERTIES",
            "message.timeout.ms=50,client.rack=hunter2",
        ),
    ];
    let (output, stdout, stderr) = run(&csv(TWO_STREAMS), &["--speed", "max"], &variables);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("error: 5 of 5 messages were not acknowledged"),
        "{stderr}"
    );
    assert!(!stderr.contains("hunter2") && !stdout.contains("hunter2"));
}

#[test]
fn a_bad_row_is_exit_code_1_and_names_the_line() {
    let file = csv(
        "timestamp,status,count\n2025-07-12 13:45,denied,many\n2025-07-12 13:45,failed,1\n2025-07-12 13:46,failed,1\n",
    );
    let (output, _, stderr) = run(&file, &[], &[]);
    assert_eq!(output.status.code(), Some(1));
    let path = file.path().display();
    assert!(
        stderr.contains(&format!(
            "error: {path}: line 2, column count: \"many\" is not a whole number"
        )),
        "{stderr}"
    );
    let (output, stdout, _) = run(&file, &["--dry-run", "--on-error", "skip"], &[]);
    assert!(
        output.status.success() && stdout.contains("1 with 1 rows; 1 bad rows skipped"),
        "{stdout}"
    );
}

/// Runs a dry run of the standard input.
fn piped(text: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_stream-processor"))
        .env_clear()
        .args(["--dry-run", "--file", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut input = child.stdin.take().expect("piped");
    input.write_all(text.as_bytes()).expect("written");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_refused_file_names_the_flags_that_read_it() {
    let bare = "time,status,f0_\r\n00h 01,approved,118\r\n00:02,approved,120\r\n";
    let names = "--columns=timestamp=time,count=f0_";
    let seconds =
        "timestamp,status,count\n2025-07-12 13:45:00,denied,1\n2025-07-12 13:45:10,denied,1\n";
    let wide = "timestamp,Approved,Denied\n2025-07-12 13:45,118,6\n";
    for (file, args, advice, fix, total) in [
        (
            bare,
            &[][..],
            "try --columns timestamp=time,count=f0_",
            &[names, "--date=2026-11-26"][..],
            "approved 238",
        ),
        (
            bare,
            &[names],
            "try --date 2026-11-26",
            &[names, "--date=2026-11-26"],
            "approved 238",
        ),
        (
            seconds,
            &[],
            "try --on-duplicate sum",
            &["--on-duplicate=sum"],
            "denied 2",
        ),
        (
            seconds,
            &[],
            "or  --on-error skip",
            &["--on-duplicate=last"],
            "denied 1",
        ),
        (wide, &[], "try --wide", &["--wide"], "denied 6"),
        (
            "created_at,status,amount\n2025-07-12 13:45:07,denied,9.90\n2025-07-12 13:45:08,denied,9.90\n",
            &[],
            "try --count-rows --columns timestamp=created_at, if each row is one transaction",
            &["--count-rows", "--columns=timestamp=created_at"],
            "denied 2",
        ),
        (
            "timestamp;status;count\n25/07/2025 13:45;denied;1 003\n",
            &[],
            "try --time-format \"%d/%m/%Y %H:%M\"",
            &["--time-format=%d/%m/%Y %H:%M"],
            "denied 1,003",
        ),
    ] {
        let (code, _, stderr) = piped(file, args);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains(advice), "{advice} in {stderr}");
        assert!(
            stderr.starts_with("error: standard input: line "),
            "{stderr}"
        );
        let (code, stdout, stderr) = piped(file, fix);
        let words: Vec<_> = stdout.split_whitespace().collect();
        assert!(
            words.join(" ").contains(total),
            "{total} in {stdout}{stderr}"
        );
        assert_eq!(code, Some(0));
    }
}

#[test]
fn what_is_not_sent_is_logged_once() {
    let file = "timestamp,status,count,region
2025-07-12 13:45,approved,960,BR
2025-07-12 13:45,denied,6,BR
2025-07-12 13:46,approved,n/a,BR
2025-07-12 13:46,denied,6,BR
2025-07-12 13:47,approved,n/a,BR
2025-07-12 13:47,denied,6,BR
2025-07-12 13:47,denied,6,BR
";
    let (code, stdout, _) = piped(file, &["--on-error", "skip"]);
    assert_eq!(code, Some(0));
    for part in [
        "columns of the file are not read",
        "skipped bad rows",
        "left out minutes that may miss",
        "rows repeat an earlier one",
    ] {
        assert_eq!(stdout.matches(part).count(), 1, "{part} in {stdout}");
    }
    assert!(
        stdout.contains("1 with 2 rows; 2 bad rows skipped"),
        "{stdout}"
    );
    assert!(stdout.contains("left out  2 minutes"), "{stdout}");
}

#[test]
fn bad_usage_is_exit_code_2() {
    let (output, _, stderr) = run(&csv(TWO_STREAMS), &[], &[("STREAM_SPEED", "warp")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr.contains("'warp'") && stderr.contains("STREAM_SPEED"),
        "{stderr}"
    );
}

#[test]
fn empty_variables_count_as_not_set() {
    let empty = [
        "CSV_PATH",
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_TOPIC",
        "KAFKA_PROPERTIES",
        "STREAM_SPEED",
        "METRICS_ADDR",
        "RUST_LOG",
        "LOG_FORMAT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ]
    .map(|name| (name, ""));
    let (output, stdout, stderr) = run(&csv(TWO_STREAMS), &["--dry-run"], &empty);
    assert!(
        output.status.success() && stdout.contains("Dry run"),
        "{stderr}"
    );
}

/// Runs `healthcheck` with the address of the metrics, if any.
fn healthcheck(metrics_addr: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stream-processor"));
    let output = command
        .env_clear()
        .env("METRICS_ADDR", metrics_addr)
        .arg("healthcheck")
        .output()
        .expect("it runs");
    assert!(output.stdout.is_empty());
    (
        output.status.code(),
        String::from_utf8(output.stderr).expect("UTF-8"),
    )
}

fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").to_string()
}

#[test]
fn a_health_check_asks_the_running_replay() {
    let (code, message) = healthcheck("");
    assert_eq!(code, Some(1));
    assert!(message.contains("METRICS_ADDR is not set"), "{message}");

    let free = free_address();
    let file = csv(TWO_STREAMS);
    let mut replay = Command::new(env!("CARGO_BIN_EXE_stream-processor"))
        .env_clear()
        .env("METRICS_ADDR", &free)
        // No broker listens there, so the replay waits.
        .args(["--kafka-bootstrap-servers", "127.0.0.1:9", "--file"])
        .arg(file.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut log = BufReader::new(replay.stdout.take().expect("piped"));
    log.read_line(&mut String::new())
        .expect("it logs that Kafka is unreachable");
    assert_eq!(healthcheck(&free), (Some(0), String::new()));
    replay.kill().and_then(|()| replay.wait()).expect("killed");
    let (code, message) = healthcheck(&free);
    assert_eq!(code, Some(1));
    assert!(
        message.contains(&format!("http://{free}/health/live cannot be reached")),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_terminal_stops_the_replay_early() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let (file, address) = (csv(TWO_STREAMS), free_address());
    let mut replay = Command::new(env!("CARGO_BIN_EXE_stream-processor"))
        .env_clear()
        .env("METRICS_ADDR", &address)
        .env("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers())
        // So slow that the second minute is never sent.
        .args(["--speed", "0.001", "--file"])
        .arg(file.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    while healthcheck(&address).0 != Some(0) {}
    kill_process(Pid::from_child(&replay), Signal::HUP).expect("signalled");
    assert_eq!(replay.wait().expect("ended").code(), Some(130));
    consume(&kafka, 2);
}
