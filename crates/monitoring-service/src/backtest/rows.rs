//! The words of a result, shared by the table and the page: what is measured, one cell for each policy, and why an incident was
//! missed. Lays out nothing.

use detection::{
    Minute, PolicyName,
    backtest::{
        AFTERMATH_MINUTES, BacktestEpisode, Closest, Interval, LabelledIncident, MissReason,
        Missed, Quantiles, Report,
    },
};
use indicatif::HumanCount;

use super::{Comparison, LabelFile, metrics::per_day};

/// One line of the comparison.
pub(super) struct Row {
    pub(super) label: &'static str,
    needs_labels: bool,
    /// None where the report has no such figure.
    cell: fn(&Report) -> Option<String>,
}

impl Row {
    pub(super) fn cell(&self, report: &Report) -> String {
        (self.cell)(report).unwrap_or_else(|| "-".to_owned())
    }
}

const fn row(needs_labels: bool, label: &'static str, cell: fn(&Report) -> Option<String>) -> Row {
    Row {
        label,
        needs_labels,
        cell,
    }
}

static ROWS: [Row; 12] = [
    row(false, "CRITICAL threshold", |r| {
        Some(format!("{} (WARNING {})", r.critical, r.warning))
    }),
    row(true, "incidents found", |r| {
        let score = r.score.as_ref()?;
        let percent = score.recall? * 100.0;
        Some(format!(
            "{} of {} ({percent:.0} %)",
            score.found, score.incidents
        ))
    }),
    row(true, "  within 8 minutes", |r| {
        let score = r.score.as_ref()?;
        Some(format!(
            "{} of {}",
            score.found_within.found, score.incidents
        ))
    }),
    row(true, "  delay, min: median / p90 / worst", |r| {
        r.score.as_ref()?.delay.map(quantiles)
    }),
    row(true, "  close after the end, min", |r| {
        r.score.as_ref()?.close_delay.map(quantiles)
    }),
    row(false, "CRITICAL episodes", |r| {
        Some(counted(r.sent.critical_episodes, r))
    }),
    row(true, "  false", |r| {
        let episodes = &r.score.as_ref()?.episodes;
        Some(with_interval(
            episodes.false_alarms,
            episodes.false_per_day?,
        ))
    }),
    row(true, "  precision", |r| {
        let precision = r.score.as_ref()?.episodes.precision?;
        Some(format!("{precision:.2}"))
    }),
    row(false, "CRITICAL alerts", |r| {
        Some(counted(r.sent.critical_alerts, r))
    }),
    row(false, "  notifications after cooldown", |r| {
        Some(counted(r.sent.notifications, r))
    }),
    row(true, "  false notifications", |r| {
        let score = r.score.as_ref()?;
        Some(with_interval(
            score.false_notifications,
            score.false_notifications_per_day?,
        ))
    }),
    row(false, "WARNING alerts", |r| {
        Some(counted(r.sent.warning_alerts, r))
    }),
];

/// The lines of a comparison, with or without labels.
pub(super) fn rows(labelled: bool) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| labelled || !row.needs_labels)
}

fn quantiles(of: Quantiles) -> String {
    format!("{} / {} / {}", of.median, of.p90, of.worst)
}

fn counted(events: u32, report: &Report) -> String {
    let count = HumanCount(events.into());
    match per_day(events, report) {
        Some(rate) => format!("{count} ({} a day)", rate_text(rate)),
        None => count.to_string(),
    }
}

fn with_interval(events: u32, rate: Interval) -> String {
    format!("{} ({} a day)", HumanCount(events.into()), interval(rate))
}

/// `0.21 [0.08-0.47]`: events a day, and the 95 % interval.
pub(super) fn interval(rate: Interval) -> String {
    format!(
        "{} [{}-{}]",
        rate_text(rate.rate),
        rate_text(rate.low),
        rate_text(rate.high)
    )
}

fn rate_text(rate: f64) -> String {
    if rate >= 10.0 {
        format!("{rate:.0}")
    } else {
        format!("{rate:.2}")
    }
}

/// The history in one line.
pub(super) fn history(comparison: &Comparison) -> String {
    let history = &comparison.history;
    let report = &comparison.policies[0].report;
    let skipped = match history.skipped {
        0 => String::new(),
        rows => format!(", {} skipped", plural(rows, "bad row")),
    };
    format!(
        "{}: {} to {} ({:.1} days), {} minutes of {}{skipped}",
        history.path.display(),
        history.first(),
        history.last(),
        report.days,
        HumanCount(report.observed_minutes),
        plural(history.streams.len(), "stream"),
    )
}

/// The labels in one line.
pub(super) fn labels(file: Option<&LabelFile>) -> String {
    let Some(file) = file else {
        return "no labels (--incidents, or feedback in the --database): this is what would have been sent".to_owned();
    };
    let elsewhere = match file.elsewhere {
        0 => String::new(),
        labels => format!(
            "; {} about other streams or times left out",
            plural(labels, "label")
        ),
    };
    format!(
        "{}: {} and {}{elsewhere}",
        file.path.display(),
        plural(file.incidents().count(), "incident"),
        plural(file.harmless().count(), "harmless event")
    )
}

fn plural(count: impl TryInto<u64>, what: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let s = if count == 1 { "" } else { "s" };
    format!("{} {what}{s}", HumanCount(count))
}

/// A kind of incident in words.
pub(super) fn kind(name: &str) -> String {
    name.replace('_', " ")
}

/// `slow ramp of stores, 2025-09-05 07:56 to 09:56 UTC`
pub(super) fn incident(incident: &LabelledIncident) -> String {
    let what = incident.name();
    let (start, end) = (short(incident.start), short(incident.end));
    let same_day = start.split_once(' ').zip(end.split_once(' '));
    let end = match same_day {
        Some(((day, _), (other, time))) if day == other => time,
        _ => &end,
    };
    format!("{what}, {start} to {end} UTC")
}

/// `2025-09-05 07:56`
pub(super) fn short(minute: Minute) -> String {
    let text = minute.to_string();
    text.get(..16)
        .map_or_else(|| text.clone(), |short| short.replace('T', " "))
}

/// The missed incidents; none without labels.
pub(super) fn missed(report: &Report) -> &[Missed] {
    let score = report.score.as_ref();
    score.map_or(&[], |score| &score.missed)
}

/// Why an incident was missed.
pub(super) fn why(reason: &MissReason, policy: PolicyName) -> String {
    match reason {
        MissReason::NotObserved => "the history has no minute of it".to_owned(),
        MissReason::NotJudged => {
            "its minutes were not judged: still learning, or too late".to_owned()
        }
        MissReason::BelowBar(closest) => below_bar(closest, policy),
    }
}

fn below_bar(closest: &Closest, policy: PolicyName) -> String {
    let Closest {
        minute,
        status,
        count,
        score,
        bar,
    } = closest;
    let minute = short(*minute);
    let came = format!("closest: {status} = {count} at {minute}");
    match policy {
        PolicyName::ZScore => format!("{came}, {score:.2} deviations; CRITICAL needs {bar:.2}"),
        PolicyName::Adaptive => {
            format!("{came}, evidence 1 in 10^{score:.2}; CRITICAL needs 10^{bar:.2}")
        }
    }
}

/// Whether a CRITICAL episode was right: during or after which incident, or in which harmless event. None without labels.
pub(super) fn explain(episode: &BacktestEpisode, file: Option<&LabelFile>) -> Option<String> {
    let (minute, file) = (episode.critical_at?, file?);
    let stream = &episode.stream;
    let mut incidents = file.incidents();
    if let Some(incident) = incidents.find(|label| label.covers(stream, minute, AFTERMATH_MINUTES))
    {
        let after = if minute < incident.end { "" } else { "after " };
        return Some(format!("{after}{}", kind(&incident.kind)));
    }
    let harmless = file
        .harmless()
        .find(|label| label.covers(stream, minute, 0));
    Some(match harmless {
        Some(event) => format!("false alarm, in {}", kind(&event.kind)),
        None => "false alarm".to_owned(),
    })
}
