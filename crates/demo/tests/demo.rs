//! The whole demo on a small file: from flags to outcome.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser as _;
use demo::{Outcome, cli::Cli};
use monitoring_service::store::{OutboxState, Store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

/// Two hours of usual traffic with a burst of failures in the last ten minutes.
fn write_csv(folder: &Path) -> (PathBuf, PathBuf) {
    let (file, incidents) = (folder.join("minutes.csv"), folder.join("incidents.csv"));
    let mut rows = String::from("timestamp,status,count\n");
    for status in ["approved", "failed", "refunded"] {
        for minute in 0..120 {
            let count = match status {
                "approved" => 100 + minute % 7,
                "failed" if minute >= 110 => 9,
                "failed" => 0,
                _ => 1,
            };
            writeln!(
                rows,
                "2025-07-12 {:02}:{:02}:00,{status},{count}",
                10 + minute / 60,
                minute % 60
            )
            .expect("to memory");
        }
    }
    std::fs::write(&file, rows).expect("written");
    std::fs::write(
        &incidents,
        "start,end,kind\n2025-07-12 11:50:00,2025-07-12 12:00:00,technical_failure\n",
    )
    .expect("written");
    (file, incidents)
}

async fn run(folder: &Path, more: &[&str]) -> anyhow::Result<Option<Outcome>> {
    let (file, incidents) = write_csv(folder);
    let database = folder.join("demo.db");
    let flags = ["demo", "--once", "--speed", "max", "--file"]
        .map(PathBuf::from)
        .into_iter();
    let rest = [
        file,
        "--incidents".into(),
        incidents,
        "--database".into(),
        database,
    ];
    let cli = Cli::parse_from(flags.chain(rest).chain(more.iter().map(PathBuf::from)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    demo::run(&cli, listener, CancellationToken::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_changes_nothing() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let first = run(folder.path(), &[]).await?.expect("to the end");
    assert_eq!(
        first.totals.rows,
        120 * 6,
        "three statuses of the file, and an implied 0 for each other monitored status"
    );
    assert_eq!(
        (first.totals.minutes, first.totals.statuses["failed"]),
        (120, 90)
    );
    assert!(first.as_in_file);
    assert_eq!(
        first.scorecards[0].1.alerts[0],
        (1, 3),
        "one notified, three suppressed by the cooldown"
    );
    assert_eq!(first.scorecards[0].1.delays, [Some(0)]);
    assert_eq!(run(folder.path(), &[]).await?, Some(first));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_has_the_same_scorecard() -> anyhow::Result<()> {
    let of = async |shape| {
        let folder = tempfile::tempdir()?;
        let outcome = run(folder.path(), &["--shape", shape]).await?;
        anyhow::Ok(outcome.expect("to the end"))
    };
    // Together, because the newest minute closes 10 s after the last message.
    let (minutes, updates, transactions) =
        tokio::try_join!(of("minutes"), of("updates"), of("transactions"))?;
    assert_eq!(minutes.scorecards[0].1.delays, [Some(0)]);
    assert_eq!(updates, minutes);
    assert_eq!(transactions, minutes);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_not_sent_twice_to_a_database() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    run(folder.path(), &[]).await?.expect("to the end");
    let error = run(folder.path(), &["--shape", "transactions"]).await;
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("use another --database"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_an_error_that_names_it() {
    let cli = Cli::parse_from(["demo", "--file", "/nowhere/minutes.csv"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let error = demo::run(&cli, listener, CancellationToken::new())
        .await
        .expect_err("refused");
    let text = format!("{error:#}");
    assert!(
        text.starts_with("/nowhere/minutes.csv: cannot open the CSV file; check the path"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_waits_for_every_delivery() -> anyhow::Result<()> {
    common::install_tls_provider();
    let receiver = MockServer::start().await;
    let slow = ResponseTemplate::new(204).set_delay(Duration::from_millis(300));
    Mock::given(matchers::method("POST"))
        .respond_with(slow)
        .mount(&receiver)
        .await;
    let folder = tempfile::tempdir()?;
    let outcome = run(folder.path(), &["--webhook-url", &receiver.uri()])
        .await?
        .expect("to the end");
    let (store, _writer) = Store::open(&folder.path().join("demo.db"))?;
    assert_eq!(
        store.outbox().await?,
        OutboxState::default(),
        "no delivery pending or dead"
    );
    assert_eq!(
        receiver.received_requests().await.map(|posts| posts.len()),
        Some(outcome.scorecards[0].1.alerts[0].0)
    );
    Ok(())
}
