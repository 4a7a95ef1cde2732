//! The incidents of the sample file: one for each labelled one, and each resolved once.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use detection::{
    Incident, IncidentChange, Minute, Monitor, MonitorSettings, PolicyName,
    backtest::LabelledIncident,
};
use transaction_csv::{LoadOptions, labels::load_incidents, load_file};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../sample_data")
        .join(name)
}

/// Folds the sample with this policy. Returns the incidents as they ended, and how often each opened and resolved.
fn fold(policy: PolicyName) -> (BTreeMap<Minute, Incident>, [usize; 3]) {
    let loaded = load_file(&sample("transactions.csv"), &LoadOptions::default()).expect("readable");
    let mut monitor = Monitor::new(MonitorSettings::default().only(policy));
    let (mut incidents, mut counted) = (BTreeMap::new(), [0; 3]);
    for counts in &loaded.counts {
        let Some(step) = monitor.observe(counts, &[]).incident else {
            continue;
        };
        for change in &step.changes {
            counted[match change {
                IncidentChange::Opened => 0,
                IncidentChange::Reopened => 1,
                IncidentChange::Resolved(_) => 2,
                IncidentChange::Escalated => continue,
            }] += 1;
        }
        incidents.insert(step.incident.opened, step.incident);
    }
    (incidents, counted)
}

/// The incidents that were open at some minute of a label.
fn of<'a>(
    incidents: &'a BTreeMap<Minute, Incident>,
    label: &'a LabelledIncident,
) -> impl Iterator<Item = &'a Incident> {
    incidents.values().filter(|incident| {
        incident.opened < label.end && incident.ended.is_none_or(|ended| ended >= label.start)
    })
}

#[test]
fn adaptive_has_one_incident_for_each_labelled_one() {
    let labels = load_incidents(&sample("incidents.csv")).expect("labels");
    let (incidents, [opened, reopened, resolved]) = fold(PolicyName::Adaptive);
    assert_eq!(labels.len(), 14);
    let mut found = BTreeSet::new();
    for label in &labels {
        let of_label: Vec<_> = of(&incidents, label).map(|incident| incident.id).collect();
        assert_eq!(of_label.len(), 1, "{label:?}");
        found.extend(of_label);
    }
    assert_eq!(found.len(), 14, "one each");
    assert_eq!((opened, reopened, resolved), (14, 0, 14));
}

#[test]
fn zscore_resolves_each_opening_once() {
    let (_, [opened, reopened, resolved]) = fold(PolicyName::ZScore);
    assert_eq!((opened, reopened, resolved), (123, 40, 163));
}
