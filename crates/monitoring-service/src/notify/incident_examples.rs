//! Messages of incidents for the tests of the formats.

use detection::{Direction, MonitoredStatus, PolicyName, Severity};
use uuid::Uuid;

use crate::alerts::{
    incident::{EndReason, IncidentEventKind, IncidentKind, IncidentMessage, StatusEvidence},
    json::At,
};

const OPENED_MS: i64 = 1_752_328_740_000;

/// The opening of an incident.
pub(crate) fn opened() -> IncidentMessage {
    IncidentMessage {
        id: Uuid::from_u128(0x0f8f_ad5b_d9cb_569f_a165_7086_7728_950e),
        event: IncidentEventKind::Opened,
        sequence: 1,
        kind: IncidentKind::Anomaly,
        severity: Severity::Critical,
        stream: Some("acquirer-7".to_owned()),
        policy: Some(PolicyName::Adaptive),
        title: "acquirer-7: denied up".to_owned(),
        message: "30 of 106 payments were denied at 13:59, 6.0 were expected.".to_owned(),
        opened_at: At(OPENED_MS),
        ended_at: None,
        end_reason: None,
        recorded_at: At(OPENED_MS + 65_250),
        statuses: vec![StatusEvidence {
            status: MonitoredStatus::Denied,
            direction: Direction::Up,
            severity: Severity::Critical,
            minute: At(OPENED_MS),
            count: 30,
            expected: Some(6.0),
            share: Some(0.283),
            sentence: "denied = 30 is above its usual 2 to 11".to_owned(),
        }],
        missing_approvals: Some(1240),
        excess_problems: Some(310),
        streams: Vec::new(),
        stream_count: 1,
        acknowledged_by: None,
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
        span_id: Some("00f067aa0ba902b7".to_owned()),
    }
}

/// Its escalation.
pub(crate) fn escalated() -> IncidentMessage {
    IncidentMessage {
        event: IncidentEventKind::Escalated,
        sequence: 2,
        message: "Nobody acknowledged it within 30 minutes.".to_owned(),
        recorded_at: At(OPENED_MS + 1_800_000),
        ..opened()
    }
}

/// Its end.
pub(crate) fn resolved() -> IncidentMessage {
    IncidentMessage {
        event: IncidentEventKind::Resolved,
        sequence: 3,
        message: "The counts are usual again since 14:45.".to_owned(),
        ended_at: Some(At(OPENED_MS + 2_760_000)),
        end_reason: Some(EndReason::Recovered),
        recorded_at: At(OPENED_MS + 2_765_000),
        ..opened()
    }
}

/// The opening of a group.
pub(crate) fn group() -> IncidentMessage {
    IncidentMessage {
        kind: IncidentKind::Group,
        stream: None,
        title: "57 of 60 streams: denied up".to_owned(),
        streams: vec!["acquirer-1".to_owned(), "acquirer-2".to_owned()],
        stream_count: 57,
        ..opened()
    }
}
