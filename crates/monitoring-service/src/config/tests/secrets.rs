//! No secret is shown.

use super::{super::action::command, parse, refused};

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
