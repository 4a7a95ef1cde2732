//! What is wrong with the minutes that producers send, in words, for health and the log. Pure.

use detection::MonitoredStatus;

use crate::store::StreamInput;

/// A note about minutes that came too late to be judged lasts this long, milliseconds.
const UNJUDGED_NOTE_MS: i64 = 24 * 3_600_000;

/// A fault of a stream's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum InputFault {
    /// Its minutes come whole hours behind the clock, so it is never live.
    HoursOff,
    /// It sends names that are not judged, and never named a problem status.
    NamesNotJudged,
    /// Minutes came too late to be judged.
    NotJudged,
}

impl InputFault {
    /// True if nobody is notified about the stream because of it.
    pub(crate) const fn degrades(self) -> bool {
        matches!(self, Self::HoursOff)
    }
}

/// The faults of a stream's input, each with its text.
pub(crate) fn faults(input: &StreamInput, now_ms: i64) -> Vec<(InputFault, String)> {
    let stream = &input.stream;
    let mut faults = Vec::new();
    if let Some(hours) = input.hours_off {
        let text = format!(
            "{stream}: its minutes come {hours} whole hours behind the clock, so it is never live and its alerts are too old; send timestamps with their zone, or in UTC"
        );
        faults.push((InputFault::HoursOff, text));
    }
    let never_sent = input
        .never_sent
        .iter()
        .filter(|status| status.is_problem())
        .map(|status| status.name());
    let never_sent: Vec<_> = never_sent.collect();
    if !input.other_statuses.is_empty() && !never_sent.is_empty() {
        let text = format!(
            "{stream}: {} are not judged, and {} never came; send the names {}",
            input.other_statuses.join(", "),
            never_sent.join(", "),
            MonitoredStatus::ALL.map(MonitoredStatus::name).join(", ")
        );
        faults.push((InputFault::NamesNotJudged, text));
    }
    let recent = input
        .unjudged_at_ms
        .is_some_and(|at_ms| now_ms - at_ms < UNJUDGED_NOTE_MS);
    if recent {
        let text = format!(
            "{stream}: {} minutes came too late to be judged; they are stored (ALLOWED_LATENESS)",
            input.unjudged_minutes
        );
        faults.push((InputFault::NotJudged, text));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input() -> StreamInput {
        StreamInput {
            stream: "acme".to_owned(),
            hours_off: None,
            never_sent: Vec::new(),
            other_statuses: Vec::new(),
            unjudged_minutes: 0,
            unjudged_at_ms: None,
        }
    }

    fn found(input: &StreamInput) -> Vec<InputFault> {
        let faults = faults(input, UNJUDGED_NOTE_MS);
        faults.into_iter().map(|(fault, _)| fault).collect()
    }

    #[test]
    fn names_that_are_not_judged_are_a_fault_only_beside_missing_ones() {
        let others = vec!["declined".to_owned()];
        let (all, some) = (Vec::new(), vec![MonitoredStatus::Denied]);
        let approved = vec![MonitoredStatus::Approved];
        for (never_sent, other_statuses, expected) in [
            (all.clone(), others.clone(), 0),
            (some.clone(), Vec::new(), 0),
            (approved, others.clone(), 0),
            (some, others, 1),
        ] {
            let input = StreamInput {
                never_sent,
                other_statuses,
                ..input()
            };
            assert_eq!(found(&input).len(), expected, "{input:?}");
        }
    }

    #[test]
    fn a_note_of_unjudged_minutes_lasts_a_day() {
        let noted = |at_ms| {
            found(&StreamInput {
                unjudged_minutes: 261,
                unjudged_at_ms: Some(at_ms),
                ..input()
            })
        };
        assert_eq!(noted(1), [InputFault::NotJudged]);
        assert!(noted(0).is_empty());
    }
}
