//! The commands beside the service, and their flags.

use std::ffi::OsString;

use super::super::{
    Action,
    action::{command, command_without_variables},
};

#[test]
fn a_health_check_asks_the_configured_address() {
    let args = [
        "monitoring-service",
        "--http-addr=0.0.0.0:8001",
        "healthcheck",
    ]
    .map(OsString::from);
    let action = Action::from_command(command_without_variables(), args).expect("allowed");
    assert!(
        matches!(action, Action::CheckHealth(address) if address.to_string() == "0.0.0.0:8001"),
        "{action:?}"
    );
    assert!(
        command()
            .render_help()
            .to_string()
            .contains("/health/ready")
    );
}

#[test]
fn copy_takes_two_databases_and_the_settings_for_one_of_them() {
    let copy = |args: &[&str]| {
        let args = ["monitoring-service"].iter().chain(args);
        let args = args.map(OsString::from);
        match Action::from_command(command_without_variables(), args) {
            Ok(Action::CopyDatabase(copy)) => Ok((copy.from.to_string(), copy.to.to_string())),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    };
    let url = "postgres://monitor:hidden@db:5432/monitoring";
    let shown = "postgres://db:5432/monitoring";
    let both = copy(&["copy", "--from", "old.db", "--to", url]).expect("allowed");
    assert_eq!(both, ("old.db".into(), shown.into()));
    let args = ["--database-url", url, "copy", "--from", "old.db"];
    let configured = copy(&args).expect("allowed");
    assert_eq!(configured, ("old.db".into(), shown.into()));
    let error = copy(&["copy", "--to", "postgres://hidden@:x"]).expect_err("refused");
    assert!(
        error.contains("--to") && !error.contains("hidden"),
        "{error}"
    );
    assert!(copy(&["copy"]).is_err());
}

#[test]
fn backtest_takes_the_settings_of_the_policies() {
    let parse = |args: &[&str]| {
        let args = ["monitoring-service"].iter().chain(args);
        let command = command_without_variables();
        Action::from_command(command, args.map(OsString::from)).map_err(|e| e.to_string())
    };
    let file = ["backtest", "--file", "x.csv"];
    let flags = [
        &file[..],
        &["--critical-threshold", "9", "--alert-cooldown=7m"],
        &["--status-aliases", "declined=denied", "--wide"],
    ]
    .concat();
    let Ok(Action::Backtest(options, settings)) = parse(&flags) else {
        panic!("{flags:?}");
    };
    assert_eq!(options.policy.len(), 2);
    assert!(options.how.wide);
    assert_eq!(Ok(options.aliases), "DECLINED=denied".parse());
    assert_eq!(settings.cooldown_minutes, 7);
    let critical = settings.detector.threshold(detection::Severity::Critical);
    assert!((critical - 9.0).abs() < 1e-9, "{critical}");
    for (flags, fault) in [
        (
            [&["--critical-threshold=9"], &file[..]].concat(),
            "give --critical-threshold after backtest",
        ),
        (
            [&file[..], &["--critical-threshold=1"]].concat(),
            "0 < warning < critical",
        ),
        (vec!["backtest"], "--file <CSV>|--database <DB>"),
        (
            [&file[..], &["--database", "x.db"]].concat(),
            "cannot be used with",
        ),
        (
            [&file[..], &["--require", "recal>=1"]].concat(),
            "\"recal\" is no metric",
        ),
    ] {
        let error = parse(&flags).expect_err("must be refused");
        assert!(error.contains(fault), "{flags:?}: {error}");
    }
}
