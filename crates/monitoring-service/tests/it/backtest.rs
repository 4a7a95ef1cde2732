//! The command `backtest` against the live service: the same findings from the same file, and from the database while the service runs.

use std::path::Path;

use clap::{Args as _, Command, FromArgMatches as _};
use detection::{
    Judgement, Minute, MonitorSettings, PolicyName, RowChange, Stream, backtest::Backtest,
};
use monitoring_service::{
    backtest::{History, Options, run},
    store::{RowFilter, Store},
};
use serde_json::Value;

use crate::harness::{Setup, TestApp, broker, database, folder, sample, send};

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
fn folded(history: &History, policy: PolicyName) -> Vec<Found> {
    let settings = MonitorSettings::default().only(policy);
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
async fn stored(path: &Path, policy: PolicyName) -> Vec<Found> {
    let (store, writer) = Store::open(path).expect("no service has it");
    let filter = RowFilter {
        stream: Stream::DEFAULT.into(),
        policy,
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

#[tokio::test(flavor = "multi_thread")]
async fn findings_are_those_of_the_live_service() {
    let (broker, folder) = (broker().await, folder());
    send(&broker, sample(MINUTES));
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await;
    app.until_consumed(MINUTES as u64).await;
    let path = database(folder.path());
    let live = report(&options(&[
        "--database",
        path.to_str().expect("UTF-8"),
        "--format",
        "json",
    ]));
    let alerts = app.alerts().await;
    app.stop().await.expect("a clean stop");

    let file = sample_file();
    let from_file = report(&file);
    assert_eq!(from_file["policies"], live["policies"]);
    let history = History::load(&file).expect("usable");
    for (at, policy) in PolicyName::ALL.into_iter().enumerate() {
        let sent = &from_file["policies"][at]["sent"];
        let sum = ["warning_alerts", "critical_alerts"].map(|name| sent[name].as_u64());
        let of_policy = alerts.iter().filter(|alert| {
            let anomaly = alert.anomaly().expect("of the stream");
            anomaly.key.policy == policy
        });
        let live = of_policy.count() as u64;
        assert_eq!(sum.into_iter().flatten().sum::<u64>(), live, "{sent}");
        assert!(live > 0, "{policy}: {sent}");

        let mut expected = folded(&history, policy);
        expected.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        assert_eq!(expected.len(), MINUTES * 5);
        let found = stored(&path, policy).await;
        assert!(found == expected, "the findings of {policy} differ");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_changes_no_database() {
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
