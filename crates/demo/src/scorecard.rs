//! The stored alerts held against the labelled incidents. Pure: numbers in, numbers and words out.

use std::{fmt, path::Path};

use anyhow::{Context as _, ensure};
use detection::{Minute, Severity};

/// An incident counts as found if an alert goes out for one of its first minutes, this many.
const FOUND_WITHIN_MINUTES: i64 = 8;

/// An alert this long after an incident may still be its echo and is not called false.
const ECHO_MINUTES: i64 = 60;

/// A time in which the data are known to be wrong: [start, end).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Its first minute.
    pub start: Minute,
    /// The minute after its last.
    pub end: Minute,
    /// What went wrong.
    pub kind: String,
}

/// An alert, as far as the score needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scored {
    /// Its minute.
    pub minute: Minute,
    /// How bad.
    pub severity: Severity,
    /// True if it went out.
    pub dispatched: bool,
}

impl Incident {
    /// What went wrong, in words.
    pub fn kind(&self) -> String {
        self.kind.replace('_', " ")
    }
}

/// How the policy did.
#[derive(Clone, Debug, PartialEq)]
pub struct Scorecard {
    /// Minutes from the start of each incident to its first alert; none where none came in time.
    pub delays: Vec<Option<i64>>,
    /// The same for CRITICAL alerts alone: those that call someone.
    pub critical_delays: Vec<Option<i64>>,
    /// Dispatched and suppressed alerts, CRITICAL then WARNING.
    pub alerts: [(usize, usize); 2],
    /// Dispatched alerts outside of incidents and their echo, CRITICAL then WARNING.
    pub outside: [usize; 2],
    /// Length of the data.
    pub days: f64,
}

/// Reads `start,end,kind`.
pub fn load_incidents(path: &Path) -> anyhow::Result<Vec<Incident>> {
    let context = || {
        format!(
            "cannot read the incidents from {} (--incidents)",
            path.display()
        )
    };
    let mut reader = csv::Reader::from_path(path).with_context(context)?;
    let rows = reader.records().map(|record| {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        read_incident(&record).with_context(|| format!("line {line}"))
    });
    rows.collect::<anyhow::Result<_>>().with_context(context)
}

fn read_incident(record: &csv::StringRecord) -> anyhow::Result<Incident> {
    let (start, end, kind): (&str, &str, String) = record.deserialize(None)?;
    let incident = Incident {
        start: start.parse()?,
        end: end.parse()?,
        kind,
    };
    ensure!(
        incident.start < incident.end,
        "the end {end} is not after the start {start}"
    );
    Ok(incident)
}

/// How many minutes after the start of the incident an alert for this minute finds it; none if it does not.
pub fn delay(incident: &Incident, minute: Minute) -> Option<i64> {
    let delay = minute.since(incident.start);
    (0..FOUND_WITHIN_MINUTES).contains(&delay).then_some(delay)
}

/// Scores the alerts of `minutes` minutes of data.
#[expect(
    clippy::cast_precision_loss,
    reason = "a count of minutes is exact in a double"
)]
pub fn score(alerts: &[Scored], incidents: &[Incident], minutes: i64) -> Scorecard {
    let sent = |severities: &[Severity]| -> Vec<Minute> {
        alerts
            .iter()
            .filter(|a| a.dispatched && severities.contains(&a.severity))
            .map(|a| a.minute)
            .collect()
    };
    let delays = |sent: &[Minute]| {
        incidents
            .iter()
            .map(|incident| {
                sent.iter()
                    .filter_map(|minute| delay(incident, *minute))
                    .min()
            })
            .collect()
    };
    let is_outside = |minute: &&Minute| {
        incidents.iter().all(|incident| {
            **minute < incident.start || **minute >= incident.end.plus(ECHO_MINUTES)
        })
    };
    let (critical, warning) = (sent(&[Severity::Critical]), sent(&[Severity::Warning]));
    let held = |severity| {
        alerts
            .iter()
            .filter(|a| !a.dispatched && a.severity == severity)
            .count()
    };
    Scorecard {
        delays: delays(&sent(&[Severity::Critical, Severity::Warning])),
        critical_delays: delays(&critical),
        alerts: [
            (critical.len(), held(Severity::Critical)),
            (warning.len(), held(Severity::Warning)),
        ],
        outside: [&critical, &warning].map(|sent| sent.iter().filter(is_outside).count()),
        days: minutes as f64 / 1440.0,
    }
}

/// `14 of 14, 0 min after their start (median), 1 min at worst`
fn found(delays: &[Option<i64>]) -> String {
    let mut found: Vec<_> = delays.iter().flatten().collect();
    found.sort_unstable();
    let count = format!("{} of {}", found.len(), delays.len());
    match (found.get(found.len() / 2), found.last()) {
        (Some(median), Some(worst)) => {
            format!("{count}, {median} min after their start (median), {worst} min at worst")
        }
        _ => count,
    }
}

impl fmt::Display for Scorecard {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of alerts is exact in a double"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [(critical, critical_held), (warning, warning_held)] = self.alerts;
        let [critical_false, warning_false] = self.outside;
        let per_day = |count: usize| count as f64 / self.days;
        writeln!(f, "  incidents found         {}", found(&self.delays))?;
        writeln!(
            f,
            "    by CRITICAL alone     {}",
            found(&self.critical_delays)
        )?;
        writeln!(
            f,
            "  CRITICAL alerts         {critical} sent, {critical_held} suppressed by the cooldown"
        )?;
        writeln!(
            f,
            "    outside incidents     {critical_false}, {:.1} a day",
            per_day(critical_false)
        )?;
        writeln!(
            f,
            "  WARNING alerts          {warning} sent, {warning_held} suppressed by the cooldown"
        )?;
        writeln!(
            f,
            "    outside incidents     {warning_false}, {:.1} a day",
            per_day(warning_false)
        )?;
        writeln!(
            f,
            "  Found: an alert for one of the first {FOUND_WITHIN_MINUTES} minutes; 0 min is the first. Outside: in no incident, nor within {ECHO_MINUTES} minutes after one."
        )?;
        write!(
            f,
            "  In short: CRITICAL alerts called someone {critical} times in {:.1} days, {critical_false} of them for nothing; of {warning} WARNINGs, which only \
             reach the log, {warning_false} were.",
            self.days
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minutes: i64) -> Minute {
        Minute::from_epoch_minutes(minutes)
    }

    fn incident(start: i64, end: i64) -> Incident {
        Incident {
            start: minute(start),
            end: minute(end),
            kind: "decline_surge".into(),
        }
    }

    fn alert(at: i64, severity: Severity, dispatched: bool) -> Scored {
        Scored {
            minute: minute(at),
            severity,
            dispatched,
        }
    }

    #[test]
    fn an_incident_is_found_by_an_alert_that_went_out_in_its_first_eight_minutes() {
        let incidents = [incident(100, 130), incident(300, 330), incident(500, 530)];
        let alerts = [
            alert(99, Severity::Critical, true),
            alert(107, Severity::Warning, true),
            alert(308, Severity::Critical, true),
            alert(501, Severity::Critical, false),
        ];
        let card = score(&alerts, &incidents, 1440);
        assert_eq!(card.delays, [Some(7), None, None]);
        assert_eq!(
            card.critical_delays,
            [None, None, None],
            "a WARNING calls nobody"
        );
    }

    #[test]
    fn an_alert_is_outside_before_an_incident_and_an_hour_after_its_end() {
        let alerts: Vec<_> = [99, 100, 129, 189, 190]
            .map(|at| alert(at, Severity::Critical, true))
            .to_vec();
        assert_eq!(score(&alerts, &[incident(100, 130)], 1440).outside, [2, 0]);
    }

    #[test]
    fn the_card_counts_what_was_held_back_and_what_a_day_brings() {
        let alerts = [
            alert(1, Severity::Warning, true),
            alert(2, Severity::Warning, false),
        ];
        let card = score(&alerts, &[incident(1, 9)], 4320);
        assert_eq!((card.alerts, card.outside), ([(0, 0), (1, 1)], [0, 0]));
        let text = card.to_string();
        assert!(
            text.contains("1 of 1, 0 min after their start (median), 0 min at worst"),
            "{text}"
        );
        assert!(text.contains("1 sent, 1 suppressed"), "{text}");
    }

    #[test]
    fn nothing_found_is_said_plainly() {
        assert!(
            score(&[], &[incident(1, 9)], 10)
                .to_string()
                .contains("0 of 1\n")
        );
    }
}
