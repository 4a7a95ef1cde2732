//! What the monitor gets of the settings.

use std::time::Duration;

use detection::{
    ApprovedDirection, Detector, MonitorSettings, PolicyName, Thresholds, ZScoreDetector,
    detector::adaptive::AdaptiveSettings,
};

use super::{super::Config, parse, refused};

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
