//! The result as text for a terminal.

use std::fmt::{self, Write as _};

use detection::backtest::Report;

use super::{Comparison, LabelFile, PolicyResult, Sweep, rows};

/// Width of the column of labels.
const LABEL_WIDTH: usize = 36;

/// Width of the column of a policy.
const CELL_WIDTH: usize = 30;

/// Width of a column of a sweep.
const SWEEP_WIDTH: usize = 19;

/// Missed incidents that are listed of each policy; all are in the other formats.
const MAX_MISSED: usize = 20;

/// The whole result.
pub(super) fn render(comparison: &Comparison) -> Result<String, fmt::Error> {
    let mut out = String::new();
    write(&mut out, comparison)?;
    Ok(out)
}

fn write(out: &mut String, comparison: &Comparison) -> fmt::Result {
    writeln!(out, "{}", rows::history(comparison))?;
    writeln!(out, "{}\n", rows::labels(comparison.labels.as_ref()))?;
    let reports: Vec<_> = comparison.policies.iter().map(|of| &of.report).collect();
    write_row(out, "", reports.iter().map(|r| r.policy.to_string()))?;
    for row in rows::rows(comparison.labels.is_some()) {
        write_row(out, row.label, reports.iter().map(|r| row.cell(r)))?;
    }
    write_kinds(out, &reports)?;
    for report in reports {
        write_missed(out, report)?;
    }
    for policy in &comparison.policies {
        write_sweep(out, policy)?;
        write_spared(out, policy, comparison.labels.as_ref())?;
    }
    for checked in &comparison.checked {
        let met = if checked.met { "met" } else { "NOT MET" };
        writeln!(out, "\nrequirement {met}: {checked}")?;
    }
    Ok(())
}

fn write_row(out: &mut String, label: &str, cells: impl Iterator<Item = String>) -> fmt::Result {
    let mut line = format!("{label:LABEL_WIDTH$}");
    for cell in cells {
        write!(line, "{cell:CELL_WIDTH$}")?;
    }
    writeln!(out, "{}", line.trim_end())
}

/// Incidents found by kind, and the median delay.
fn write_kinds(out: &mut String, reports: &[&Report]) -> fmt::Result {
    let Some(first) = reports.first().and_then(|report| report.score.as_ref()) else {
        return Ok(());
    };
    writeln!(out, "\nfound by kind (median delay)")?;
    for kind in &first.kinds {
        let cells = reports.iter().map(|report| kind_cell(report, &kind.kind));
        write_row(out, &format!("  {}", rows::kind(&kind.kind)), cells)?;
    }
    Ok(())
}

/// `3 of 3 (0 min)`
pub(super) fn kind_cell(report: &Report, kind: &str) -> String {
    let of = report
        .score
        .iter()
        .flat_map(|score| &score.kinds)
        .find(|of| of.kind == kind);
    let Some(of) = of else {
        return "-".to_owned();
    };
    let found = format!("{} of {}", of.found, of.incidents);
    match of.delay {
        Some(delay) => format!("{found} ({} min)", delay.median),
        None => found,
    }
}

fn write_missed(out: &mut String, report: &Report) -> fmt::Result {
    let missed = rows::missed(report);
    if missed.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nmissed by {}", report.policy)?;
    for missed in missed.iter().take(MAX_MISSED) {
        writeln!(out, "  {}", rows::incident(&missed.incident))?;
        writeln!(out, "    {}", rows::why(&missed.reason, report.policy))?;
    }
    let more = missed.len().saturating_sub(MAX_MISSED);
    if more > 0 {
        writeln!(out, "  and {more} more: see --html or --format json")?;
    }
    Ok(())
}

fn write_sweep(out: &mut String, policy: &PolicyResult) -> fmt::Result {
    let Some(sweep) = &policy.sweep else {
        return Ok(());
    };
    writeln!(out, "\n{} at other thresholds", policy.report.policy)?;
    let columns = sweep_columns(policy.report.score.is_some());
    let titles = columns.iter().map(|(title, _)| (*title).to_owned());
    write_sweep_row(out, ' ', titles)?;
    for (at, report) in sweep.reports.iter().enumerate() {
        let best = sweep.recommended == Some(at);
        let cells = columns.iter().map(|(_, cell)| cell(report));
        write_sweep_row(out, if best { '*' } else { ' ' }, cells)?;
    }
    if let Some(advice) = advice(policy, sweep) {
        writeln!(out, "  {advice}")?;
    }
    Ok(())
}

/// The lowest threshold that misses no labelled incident and notifies of no harmless event.
fn write_spared(
    out: &mut String,
    policy: &PolicyResult,
    labels: Option<&LabelFile>,
) -> fmt::Result {
    let (Some(sweep), Some(labels)) = (&policy.sweep, labels) else {
        return Ok(());
    };
    let false_alarms = labels.harmless().count();
    if false_alarms == 0 {
        return Ok(());
    }
    match sweep.reports.iter().find(|report| labels.is_met_by(report)) {
        Some(report) => writeln!(
            out,
            "  CRITICAL at {} spares all false alarms ({false_alarms}) and misses no incident",
            report.critical
        ),
        None => writeln!(
            out,
            "  none of them spares all false alarms ({false_alarms}) without missing an incident"
        ),
    }
}

fn write_sweep_row(
    out: &mut String,
    mark: char,
    cells: impl Iterator<Item = String>,
) -> fmt::Result {
    let mut line = format!("{mark} ");
    for cell in cells {
        write!(line, "{cell:SWEEP_WIDTH$}")?;
    }
    writeln!(out, "{}", line.trim_end())
}

type Column = (&'static str, fn(&Report) -> String);

/// What is shown of each threshold; the last three need labels.
const SWEEP_COLUMNS: [Column; 6] = [
    ("CRITICAL", |report| report.critical.to_string()),
    ("CRITICAL episodes", |report| {
        report.sent.critical_episodes.to_string()
    }),
    ("notifications", |report| {
        report.sent.notifications.to_string()
    }),
    ("found", |report| {
        let score = report.score.as_ref();
        score.map_or_else(dash, |score| {
            format!("{} of {}", score.found, score.incidents)
        })
    }),
    ("delay p90", |report| {
        let delay = report.score.as_ref().and_then(|score| score.delay);
        delay.map_or_else(dash, |delay| format!("{} min", delay.p90))
    }),
    ("false a day [95 %]", |report| {
        let score = report.score.as_ref();
        let rate = score.and_then(|score| score.episodes.false_per_day);
        rate.map_or_else(dash, rows::interval)
    }),
];

fn dash() -> String {
    "-".to_owned()
}

/// The columns of a sweep, with or without labels.
pub(super) fn sweep_columns(labelled: bool) -> &'static [Column] {
    if labelled {
        &SWEEP_COLUMNS
    } else {
        &SWEEP_COLUMNS[..3]
    }
}

/// What the sweep recommends; none without labels.
pub(super) fn advice(policy: &PolicyResult, sweep: &Sweep) -> Option<String> {
    policy.report.score.as_ref()?;
    let budget = sweep.budget;
    Some(match sweep.recommended {
        Some(best) => format!(
            "* recommended for at most {budget} false episodes a day: CRITICAL at {}",
            sweep.reports[best].critical
        ),
        None => format!("none of them has at most {budget} false episodes a day"),
    })
}
