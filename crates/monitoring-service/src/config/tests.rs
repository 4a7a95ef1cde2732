//! Which settings are accepted, and what the errors and `--help` show.

mod commands;
mod monitor;
mod receivers;
mod secrets;

use std::ffi::OsString;

use clap::Arg;

use super::{
    action::{command, command_without_variables},
    *,
};

fn parse(args: &[&str]) -> Result<Config, String> {
    let args = ["monitoring-service"]
        .iter()
        .chain(args)
        .map(OsString::from);
    match Action::from_command(command_without_variables(), args) {
        Ok(Action::Serve(config)) => Ok(*config),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

fn refused(args: &[&str]) -> String {
    parse(args).map(|_| ()).expect_err("must be refused")
}

/// Variable, flag and default of each setting, as the README shows them; "none" if there is no default.
fn settings() -> Vec<(String, String, String)> {
    let describe = |arg: &Arg| {
        let default = arg
            .get_default_values()
            .first()
            .and_then(|value| value.to_str())
            .filter(|value| !value.is_empty());
        Some((
            arg.get_env()?.to_str()?.to_owned(),
            format!("--{}", arg.get_long()?),
            default.map_or("none".to_owned(), |default| format!("`{default}`")),
        ))
    };
    command().get_arguments().filter_map(describe).collect()
}

#[test]
fn the_readme_lists_every_variable() {
    let readme = include_str!("../../README.md");
    let cells = |line: &'static str| {
        line.split('|')
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let row = |cells: Vec<String>| match &cells[..] {
        [_, variable, flag, default, ..] if flag.starts_with("`--") => {
            let bare = |cell: &String| cell.trim_matches('`').to_owned();
            Some((bare(variable), bare(flag), default.clone()))
        }
        _ => None,
    };
    let documented: Vec<_> = readme.lines().map(cells).filter_map(row).collect();
    assert_eq!(documented, settings());
}

#[test]
fn variable_and_flag_have_the_same_name() {
    for (variable, flag, _) in settings() {
        // RUST_LOG is the name that Rust programs use; the flag is that of both programs.
        let expected = match &*variable {
            "RUST_LOG" => "--log-filter".to_owned(),
            variable => format!("--{}", variable.to_lowercase().replace('_', "-")),
        };
        assert_eq!(flag, expected);
    }
    assert_eq!(parse(&["--rust-log=debug"]).unwrap().log_filter, "debug");
    let without_variable = command()
        .get_arguments()
        .filter(|arg| arg.get_env().is_none())
        .count();
    assert_eq!(without_variable, 0);
}

#[test]
fn there_is_one_database() {
    let file = parse(&[]).unwrap().database();
    assert_eq!(file, DatabaseAddress::File("monitoring.db".into()));
    let url = "--database-url=postgres://me:hunter2@db/monitoring";
    let database = parse(&[url]).unwrap().database();
    assert_eq!(database.to_string(), "postgres://db:5432/monitoring");
    let both = refused(&[url, "--database-path=monitoring.db"]);
    assert!(
        both.contains("DATABASE_URL and DATABASE_PATH are both set; set one of them"),
        "{both}"
    );
    assert!(!both.contains("hunter2"), "{both}");
}

#[test]
fn none_runs_without_kafka() {
    let without = parse(&["--kafka-bootstrap-servers=NONE"]).unwrap();
    assert_eq!(without.kafka_brokers(), None);
    assert_eq!(parse(&[]).unwrap().kafka_brokers(), Some("localhost:9092"));
    let error = refused(&["--kafka-bootstrap-servers=none", "--kafka-input=updates"]);
    assert!(error.contains("KAFKA_INPUT says nothing"), "{error}");
}

#[test]
fn errors_name_variable_value_and_allowed_values() {
    let cases: [(&str, [&str; 3]); 22] = [
        (
            "--adaptive-critical=1",
            ["ADAPTIVE_CRITICAL", "1", "above 1 and at most 100"],
        ),
        (
            "--detection-policy=none",
            ["DETECTION_POLICY", "'none'", "zscore, adaptive"],
        ),
        ("--http-addr=8000", ["HTTP_ADDR", "'8000'", "address"]),
        (
            "--alert-check-interval=30",
            ["ALERT_CHECK_INTERVAL", "'30'", "from 1s to 10m"],
        ),
        (
            "--alert-check-interval=11m",
            ["ALERT_CHECK_INTERVAL", "'11m'", "from 1s to 10m"],
        ),
        (
            "--alert-cooldown=90s",
            ["ALERT_COOLDOWN", "'90s'", "whole minutes"],
        ),
        (
            "--alert-cooldown=25h",
            ["ALERT_COOLDOWN", "'25h'", "to 24h"],
        ),
        (
            "--allowed-lateness=1s",
            ["ALLOWED_LATENESS", "'1s'", "whole minutes"],
        ),
        ("--stale-after=59s", ["STALE_AFTER", "'59s'", "from 1m"]),
        ("--retention=23h", ["RETENTION", "'23h'", "from 1d"]),
        (
            "--page-max-age=soon",
            ["PAGE_MAX_AGE", "'soon'", "from 1m to 36500d"],
        ),
        (
            "--webhook-give-up-after=0s",
            ["WEBHOOK_GIVE_UP_AFTER", "'0s'", "from 1m to 30d"],
        ),
        (
            "--baseline-window=1",
            ["BASELINE_WINDOW", "'1'", "2..=1440"],
        ),
        ("--min-history=61", ["MIN_HISTORY", "61", "1 to 60"]),
        ("--max-streams=0", ["MAX_STREAMS", "'0'", "1..=20000"]),
        (
            "--warning-threshold=4",
            ["WARNING_THRESHOLD", "4", "0 < warning < critical"],
        ),
        (
            "--approved-direction=left",
            ["APPROVED_DIRECTION", "'left'", "both, down, up"],
        ),
        (
            "--kafka-topic=transactions\r",
            ["KAFKA_TOPIC", r#""transactions\r""#, "no name of a topic"],
        ),
        (
            "--webhook-format=teams",
            ["WEBHOOK_FORMAT", "'teams'", "json, slack"],
        ),
        (
            "--log-webhook-level=fatal",
            [
                "LOG_WEBHOOK_LEVEL",
                "'fatal'",
                "error, warn, info, debug, trace",
            ],
        ),
        (
            "--public-url=ftp://example.org",
            ["PUBLIC_URL", "'ftp://example.org'", "http:// or https://"],
        ),
        (
            "--grafana-url=grafana:3000",
            ["GRAFANA_URL", "'grafana:3000'", "http:// or https://"],
        ),
    ];
    for (arg, parts) in cases {
        let message = refused(&[arg]);
        assert!(
            parts.iter().all(|part| message.contains(part)),
            "{arg}: {message}"
        );
    }
}

#[test]
fn owned_properties_are_refused_by_name() {
    for key in [
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "group.id",
        "group.protocol",
    ] {
        let message = refused(&[&format!("--kafka-properties=linger.ms=1,{key}=hunter2")]);
        assert!(
            message.contains("KAFKA_PROPERTIES") && message.contains(key),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_comma_in_a_property_is_escaped() {
    let config =
        parse(&[r"--kafka-properties=sasl.username=me, sasl.password=a\,b=c\d,"]).expect("allowed");
    let pairs: Vec<_> = config.kafka_properties.pairs().collect();
    assert_eq!(
        pairs,
        [("sasl.username", "me"), ("sasl.password", r"a,b=c\d")]
    );
}

#[test]
fn addresses_of_links_lose_their_last_slash() {
    let config = parse(&[
        "--public-url=https://monitor.example/base/",
        "--grafana-url=https://grafana.example/",
    ])
    .expect("allowed");
    assert_eq!(
        config.grafana_url.as_deref(),
        Some("https://grafana.example")
    );
    assert_eq!(
        config.public_url.as_deref(),
        Some("https://monitor.example/base")
    );
}
