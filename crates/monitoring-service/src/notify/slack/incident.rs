//! What Slack shows of an incident: the same layout from its opening to its end, with the colour of the event.

use detection::Severity;

use super::Layout;
use crate::alerts::incident::{IncidentEventKind, IncidentMessage, StatusEvidence};

/// Statuses that are shown; Slack accepts at most ten fields.
const MAX_STATUSES: usize = 5;

pub(super) fn layout(message: &IncidentMessage) -> Layout {
    let (label, colour) = match (message.event, message.severity) {
        (IncidentEventKind::Opened, Severity::Critical) => ("CRITICAL", RED),
        (IncidentEventKind::Opened, _) => ("WARNING", YELLOW),
        (IncidentEventKind::Escalated, Severity::Critical) => ("ESCALATED", RED),
        (IncidentEventKind::Escalated, _) => ("ESCALATED", YELLOW),
        (IncidentEventKind::Acknowledged, _) => ("ACKNOWLEDGED", BLUE),
        (IncidentEventKind::Resolved, _) => ("RESOLVED", GREEN),
    };
    Layout {
        header: format!("{label}: {}", message.title),
        sentence: message.message.clone(),
        fields: fields(message),
        context: vec![format!(
            "incident {}, message {}",
            message.id, message.sequence
        )],
        colour: Some(colour),
    }
}

const RED: &str = "#d40e0d";
const YELLOW: &str = "#ecb22e";
const BLUE: &str = "#1264a3";
const GREEN: &str = "#2eb67d";

fn fields(message: &IncidentMessage) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    if let Some(stream) = &message.stream {
        fields.push(("Stream", stream.clone()));
    }
    if !message.streams.is_empty() {
        let name = match message.stream {
            Some(_) => "Same trouble",
            None => "Streams",
        };
        fields.push((name, message.streams.join(", ")));
    }
    fields.push(("Since", message.opened_at.to_string()));
    if let Some(ended_at) = message.ended_at {
        fields.push(("Ended", ended_at.to_string()));
    }
    for evidence in message.statuses.iter().take(MAX_STATUSES) {
        fields.push((evidence.status.name(), figures(evidence)));
    }
    fields.extend(loss(message).map(|loss| ("Estimated loss", loss)));
    if let Some(by) = &message.acknowledged_by {
        fields.push(("Acknowledged by", by.clone()));
    }
    fields
}

/// `30 (expected 6.0; 28.3 % of payments)`.
fn figures(evidence: &StatusEvidence) -> String {
    let expected = evidence
        .expected
        .map(|expected| format!("expected {expected:.1}"));
    let share = evidence
        .share
        .map(|share| format!("{:.1} % of payments", share * 100.0));
    let beside: Vec<_> = expected.into_iter().chain(share).collect();
    if beside.is_empty() {
        evidence.count.to_string()
    } else {
        format!("{} ({})", evidence.count, beside.join("; "))
    }
}

fn loss(message: &IncidentMessage) -> Option<String> {
    let missing = message
        .missing_approvals
        .map(|count| format!("{count} approvals fewer than expected"));
    let excess = message
        .excess_problems
        .map(|count| format!("{count} problems more than expected"));
    let parts: Vec<_> = missing.into_iter().chain(excess).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
