//! Which other streams had the same trouble at the time of an incident. Pure.

use super::{incident::IncidentMessage, incident_text::signature, subject::MAX_NAMED};

/// Incidents with the same trouble that opened within this time opened together, milliseconds.
pub(crate) const TOGETHER_MS: i64 = 2 * 60_000;

/// Names the other streams with the same statuses and directions that opened together with an incident of one stream, or were open at a
/// time when it was.
pub(crate) fn name_others<'a>(
    message: &mut IncidentMessage,
    incidents: impl IntoIterator<Item = &'a IncidentMessage>,
) {
    let others = incidents
        .into_iter()
        .filter(|other| is_alike(message, other));
    let mut names: Vec<_> = others.filter_map(|other| other.stream.clone()).collect();
    names.sort_unstable();
    names.dedup();
    message.stream_count = u32::try_from(names.len() + 1).unwrap_or(u32::MAX);
    names.truncate(MAX_NAMED);
    message.streams = names;
}

fn is_alike(message: &IncidentMessage, other: &IncidentMessage) -> bool {
    other.stream.is_some()
        && other.stream != message.stream
        && signature(other.kind, &other.statuses) == signature(message.kind, &message.statuses)
        && (opened_together(message, other) || overlap(message, other))
}

fn opened_together(one: &IncidentMessage, other: &IncidentMessage) -> bool {
    (one.opened_at.0 - other.opened_at.0).abs() <= TOGETHER_MS
}

fn overlap(one: &IncidentMessage, other: &IncidentMessage) -> bool {
    let end_ms = |message: &IncidentMessage| message.ended_at.map_or(i64::MAX, |ended| ended.0);
    one.opened_at.0 < end_ms(other) && other.opened_at.0 < end_ms(one)
}

#[cfg(test)]
mod tests {
    use detection::Direction;

    use super::*;
    use crate::{
        alerts::{incident::IncidentKind, json::At},
        notify::incident_examples::{group, opened},
    };

    /// The incident of a stream, from and to these minutes after that of `acquirer-7`.
    fn other(stream: &str, from: i64, to: Option<i64>) -> IncidentMessage {
        let opened = opened();
        let at = |minutes: i64| At(opened.opened_at.0 + minutes * 60_000);
        IncidentMessage {
            stream: Some(stream.to_owned()),
            opened_at: at(from),
            ended_at: to.map(at),
            ..opened
        }
    }

    fn named(message: &IncidentMessage, others: &[IncidentMessage]) -> (Vec<String>, u32) {
        let mut message = message.clone();
        name_others(&mut message, others);
        (message.streams, message.stream_count)
    }

    #[test]
    fn others_opened_together_or_were_open() {
        let others = [
            other("together", -2, Some(-1)),
            other("over", -3, Some(-1)),
            other("open", -500, None),
            other("until", -500, Some(1)),
            other("open", 2, Some(9)),
            other("later", 30, None),
            other("acquirer-7", 0, None),
            group(),
        ];
        let (streams, count) = named(&opened(), &others);
        assert_eq!(streams, ["later", "open", "together", "until"]);
        assert_eq!(count, 5);
        let ended = other("acquirer-7", 0, Some(20));
        let (streams, _) = named(&ended, &others);
        assert_eq!(streams, ["open", "together", "until"]);
    }

    #[test]
    fn another_trouble_is_not_named() {
        let mut down = other("down", 0, None);
        down.statuses[0].direction = Direction::Down;
        let mut stale = other("stale", 0, None);
        stale.kind = IncidentKind::StaleStream;
        stale.statuses.clear();
        assert_eq!(named(&opened(), &[down, stale.clone()]), (Vec::new(), 1));
        let quiet = IncidentMessage {
            stream: Some("quiet".to_owned()),
            ..stale.clone()
        };
        assert_eq!(named(&quiet, &[stale]), (vec!["stale".to_owned()], 2));
    }

    #[test]
    fn at_most_twenty_are_named() {
        let others: Vec<_> = (10..40)
            .map(|number| other(&format!("s{number}"), 0, None))
            .collect();
        let (streams, count) = named(&opened(), &others);
        assert_eq!((streams.len(), count), (MAX_NAMED, 31));
    }
}
