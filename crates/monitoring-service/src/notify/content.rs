//! What every format needs of a delivery's content: its id, its trace, its link.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use uuid::Uuid;

use crate::store::Content;

impl Content {
    /// The id that every attempt sends, so that a receiver can drop duplicates: that of the alert, or a hash of the incident's id
    /// and the event's number.
    pub(super) fn id(&self) -> Uuid {
        match self {
            Self::Alert(alert) => alert.id,
            Self::Incident(message) => {
                Uuid::new_v5(&message.id, message.sequence.to_string().as_bytes())
            }
        }
    }

    /// The alert that it sends, if it sends one.
    pub(super) fn alert_id(&self) -> Option<Uuid> {
        match self {
            Self::Alert(alert) => Some(alert.id),
            Self::Incident(_) => None,
        }
    }

    /// The incident that it is about, if it is about one.
    pub(super) fn incident_id(&self) -> Option<Uuid> {
        match self {
            Self::Alert(_) => None,
            Self::Incident(message) => Some(message.id),
        }
    }

    /// The trace of the message or request that caused it.
    pub(super) fn trace_id(&self) -> Option<&str> {
        match self {
            Self::Alert(alert) => alert.trace_id.as_deref(),
            Self::Incident(message) => message.trace_id.as_deref(),
        }
    }

    /// The span that recorded the alert or the opening, where it was sampled.
    pub(super) fn cause(&self) -> Option<SpanContext> {
        let span_id = match self {
            Self::Alert(alert) => alert.span_id.as_deref(),
            Self::Incident(message) => message.span_id.as_deref(),
        };
        let trace_id = TraceId::from_hex(self.trace_id()?).ok()?;
        let span_id = SpanId::from_hex(span_id?).ok()?;
        let (flags, state) = (TraceFlags::SAMPLED, TraceState::NONE);
        Some(SpanContext::new(trace_id, span_id, flags, true, state))
    }

    /// The address of its view, where the public address of this service is known.
    pub(super) fn link(&self, public_url: Option<&str>) -> Option<String> {
        public_url.map(|base| match self {
            Self::Alert(alert) => format!("{base}/page/alerts/{}", alert.id),
            Self::Incident(message) => format!("{base}/page/incidents/{}", message.id),
        })
    }
}
