//! What was injured and what was checked, as a table.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    sync::{Mutex, PoisonError},
};

use crate::plan::Kind;

/// Failures of one check that a report describes.
const MAX_DETAILS: usize = 5;

#[derive(Default)]
struct Check {
    count: u64,
    failures: u64,
    details: Vec<String>,
}

/// The injuries and the results of the checks of some rounds.
#[derive(Default)]
pub struct Report {
    rounds: u64,
    injuries: BTreeMap<Kind, u64>,
    skipped: BTreeSet<&'static str>,
    checks: BTreeMap<&'static str, Check>,
}

impl Report {
    /// True if every check held.
    pub fn is_clean(&self) -> bool {
        self.checks.values().all(|check| check.failures == 0)
    }

    /// How often each kind of injury was done.
    pub fn injured(&self, kind: Kind) -> u64 {
        self.injuries.get(&kind).copied().unwrap_or(0)
    }

    /// How often this was checked.
    pub fn checked(&self, name: &str) -> u64 {
        self.checks.get(name).map_or(0, |check| check.count)
    }

    /// Adds the results of other rounds.
    pub fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.skipped.extend(other.skipped);
        for (kind, count) in other.injuries {
            *self.injuries.entry(kind).or_default() += count;
        }
        for (name, other) in other.checks {
            let check = self.checks.entry(name).or_default();
            check.count += other.count;
            check.failures += other.failures;
            check.details.extend(other.details);
            check.details.truncate(MAX_DETAILS);
        }
    }
}

impl Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "| injured | times |\n|---|---|")?;
        for (kind, count) in &self.injuries {
            writeln!(to, "| {kind} | {count} |")?;
        }
        writeln!(
            to,
            "\n| checked, {} rounds | times | failures |\n|---|---|---|",
            self.rounds
        )?;
        for (name, check) in &self.checks {
            writeln!(to, "| {name} | {} | {} |", check.count, check.failures)?;
        }
        for reason in &self.skipped {
            writeln!(to, "\nskipped: {reason}")?;
        }
        for (name, check) in &self.checks {
            for detail in &check.details {
                writeln!(to, "\nFAILED: {name}: {detail}")?;
            }
        }
        Ok(())
    }
}

/// Collects the report of one round from its tasks.
pub(crate) struct Checks {
    /// How to repeat the round.
    round: String,
    report: Mutex<Report>,
}

impl Checks {
    pub(crate) fn new(round: String) -> Self {
        let report = Report {
            rounds: 1,
            ..Report::default()
        };
        Self {
            round,
            report: Mutex::new(report),
        }
    }

    pub(crate) fn injured(&self, kind: Kind) {
        self.change(|report| *report.injuries.entry(kind).or_default() += 1);
    }

    pub(crate) fn skipped(&self, why: &'static str) {
        self.change(|report| _ = report.skipped.insert(why));
    }

    pub(crate) fn that(&self, name: &'static str, holds: bool, detail: impl FnOnce() -> String) {
        self.change(|report| {
            let check = report.checks.entry(name).or_default();
            check.count += 1;
            if !holds {
                check.failures += 1;
                check.details.push(format!("{}: {}", self.round, detail()));
            }
        });
    }

    /// Equal lists; the detail names what differs.
    pub(crate) fn same<T: PartialEq + fmt::Debug>(
        &self,
        name: &'static str,
        found: &[T],
        expected: &[T],
    ) {
        self.that(name, found == expected, || {
            let missing = expected.iter().find(|entry| !found.contains(entry));
            let extra = found.iter().find(|entry| !expected.contains(entry));
            format!(
                "{} instead of {}; missing {missing:?}; extra {extra:?}",
                found.len(),
                expected.len()
            )
        });
    }

    pub(crate) fn take(&self) -> Report {
        std::mem::take(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
