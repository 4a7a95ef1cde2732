//! The command `backtest` against the live service: the same findings from the same file, and from the database while the service runs.

use std::path::Path;

use clap::{Args as _, Command, FromArgMatches as _};
use detection::{
    Judgement, Minute, MonitorSettings, PolicyName, RowChange, Stream, backtest::Backtest,
};
use monitoring_service::{
    alerts::{Alert, Subject},
    backtest::{History, Options, run},
    store::RowFilter,
};
use serde_json::Value;

use crate::harness::{
    Setup, TestApp, broker, database, database_variable, folder, open_store, sample, send,
};
use crate::place;

/// The first ten hours of the sample, with two incidents.
const MINUTES: usize = 600;

const END: &str = "2025-07-12 23:45";

fn options(flags: &[&str]) -> Options {
    let command = Options::augment_args(Command::new("backtest"));
    let args = ["backtest"].iter().chain(flags);
    Options::from_arg_matches(&command.get_matches_from(args)).expect("allowed flags")
}

fn sample_file() -> Options {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../sample_data/transactions.csv"
    );
    Options {
        to: Some(END.parse().expect("valid")),
        ..options(&["--file", path, "--format", "json"])
    }
}

type Found = (Minute, String, u32, Judgement);

/// Each count with its judgement, as the backtest folds them.
fn folded(history: &History) -> Vec<Found> {
    let settings = MonitorSettings::default().only(PolicyName::ZScore);
    let mut backtest = Backtest::new(settings, None);
    let mut found = Vec::new();
    for counts in &history.minutes {
        let minute = counts.minute();
        for row in backtest.observe(counts.clone()).rows {
            let RowChange::Judged { judgement, .. } = row.change else {
                panic!("a file has every minute once: {row:?}");
            };
            found.push((minute, row.status.name().to_owned(), row.count, judgement));
        }
    }
    found
}

/// The same as the service stored them.
async fn stored(folder: &Path) -> Vec<Found> {
    let (store, writer) = open_store(folder).await;
    let filter = RowFilter {
        stream: Stream::DEFAULT.into(),
        limit: u32::MAX,
        ..RowFilter::default()
    };
    let rows = store.rows(filter).await.expect("readable");
    drop(writer);
    let monitored = rows.into_iter().filter(|row| row.status != "refunded");
    let mut found: Vec<_> = monitored
        .map(|row| (row.minute, row.status, row.count, row.judgement))
        .collect();
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    found
}

fn report(options: &Options) -> Value {
    let mut out = Vec::new();
    run(options, &MonitorSettings::default(), &mut out).expect("usable input");
    serde_json::from_slice(&out).expect("JSON")
}

fn is_by(alert: &Alert, policy: PolicyName) -> bool {
    matches!(&alert.subject, Subject::Anomaly(anomaly) if anomaly.key.policy == policy)
}

/// The alerts of a policy by the backtest.
fn count_of(report: &Value, policy: PolicyName) -> u64 {
    let policies = report["policies"].as_array().expect("a list");
    let of_policy = policies.iter().find(|of| of["policy"] == policy.name());
    let sent = &of_policy.expect("both were tested")["sent"];
    ["warning_alerts", "critical_alerts"]
        .map(|name| sent[name].as_u64().expect("a count"))
        .iter()
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_are_those_of_the_live_service() {
    let (broker, folder) = (broker().await, folder());
    send(&broker, sample(MINUTES));
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await;
    app.until_consumed(MINUTES as u64).await;
    let (_, database) = database_variable(folder.path());
    let live = report(&options(&["--database", &database, "--format", "json"]));
    let alerts = app.alerts().await;
    app.stop().await.expect("a clean stop");

    let file = sample_file();
    let from_file = report(&file);
    assert_eq!(from_file["policies"], live["policies"]);
    for (policy, at_least) in [(PolicyName::ZScore, 10), (PolicyName::Adaptive, 1)] {
        let recorded = alerts.iter().filter(|alert| is_by(alert, policy)).count();
        assert_eq!(count_of(&from_file, policy), recorded as u64, "{policy}");
        assert!(recorded > at_least, "{recorded} by {policy}");
    }

    let mut expected = folded(&History::load(&file).expect("usable"));
    expected.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let found = stored(folder.path()).await;
    assert_eq!(expected.len(), MINUTES * 5);
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_changes_no_database() {
    if place::server().is_some() {
        return; // It is about a file.
    }
    let (broker, folder) = (broker().await, folder());
    send(&broker, sample(100));
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await;
    app.until_consumed(100).await;
    app.stop().await.expect("a clean stop");
    let path = database(folder.path());
    let before = std::fs::read(&path).expect("readable");
    let text = path.to_str().expect("UTF-8");
    let json = report(&options(&[
        "--database",
        text,
        "--from",
        "2025-07-12 14:00",
        "--to",
        "2025-07-12 14:30",
        "--format",
        "json",
    ]));
    assert_eq!(json["policies"][0]["observed_minutes"], 30);
    assert_eq!(std::fs::read(&path).expect("readable"), before);
    let refused = |flags: &[&str]| {
        let error = run(
            &options(flags),
            &MonitorSettings::default(),
            &mut Vec::new(),
        );
        format!("{:#}", error.expect_err("no such minutes"))
    };
    let other = refused(&["--database", text, "--stream", "other"]);
    assert!(other.contains("check --from, --to and --stream"), "{other}");
    let missing = refused(&["--database", "/none/monitoring.db"]);
    assert!(missing.contains("there is no database /none"), "{missing}");
    assert!(!folder.path().join("none").exists());
}

#[test]
fn a_bad_row_names_the_flag_that_leaves_it_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bad.csv");
    let rows = "timestamp,status,count\n2025-07-12 13:45,denied,five\n2025-07-12 13:46,denied,5\n";
    std::fs::write(&path, rows).expect("written");
    let path = path.to_str().expect("UTF-8");
    let error = History::load(&options(&["--file", path])).expect_err("a bad row");
    let error = error.to_string();
    assert!(error.contains("line 2, column count: \"five\""), "{error}");
    assert!(error.contains("try --on-error skip"), "{error}");
    let skipping = options(&["--file", path, "--on-error", "skip"]);
    let history = History::load(&skipping).expect("without the bad row");
    assert_eq!(history.minutes.len(), 1);
}
