//! Compares the stored alerts with the labelled incidents. Pure: it reads no database and no file.

use std::fmt;

use detection::{Minute, Severity};
use transaction_csv::labels::Incident;

/// An incident counts as found in time if an alert goes out for one of this many first minutes.
const FOUND_WITHIN_MINUTES: i64 = 8;

/// An alert within this many minutes after an incident may be its echo and does not count as false.
const ECHO_MINUTES: i64 = 60;

/// The fields of an alert that the score needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scored {
    /// Stream of the alert.
    pub stream: String,
    /// Minute of the alert.
    pub minute: Minute,
    /// Its severity.
    pub severity: Severity,
    /// True if it was not suppressed.
    pub dispatched: bool,
}

/// How well the alerts match the labelled incidents.
#[derive(Clone, Debug, PartialEq)]
pub struct Scorecard {
    /// Minutes from the start of each incident to its first alert; `None` without an alert in time.
    pub delays: Vec<Option<i64>>,
    /// The same for CRITICAL alerts only.
    pub critical_delays: Vec<Option<i64>>,
    /// Minutes from the start of each incident to its first alert after that time and before its end.
    pub late: Vec<Option<i64>>,
    /// Dispatched and suppressed alerts, CRITICAL then WARNING.
    pub alerts: [(usize, usize); 2],
    /// Dispatched alerts outside of incidents and their echo, CRITICAL then WARNING.
    pub outside: [usize; 2],
    /// How many of these are in a harmless event; `None` if no such event is labelled.
    pub harmless: Option<[usize; 2]>,
    /// Length of the data in days.
    pub days: f64,
}

/// Scores the alerts of `minutes` minutes of data.
#[expect(
    clippy::cast_precision_loss,
    reason = "a count of minutes is exact in a double"
)]
pub fn score(alerts: &[Scored], labels: &[Incident], minutes: i64) -> Scorecard {
    let (incidents, harmless): (Vec<_>, Vec<_>) = labels.iter().partition(|label| label.alert);
    let (sent, suppressed): (Vec<_>, Vec<_>) = alerts.iter().partition(|alert| alert.dispatched);
    let critical = keep(&sent, |alert| alert.severity == Severity::Critical);
    let outside = keep(&sent, |alert| !is_in(alert, &incidents, ECHO_MINUTES));
    let in_harmless = keep(&outside, |alert| is_in(alert, &harmless, 0));
    let ([critical_sent, warning_sent], [critical_suppressed, warning_suppressed]) =
        (count(&sent), count(&suppressed));
    Scorecard {
        delays: first(&incidents, &sent, delay),
        critical_delays: first(&incidents, &critical, delay),
        late: first(&incidents, &sent, late),
        alerts: [
            (critical_sent, critical_suppressed),
            (warning_sent, warning_suppressed),
        ],
        outside: count(&outside),
        harmless: (!harmless.is_empty()).then(|| count(&in_harmless)),
        days: minutes as f64 / 1440.0,
    }
}

fn keep<'a>(alerts: &[&'a Scored], wanted: impl Fn(&Scored) -> bool) -> Vec<&'a Scored> {
    alerts
        .iter()
        .copied()
        .filter(|alert| wanted(alert))
        .collect()
}

/// CRITICAL, then WARNING.
fn count(alerts: &[&Scored]) -> [usize; 2] {
    [Severity::Critical, Severity::Warning]
        .map(|severity| keep(alerts, |alert| alert.severity == severity).len())
}

fn is_in(alert: &Scored, labels: &[&Incident], echo: i64) -> bool {
    let (stream, minute) = (&alert.stream, alert.minute);
    labels
        .iter()
        .any(|label| label.covers(stream, minute, echo))
}

/// How many minutes after its start an alert for this minute of the stream finds the incident; none if not in time.
pub(crate) fn delay(incident: &Incident, stream: &str, minute: Minute) -> Option<i64> {
    let delay = minute.since(incident.start);
    (incident.is_of(stream) && (0..FOUND_WITHIN_MINUTES).contains(&delay)).then_some(delay)
}

/// The same for an alert that finds it only later, while it lasts.
fn late(incident: &Incident, stream: &str, minute: Minute) -> Option<i64> {
    let late = incident.covers(stream, minute, 0) && delay(incident, stream, minute).is_none();
    late.then(|| minute.since(incident.start))
}

/// The shortest delay of any alert for each incident.
fn first(
    incidents: &[&Incident],
    alerts: &[&Scored],
    delay: fn(&Incident, &str, Minute) -> Option<i64>,
) -> Vec<Option<i64>> {
    let first = |incident: &&Incident| {
        let delays = alerts
            .iter()
            .filter_map(|alert| delay(incident, &alert.stream, alert.minute));
        delays.min()
    };
    incidents.iter().map(first).collect()
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
        let [
            (critical, critical_suppressed),
            (warning, warning_suppressed),
        ] = self.alerts;
        let [critical_false, warning_false] = self.outside;
        let per_day = |count: usize| count as f64 / self.days;
        writeln!(f, "  incidents found         {}", found(&self.delays))?;
        writeln!(
            f,
            "    by CRITICAL alone     {}",
            found(&self.critical_delays)
        )?;
        let late = self.late.iter().zip(&self.delays);
        let late = late
            .filter(|(late, delay)| late.is_some() && delay.is_none())
            .count();
        if late > 0 {
            writeln!(f, "    later in the incident {late} more")?;
        }
        writeln!(
            f,
            "  CRITICAL alerts         {critical} sent, {critical_suppressed} suppressed by the cooldown"
        )?;
        writeln!(
            f,
            "    outside incidents     {critical_false}, {:.1} a day",
            per_day(critical_false)
        )?;
        writeln!(
            f,
            "  WARNING alerts          {warning} sent, {warning_suppressed} suppressed by the cooldown"
        )?;
        writeln!(
            f,
            "    outside incidents     {warning_false}, {:.1} a day",
            per_day(warning_false)
        )?;
        if let Some([critical, warning]) = self.harmless {
            writeln!(
                f,
                "  In harmless events      {critical} CRITICAL and {warning} WARNING of those outside incidents"
            )?;
        }
        writeln!(
            f,
            "  Found: an alert for one of the first {FOUND_WITHIN_MINUTES} minutes; 0 min is the first. Outside: in no incident, nor within {ECHO_MINUTES} minutes after one."
        )?;
        write!(
            f,
            "  In short: {critical} CRITICAL alerts were notified in {:.1} days, {critical_false} of them false; {warning} WARNINGs were logged, {warning_false} \
             of them false.",
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
            stream: None,
            alert: true,
        }
    }

    fn alert(at: i64, severity: Severity, dispatched: bool) -> Scored {
        Scored {
            stream: "default".into(),
            minute: minute(at),
            severity,
            dispatched,
        }
    }

    #[test]
    fn incidents_are_found_in_eight_minutes() {
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
            "a WARNING is not a CRITICAL alert"
        );
    }

    #[test]
    fn alerts_within_an_hour_of_an_incident_are_not_false() {
        let alerts: Vec<_> = [99, 100, 129, 189, 190]
            .map(|at| alert(at, Severity::Critical, true))
            .to_vec();
        assert_eq!(score(&alerts, &[incident(100, 130)], 1440).outside, [2, 0]);
    }

    #[test]
    fn the_scorecard_counts_suppressed_alerts() {
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
    fn nothing_found_is_zero_of_one() {
        assert!(
            score(&[], &[incident(1, 9)], 10)
                .to_string()
                .contains("0 of 1\n")
        );
    }

    #[test]
    fn an_alert_after_eight_minutes_is_late() {
        let alerts = [308, 320, 330].map(|at| alert(at, Severity::Warning, true));
        let card = score(&alerts, &[incident(300, 330), incident(400, 430)], 1440);
        assert_eq!(
            (card.delays.as_slice(), card.late.as_slice()),
            (&[None, None][..], &[Some(8), None][..])
        );
        assert!(card.to_string().contains("later in the incident 1 more\n"));
    }

    #[test]
    fn alerts_of_another_stream_find_nothing() {
        let of = |stream: &str| Incident {
            stream: Some(stream.parse().unwrap()),
            ..incident(100, 130)
        };
        let alerts = [alert(101, Severity::Critical, true)];
        let card = score(&alerts, &[of("default"), of("other")], 1440);
        assert_eq!((card.delays, card.outside), (vec![Some(1), None], [0, 0]));
        assert_eq!(score(&alerts, &[of("other")], 1440).outside, [1, 0]);
    }

    #[test]
    fn an_alert_in_a_harmless_event_is_false() {
        let sale = Incident {
            alert: false,
            ..incident(100, 200)
        };
        let alerts = [90, 100, 199, 200].map(|at| alert(at, Severity::Critical, true));
        let card = score(&alerts, &[sale], 1440);
        assert_eq!(
            (card.delays.len(), card.outside, card.harmless),
            (0, [4, 0], Some([2, 0]))
        );
        assert_eq!(score(&alerts, &[], 1440).harmless, None);
    }
}
