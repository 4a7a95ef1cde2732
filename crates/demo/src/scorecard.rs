//! Compares the stored alerts with the labelled incidents. Pure: it reads no database and no file.

use std::fmt;

use detection::{
    Minute, PolicyName, Severity, Stream,
    backtest::{AFTERMATH_MINUTES, LabelledIncident},
};

/// An incident counts as found in time if an alert goes out for one of this many first minutes.
const FOUND_WITHIN_MINUTES: i64 = 8;

/// The fields of an alert that the score needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scored {
    /// The policy that raised it.
    pub policy: PolicyName,
    /// Stream of the alert.
    pub stream: Stream,
    /// Minute of the alert.
    pub minute: Minute,
    /// Its severity.
    pub severity: Severity,
    /// True if neither a silence nor the cooldown suppressed it: it was sent, or would be if its policy alerted.
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
    /// Dispatched alerts outside of incidents and the hour after them, CRITICAL then WARNING.
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
pub(crate) fn score(alerts: &[Scored], labels: &[LabelledIncident], minutes: i64) -> Scorecard {
    let (incidents, harmless): (Vec<_>, Vec<_>) = labels.iter().partition(|label| label.alert);
    let (sent, suppressed): (Vec<_>, Vec<_>) = alerts.iter().partition(|alert| alert.dispatched);
    let critical = keep(&sent, |alert| alert.severity == Severity::Critical);
    let outside = keep(&sent, |alert| !is_in(alert, &incidents, AFTERMATH_MINUTES));
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

fn is_in(alert: &Scored, labels: &[&LabelledIncident], after: i64) -> bool {
    let (stream, minute) = (&alert.stream, alert.minute);
    labels
        .iter()
        .any(|label| label.covers(stream, minute, after))
}

/// How many minutes after its start an alert for this minute of the stream finds the incident; none if not in time.
pub(crate) fn delay(incident: &LabelledIncident, stream: &Stream, minute: Minute) -> Option<i64> {
    let delay = minute.since(incident.start);
    (incident.is_of(stream) && (0..FOUND_WITHIN_MINUTES).contains(&delay)).then_some(delay)
}

/// The same for an alert that finds it only later, while it lasts.
fn late(incident: &LabelledIncident, stream: &Stream, minute: Minute) -> Option<i64> {
    let late = incident.covers(stream, minute, 0) && delay(incident, stream, minute).is_none();
    late.then(|| minute.since(incident.start))
}

/// The shortest delay of any alert for each incident.
fn first(
    incidents: &[&LabelledIncident],
    alerts: &[&Scored],
    delay: fn(&LabelledIncident, &Stream, Minute) -> Option<i64>,
) -> Vec<Option<i64>> {
    let first = |incident: &&LabelledIncident| {
        let delays = alerts
            .iter()
            .filter_map(|alert| delay(incident, &alert.stream, alert.minute));
        delays.min()
    };
    incidents.iter().map(first).collect()
}

/// The scorecards of several policies on the same data, side by side.
#[derive(Debug)]
pub(crate) struct SideBySide<'a>(pub &'a [(PolicyName, Scorecard)]);

/// `14 of 14`
fn found(delays: &[Option<i64>]) -> String {
    format!("{} of {}", delays.iter().flatten().count(), delays.len())
}

/// `0, 7 min`: median and worst; a dash if nothing was found.
fn median_and_worst(delays: &[Option<i64>]) -> String {
    let mut found: Vec<_> = delays.iter().flatten().collect();
    found.sort_unstable();
    match (found.get(found.len() / 2), found.last()) {
        (Some(median), Some(worst)) => format!("{median}, {worst} min"),
        _ => "-".to_owned(),
    }
}

impl Scorecard {
    /// Incidents that were only found after the first minutes.
    fn found_late(&self) -> usize {
        let late = self.late.iter().zip(&self.delays);
        late.filter(|(late, delay)| late.is_some() && delay.is_none())
            .count()
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of alerts is exact in a double"
    )]
    fn false_alerts(&self, severity: usize) -> String {
        let count = self.outside[severity];
        format!("{count}, {:.1} a day", count as f64 / self.days)
    }

    fn sent(&self, severity: usize) -> String {
        let (sent, suppressed) = self.alerts[severity];
        format!("{sent} (and {suppressed} in cooldown)")
    }

    fn in_harmless(&self) -> String {
        let [critical, warning] = self.harmless.unwrap_or_default();
        format!("{critical} CRITICAL, {warning} WARNING")
    }
}

impl fmt::Display for SideBySide<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |label: &str, cell: &dyn Fn(&Scorecard) -> String| {
            let cells = self.0.iter().map(|(_, card)| format!("{:<29}", cell(card)));
            let line = format!("  {label:<27}{}", cells.collect::<String>());
            writeln!(f, "{}", line.trim_end())
        };
        row("incidents found", &|card| found(&card.delays))?;
        row("  median, worst delay", &|card| {
            median_and_worst(&card.delays)
        })?;
        row("  by CRITICAL alone", &|card| found(&card.critical_delays))?;
        row("  later in the incident", &|card| {
            format!("{} more", card.found_late())
        })?;
        row("CRITICAL alerts", &|card| card.sent(0))?;
        row("  outside incidents", &|card| card.false_alerts(0))?;
        row("WARNING alerts", &|card| card.sent(1))?;
        row("  outside incidents", &|card| card.false_alerts(1))?;
        if self.0.iter().any(|(_, card)| card.harmless.is_some()) {
            row("  of these, harmless events", &Scorecard::in_harmless)?;
        }
        write!(
            f,
            "  Found: an alert for one of the first {FOUND_WITHIN_MINUTES} minutes; delay 0 is the first. Outside: in no incident, nor within {AFTERMATH_MINUTES} minutes after one."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minutes: i64) -> Minute {
        Minute::from_epoch_minutes(minutes)
    }

    fn incident(start: i64, end: i64) -> LabelledIncident {
        LabelledIncident {
            start: minute(start),
            end: minute(end),
            kind: "decline_surge".into(),
            stream: None,
            alert: true,
        }
    }

    fn alert(at: i64, severity: Severity, dispatched: bool) -> Scored {
        Scored {
            policy: PolicyName::ZScore,
            stream: Stream::default(),
            minute: minute(at),
            severity,
            dispatched,
        }
    }

    fn text(card: Scorecard) -> String {
        SideBySide(&[(PolicyName::ZScore, card)]).to_string()
    }

    #[test]
    fn two_policies_stand_side_by_side() {
        let alerts = [alert(1, Severity::Critical, true)];
        let cards = [
            (PolicyName::ZScore, score(&alerts, &[incident(1, 9)], 1440)),
            (PolicyName::Adaptive, score(&[], &[incident(1, 9)], 1440)),
        ];
        let text = SideBySide(&cards).to_string();
        let found = text.lines().next().expect("a line");
        let words: Vec<_> = found.split_whitespace().collect();
        assert_eq!(
            words,
            ["incidents", "found", "1", "of", "1", "0", "of", "1"]
        );
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
        let text = text(card);
        assert!(text.contains("incidents found            1 of 1"), "{text}");
        assert!(text.contains("0, 0 min"), "{text}");
        assert!(text.contains("1 (and 1 in cooldown)"), "{text}");
    }

    #[test]
    fn nothing_found_is_zero_of_one() {
        let text = text(score(&[], &[incident(1, 9)], 10));
        assert!(text.contains("incidents found            0 of 1"), "{text}");
    }

    #[test]
    fn an_alert_after_eight_minutes_is_late() {
        let alerts = [308, 320, 330].map(|at| alert(at, Severity::Warning, true));
        let card = score(&alerts, &[incident(300, 330), incident(400, 430)], 1440);
        assert_eq!(
            (card.delays.as_slice(), card.late.as_slice()),
            (&[None, None][..], &[Some(8), None][..])
        );
        let text = text(card);
        assert!(text.contains("later in the incident    1 more"), "{text}");
    }

    #[test]
    fn alerts_of_another_stream_find_nothing() {
        let of = |stream: &str| LabelledIncident {
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
        let sale = LabelledIncident {
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
