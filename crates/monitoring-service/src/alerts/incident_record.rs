//! An incident as it is stored, and what a person says of it.

use detection::Minute;
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{incident::IncidentMessage, incident_update::EventSuppression, json::At};
use crate::routes::schema;

/// What a person says an incident was: a label for `backtest`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Verdict {
    /// There was trouble.
    Real,
    /// There was none.
    FalseAlarm,
}

/// The newest feedback about an incident.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Feedback {
    /// What it was.
    #[schema(value_type = schema::VerdictName)]
    pub(crate) verdict: Verdict,
    /// What else there is to say.
    pub(crate) note: Option<String>,
    /// Who says so.
    pub(crate) by: Option<String>,
    /// When it was given.
    #[schema(value_type = schema::Instant)]
    pub(crate) at: At,
}

/// A stored incident.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IncidentRecord {
    /// Its place in the order of recording.
    pub(crate) seq: i64,
    /// The incident now; event, sequence and time are those of its newest event.
    pub(crate) message: IncidentMessage,
    /// The newest minute in it; none where no fold decides.
    pub(crate) minute: Option<Minute>,
    /// When its opening was recorded, milliseconds since 1970.
    pub(crate) recorded_at_ms: i64,
    /// Why nobody is notified of it; none if somebody is.
    pub(crate) suppressed: Option<EventSuppression>,
    /// When its opening has waited long enough, milliseconds since 1970.
    pub(crate) release_at_ms: Option<i64>,
    /// Since when people are notified of it, milliseconds since 1970.
    pub(crate) notified_at_ms: Option<i64>,
    /// When it escalated because nobody acknowledged it or its group doubled, milliseconds since 1970.
    pub(crate) escalated_at_ms: Option<i64>,
    /// When a person took it over, milliseconds since 1970.
    pub(crate) acknowledged_at_ms: Option<i64>,
    /// The group that is notified instead of it.
    pub(crate) group: Option<Uuid>,
    /// The newest feedback.
    pub(crate) feedback: Option<Feedback>,
}

impl IncidentRecord {
    /// True until it is over.
    pub(crate) const fn is_open(&self) -> bool {
        self.message.ended_at.is_none()
    }
}
