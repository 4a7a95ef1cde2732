//! Which settings are accepted, and what the errors and `--help` show.

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
fn the_defaults_are_those_of_the_monitor() {
    let config = Config::default();
    let adaptive = Detector::Adaptive(AdaptiveSettings::default());
    let expected = MonitorSettings {
        shadow: Some(adaptive),
        ..MonitorSettings::default()
    };
    assert_eq!(config.monitor_settings(), expected);
    assert!(
        !config.notify_policy().has_receiver()
            && config.notify_policy().max_age_ms == Some(1_800_000)
    );
    assert_eq!(config.retention, Duration::from_hours(90 * 24));
}

#[test]
fn settings_reach_the_monitor() {
    let config = parse(&[
        "--warning-threshold=3",
        "--critical-threshold=5",
        "--baseline-window=120",
        "--min-history=45",
        "--min-count-for-critical=3",
        "--approved-direction=down",
        "--allowed-lateness=1h",
        "--alert-cooldown=0m",
        "--resolve-after=7",
        "--page-max-age=30m",
        "--alert-webhook-url=https://example.org/hook",
        "--adaptive-critical=6",
    ])
    .expect("all allowed");
    let adaptive = Detector::Adaptive(AdaptiveSettings::try_new(6.0).expect("allowed"));
    let detector = Detector::ZScore(ZScoreDetector {
        thresholds: Thresholds::try_new(3.0, 5.0).expect("in order"),
        window: 120,
        min_history: 45,
        approved_direction: ApprovedDirection::Down,
        min_count_for_critical: 3,
    });
    let expected = MonitorSettings {
        detector,
        shadow: Some(adaptive),
        allowed_lateness_minutes: 60,
        cooldown_minutes: 0,
        resolve_after_minutes: 7,
    };
    assert_eq!(config.monitor_settings(), expected);
    assert!(config.notify_policy().has_receiver());
    assert_eq!(config.notify_policy().max_age_ms, Some(30 * 60 * 1000));
}

#[test]
fn a_policy_alerts_and_the_other_runs_in_shadow() {
    let policies = |args: &[&str]| {
        let settings = parse(args).expect("allowed").monitor_settings();
        let shadow = settings.shadow.map(|shadow| shadow.policy());
        (settings.detector.policy(), shadow)
    };
    let (zscore, adaptive) = (PolicyName::ZScore, PolicyName::Adaptive);
    assert_eq!(policies(&[]), (zscore, Some(adaptive)));
    assert_eq!(
        policies(&["--detection-policy=adaptive"]),
        (adaptive, Some(zscore))
    );
    assert_eq!(policies(&["--shadow-policy=none"]), (zscore, None));
    assert_eq!(
        policies(&["--shadow-policy=adaptive"]),
        (zscore, Some(adaptive))
    );
    let twice = refused(&["--shadow-policy=zscore"]);
    assert!(
        twice.contains("SHADOW_POLICY equals DETECTION_POLICY, zscore"),
        "{twice}"
    );
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
        ("--max-streams=0", ["MAX_STREAMS", "'0'", "1..=10000"]),
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
fn no_message_and_no_debug_output_shows_a_secret() {
    let secrets = [
        "--kafka-properties=sasl.password=hunter2",
        "--alert-webhook-url=https://me:hunter2@example.org/hunter2",
        "--log-webhook-url=https://example.org/logs?token=hunter2",
        "--heartbeat-url=https://example.org/hunter2",
        "--fallback-webhook-url=https://example.org/hunter2",
        "--database-url=postgres://me:hunter2@db/monitoring",
    ];
    let config = parse(&secrets).expect("allowed");
    assert!(!format!("{config:?} {:?}", config.telemetry()).contains("hunter2"));
    for bad in [
        "--kafka-properties=hunter2",
        "--alert-webhook-url=hunter2://x",
        "--log-webhook-url=hunter2",
        "--fallback-webhook-url=hunter2",
        "--heartbeat-url=hunter2",
        "--database-url=hunter2",
    ] {
        let message = refused(&[bad]);
        let variable = bad[2..]
            .split('=')
            .next()
            .expect("a flag")
            .to_uppercase()
            .replace('-', "_");
        assert!(
            message.contains(&variable) && !message.contains("hunter2"),
            "{message}"
        );
    }
}

#[test]
fn help_never_shows_the_value_of_a_secret_variable() {
    let hidden = |variable: &str| {
        let command = command();
        let arg = command
            .get_arguments()
            .find(|arg| arg.get_env().is_some_and(|name| name == variable));
        arg.expect("there is one").is_hide_env_values_set()
    };
    for variable in [
        "KAFKA_PROPERTIES",
        "ALERT_WEBHOOK_URL",
        "FALLBACK_WEBHOOK_URL",
        "HEARTBEAT_URL",
        "LOG_WEBHOOK_URL",
        "WEBHOOK_SECRET",
        "API_TOKEN",
        "DATABASE_URL",
    ] {
        assert!(hidden(variable), "{variable}");
    }
}

#[test]
fn log_records_cannot_go_to_the_alert_receiver() {
    let message = refused(&[
        "--alert-webhook-url=https://example.org/hook",
        "--log-webhook-url=HTTPS://example.org:443/hook",
    ]);
    assert!(
        message.contains("LOG_WEBHOOK_URL") && message.contains("ALERT_WEBHOOK_URL"),
        "{message}"
    );
}

#[test]
fn a_fallback_has_the_format_and_not_the_headers() {
    let config = parse(&[
        "--alert-webhook-url=https://example.org/hook",
        "--fallback-webhook-url=https://example.com/spare",
        "--fallback-after=2m",
        "--webhook-format=slack",
        "--webhook-headers=Authorization: Bearer hunter2",
    ])
    .expect("allowed");
    let fallback = &config.receivers()[1];
    assert_eq!(
        (&*fallback.name, fallback.format),
        ("fallback", WebhookFormat::Slack)
    );
    assert!(fallback.headers.expose().is_empty());
    let policy = config.notify_policy();
    assert_eq!(policy.routes.len(), 1);
    assert_eq!(
        policy.fallback.map(|one| (one.receiver, one.after_ms)),
        Some(("fallback".to_owned(), 120_000))
    );
}

#[test]
fn there_is_one_fallback_and_somebody_to_stand_in_for() {
    let alone = refused(&["--fallback-webhook-url=https://example.com/spare"]);
    assert!(alone.contains("no receiver to stand in for"), "{alone}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("receivers.toml");
    let spare =
        "[[receiver]]\nname = \"spare\"\nurl = \"https://example.com/2\"\nfallback = true\n";
    std::fs::write(&file, spare).expect("written");
    let several = refused(&[
        "--alert-webhook-url=https://example.org/hook",
        "--fallback-webhook-url=https://example.com/spare",
        &format!("--receivers-file={}", file.display()),
    ]);
    assert!(several.contains("there are several fallbacks"), "{several}");
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
    ]
    .concat();
    let Ok(Action::Backtest(options, settings)) = parse(&flags) else {
        panic!("{flags:?}");
    };
    assert_eq!(options.policy.len(), 2);
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
