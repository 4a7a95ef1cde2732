//! The message about an incident: the data that every format and the API render. The rules of incidents are in
//! [`detection`]; here are no texts for people and no decision.

use detection::{Direction, MonitoredStatus, PolicyName, Severity};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

use super::json::At;
use crate::routes::schema;

/// The kind of an incident.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum IncidentKind {
    /// Counts of a stream left their range.
    Anomaly,
    /// A live stream has no new minutes.
    StaleStream,
    /// Kafka or a partition of it cannot be read, so counts are not monitored.
    IngestDown,
    /// Most of the newest messages are dead letters.
    IngestRejecting,
    /// Several incidents of streams that opened together, with the same statuses and directions.
    Group,
}

impl IncidentKind {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Anomaly,
        Self::StaleStream,
        Self::IngestDown,
        Self::IngestRejecting,
        Self::Group,
    ];
}

/// A change of an incident that is notified.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum IncidentEventKind {
    /// It opened, opened again soon after its end, or became worth a notification.
    Opened,
    /// It became worse, or nobody acknowledged it in time.
    Escalated,
    /// A person took it over. Only receivers with a form for it are sent this.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// Why an incident is over.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum EndReason {
    /// The counts are usual again; minutes arrive again; Kafka is read again; messages can be used again.
    Recovered,
    /// It lasted so long that its counts are usual from now on.
    NewLevel,
    /// A person resolved it.
    ByHand,
    /// Its stream was retired.
    Retired,
    /// Its policy no longer alerts.
    PolicyOff,
}

/// The newest finding of a status that belongs to an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct StatusEvidence {
    /// The status.
    #[schema(value_type = schema::MonitoredStatus)]
    pub(crate) status: MonitoredStatus,
    /// The direction in which it left its range.
    #[schema(value_type = schema::DirectionName)]
    pub(crate) direction: Direction,
    /// The worst severity of the status in this incident.
    #[schema(value_type = schema::AlertSeverity)]
    pub(crate) severity: Severity,
    /// The minute of the finding.
    #[schema(value_type = schema::Instant)]
    pub(crate) minute: At,
    /// Its count.
    pub(crate) count: u32,
    /// The count that was expected.
    pub(crate) expected: Option<f64>,
    /// Its share of the payments of the minute, 0 to 1.
    pub(crate) share: Option<f64>,
    /// The finding in one sentence.
    pub(crate) sentence: String,
}

/// An incident as it was when an event happened. It is stored with the event, so that each attempt sends the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct IncidentMessage {
    /// The incident: a hash of stream, policy and opening minute, the same in every replay.
    #[schema(value_type = schema::Id)]
    pub(crate) id: Uuid,
    /// The event.
    #[schema(value_type = schema::IncidentEventName)]
    pub(crate) event: IncidentEventKind,
    /// The number of the event in the incident, from 1.
    pub(crate) sequence: u32,
    /// The kind.
    #[schema(value_type = schema::IncidentKindName)]
    pub(crate) kind: IncidentKind,
    /// The worst severity so far.
    #[schema(value_type = schema::AlertSeverity)]
    pub(crate) severity: Severity,
    /// The stream; none for `ingest_down`, `ingest_rejecting` and `group`.
    pub(crate) stream: Option<String>,
    /// The policy; none where no policy decided.
    #[schema(value_type = Option<schema::Policy>)]
    pub(crate) policy: Option<PolicyName>,
    /// What it is about, in a few words: `acquirer-7: denied up`.
    pub(crate) title: String,
    /// The event in one or two sentences.
    pub(crate) message: String,
    /// When it began: the start of its first minute.
    #[schema(value_type = schema::Instant)]
    pub(crate) opened_at: At,
    /// When it ended; none while it is open.
    #[schema(value_type = Option<schema::Instant>)]
    pub(crate) ended_at: Option<At>,
    /// Why it ended.
    #[schema(value_type = Option<schema::EndReasonName>)]
    pub(crate) end_reason: Option<EndReason>,
    /// When the event was recorded.
    #[schema(value_type = schema::Instant)]
    pub(crate) recorded_at: At,
    /// The statuses, those that joined first first. Empty where no counts are evaluated: `stale_stream`, `ingest_down`, `ingest_rejecting`.
    pub(crate) statuses: Vec<StatusEvidence>,
    /// Approvals fewer than expected since it opened; none where it is unknown or not about approvals.
    pub(crate) missing_approvals: Option<u64>,
    /// Payments of problem statuses above the expected since it opened; none where it is unknown.
    pub(crate) excess_problems: Option<u64>,
    /// The streams of a group, by name, at most 20. Of one stream, the others with the same statuses and directions that opened within two
    /// minutes of it or were open at this time; in a list, those that the newest notification named.
    pub(crate) streams: Vec<String>,
    /// How many streams these are in all, the one of the incident included.
    pub(crate) stream_count: u32,
    /// Who acknowledged it.
    pub(crate) acknowledged_by: Option<String>,
    /// The trace of the message that opened it, 32 hex digits.
    pub(crate) trace_id: Option<String>,
    /// The span that recorded the opening, 16 hex digits; none if the trace is not sampled.
    pub(crate) span_id: Option<String>,
}
