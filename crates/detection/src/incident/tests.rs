//! The rules of incidents, through the fold: with the policy `zscore` by chosen counts, with `adaptive` by a random walk.

use proptest::prelude::*;

use super::*;
use crate::{
    detector::{Detector, adaptive::AdaptiveSettings},
    message::{MinuteCounts, StatusCount},
    monitor::{Monitor, StoredStream, Timeliness},
    settings::MonitorSettings,
};

const START: i64 = 29_000_000;

fn minute(after: i64) -> Minute {
    Minute::from_epoch_minutes(START + after)
}

fn counts(after: i64, named: [u32; 5]) -> MinuteCounts {
    let count = |(status, count): (MonitoredStatus, u32)| StatusCount {
        status: status.into(),
        count,
    };
    let named = MonitoredStatus::ALL.into_iter().zip(named);
    MinuteCounts::try_new(Stream::default(), minute(after), named.map(count).collect())
        .expect("five statuses")
}

/// A usual minute.
fn usual(after: i64) -> [u32; 5] {
    let wave = u32::try_from(after.rem_euclid(5)).expect("below five");
    [
        100 + 3 * wave,
        5 + wave % 3,
        2 + wave % 2,
        1 + wave % 2,
        wave % 2,
    ]
}

fn denied(after: i64, count: u32) -> [u32; 5] {
    let mut counts = usual(after);
    counts[1] = count;
    counts
}

/// A monitor after an hour of usual minutes, before minute 0.
fn learned(settings: MonitorSettings) -> Monitor {
    let mut monitor = Monitor::new(settings);
    for after in -90..0 {
        let observed = monitor.observe(counts(after, usual(after)), &[]);
        assert_eq!(observed.incident, None, "minute {after}");
    }
    monitor
}

/// What each minute changed.
fn changes(monitor: &mut Monitor, minutes: &[(i64, [u32; 5])]) -> Vec<(i64, IncidentChange)> {
    let mut changes = Vec::new();
    for (after, named) in minutes {
        let step = monitor.observe(counts(*after, *named), &[]).incident;
        let of_minute = step.into_iter().flat_map(|step| step.changes);
        changes.extend(of_minute.map(|change| (*after, change)));
    }
    changes
}

#[test]
fn five_minutes_without_a_finding_resolve() {
    let mut monitor = learned(MonitorSettings::default());
    let minutes: Vec<_> = (0..12)
        .map(|after| match after {
            0 | 3 => (after, denied(after, 60)),
            _ => (after, usual(after)),
        })
        .collect();
    assert_eq!(
        changes(&mut monitor, &minutes),
        [
            (0, IncidentChange::Opened),
            (8, IncidentChange::Resolved(Resolution::Calm))
        ]
    );
}

#[test]
fn a_higher_severity_escalates_once() {
    let mut monitor = learned(MonitorSettings::default());
    let minutes = [(0, denied(0, 8)), (1, denied(1, 60)), (2, denied(2, 90))];
    assert_eq!(
        changes(&mut monitor, &minutes),
        [(0, IncidentChange::Opened), (1, IncidentChange::Escalated)]
    );
}

#[test]
fn a_missing_feed_resolves_nothing() {
    let mut monitor = learned(MonitorSettings::default());
    let minutes = [(0, denied(0, 60)), (200, usual(200))];
    assert_eq!(
        changes(&mut monitor, &minutes),
        [(0, IncidentChange::Opened)]
    );
}

#[test]
fn the_same_status_opens_it_again_soon_after() {
    let mut monitor = learned(MonitorSettings::default());
    let observe = |monitor: &mut Monitor, after: i64, named| {
        let step = monitor.observe(counts(after, named), &[]).incident;
        step.map(|step| (step.incident.id, step.changes))
    };
    let (first, _) = observe(&mut monitor, 0, denied(0, 60)).expect("opened");
    for after in 1..=5 {
        observe(&mut monitor, after, usual(after));
    }
    let (again, opened) = observe(&mut monitor, 20, denied(20, 90)).expect("reopened");
    assert_eq!((again, opened), (first, vec![IncidentChange::Reopened]));
    for after in 21..=25 {
        observe(&mut monitor, after, usual(after));
    }
    let (other, opened) = observe(&mut monitor, 41, denied(41, 200)).expect("opened");
    assert_eq!(opened, [IncidentChange::Opened]);
    assert_ne!(other, first, "16 minutes later it is another one");
}

#[test]
fn another_status_opens_another_incident() {
    let mut monitor = learned(MonitorSettings::default());
    let mut reversed = usual(8);
    reversed[3] = 40;
    let mut minutes = vec![(0, denied(0, 60))];
    minutes.extend((1..=5).map(|after| (after, usual(after))));
    minutes.push((8, reversed));
    let opened = changes(&mut monitor, &minutes);
    assert_eq!(opened.last(), Some(&(8, IncidentChange::Opened)));
}

#[test]
fn a_late_finding_delays_the_end() {
    let mut monitor = learned(MonitorSettings::default());
    let mut minutes = vec![(0, denied(0, 60))];
    minutes.extend([1, 2, 4, 5].map(|after| (after, usual(after))));
    // The fifth calm minute would be 6.
    minutes.push((3, denied(3, 60)));
    minutes.extend((6..=10).map(|after| (after, usual(after))));
    assert_eq!(
        changes(&mut monitor, &minutes),
        [
            (0, IncidentChange::Opened),
            (10, IncidentChange::Resolved(Resolution::Calm))
        ]
    );
}

#[test]
fn a_corrected_newest_minute_is_one_calm_minute() {
    let mut monitor = learned(MonitorSettings::default());
    let mut minutes = vec![(0, denied(0, 60))];
    minutes.extend([1, 2, 3, 4].map(|after| (after, usual(after))));
    minutes.push((4, denied(4, 6)));
    assert_eq!(
        changes(&mut monitor, &minutes),
        [(0, IncidentChange::Opened)]
    );
}

#[test]
fn the_loss_is_what_is_missing_and_what_is_too_much() {
    let mut monitor = learned(MonitorSettings::default());
    let mut outage = usual(0);
    (outage[0], outage[2]) = (10, 62);
    let step = monitor
        .observe(counts(0, outage), &[])
        .incident
        .expect("opened");
    // The window of an hour has a mean of 106 approvals and 2.4 failures.
    assert_eq!(step.incident.missing_approvals(), Some(96));
    assert_eq!(step.incident.excess_problems(), Some(60));
    let step = monitor
        .observe(counts(1, denied(1, 60)), &[])
        .incident
        .expect("open");
    assert!(step.incident.excess_problems() > Some(110));
}

#[test]
fn losses_are_rounded_for_people() {
    assert_eq!(
        [0, 99, 1243, 168_432].map(about_count),
        ["0", "99", "about 1,240", "about 168,000"]
    );
}

#[test]
fn an_incident_id_never_changes() {
    let stream: Stream = "acquirer-7".parse().expect("a name");
    let id = incident_id(&stream, PolicyName::Adaptive, minute(0));
    assert_eq!(id.to_string(), "1f3b3fd4-915f-502d-9d36-4ba9bd5a4c5b");
    assert_ne!(id, incident_id(&stream, PolicyName::ZScore, minute(0)));
    assert_ne!(id, incident_id(&stream, PolicyName::Adaptive, minute(1)));
}

fn adaptive() -> MonitorSettings {
    MonitorSettings {
        detector: Detector::Adaptive(AdaptiveSettings::default()),
        ..MonitorSettings::default()
    }
}

/// A walk over usual and unusual minutes, with pauses and late minutes.
fn walk() -> impl Strategy<Value = Vec<(i64, [u32; 5])>> {
    let unusual = prop_oneof![
        6 => Just(None),
        1 => (1..5_usize, 20..90_u32).prop_map(Some),
        1 => Just(Some((0, 3_u32))),
    ];
    let step = prop_oneof![20 => Just(1_i64), 1 => Just(-2_i64), 1 => Just(0_i64), 1 => 2..40_i64];
    // Episodes last for some minutes.
    let minutes = (step, unusual, 1..8_u32);
    prop::collection::vec(minutes, 1..60).prop_map(|parts| {
        let (mut after, mut minutes) = (0, Vec::new());
        for (step, unusual, times) in parts {
            for _ in 0..times {
                let mut named = usual(after);
                if let Some((status, count)) = unusual {
                    named[status] = count;
                }
                minutes.push((after, named));
                after += step.max(1);
            }
            if step < 1 {
                minutes.push((after + step - 1, denied(after, 44)));
            }
        }
        minutes
    })
}

/// Checks the order of the changes, and returns each with its incident.
fn checked(
    monitor: &mut Monitor,
    minutes: &[(i64, [u32; 5])],
    restarts: bool,
) -> Result<Vec<(Uuid, i64, IncidentChange)>, TestCaseError> {
    let mut open: Option<Uuid> = None;
    let mut all = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (after, named) in minutes {
        let observed = monitor.observe(counts(*after, *named), &[]);
        let Some(step) = observed.incident else {
            let is_fresh = observed.timeliness == Timeliness::Fresh;
            prop_assert!(
                open.is_none() || !is_fresh,
                "an open incident is part of every new minute"
            );
            continue;
        };
        for change in step.changes {
            let id = step.incident.id;
            match change {
                IncidentChange::Opened => {
                    prop_assert_eq!(open.replace(id), None);
                    prop_assert!(seen.insert(id), "an id of its own");
                }
                IncidentChange::Reopened => {
                    prop_assert_eq!(open.replace(id), None);
                    prop_assert!(seen.contains(&id));
                }
                IncidentChange::Escalated => prop_assert_eq!(open, Some(id)),
                IncidentChange::Resolved(_) => prop_assert_eq!(open.take(), Some(id)),
            }
            all.push((id, *after, change));
        }
        prop_assert_eq!(step.incident.ended.is_none(), open.is_some());
        if restarts {
            restart(monitor, &step.incident);
        }
    }
    Ok(all)
}

/// Restores the stream from what would be stored.
fn restart(monitor: &mut Monitor, incident: &Incident) {
    let stream = Stream::default();
    let text = serde_json::to_string(incident).expect("JSON");
    let stored = StoredStream {
        minutes: (-90..3000)
            .filter_map(|after| monitor.history(&stream)?.get(minute(after)).copied())
            .collect(),
        adaptive: monitor.adaptive(&stream).cloned().unwrap_or_default(),
        incident: Some(serde_json::from_str(&text).expect("JSON")),
        ..StoredStream::default()
    };
    monitor.restore(stream, stored);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn incidents_open_once_and_resolve_once(minutes in walk()) {
        for settings in [MonitorSettings::default(), adaptive()] {
            let all = checked(&mut learned(settings), &minutes, false)?;
            let again = checked(&mut learned(settings), &minutes, true)?;
            prop_assert_eq!(all, again, "a replay with restarts gives the same");
        }
    }
}
