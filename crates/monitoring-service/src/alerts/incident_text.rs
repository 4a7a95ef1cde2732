//! Titles and messages of incidents, for people. Decides nothing.

use detection::{
    Direction, Incident, Resolution,
    incident::{SWALLOWED_MINUTES, about_count},
};

use super::incident::{EndReason, IncidentKind, IncidentMessage, StatusEvidence};

/// Sentences about statuses in one message.
const MAX_SENTENCES: usize = 3;

/// The kind of trouble, without the stream: `denied up, failed up`.
pub(crate) fn trouble(kind: IncidentKind, statuses: &[StatusEvidence]) -> String {
    match kind {
        IncidentKind::StaleStream => "no new minutes".to_owned(),
        IncidentKind::IngestDown => "counts are not read".to_owned(),
        IncidentKind::IngestRejecting => "most messages are dead letters".to_owned(),
        IncidentKind::Anomaly | IncidentKind::Group if statuses.is_empty() => {
            "no new minutes".to_owned()
        }
        IncidentKind::Anomaly | IncidentKind::Group => {
            let parts = statuses
                .iter()
                .map(|status| format!("{} {}", status.status, status.direction));
            parts.collect::<Vec<_>>().join(", ")
        }
    }
}

/// An open incident of counts: its newest findings, since when, and what was lost so far.
pub(crate) fn so_far(incident: &Incident) -> String {
    let findings = incident.statuses.iter().take(MAX_SENTENCES);
    let mut sentences: Vec<_> = findings.map(|joined| ended(&joined.sentence)).collect();
    if incident.age_minutes() > 0 {
        let since = incident.opened.start().strftime("%H:%M UTC");
        sentences.push(format!("Since {since}."));
    }
    if let Some(loss) = loss(incident.missing_approvals(), incident.excess_problems()) {
        sentences.push(format!("{loss} so far."));
    }
    sentences.extend(swallowed(incident));
    sentences.join(" ")
}

/// The end of an incident of counts.
pub(crate) fn resolved(incident: &Incident, resolution: &Resolution) -> String {
    let mut sentences = vec![match resolution {
        Resolution::Calm => format!("Usual again after {}.", length(incident.age_minutes())),
        Resolution::NewLevel(reason) => capitalized(reason),
    }];
    if let Some(loss) = loss(incident.missing_approvals(), incident.excess_problems()) {
        sentences.push(format!("{loss} in all."));
    }
    sentences.extend(swallowed(incident));
    sentences.join(" ")
}

/// The policy `zscore` forgets what usual was: after six hours its window has only minutes of the incident.
fn swallowed(incident: &Incident) -> Option<String> {
    let swallowed = incident.policy == detection::PolicyName::ZScore
        && incident.age_minutes() > SWALLOWED_MINUTES;
    swallowed.then(|| {
        "It is older than 6 h: the window of zscore has only its minutes, so its counts pass for usual."
            .to_owned()
    })
}

/// What was lost, in words; none where nothing is worth a sentence.
pub(crate) fn loss(missing: Option<u64>, excess: Option<u64>) -> Option<String> {
    let missing = missing
        .filter(|missing| *missing > 0)
        .map(|missing| format!("{} approvals fewer", about_count(missing)));
    let excess = excess
        .filter(|excess| *excess > 0)
        .map(|excess| format!("{} problem payments more", about_count(excess)));
    let parts: Vec<_> = missing.into_iter().chain(excess).collect();
    (!parts.is_empty()).then(|| capitalized(&format!("{} than expected", parts.join(" and "))))
}

/// A group: how many streams of all, and what.
pub(crate) fn group_title(members: usize, streams: usize, trouble: &str) -> String {
    format!("{members} of {} streams: {trouble}", streams.max(members))
}

/// An open group.
pub(crate) fn group_so_far(group: &IncidentMessage) -> String {
    let named = group.streams.join(", ");
    let more = (group.stream_count as usize).saturating_sub(group.streams.len());
    let named = match more {
        0 => named,
        more => format!("{named} and {more} more"),
    };
    let mut sentences = vec![format!("{}. Streams: {named}.", group.title)];
    if let Some(loss) = loss(group.missing_approvals, group.excess_problems) {
        sentences.push(format!("{loss} so far."));
    }
    sentences.join(" ")
}

/// The end of an incident that no fold ends: a stale stream, ingest down, a group, or one that a person resolved.
pub(crate) fn over(message: &IncidentMessage, by: Option<&str>) -> String {
    let length = message
        .ended_at
        .map_or(0, |ended| (ended.0 - message.opened_at.0) / 60_000);
    let length = self::length(length);
    let mut text = match (message.end_reason, message.kind) {
        (Some(EndReason::ByHand), _) => match by {
            Some(by) => format!("Resolved by {by} after {length}."),
            None => format!("Resolved by a person after {length}."),
        },
        (Some(EndReason::Retired), IncidentKind::Group) => {
            format!("After {length} its last open stream was retired.")
        }
        (Some(EndReason::NewLevel), IncidentKind::Group) => format!(
            "After {length} the last of its {} streams takes its new level as usual.",
            message.stream_count
        ),
        (Some(EndReason::Retired), _) => format!("The stream was retired after {length}."),
        (Some(EndReason::PolicyOff), _) => {
            format!("After {length} its policy no longer alerts (DETECTION_POLICY).")
        }
        (_, IncidentKind::StaleStream) => format!("New minutes arrive again after {length}."),
        (_, IncidentKind::IngestDown) => format!("Kafka is read again after {length}."),
        (_, IncidentKind::IngestRejecting) => {
            format!("Most messages can be used again after {length}.")
        }
        _ => format!(
            "All {} streams are over it after {length}.",
            message.stream_count
        ),
    };
    if let Some(loss) = loss(message.missing_approvals, message.excess_problems) {
        text = format!("{text} {loss} in all.");
    }
    text
}

/// A length for people: `25 min`, `3 h 20 min`.
pub(crate) fn length(minutes: i64) -> String {
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

/// `up` and `down` are what a receiver groups by.
pub(crate) fn signature(kind: IncidentKind, statuses: &[StatusEvidence]) -> String {
    let mut parts: Vec<(&str, Direction)> = statuses
        .iter()
        .map(|status| (status.status.name(), status.direction))
        .collect();
    parts.sort_unstable();
    let parts = parts
        .iter()
        .map(|(status, direction)| format!("{status} {direction}"));
    let kind: &str = kind.into();
    format!("{kind}: {}", parts.collect::<Vec<_>>().join(", "))
}

fn ended(sentence: &str) -> String {
    if sentence.ends_with('.') {
        sentence.to_owned()
    } else {
        format!("{sentence}.")
    }
}

/// The text with a first capital letter.
pub(crate) fn capitalized(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + rest.as_str()
}
