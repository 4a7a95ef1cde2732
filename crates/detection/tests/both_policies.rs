//! Two policies in one fold: what each alerts about, and that a restart from what is stored changes nothing.

use std::collections::{BTreeMap, HashMap};

use detection::{
    AlertKey, Cooldown, Detector, Minute, MinuteCounts, Monitor, MonitorSettings, MonitoredStatus,
    Observed, ObservedMinute, PolicyName, Raised, RowChange, Severity, StatusCount, StoredStream,
    Stream, Suppression,
    detector::adaptive::{AdaptiveSettings, AdaptiveState, EpisodeChange},
};
use proptest::prelude::*;

const START: Minute = Minute::from_epoch_minutes(29_000_000);

fn adaptive() -> Detector {
    Detector::Adaptive(AdaptiveSettings::default())
}

/// Both policies; this one alerts.
fn settings(alerting: PolicyName) -> MonitorSettings {
    let (detector, shadow) = match alerting {
        PolicyName::ZScore => (Detector::default(), adaptive()),
        PolicyName::Adaptive => (adaptive(), Detector::default()),
    };
    MonitorSettings {
        detector,
        shadow: Some(shadow),
        ..MonitorSettings::default()
    }
}

fn message(
    minute: Minute,
    named: impl IntoIterator<Item = (MonitoredStatus, u32)>,
) -> MinuteCounts {
    let named = named.into_iter().map(|(status, count)| StatusCount {
        status: status.into(),
        count,
    });
    MinuteCounts::try_new(Stream::default(), minute, named.collect()).expect("no status twice")
}

/// Usual traffic, with this many denied.
fn usual(minute: i64, denied: u32) -> MinuteCounts {
    let approved = 118 + u32::try_from(minute.rem_euclid(5)).expect("small");
    let named = [
        (MonitoredStatus::Approved, approved),
        (MonitoredStatus::Denied, denied),
    ];
    message(START.plus(minute), named)
}

/// What a store keeps of one stream.
#[derive(Default)]
struct Stored {
    minutes: BTreeMap<Minute, ObservedMinute>,
    cooldowns: HashMap<AlertKey, Cooldown>,
    state: AdaptiveState,
    /// As JSON.
    incident: Option<String>,
}

impl Stored {
    /// Writes what follows from one message, as one transaction.
    fn write(&mut self, monitor: &mut Monitor, observed: &Observed) {
        let minute = observed.counts.minute();
        for row in &observed.rows {
            let i = row.status.index();
            let is_new = !self.minutes.contains_key(&minute);
            let stored = self
                .minutes
                .entry(minute)
                .or_insert_with(|| ObservedMinute::new(minute));
            match row.change {
                RowChange::CountOnly if row.implied && !is_new => continue,
                RowChange::CountOnly => {}
                RowChange::Judged { peak, .. } => stored.peaks[i] = peak,
            }
            (stored.counts[i], stored.named[i]) = (row.count, !row.implied);
        }
        for raised in &observed.alerts {
            self.cooldowns
                .insert(raised.anomaly.key.clone(), raised.cooldown);
        }
        if let Some(step) = &observed.incident {
            self.incident = Some(serde_json::to_string(&step.incident).expect("JSON"));
        }
        for state in monitor.take_due_states() {
            self.state = AdaptiveState::try_from_bytes(&state.bytes).expect("just written");
            assert_eq!(self.state.newest(), Some(state.minute));
        }
    }

    fn read(&self, settings: &MonitorSettings) -> StoredStream {
        let newest = self.minutes.values().rev().enumerate();
        let minutes = newest.take_while(|(at, observed)| {
            *at < settings.history_capacity() || Some(observed.minute) > self.state.newest()
        });
        StoredStream {
            minutes: minutes.map(|(_, observed)| *observed).collect(),
            cooldowns: self.cooldowns.clone().into_iter().collect(),
            adaptive: self.state.clone(),
            incident: self
                .incident
                .as_ref()
                .map(|json| serde_json::from_str(json).expect("just written")),
        }
    }
}

type Step = (i64, [Option<u32>; MonitoredStatus::COUNT], bool);

/// Messages: minutes after the newest (late, corrected and too late ones among them), counts, and whether the service restarts
/// before it.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![12 => Just(1_i64), 1 => 2..20_i64, 1 => -14..1_i64];
    let problem = prop_oneof![8 => 0..3_u32, 1 => 0..80_u32];
    let approved = prop_oneof![12 => 100..120_u32, 1 => 0..20_u32];
    let named = (
        prop::option::weighted(0.95, approved),
        prop::array::uniform4(prop::option::of(problem)),
    );
    let counts = named.prop_map(|(approved, [a, b, c, d])| [approved, a, b, c, d]);
    prop::collection::vec((after, counts, prop::bool::weighted(0.1)), 60..300)
}

/// What must not depend on a restart.
fn essence(observed: &Observed) -> impl PartialEq + std::fmt::Debug {
    (
        observed.rows.clone(),
        observed.alerts.clone(),
        observed.episode_events.clone(),
        observed.incident.clone(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_restart_from_what_is_stored_changes_nothing(steps in steps(), zscore_alerts in any::<bool>()) {
        let alerting = if zscore_alerts { PolicyName::ZScore } else { PolicyName::Adaptive };
        let settings = settings(alerting);
        let (mut undisturbed, mut restarted) = (Monitor::new(settings), Monitor::new(settings));
        let (mut stored, mut newest) = (Stored::default(), START);
        for (after, counts, restarts) in steps {
            let minute = newest.plus(after);
            newest = newest.max(minute);
            let named = MonitoredStatus::ALL.into_iter().zip(counts);
            let counts = message(minute, named.filter_map(|(status, count)| Some((status, count?))));
            if restarts && !stored.minutes.is_empty() {
                restarted.forget();
                restarted.restore(Stream::default(), stored.read(&settings));
            }
            let expected = undisturbed.observe(counts.clone(), &[]);
            let observed = restarted.observe(counts, &[]);
            prop_assert_eq!(essence(&observed), essence(&expected));
            stored.write(&mut restarted, &observed);
        }
        prop_assert_eq!(restarted.adaptive(&Stream::default()), undisturbed.adaptive(&Stream::default()));
    }
}

/// Usual minutes, twenty of many denied, and an hour of usual ones again.
fn incident(settings: MonitorSettings) -> Vec<Observed> {
    let mut monitor = Monitor::new(settings);
    let denied = |minute| match minute {
        200..220 => 60,
        _ => 4 + u32::from(minute % 3 == 0),
    };
    (0..280)
        .map(|minute| monitor.observe(usual(minute, denied(minute)), &[]))
        .collect()
}

fn alerts(observed: &[Observed], policy: PolicyName) -> Vec<Raised> {
    let alerts = observed.iter().flat_map(|observed| &observed.alerts);
    alerts
        .filter(|alert| alert.anomaly.key.policy == policy)
        .cloned()
        .collect()
}

#[test]
fn an_episode_alerts_once_and_closes_without_alert() {
    let observed = incident(settings(PolicyName::Adaptive));
    let raised = alerts(&observed, PolicyName::Adaptive);
    let [alert] = &raised[..] else {
        panic!("one alert, not {raised:#?}")
    };
    let anomaly = &alert.anomaly;
    assert_eq!(anomaly.minute, START.plus(200));
    assert_eq!(anomaly.key.status, MonitoredStatus::Denied);
    assert_eq!(anomaly.key.severity, Severity::Critical);
    assert_eq!((anomaly.late, alert.suppression), (false, None));
    assert!(
        alert.sentence().starts_with("denied: 60 of 1"),
        "{}",
        alert.sentence()
    );
    let events: Vec<_> = observed
        .iter()
        .flat_map(|observed| &observed.episode_events)
        .map(|event| event.change)
        .collect();
    assert_eq!(events, [EpisodeChange::Opened, EpisodeChange::ClosedCalm]);
}

#[test]
fn shadow_alerts_are_suppressed_by_shadow_or_cooldown() {
    let observed = incident(settings(PolicyName::Adaptive));
    let shadow = alerts(&observed, PolicyName::ZScore);
    assert!(shadow.len() > 1);
    assert!(shadow.iter().all(|alert| matches!(
        alert.suppression,
        Some(Suppression::Shadow | Suppression::Cooldown { .. })
    )));
    let alerting = incident(settings(PolicyName::ZScore));
    let reason = |alert: &Raised| match alert.suppression {
        Some(Suppression::Shadow) => None,
        other => other,
    };
    let without_shadow =
        |raised: &Raised| (raised.anomaly.clone(), reason(raised), raised.cooldown);
    let zscore = alerts(&alerting, PolicyName::ZScore);
    assert!(
        shadow
            .iter()
            .map(without_shadow)
            .eq(zscore.iter().map(without_shadow))
    );
}

#[test]
fn the_policy_in_shadow_changes_nothing_of_the_other() {
    for policy in [PolicyName::ZScore, PolicyName::Adaptive] {
        let both = settings(policy);
        let alone = MonitorSettings {
            shadow: None,
            ..both
        };
        let (both, alone) = (incident(both), incident(alone));
        assert_eq!(alerts(&both, policy), alerts(&alone, policy));
        for (both, alone) in both.iter().zip(&alone) {
            let judgements = |observed: &Observed| -> Vec<_> {
                let judgement = |row: &detection::Row| match row.change {
                    RowChange::Judged { judgement, .. } => Some(judgement),
                    RowChange::CountOnly => None,
                };
                observed.rows.iter().map(judgement).collect()
            };
            assert_eq!(judgements(both), judgements(alone));
        }
    }
}

#[test]
fn a_later_alert_says_since_when_the_episode_lasts() {
    let mut monitor = Monitor::new(settings(PolicyName::Adaptive));
    for minute in 0..200 {
        monitor.observe(usual(minute, 4), &[]);
    }
    let mut raised = Vec::new();
    for minute in 200..210 {
        let approved = if minute < 203 { 118 } else { 0 };
        let named = [
            (MonitoredStatus::Approved, approved),
            (MonitoredStatus::Denied, 60),
        ];
        raised.extend(
            monitor
                .observe(message(START.plus(minute), named), &[])
                .alerts,
        );
    }
    let adaptive = raised
        .iter()
        .filter(|raised| raised.anomaly.key.policy == PolicyName::Adaptive);
    let statuses: Vec<_> = adaptive
        .clone()
        .map(|raised| raised.anomaly.key.status)
        .collect();
    assert_eq!(
        statuses,
        [MonitoredStatus::Denied, MonitoredStatus::Approved]
    );
    let sentences: Vec<_> = adaptive.map(Raised::sentence).collect();
    let since = START
        .plus(200)
        .start()
        .strftime("Since %H:%M UTC.")
        .to_string();
    assert!(!sentences[0].contains("Since"), "{sentences:?}");
    assert!(sentences[1].ends_with(&since), "{sentences:?}");
}

#[test]
fn a_state_is_due_each_hour_and_with_a_late_minute() {
    let mut monitor = Monitor::new(settings(PolicyName::ZScore));
    let mut due = Vec::new();
    for minute in 0..150 {
        monitor.observe(usual(minute, 4), &[]);
        due.extend(
            monitor
                .take_due_states()
                .iter()
                .map(|state| (minute, state.minute)),
        );
    }
    assert_eq!(due, [(59, START.plus(59)), (119, START.plus(119))]);
    monitor.observe(usual(145, 9), &[]);
    let [state] = &monitor.take_due_states()[..] else {
        panic!("a correction makes the state due")
    };
    assert_eq!(state.minute, START.plus(149));
    monitor.observe(usual(145, 9), &[]);
    assert!(
        monitor.take_due_states().is_empty(),
        "nothing was corrected"
    );
}
