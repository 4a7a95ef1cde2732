//! Changes of incidents as they are recorded, and the reasons why an event is not notified. The store writes them.

use detection::{
    Incident, IncidentChange, IncidentStep, Minute, Resolution, Severity, Silence, Stream,
    incident::JoinedStatus, silence::matching,
};
use strum::{EnumString, IntoStaticStr};
use uuid::Uuid;

use super::{
    NotifyPolicy, Recipients,
    incident::{EndReason, IncidentEventKind, IncidentKind, IncidentMessage, StatusEvidence},
    incident_record::IncidentRecord,
    incident_text as text,
    json::At,
};

/// The reason why an event of an incident is not notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum EventSuppression {
    /// It waits for others, to be notified as a group (`GROUP_WAIT`).
    Waiting,
    /// Alerts are notified instead (`NOTIFY=alerts`).
    Alerts,
    /// No receiver is configured.
    NoReceiver,
    /// It is only a WARNING.
    BelowCritical,
    /// Its minutes were too old when it was recorded.
    TooOld,
    /// Silences cover all of it.
    Silence,
    /// Its group is notified.
    Group,
    /// The opening was not notified either.
    NotOpened,
}

impl EventSuppression {
    /// The texts of all reasons.
    pub(crate) const REASONS: [&str; 8] = [
        "waiting",
        "alerts",
        "no_receiver",
        "below_critical",
        "too_old",
        "silence",
        "group",
        "not_opened",
    ];

    /// The reason, as one of [`EventSuppression::REASONS`].
    pub(crate) fn reason(self) -> &'static str {
        self.into()
    }
}

/// An incident as it is now, and the events to record of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IncidentUpdate {
    /// The incident now.
    pub(crate) message: IncidentMessage,
    /// The fold's memory of it as JSON, and the newest minute in it.
    pub(crate) memory: Option<(String, Minute)>,
    /// The events, in order.
    pub(crate) events: Vec<NewEvent>,
}

/// An event to record. Its number is given when it is recorded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewEvent {
    /// The event. An escalation of an incident that nobody was notified of is recorded as its opening.
    pub(crate) message: IncidentMessage,
    /// Why it is not notified as the first event that people hear of.
    pub(crate) as_opening: Option<EventSuppression>,
    /// Why it is not notified to those who know of the incident.
    pub(crate) as_news: Option<EventSuppression>,
    /// Who is notified.
    pub(crate) recipients: Recipients,
    /// How long it waits as an opening, milliseconds.
    pub(crate) wait_ms: i64,
    /// True if it escalates for the reasons that count once.
    pub(crate) once: bool,
    /// The alert that caused it, whose trace it carries.
    pub(crate) alert: Option<Uuid>,
}

/// A recorded event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordedEvent {
    /// Its number in the database.
    pub(crate) seq: i64,
    /// The event.
    pub(crate) message: IncidentMessage,
    /// Why it is not notified; none if it is.
    pub(crate) suppressed: Option<EventSuppression>,
}

/// The surroundings of a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now<'a> {
    /// What is notified.
    pub(crate) policy: &'a NotifyPolicy,
    /// The active silences.
    pub(crate) silences: &'a [Silence],
    /// Milliseconds since 1970.
    pub(crate) ms: i64,
}

impl<'a> Now<'a> {
    /// Without silences, for what no silence covers: the monitor itself, and ends.
    pub(crate) const fn without_silences(policy: &'a NotifyPolicy, ms: i64) -> Self {
        Self {
            policy,
            silences: &[],
            ms,
        }
    }

    /// The end of an incident that no fold ends.
    pub(crate) fn ended(
        &self,
        incident: &IncidentRecord,
        reason: EndReason,
        by: Option<&str>,
    ) -> IncidentUpdate {
        self.update(end(&incident.message, reason, by, self.ms))
    }

    /// The event, with the decisions about its notification. `severity`: of the finding that opened it; `minute`: its minute.
    pub(crate) fn event(
        &self,
        message: IncidentMessage,
        severity: Severity,
        minute: Option<Minute>,
    ) -> NewEvent {
        let silenced = self.covers(&message).then_some(EventSuppression::Silence);
        let follows = matches!(
            message.event,
            IncidentEventKind::Resolved | IncidentEventKind::Acknowledged
        );
        let (as_opening, as_news) = if follows {
            (Some(EventSuppression::NotOpened), None)
        } else {
            let stream = message.stream.as_deref();
            let refused = self
                .policy
                .opening_suppression(severity, stream, minute, self.ms);
            let waits = self.policy.incidents.group_wait_ms > 0;
            let waiting = waits.then_some(EventSuppression::Waiting);
            (refused.or(silenced).or(waiting), silenced)
        };
        NewEvent {
            recipients: self.policy.event_recipients(
                message.severity,
                message.stream.as_deref(),
                message.event,
            ),
            message,
            as_opening,
            as_news,
            wait_ms: self.policy.incidents.group_wait_ms,
            once: false,
            alert: None,
        }
    }

    /// An incident with one event, which its message is.
    pub(crate) fn update(&self, message: IncidentMessage) -> IncidentUpdate {
        IncidentUpdate {
            memory: None,
            events: vec![self.event(message.clone(), message.severity, None)],
            message,
        }
    }

    /// True if silences cover every status of an incident, or its stream.
    pub(crate) fn covers(&self, message: &IncidentMessage) -> bool {
        let Some(stream) = message.stream.as_deref() else {
            return false;
        };
        let covers = |status| matching(self.silences, stream, status).is_some();
        match message.statuses.as_slice() {
            [] => covers(None),
            statuses => statuses.iter().all(|known| covers(Some(known.status))),
        }
    }
}

impl IncidentUpdate {
    /// What the fold says of an incident of counts.
    pub(crate) fn of_fold(step: &IncidentStep, stream: &Stream, now: &Now<'_>) -> Self {
        let incident = &step.incident;
        let message = message_of(incident, stream, now.ms);
        let events = step.changes.iter().map(|change| {
            let event = of_change(&message, incident, change);
            NewEvent {
                alert: step.alert,
                ..now.event(event, incident.present, Some(incident.newest))
            }
        });
        let events: Vec<_> = events.collect();
        Self {
            memory: serde_json::to_string(incident)
                .ok()
                .map(|json| (json, incident.newest)),
            message: events.last().map_or(message, |event| event.message.clone()),
            events,
        }
    }

    /// True if it opens a group, which has waited with its members.
    pub(crate) fn is_group_opening(&self) -> bool {
        self.message.kind == IncidentKind::Group
            && self
                .events
                .iter()
                .any(|event| event.message.event == IncidentEventKind::Opened)
    }

    /// Adds what happened later to the same incident.
    pub(crate) fn merge(&mut self, later: Self) {
        let mut events = std::mem::take(&mut self.events);
        events.extend(later.events);
        *self = Self { events, ..later };
    }
}

fn message_of(incident: &Incident, stream: &Stream, now_ms: i64) -> IncidentMessage {
    let statuses: Vec<_> = incident.statuses.iter().map(StatusEvidence::from).collect();
    let trouble = text::trouble(IncidentKind::Anomaly, &statuses);
    IncidentMessage {
        id: incident.id,
        event: IncidentEventKind::Opened,
        sequence: 0,
        kind: IncidentKind::Anomaly,
        severity: incident.severity,
        stream: Some(stream.to_string()),
        policy: Some(incident.policy),
        title: format!("{stream}: {trouble}"),
        message: text::so_far(incident),
        opened_at: At(incident.opened.start().as_millisecond()),
        ended_at: None,
        end_reason: None,
        recorded_at: At(now_ms),
        statuses,
        missing_approvals: incident.missing_approvals(),
        excess_problems: incident.excess_problems(),
        streams: Vec::new(),
        stream_count: 1,
        acknowledged_by: None,
        trace_id: None,
        span_id: None,
    }
}

/// The message about one change.
fn of_change(
    so_far: &IncidentMessage,
    incident: &Incident,
    change: &IncidentChange,
) -> IncidentMessage {
    let mut message = IncidentMessage {
        ended_at: None,
        end_reason: None,
        ..so_far.clone()
    };
    match change {
        IncidentChange::Opened => {}
        IncidentChange::Reopened => {
            message.message = format!("It is back. {}", message.message);
        }
        IncidentChange::Escalated => {
            message.event = IncidentEventKind::Escalated;
            message.message = format!("Worse: now {}. {}", incident.severity, message.message);
        }
        IncidentChange::Resolved(resolution) => {
            message.event = IncidentEventKind::Resolved;
            message.message = text::resolved(incident, resolution);
            message.ended_at = incident
                .ended
                .map(|ended| At(ended.plus(1).start().as_millisecond()));
            message.end_reason = Some(match resolution {
                Resolution::Calm => EndReason::Recovered,
                Resolution::NewLevel(_) => EndReason::NewLevel,
            });
        }
    }
    message
}

impl From<&JoinedStatus> for StatusEvidence {
    fn from(joined: &JoinedStatus) -> Self {
        Self {
            status: joined.status,
            direction: joined.direction,
            severity: joined.severity,
            minute: At(joined.minute.start().as_millisecond()),
            count: joined.count,
            expected: joined.expected,
            share: joined.share,
            sentence: joined.sentence.clone(),
        }
    }
}

/// The namespace of the ids of incidents without a policy (RFC 9562, version 5).
const NAMESPACE: Uuid = Uuid::from_u128(0x51f3_7c08_2d4b_5e96_9b10_c38e_74a5_06d2);

/// The opening of an incident that no fold opens: a stale stream, ingest down, a group. `since` is what tells it from the next one.
pub(super) fn opening(
    kind: IncidentKind,
    stream: Option<&str>,
    opened_at_ms: i64,
    now_ms: i64,
) -> IncidentMessage {
    let name: &str = (&kind).into();
    let key = format!("{name}\n{}\n{opened_at_ms}", stream.unwrap_or_default());
    let trouble = text::trouble(kind, &[]);
    IncidentMessage {
        id: Uuid::new_v5(&NAMESPACE, key.as_bytes()),
        event: IncidentEventKind::Opened,
        sequence: 0,
        kind,
        severity: Severity::Critical,
        stream: stream.map(ToOwned::to_owned),
        policy: None,
        title: format!("{}: {trouble}", stream.unwrap_or("ingest")),
        message: String::new(),
        opened_at: At(opened_at_ms),
        ended_at: None,
        end_reason: None,
        recorded_at: At(now_ms),
        statuses: Vec::new(),
        missing_approvals: None,
        excess_problems: None,
        streams: Vec::new(),
        stream_count: u32::from(stream.is_some()),
        acknowledged_by: None,
        trace_id: None,
        span_id: None,
    }
}

/// The opening of an incident that no fold opens, to be recorded.
pub(crate) fn opened(
    kind: IncidentKind,
    stream: Option<&str>,
    since_ms: i64,
    message: String,
    now: &Now<'_>,
) -> IncidentUpdate {
    let message = IncidentMessage {
        message,
        ..opening(kind, stream, since_ms, now.ms)
    };
    now.update(message)
}

/// The end of an incident that no fold ends.
fn end(
    current: &IncidentMessage,
    reason: EndReason,
    by: Option<&str>,
    now_ms: i64,
) -> IncidentMessage {
    let mut message = IncidentMessage {
        event: IncidentEventKind::Resolved,
        ended_at: Some(At(now_ms)),
        end_reason: Some(reason),
        recorded_at: At(now_ms),
        ..current.clone()
    };
    message.message = text::over(&message, by);
    message
}
