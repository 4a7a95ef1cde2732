//! The backtest through its public API: generated histories with known incidents, and agreement with the live fold.

use detection::{
    Detector, Minute, MinuteCounts, Monitor, MonitorSettings, MonitoredStatus, PolicyName,
    Severity, StatusCount, Stream,
    backtest::{Backtest, LabelledIncident, MissReason, Report, recommended, sweep, with_critical},
    detector::adaptive::AdaptiveSettings,
};

type Counts = [u32; MonitoredStatus::COUNT];

const START: i64 = 29_000_000;

fn minute(at: i64) -> Minute {
    Minute::from_epoch_minutes(START + at)
}

fn counts(at: i64, counts: Counts) -> MinuteCounts {
    let transactions = MonitoredStatus::ALL.map(|status| StatusCount {
        status: status.into(),
        count: counts[status.index()],
    });
    MinuteCounts::try_new(Stream::default(), minute(at), transactions.into())
        .expect("no status twice")
}

fn label(start: i64, end: i64, kind: &str) -> LabelledIncident {
    LabelledIncident {
        stream: None,
        start: minute(start),
        end: minute(end),
        kind: kind.into(),
        alert: true,
    }
}

/// Usual minutes that vary a little, without randomness.
fn usual(at: i64) -> Counts {
    let wave = u32::try_from(at.rem_euclid(7)).expect("small");
    [114 + wave, 5 + wave % 3, 0, 0, 0]
}

/// Two days: a burst of denials, a collapse of approvals, a rise of denials that is too small, and a burst without a label.
fn history() -> Vec<MinuteCounts> {
    let at_minute = |at| {
        let mut now = usual(at);
        match at {
            1000..1020 => now[1] = 80,
            1500..1530 => now[0] = 3,
            2000..2010 => now[1] += 2,
            2500..2503 => now[2] = 40,
            _ => {}
        }
        counts(at, now)
    };
    (0..2880).map(at_minute).collect()
}

fn labels() -> Vec<LabelledIncident> {
    vec![
        label(1000, 1020, "burst"),
        label(1500, 1530, "collapse"),
        label(2000, 2010, "burst"),
    ]
}

fn adaptive() -> MonitorSettings {
    MonitorSettings {
        detector: Detector::Adaptive(AdaptiveSettings::default()),
        ..MonitorSettings::default()
    }
}

fn run(settings: MonitorSettings, labels: Option<Vec<LabelledIncident>>) -> Report {
    let mut backtest = Backtest::new(settings, labels);
    for counts in history() {
        backtest.observe(counts);
    }
    backtest.report()
}

#[test]
fn found_missed_and_false_are_distinguished() {
    for settings in [MonitorSettings::default(), adaptive()] {
        let report = run(settings, Some(labels()));
        let score = report.score.expect("labels were given");
        assert_eq!((score.incidents, score.found), (3, 2), "{score:?}");
        let [missed] = &score.missed[..] else {
            panic!("{score:?}");
        };
        assert_eq!(missed.incident, label(2000, 2010, "burst"));
        let MissReason::BelowBar(closest) = missed.reason else {
            panic!("{missed:?}");
        };
        assert!(
            closest.score < closest.bar && closest.status == "denied",
            "{closest:?}"
        );
        let delay = score.delay.expect("two were found");
        assert_eq!((delay.median, delay.worst), (0, 0), "{score:?}");
        assert_eq!(score.found_within.found, 2);
        assert_eq!(score.episodes.false_alarms, 1, "{:?}", report.episodes);
        let rate = score.episodes.false_per_day.expect("two days");
        assert!((rate.rate - 0.5).abs() < 1e-9 && rate.low < 0.02 && rate.high > 2.7);
        assert_eq!(score.episodes.precision, Some(2.0 / 3.0));
        let kinds: Vec<_> = score
            .kinds
            .iter()
            .map(|kind| (kind.kind.as_str(), kind.incidents, kind.found))
            .collect();
        assert_eq!(kinds, [("burst", 2, 1), ("collapse", 1, 1)]);
    }
}

#[test]
fn the_backtest_agrees_with_the_monitor() {
    for settings in [MonitorSettings::default(), adaptive()] {
        let (mut live, mut backtest) = (Monitor::new(settings), Backtest::new(settings, None));
        let (mut critical, mut notified) = (0, 0);
        for counts in history() {
            let (ours, theirs) = (live.observe(counts.clone(), &[]), backtest.observe(counts));
            assert_eq!((&ours.rows, &ours.alerts), (&theirs.rows, &theirs.alerts));
            for alert in &ours.alerts {
                critical += u32::from(alert.anomaly.key.severity == Severity::Critical);
                notified += u32::from(
                    alert.anomaly.key.severity == Severity::Critical && alert.suppression.is_none(),
                );
            }
        }
        let report = backtest.report();
        assert_eq!(
            (report.sent.critical_alerts, report.sent.notifications),
            (critical, notified)
        );
        assert!(report.score.is_none() && 0 < notified);
        // `zscore` repeats itself within its cooldown, `adaptive` alerts once for each change of an episode.
        let repeats = settings.detector.policy() == PolicyName::ZScore;
        assert_eq!(notified < critical, repeats);
    }
}

#[test]
fn an_episode_closes_after_the_incident() {
    let report = run(adaptive(), Some(labels()));
    let close = report
        .score
        .expect("labels were given")
        .close_delay
        .expect("found");
    assert!((4..=14).contains(&close.worst), "{close:?}");
    assert!(
        report
            .episodes
            .iter()
            .all(|episode| episode.closed.is_some())
    );
    let report = run(MonitorSettings::default(), Some(labels()));
    assert_eq!(report.policy, PolicyName::ZScore);
    let first = &report.episodes[0];
    assert!(
        first.opened <= first.critical_at.expect("critical"),
        "{first:?}"
    );
}

#[test]
fn a_miss_without_minutes_has_its_reason() {
    let mut backtest = Backtest::new(
        adaptive(),
        Some(vec![
            label(5, 10, "early"),
            label(200, 210, "outage of the feed"),
            label(9000, 9010, "after the history"),
        ]),
    );
    for at in (0..200).chain(210..400) {
        backtest.observe(counts(at, usual(at)));
    }
    let score = backtest.report().score.expect("labels were given");
    let reasons: Vec<_> = score
        .missed
        .into_iter()
        .map(|missed| missed.reason)
        .collect();
    assert_eq!(reasons, [MissReason::NotJudged, MissReason::NotObserved]);
    assert_eq!(
        score.incidents, 2,
        "labels outside the history do not count"
    );
}

#[test]
fn minutes_before_the_scored_ones_are_learned() {
    let mut backtest = Backtest::new(adaptive(), Some(labels())).score_from(minute(1200));
    for counts in history() {
        backtest.observe(counts);
    }
    let report = backtest.report();
    assert_eq!(report.first, Some(minute(1200)));
    let score = report.score.expect("labels were given");
    assert_eq!((score.incidents, score.found), (2, 1));
    assert!(
        report
            .episodes
            .iter()
            .all(|episode| episode.opened >= minute(1200))
    );
}

#[test]
fn late_minutes_count_as_late() {
    let mut backtest = Backtest::new(MonitorSettings::default(), None);
    for at in (0..100).chain([120, 115, 101]) {
        backtest.observe(counts(at, usual(at)));
    }
    let report = backtest.report();
    assert_eq!((report.observed_minutes, report.too_late), (102, 1));
}

#[test]
fn the_sweep_recommends_within_the_budget() {
    let detector = adaptive().detector;
    let detectors: Vec<_> = [2.0, 5.0, 80.0]
        .into_iter()
        .map(|critical| with_critical(detector, critical).expect("valid"))
        .collect();
    let reports = sweep(adaptive(), &detectors, &labels(), &history());
    assert_eq!(reports[1], run(adaptive(), Some(labels())));
    let found: Vec<_> = reports
        .iter()
        .map(|report| report.score.as_ref().expect("labels were given").found)
        .collect();
    assert!(found.is_sorted_by(|a, b| a >= b), "{found:?}");
    let best = recommended(&reports, 0.5).expect("one is within the budget");
    assert!((best.critical - 5.0).abs() < 1e-9, "{best:?}");
    assert!(recommended(&reports[1..2], 0.1).is_none());
    assert!(with_critical(detector, 0.5).is_err());
}

#[test]
fn a_report_serializes_with_stable_names() {
    let report = serde_json::to_value(run(adaptive(), Some(labels()))).expect("plain data");
    assert_eq!(report["policy"], "adaptive");
    assert_eq!(report["critical"], 5.0);
    let score = &report["score"];
    assert_eq!(score["found_within"]["minutes"], 8);
    assert!(score["episodes"]["false_per_day"]["high"].is_f64());
    let missed = &score["missed"][0];
    assert_eq!(missed["incident"]["kind"], "burst");
    assert_eq!(missed["reason"]["below_bar"]["status"], "denied");
    assert_eq!(report["episodes"][0]["statuses"][0], "denied");
}
