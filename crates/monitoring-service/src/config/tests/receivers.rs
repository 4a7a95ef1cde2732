//! Which receivers go together.

use super::{super::WebhookFormat, parse, refused};

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
