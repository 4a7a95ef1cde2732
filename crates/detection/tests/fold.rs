//! The fold through its public API: scenarios, and a comparison with a naive model of the policy `zscore`.

use std::collections::BTreeMap;

use detection::{
    AlertKey, Baseline, Cooldown, Detector, Direction, Minute, MinuteCounts, Monitor,
    MonitorSettings, MonitoredStatus, Observed, ObservedMinute, PolicyName, RowChange, Severity,
    Silence, State, Status, StatusCount, StoredStream, Stream, Suppression, Timeliness,
};
use proptest::prelude::*;

fn counts(stream: &str, minute: i64, named: &[(MonitoredStatus, u32)]) -> MinuteCounts {
    let transactions = named
        .iter()
        .map(|&(status, count)| StatusCount {
            status: status.into(),
            count,
        })
        .collect();
    let stream = stream.parse().expect("a valid name");
    MinuteCounts::try_new(stream, Minute::from_epoch_minutes(minute), transactions)
        .expect("no status twice")
}

/// A monitor that has observed `minutes` usual minutes: only approved, 118 to 122.
fn after_usual(minutes: std::ops::Range<i64>) -> Monitor {
    let mut monitor = Monitor::new(MonitorSettings::default());
    for minute in minutes {
        let approved = 118 + u32::try_from(minute.rem_euclid(5)).expect("small");
        monitor.observe(
            counts("default", minute, &[(MonitoredStatus::Approved, approved)]),
            &[],
        );
    }
    monitor
}

fn states(observed: &Observed) -> Vec<(MonitoredStatus, State)> {
    let state = |row: &detection::Row| match row.change {
        RowChange::Judged { judgement, .. } => judgement.state(),
        RowChange::CountOnly => State::NotJudged,
    };
    observed
        .rows
        .iter()
        .map(|row| (row.status, state(row)))
        .collect()
}

/// The baseline of an alert.
fn baseline_of(alert: &detection::Raised) -> Baseline {
    alert.anomaly.finding.evidence.baseline().expect("zscore")
}

#[test]
fn the_first_thirty_minutes_are_learned() {
    let mut monitor = after_usual(0..29);
    let learning = monitor.observe(counts("default", 29, &[(MonitoredStatus::Failed, 50)]), &[]);
    assert!(
        states(&learning)
            .iter()
            .all(|(_, state)| *state == State::Learning)
    );
    assert!(learning.alerts.is_empty());
    let judged = monitor.observe(
        counts(
            "default",
            30,
            &[
                (MonitoredStatus::Approved, 120),
                (MonitoredStatus::Failed, 50),
            ],
        ),
        &[],
    );
    assert_eq!(
        states(&judged)[2],
        (MonitoredStatus::Failed, State::Critical)
    );
}

#[test]
fn empty_counts_collapse_missing_ones_do_not() {
    let mut monitor = after_usual(0..60);
    let judged = monitor.observe(counts("default", 75, &[]), &[]);
    assert_eq!(judged.rows.len(), MonitoredStatus::COUNT);
    assert!(judged.rows.iter().all(|row| row.implied && row.count == 0));
    let [alert] = &judged.alerts[..] else {
        panic!("one alert, not {:?}", judged.alerts)
    };
    assert_eq!(
        (alert.anomaly.key.status, alert.anomaly.key.direction),
        (MonitoredStatus::Approved, Direction::Down)
    );
    assert_eq!(
        baseline_of(alert).minutes(),
        60,
        "the 14 missing minutes are not zeros in the window"
    );
}

#[test]
fn after_six_hours_the_stream_learns_again() {
    for (pause, state) in [(360 - 59, State::Critical), (360 + 60, State::Learning)] {
        let mut monitor = after_usual(0..60);
        let judged = monitor.observe(
            counts("default", 59 + pause, &[(MonitoredStatus::Failed, 9)]),
            &[],
        );
        assert_eq!(
            states(&judged)[2],
            (MonitoredStatus::Failed, state),
            "after {pause} minutes"
        );
    }
}

#[test]
fn repeated_counts_change_nothing() {
    let mut monitor = after_usual(0..71);
    for minute in [70, 60, 30, 1] {
        let approved = 118 + u32::try_from(minute % 5).expect("small");
        let judged = monitor.observe(
            counts("default", minute, &[(MonitoredStatus::Approved, approved)]),
            &[],
        );
        assert!(
            judged.rows.is_empty() && judged.alerts.is_empty(),
            "minute {minute}"
        );
    }
}

#[test]
fn the_alert_of_a_late_minute_says_late() {
    let mut monitor = after_usual(0..60);
    monitor.observe(
        counts("default", 65, &[(MonitoredStatus::Approved, 120)]),
        &[],
    );
    let judged = monitor.observe(
        counts(
            "default",
            62,
            &[
                (MonitoredStatus::Approved, 120),
                (MonitoredStatus::Denied, 30),
            ],
        ),
        &[],
    );
    assert_eq!(judged.timeliness, Timeliness::Late);
    assert!(judged.alerts.iter().all(|alert| alert.anomaly.late) && judged.alerts.len() == 1);
    let Baseline::Missing { minutes } = baseline_of(&judged.alerts[0]) else {
        panic!("denied was never seen")
    };
    assert_eq!(minutes, 60, "its own window: the minutes before it");
}

#[test]
fn a_corrected_minute_alerts_only_above_its_peak() {
    let mut monitor = after_usual(0..60);
    let mut failed = |count| {
        let judged = monitor.observe(
            counts(
                "default",
                60,
                &[
                    (MonitoredStatus::Approved, 120),
                    (MonitoredStatus::Failed, count),
                ],
            ),
            &[],
        );
        (judged.rows.len(), judged.alerts.len())
    };
    assert_eq!(failed(0), (5, 0));
    assert_eq!(
        failed(7),
        (1, 1),
        "only the changed row is written, and it is critical now"
    );
    assert_eq!(failed(0), (1, 0));
    assert_eq!(
        failed(9),
        (1, 0),
        "this row was critical before: its alert id is never written twice"
    );
}

#[test]
fn a_correction_keeps_the_statuses_not_named() {
    let mut monitor = after_usual(0..61);
    let judged = monitor.observe(counts("default", 60, &[(MonitoredStatus::Denied, 1)]), &[]);
    assert_eq!(
        judged.rows.iter().map(|row| row.status).collect::<Vec<_>>(),
        [MonitoredStatus::Denied]
    );
    let newest = *monitor
        .history(&Stream::default())
        .and_then(|h| h.newest())
        .expect("known");
    assert_eq!(newest.counts, [118, 1, 0, 0, 0]);
}

#[test]
fn a_too_late_minute_is_not_evaluated() {
    let mut monitor = after_usual(100..160);
    for (minute, rows) in [(99, 5), (149, 0), (148, 1)] {
        let approved = if minute == 148 {
            1
        } else {
            118 + u32::try_from(minute % 5).expect("small")
        };
        let judged = monitor.observe(
            counts("default", minute, &[(MonitoredStatus::Approved, approved)]),
            &[],
        );
        assert_eq!(judged.rows.len(), rows, "minute {minute}");
        assert!(
            judged
                .rows
                .iter()
                .all(|row| row.change == RowChange::CountOnly)
        );
        assert!(judged.alerts.is_empty());
    }
}

#[test]
fn a_silenced_alert_starts_no_cooldown() {
    let mut monitor = after_usual(0..60);
    let silence = Silence {
        id: uuid::Uuid::nil(),
        streams: None,
        status: Some(MonitoredStatus::Failed),
    };
    let failing = |minute| {
        counts(
            "default",
            minute,
            &[
                (MonitoredStatus::Approved, 120),
                (MonitoredStatus::Failed, 9),
            ],
        )
    };
    let silenced = monitor.observe(failing(60), std::slice::from_ref(&silence));
    assert_eq!(
        states(&silenced)[2],
        (MonitoredStatus::Failed, State::Critical)
    );
    assert_eq!(
        silenced.alerts[0].suppression,
        Some(Suppression::Silence { by: silence.id })
    );
    let heard = monitor.observe(failing(61), &[]);
    assert_eq!(
        (
            heard.alerts[0].suppression,
            heard.alerts[0].suppressed_before
        ),
        (None, 1)
    );
}

#[test]
fn only_monitored_statuses_have_rows() {
    let refunded = StatusCount {
        status: Status::parse("refunded").expect("valid"),
        count: 9,
    };
    let minute = Minute::from_epoch_minutes(0);
    let refunds = MinuteCounts::try_new(Stream::default(), minute, vec![refunded]).expect("valid");
    let judged = Monitor::new(MonitorSettings::default()).observe(refunds, &[]);
    assert_eq!(judged.rows.len(), MonitoredStatus::COUNT);
    assert_eq!(
        judged.counts.transactions().len(),
        1,
        "the caller stores it from the counts"
    );
}

/// The policy as specified: keeps every observed minute and sums every window from the start.
#[derive(Default)]
struct Model {
    known: BTreeMap<i64, ObservedMinute>,
    cooldowns: Vec<(AlertKey, Cooldown)>,
}

impl Model {
    fn baseline(&self, minute: i64, status: MonitoredStatus) -> Baseline {
        let before: Vec<_> = self.known.range(..minute).rev().take(60).collect();
        let young = before.into_iter().filter(|(m, _)| **m >= minute - 360);
        young
            .map(|(_, known)| known.counts[status.index()])
            .collect::<detection::baseline::Sums>()
            .baseline()
    }

    /// Observes the counts and returns (minute, status, severity, not suppressed) of their alerts.
    fn observe(
        &mut self,
        settings: &MonitorSettings,
        counts: &MinuteCounts,
    ) -> Vec<(i64, MonitoredStatus, Severity, bool)> {
        let minute = counts.minute().epoch_minutes();
        let newest = self.known.keys().next_back().copied();
        let judgeable = newest
            .is_none_or(|newest| newest - minute <= i64::from(settings.allowed_lateness_minutes));
        let first = !self.known.contains_key(&minute);
        let mut known = self
            .known
            .get(&minute)
            .copied()
            .unwrap_or(ObservedMinute::new(counts.minute()));
        let mut alerts = Vec::new();
        for status in MonitoredStatus::ALL {
            let i = status.index();
            let named = counts
                .transactions()
                .iter()
                .find(|t| t.status == status.into())
                .map(|t| t.count);
            let changed = first || named.is_some_and(|count| count != known.counts[i]);
            if let Some(count) = named {
                (known.counts[i], known.named[i]) = (count, true);
            }
            if !(changed && judgeable) {
                continue;
            }
            let Detector::ZScore(detector) = settings.detector else {
                panic!("the model is one of zscore");
            };
            let baseline = self.baseline(minute, status);
            let severity = if baseline.minutes() < detector.min_history {
                None
            } else {
                let finding = detector.judge_now(status, known.counts[i], baseline);
                if finding.severity.is_anomalous() && Some(finding.severity) > known.peaks[i] {
                    let key = AlertKey {
                        stream: counts.stream().clone(),
                        policy: PolicyName::ZScore,
                        status,
                        direction: finding.direction.expect("anomalous"),
                        severity: finding.severity,
                    };
                    let fires = self.fire(settings, key, minute);
                    alerts.push((minute, status, finding.severity, fires));
                }
                Some(finding.severity)
            };
            known.peaks[i] = known.peaks[i].max(severity);
        }
        self.known.insert(minute, known);
        alerts
    }

    fn fire(&mut self, settings: &MonitorSettings, key: AlertKey, minute: i64) -> bool {
        let length = i64::from(settings.cooldown_minutes);
        let at = self
            .cooldowns
            .iter()
            .position(|(k, _)| *k == key)
            .unwrap_or_else(|| {
                self.cooldowns.push((key, Cooldown::default()));
                self.cooldowns.len() - 1
            });
        let cooldown = &mut self.cooldowns[at].1;
        let held = cooldown
            .fired
            .is_some_and(|fired| fired.epoch_minutes() > minute - length);
        if held {
            cooldown.suppressed += 1;
        } else {
            *cooldown = Cooldown {
                fired: Some(Minute::from_epoch_minutes(minute)),
                suppressed: 0,
            };
        }
        !held
    }
}

#[derive(Clone, Debug)]
enum Step {
    Observe {
        back: i64,
        jump: i64,
        named: Vec<(MonitoredStatus, u32)>,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let count = prop_oneof![6 => 0..4_u32, 3 => 90..130_u32, 1 => any::<u32>()];
    let named =
        prop::collection::btree_map(prop::sample::select(&MonitoredStatus::ALL[..]), count, 0..5);
    let back = prop_oneof![8 => Just(0_i64), 2 => 1..12_i64, 1 => 12..90_i64];
    let jump = prop_oneof![20 => Just(1_i64), 2 => 2..20_i64, 1 => 300..420_i64];
    prop_oneof![
        30 => (back, jump, named).prop_map(|(back, jump, named)| Step::Observe { back, jump, named: named.into_iter().collect() }),
        1 => Just(Step::Restart),
    ]
}

fn alerts_of(judged: &Observed) -> Vec<(i64, MonitoredStatus, Severity, bool)> {
    let alert = |raised: &detection::Raised| {
        (
            raised.anomaly.minute.epoch_minutes(),
            raised.anomaly.key.status,
            raised.anomaly.key.severity,
            raised.suppression.is_none(),
        )
    };
    judged.alerts.iter().map(alert).collect()
}

proptest! {
    #[test]
    fn the_fold_agrees_with_the_naive_model(
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let settings = MonitorSettings::default();
        let (mut monitor, mut model, mut newest) = (Monitor::new(settings), Model::default(), 0);
        for step in steps {
            match step {
                Step::Observe { back: 0, jump, named } => {
                    newest += jump;
                    let observed = counts("default", newest, &named);
                    let expected = model.observe(&settings, &observed);
                    prop_assert_eq!(alerts_of(&monitor.observe(observed, &[])), expected);
                }
                Step::Observe { back, named, .. } => {
                    let observed = counts("default", newest - back, &named);
                    let expected = model.observe(&settings, &observed);
                    let judged = monitor.observe(observed, &[]);
                    prop_assert_eq!(alerts_of(&judged), expected);
                }
                Step::Restart => {
                    monitor.forget();
                    let newest = model.known.values().rev().take(settings.history_capacity()).copied();
                    let state = StoredStream { minutes: newest.collect(), cooldowns: model.cooldowns.clone(), ..StoredStream::default() };
                    monitor.restore(Stream::default(), state);
                }
            }
            let history = monitor.history(&Stream::default());
            for status in MonitoredStatus::ALL {
                let next = Minute::from_epoch_minutes(newest + 1);
                let exact = history.map_or(Baseline::Missing { minutes: 0 }, |history| history.baseline(next, status));
                prop_assert_eq!(exact, model.baseline(newest + 1, status));
            }
        }
    }

    #[test]
    fn streams_are_independent(
        steps in prop::collection::vec((0..5_usize, -3..4_i64, prop::collection::btree_map(prop::sample::select(&MonitoredStatus::ALL[..]), 0..200_u32, 0..5)), 1..500),
    ) {
        let names = ["a", "b", "c", "d", "e"];
        let mut together = Monitor::new(MonitorSettings::default());
        let mut alone: Vec<_> = names.iter().map(|_| Monitor::new(MonitorSettings::default())).collect();
        let mut minutes = [0_i64; 5];
        for (which, step, named) in steps {
            minutes[which] += step;
            let named: Vec<_> = named.into_iter().collect();
            let of_all = together.observe(counts(names[which], minutes[which], &named), &[]);
            let of_one = alone[which].observe(counts(names[which], minutes[which], &named), &[]);
            prop_assert_eq!((of_all.rows, of_all.alerts), (of_one.rows, of_one.alerts));
        }
    }
}
