//! The fold seen from outside: scenarios in words, and a naive model of the policy that it must agree with.

use std::collections::BTreeMap;

use detection::{
    AlertKey, Baseline, Cooldown, Direction, Disposition, Minute, MinuteCounts, Monitor,
    MonitorSettings, MonitoredStatus, ObservedMinute, RowChange, Severity, Silence, Status,
    StatusCount, Stream, StreamState, Timeliness,
};
use proptest::prelude::*;

fn batch(stream: &str, minute: i64, counts: &[(MonitoredStatus, u32)]) -> MinuteCounts {
    let transactions = counts
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

/// A monitor that has seen `minutes` usual minutes: approved 118 to 122, nothing else.
fn after_usual(minutes: std::ops::Range<i64>) -> Monitor {
    let mut monitor = Monitor::new(MonitorSettings::default());
    for minute in minutes {
        let approved = 118 + u32::try_from(minute.rem_euclid(5)).expect("small");
        monitor.observe(
            batch("default", minute, &[(MonitoredStatus::Approved, approved)]),
            &[],
        );
    }
    monitor
}

fn severities(judged: &detection::Judged) -> Vec<(MonitoredStatus, Severity)> {
    let verdict = |row: &detection::Row| match row.change {
        RowChange::Judged { verdict, .. } => verdict.severity,
        RowChange::CountOnly => Severity::NotJudged,
    };
    judged
        .rows
        .iter()
        .map(|row| (row.status, verdict(row)))
        .collect()
}

#[test]
fn the_first_thirty_minutes_are_learned_and_the_next_is_judged() {
    let mut monitor = after_usual(0..29);
    let learning = monitor.observe(batch("default", 29, &[(MonitoredStatus::Failed, 50)]), &[]);
    assert!(
        severities(&learning)
            .iter()
            .all(|(_, severity)| *severity == Severity::Learning)
    );
    assert!(learning.alerts.is_empty());
    let judged = monitor.observe(
        batch(
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
        severities(&judged)[2],
        (MonitoredStatus::Failed, Severity::Critical)
    );
}

#[test]
fn an_empty_batch_is_total_collapse_and_a_missing_minute_is_silence() {
    let mut monitor = after_usual(0..60);
    let judged = monitor.observe(batch("default", 75, &[]), &[]);
    assert_eq!(judged.rows.len(), MonitoredStatus::COUNT);
    assert!(judged.rows.iter().all(|row| row.implied && row.count == 0));
    let [alert] = &judged.alerts[..] else {
        panic!("one alert, not {:?}", judged.alerts)
    };
    assert_eq!(
        (alert.key.status, alert.key.direction),
        (MonitoredStatus::Approved, Direction::Down)
    );
    assert_eq!(
        alert.verdict.baseline.minutes(),
        60,
        "the 14 missing minutes are not zeros in the window"
    );
}

#[test]
fn after_a_pause_of_more_than_six_hours_the_stream_learns_again() {
    for (pause, severity) in [
        (360 - 59, Severity::Critical),
        (360 + 60, Severity::Learning),
    ] {
        let mut monitor = after_usual(0..60);
        let judged = monitor.observe(
            batch("default", 59 + pause, &[(MonitoredStatus::Failed, 9)]),
            &[],
        );
        assert_eq!(
            severities(&judged)[2],
            (MonitoredStatus::Failed, severity),
            "after {pause} minutes"
        );
    }
}

#[test]
fn a_repeated_batch_changes_nothing_however_old() {
    let mut monitor = after_usual(0..71);
    for minute in [70, 60, 30, 1] {
        let approved = 118 + u32::try_from(minute % 5).expect("small");
        let judged = monitor.observe(
            batch("default", minute, &[(MonitoredStatus::Approved, approved)]),
            &[],
        );
        assert!(
            judged.rows.is_empty() && judged.alerts.is_empty(),
            "minute {minute}"
        );
    }
}

#[test]
fn a_late_minute_is_judged_on_arrival_and_its_alert_says_late() {
    let mut monitor = after_usual(0..60);
    monitor.observe(
        batch("default", 65, &[(MonitoredStatus::Approved, 120)]),
        &[],
    );
    let judged = monitor.observe(
        batch(
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
    assert!(judged.alerts.iter().all(|alert| alert.late) && judged.alerts.len() == 1);
    let Baseline::Missing { minutes } = judged.alerts[0].verdict.baseline else {
        panic!("denied was never seen")
    };
    assert_eq!(minutes, 60, "its own window: the minutes before it");
}

#[test]
fn a_corrected_minute_alerts_only_above_the_worst_it_ever_was() {
    let mut monitor = after_usual(0..60);
    let mut failed = |count| {
        let judged = monitor.observe(
            batch(
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
fn a_correction_leaves_the_statuses_it_does_not_name() {
    let mut monitor = after_usual(0..61);
    let judged = monitor.observe(batch("default", 60, &[(MonitoredStatus::Denied, 1)]), &[]);
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
fn a_minute_older_than_the_allowed_lateness_is_stored_and_not_judged() {
    let mut monitor = after_usual(100..160);
    for (minute, rows) in [(99, 5), (149, 0), (148, 1)] {
        let approved = if minute == 148 {
            1
        } else {
            118 + u32::try_from(minute % 5).expect("small")
        };
        let judged = monitor.observe(
            batch("default", minute, &[(MonitoredStatus::Approved, approved)]),
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
fn a_silenced_alert_keeps_its_verdict_starts_no_cooldown_and_is_told_of_with_the_next() {
    let mut monitor = after_usual(0..60);
    let silence = Silence {
        id: uuid::Uuid::nil(),
        stream: None,
        status: Some(MonitoredStatus::Failed),
    };
    let failing = |minute| {
        batch(
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
        severities(&silenced)[2],
        (MonitoredStatus::Failed, Severity::Critical)
    );
    assert_eq!(
        silenced.alerts[0].disposition,
        Disposition::Silenced { by: silence.id }
    );
    let heard = monitor.observe(failing(61), &[]);
    assert_eq!(
        heard.alerts[0].disposition,
        Disposition::Dispatched {
            suppressed_before: 1
        }
    );
}

#[test]
fn statuses_that_are_not_monitored_have_no_row_of_the_fold() {
    let refunded = StatusCount {
        status: Status::parse("refunded").expect("valid"),
        count: 9,
    };
    let minute = Minute::from_epoch_minutes(0);
    let batch = MinuteCounts::try_new(Stream::default(), minute, vec![refunded]).expect("valid");
    let judged = Monitor::new(MonitorSettings::default()).observe(batch, &[]);
    assert_eq!(judged.rows.len(), MonitoredStatus::COUNT);
    assert_eq!(
        judged.batch.transactions().len(),
        1,
        "the caller stores it from the batch"
    );
}

/// The policy as the specification tells it: everything known is kept, every window is computed anew.
#[derive(Default)]
struct Model {
    known: BTreeMap<i64, ObservedMinute>,
    verdicts: BTreeMap<(i64, MonitoredStatus), Severity>,
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

    /// Observes the batch and gives (minute, status, severity, dispatched) of its alerts.
    fn observe(
        &mut self,
        policy: &MonitorSettings,
        batch: &MinuteCounts,
    ) -> Vec<(i64, MonitoredStatus, Severity, bool)> {
        let minute = batch.minute().epoch_minutes();
        let newest = self.known.keys().next_back().copied();
        let judgeable = newest
            .is_none_or(|newest| newest - minute <= i64::from(policy.allowed_lateness_minutes));
        let first = !self.known.contains_key(&minute);
        let mut known = self.known.get(&minute).copied().unwrap_or(ObservedMinute {
            minute: batch.minute(),
            counts: [0; 5],
            named: [false; 5],
            peaks: [Severity::NotJudged; 5],
        });
        let mut alerts = Vec::new();
        for status in MonitoredStatus::ALL {
            let i = status.index();
            let named = batch
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
            let verdict =
                policy
                    .detector
                    .judge(status, known.counts[i], self.baseline(minute, status));
            self.verdicts.insert((minute, status), verdict.severity);
            if verdict.severity.is_anomalous() && verdict.severity > known.peaks[i] {
                let direction = verdict.direction.expect("anomalous");
                let key = AlertKey {
                    stream: batch.stream().clone(),
                    status,
                    direction,
                    severity: verdict.severity,
                };
                alerts.push((
                    minute,
                    status,
                    verdict.severity,
                    self.fire(policy, key, minute),
                ));
            }
            known.peaks[i] = known.peaks[i].max(verdict.severity);
        }
        self.known.insert(minute, known);
        alerts
    }

    fn fire(&mut self, policy: &MonitorSettings, key: AlertKey, minute: i64) -> bool {
        let length = i64::from(policy.cooldown_minutes);
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
        counts: Vec<(MonitoredStatus, u32)>,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let count = prop_oneof![6 => 0..4_u32, 3 => 90..130_u32, 1 => any::<u32>()];
    let counts =
        prop::collection::btree_map(prop::sample::select(&MonitoredStatus::ALL[..]), count, 0..5);
    let back = prop_oneof![8 => Just(0_i64), 2 => 1..12_i64, 1 => 12..90_i64];
    let jump = prop_oneof![20 => Just(1_i64), 2 => 2..20_i64, 1 => 300..420_i64];
    prop_oneof![
        30 => (back, jump, counts).prop_map(|(back, jump, counts)| Step::Observe { back, jump, counts: counts.into_iter().collect() }),
        1 => Just(Step::Restart),
    ]
}

fn alerts_of(judged: &detection::Judged) -> Vec<(i64, MonitoredStatus, Severity, bool)> {
    let dispatched =
        |alert: &detection::Alert| matches!(alert.disposition, Disposition::Dispatched { .. });
    let alert = |a: &detection::Alert| {
        (
            a.minute.epoch_minutes(),
            a.key.status,
            a.key.severity,
            dispatched(a),
        )
    };
    judged.alerts.iter().map(alert).collect()
}

proptest! {
    #[test]
    fn the_fold_agrees_with_the_naive_model_across_late_minutes_corrections_and_restarts(
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let policy = MonitorSettings::default();
        let (mut monitor, mut model, mut newest) = (Monitor::new(policy), Model::default(), 0);
        for step in steps {
            match step {
                Step::Observe { back: 0, jump, counts } => {
                    newest += jump;
                    let batch = batch("default", newest, &counts);
                    let expected = model.observe(&policy, &batch);
                    prop_assert_eq!(alerts_of(&monitor.observe(batch, &[])), expected);
                }
                Step::Observe { back, counts, .. } => {
                    let batch = batch("default", newest - back, &counts);
                    let expected = model.observe(&policy, &batch);
                    let judged = monitor.observe(batch, &[]);
                    prop_assert_eq!(alerts_of(&judged), expected);
                }
                Step::Restart => {
                    monitor.forget();
                    let newest = model.known.values().rev().take(policy.history_capacity()).copied();
                    let state = StreamState { known: newest.collect(), cooldowns: model.cooldowns.clone() };
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
    fn each_stream_is_judged_as_if_it_were_alone(
        steps in prop::collection::vec((0..5_usize, -3..4_i64, prop::collection::btree_map(prop::sample::select(&MonitoredStatus::ALL[..]), 0..200_u32, 0..5)), 1..500),
    ) {
        let names = ["a", "b", "c", "d", "e"];
        let mut together = Monitor::new(MonitorSettings::default());
        let mut alone: Vec<_> = names.iter().map(|_| Monitor::new(MonitorSettings::default())).collect();
        let mut minutes = [0_i64; 5];
        for (which, step, counts) in steps {
            minutes[which] += step;
            let counts: Vec<_> = counts.into_iter().collect();
            let of_all = together.observe(batch(names[which], minutes[which], &counts), &[]);
            let of_one = alone[which].observe(batch(names[which], minutes[which], &counts), &[]);
            prop_assert_eq!((of_all.rows, of_all.alerts), (of_one.rows, of_one.alerts));
        }
    }
}
