//! The stored alerts held against the labelled incidents. Pure: numbers in, numbers and words out.

use std::{fmt, path::Path};

use anyhow::Context as _;
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

/// How the policy did.
#[derive(Clone, Debug, PartialEq)]
pub struct Scorecard {
    /// Minutes from the start of each incident to its first alert; none where none came in time.
    pub delays: Vec<Option<i64>>,
    /// Dispatched and suppressed alerts, CRITICAL then WARNING.
    pub alerts: [(usize, usize); 2],
    /// Dispatched alerts outside of incidents and their echo, CRITICAL then WARNING.
    pub outside: [usize; 2],
    /// Length of the data.
    pub days: f64,
}

/// Reads `start,end,kind`.
pub fn load_incidents(path: &Path) -> anyhow::Result<Vec<Incident>> {
    let context = || format!("cannot read the incidents from {} (--incidents)", path.display());
    let mut reader = csv::Reader::from_path(path).with_context(context)?;
    let mut incidents = Vec::new();
    for row in reader.deserialize() {
        let (start, end, kind): (String, String, String) = row.with_context(context)?;
        incidents.push(Incident {
            start: start.parse().with_context(context)?,
            end: end.parse().with_context(context)?,
            kind,
        });
    }
    Ok(incidents)
}

/// How many minutes after the start of the incident an alert for this minute finds it; none if it does not.
pub fn delay(incident: &Incident, minute: Minute) -> Option<i64> {
    let delay = minute.since(incident.start);
    (0..FOUND_WITHIN_MINUTES).contains(&delay).then_some(delay)
}

/// Scores the alerts of `minutes` minutes of data.
#[expect(clippy::cast_precision_loss, reason = "a count of minutes is exact in a double")]
pub fn score(alerts: &[Scored], incidents: &[Incident], minutes: u64) -> Scorecard {
    let dispatched = || alerts.iter().filter(|alert| alert.dispatched);
    let first = |incident| dispatched().filter_map(|alert| delay(incident, alert.minute)).min();
    let outside = |minute: Minute| {
        incidents.iter().all(|incident| minute < incident.start || minute >= incident.end.plus(ECHO_MINUTES))
    };
    let severities = [Severity::Critical, Severity::Warning];
    let count = |severity, sent| alerts.iter().filter(|a| a.severity == severity && a.dispatched == sent).count();
    Scorecard {
        delays: incidents.iter().map(first).collect(),
        alerts: severities.map(|severity| (count(severity, true), count(severity, false))),
        outside: severities
            .map(|severity| dispatched().filter(|a| a.severity == severity && outside(a.minute)).count()),
        days: minutes as f64 / 1440.0,
    }
}

impl fmt::Display for Scorecard {
    #[expect(clippy::cast_precision_loss, reason = "a count of alerts is exact in a double")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut delays: Vec<_> = self.delays.iter().flatten().collect();
        delays.sort_unstable();
        let (found, all) = (delays.len(), self.delays.len());
        let [(critical, critical_held), (warning, warning_held)] = self.alerts;
        let [critical_outside, warning_outside] = self.outside;
        let per_day = |count: usize| count as f64 / self.days;
        write!(f, "  incidents found      {found} of {all}")?;
        if let (Some(median), Some(worst)) = (delays.get(found.saturating_sub(1) / 2), delays.last()) {
            write!(f, ", {median} min after their start (median), {worst} min at worst")?;
        }
        writeln!(f)?;
        writeln!(f, "  CRITICAL alerts      {critical} sent, {critical_held} held back by the cooldown")?;
        writeln!(f, "  WARNING alerts       {warning} sent, {warning_held} held back by the cooldown")?;
        writeln!(
            f,
            "  outside incidents    {critical_outside} CRITICAL ({:.1} a day), {warning_outside} WARNING ({:.1} a day)",
            per_day(critical_outside),
            per_day(warning_outside)
        )?;
        write!(
            f,
            "  Found = alerted within {FOUND_WITHIN_MINUTES} minutes of the start. Outside = more than {ECHO_MINUTES} minutes after any incident: what would have\n  \
             called someone for nothing. A z-score over an hour is quick, and noisy where events are rare: that is its price."
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
        Incident { start: minute(start), end: minute(end), kind: "decline_surge".into() }
    }

    fn alert(at: i64, severity: Severity, dispatched: bool) -> Scored {
        Scored { minute: minute(at), severity, dispatched }
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
        assert_eq!(score(&alerts, &incidents, 1440).delays, [Some(7), None, None]);
    }

    #[test]
    fn an_alert_is_outside_before_an_incident_and_an_hour_after_its_end() {
        let alerts: Vec<_> = [99, 100, 129, 189, 190].map(|at| alert(at, Severity::Critical, true)).to_vec();
        assert_eq!(score(&alerts, &[incident(100, 130)], 1440).outside, [2, 0]);
    }

    #[test]
    fn the_card_counts_what_was_held_back_and_what_a_day_brings() {
        let alerts = [alert(1, Severity::Warning, true), alert(2, Severity::Warning, false)];
        let card = score(&alerts, &[incident(1, 9)], 4320);
        assert_eq!((card.alerts, card.outside), ([(0, 0), (1, 1)], [0, 0]));
        let text = card.to_string();
        assert!(text.contains("1 of 1, 0 min after their start (median), 0 min at worst"), "{text}");
        assert!(text.contains("1 sent, 1 held back"), "{text}");
    }

    #[test]
    fn nothing_found_is_said_plainly() {
        assert!(score(&[], &[incident(1, 9)], 10).to_string().contains("0 of 1\n"));
    }
}
