//! Both policies in the database: what each found comes back as it was, and a restart goes on from what is stored.

use detection::{
    Detector, Judgement, PolicyName, RowChange, Severity, Suppression, Unjudged,
    detector::adaptive::AdaptiveSettings,
};

use super::*;
use crate::{
    alerts::Recipients,
    store::{AlertFilter, RowFilter, RowRecord, SeriesFilter},
};

fn settings() -> MonitorSettings {
    MonitorSettings {
        shadow: Some(Detector::Adaptive(AdaptiveSettings::default())),
        ..MonitorSettings::default()
    }
}

/// Usual minutes, and an incident of twelve minutes of many denied and few approved from 240 on.
fn minute(minute: i64) -> MinuteCounts {
    let (approved, denied) = match minute {
        240..252 => (40, 60),
        _ => (
            100 + u32::from(minute % 2 == 0),
            4 + u32::from(minute % 3 == 0),
        ),
    };
    counts(
        minute,
        &[
            (MonitoredStatus::Approved, approved),
            (MonitoredStatus::Denied, denied),
        ],
    )
}

/// Stores these minutes, each in a commit of its own. Gives the commits.
fn store_minutes(
    store: &Store,
    monitor: &mut Monitor,
    minutes: std::ops::Range<i64>,
) -> Vec<Arc<IngestCommit>> {
    let store_one = |at: i64| {
        let observed = monitor.observe(minute(at), &[]);
        let record = |raised: Raised| Alert::of_stream(raised, &NOTIFY, at * MINUTE_MS);
        let cooldown = |raised: &Raised| (raised.anomaly.key.clone(), raised.cooldown);
        let commit = IngestCommit {
            alerts: observed.alerts.iter().cloned().map(record).collect(),
            cooldowns: observed.alerts.iter().map(cooldown).collect(),
            observed: vec![observed],
            states: monitor.take_due_states(),
            now_ms: at * MINUTE_MS,
            ..IngestCommit::default()
        };
        let commit = Arc::new(commit);
        store.begin_ingest(&commit).wait().expect("committed");
        commit
    };
    minutes.map(store_one).collect()
}

fn observed(commits: &[Arc<IngestCommit>]) -> impl Iterator<Item = &Observed> {
    commits.iter().flat_map(|commit| &commit.observed)
}

fn rows_of(store: &Store, policy: PolicyName) -> Vec<RowRecord> {
    let filter = RowFilter {
        stream: "default".into(),
        policy,
        limit: 10_000,
        ..RowFilter::default()
    };
    wait(store.rows(filter))
}

/// What a policy said, oldest first.
fn judgements(commits: &[Arc<IngestCommit>], shadow_only: bool) -> Vec<Judgement> {
    let rows = observed(commits).flat_map(|observed| &observed.rows);
    let judgement = |row: &detection::Row| match row.change {
        RowChange::Judged {
            judgement, shadow, ..
        } => {
            if shadow_only {
                shadow
            } else {
                Some(judgement)
            }
        }
        RowChange::CountOnly => None,
    };
    rows.filter_map(judgement).collect()
}

#[test]
fn the_findings_of_both_policies_come_back() {
    let (store, _folder) = open();
    let mut monitor = Monitor::new(settings());
    let commits = store_minutes(&store, &mut monitor, 0..260);
    for (policy, in_shadow) in [(PolicyName::ZScore, false), (PolicyName::Adaptive, true)] {
        let expected = judgements(&commits, in_shadow);
        let rows = rows_of(&store, policy).into_iter().rev();
        let found: Vec<_> = rows.map(|row| row.judgement).collect();
        assert_eq!(found, expected, "{policy}");
        assert!(
            found
                .iter()
                .any(|judgement| judgement.severity() == Some(Severity::Critical))
        );
        let series = wait(store.series(SeriesFilter {
            stream: "default".into(),
            policy,
            status: Some("denied".into()),
            from: Minute::from_epoch_minutes(0),
            to: Minute::from_epoch_minutes(260),
            step_minutes: 1,
            max_points: 1000,
        }));
        let points = &series.expect("few points")["denied"];
        let denied = expected.iter().skip(1).step_by(5).copied().map(Some);
        assert!(points.iter().map(|point| point.judgement).eq(denied));
    }
}

#[test]
fn an_alert_of_either_policy_comes_back() {
    let (store, _folder) = open();
    let commits = store_minutes(&store, &mut Monitor::new(settings()), 0..260);
    for policy in PolicyName::ALL {
        let filter = AlertFilter {
            policy: Some(policy),
            limit: 1000,
            ..AlertFilter::default()
        };
        let stored: Vec<_> = wait(store.alerts(filter))
            .into_iter()
            .rev()
            .map(|(_, alert)| alert)
            .collect();
        let raised = observed(&commits).flat_map(|observed| &observed.alerts);
        let of_policy = raised.filter(|raised| raised.anomaly.key.policy == policy);
        let expected: Vec<_> = of_policy
            .map(|raised| {
                let now_ms = raised.anomaly.minute.epoch_minutes() * MINUTE_MS;
                let alert = Alert::of_stream(raised.clone(), &NOTIFY, now_ms);
                // The deliveries name them.
                let recipients = Recipients::default();
                Alert {
                    recipients,
                    ..alert
                }
            })
            .collect();
        assert!(!expected.is_empty());
        assert_eq!(stored, expected);
        let in_shadow = policy == PolicyName::Adaptive;
        let shadow = |alert: &Alert| alert.suppression == Some(Suppression::Shadow);
        assert!(
            stored
                .iter()
                .all(|alert| shadow(alert) == in_shadow && !(in_shadow && alert.is_notified()))
        );
    }
}

#[test]
fn a_restart_goes_on_from_the_stored_state() {
    let (store, _folder) = open();
    let mut monitor = Monitor::new(settings());
    for end in [1, 59, 61, 245, 247, 300] {
        let start = wait(store.summary("default", None, None)).minutes_observed;
        let start = i64::try_from(start).expect("few");
        store_minutes(&store, &mut monitor, start..end);
        let mut restarted = Monitor::new(settings());
        let stored = store.stored_stream("default", &settings());
        restarted.restore(
            Stream::default(),
            stored.expect("readable").expect("known").0,
        );
        let stream = Stream::default();
        assert_eq!(
            restarted.adaptive(&stream),
            monitor.adaptive(&stream),
            "at {end}"
        );
        monitor = restarted;
    }
}

#[test]
fn a_state_of_another_version_is_folded_again() {
    let (store, _folder) = open();
    let mut monitor = Monitor::new(settings());
    store_minutes(&store, &mut monitor, 0..200);
    // A version that there is not; the minutes are all there.
    execute(
        &store,
        "UPDATE detector_states SET state = substr(state, 2)",
    );
    let stored = store.stored_stream("default", &settings());
    let mut restarted = Monitor::new(settings());
    restarted.restore(
        Stream::default(),
        stored.expect("readable").expect("known").0,
    );
    let stream = Stream::default();
    assert_eq!(restarted.adaptive(&stream), monitor.adaptive(&stream));
}

#[test]
fn a_policy_that_was_off_says_so() {
    let (store, _folder) = open();
    fill(&store, 100);
    let off = Judgement::Unjudged(Unjudged::PolicyOff);
    let rows = rows_of(&store, PolicyName::Adaptive);
    assert_eq!(rows.len(), 500);
    assert!(rows.iter().all(|row| row.judgement == off));
    let stored = store.stored_stream("default", &settings());
    let mut switched_on = Monitor::new(settings());
    switched_on.restore(
        Stream::default(),
        stored.expect("readable").expect("known").0,
    );
    let newest = switched_on
        .adaptive(&Stream::default())
        .expect("it judges")
        .newest();
    assert_eq!(
        newest,
        Some(Minute::from_epoch_minutes(99)),
        "it learned from what is stored"
    );
}
