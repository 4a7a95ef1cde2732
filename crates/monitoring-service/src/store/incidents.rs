//! Incidents and their events: recorded in the transaction of their cause, with the deliveries, and read back. The rules are in
//! [`crate::alerts`] and the fold.

pub(super) mod alike;
pub(super) mod reading;
pub(super) mod recording;

use detection::{Minute, Severity};
use uuid::Uuid;

use self::{
    reading::{OPEN_STREAMS, events, list, one, open_of},
    recording::{record, record_all},
};
use super::{Store, StoreError, engine::params, outbox::DeliveryRecord};
use crate::alerts::{
    incident::IncidentKind,
    incident_record::{Feedback, IncidentRecord},
    incident_update::{IncidentUpdate, RecordedEvent},
};

/// The incidents to list; a field that is `None` does not filter.
#[derive(Clone, Debug, Default)]
pub(crate) struct IncidentFilter {
    /// Only open (true) or resolved (false) ones.
    pub(crate) open: Option<bool>,
    /// Only this stream.
    pub(crate) stream: Option<String>,
    /// Only this kind.
    pub(crate) kind: Option<IncidentKind>,
    /// Only this worst severity.
    pub(crate) severity: Option<Severity>,
    /// Only opened at this minute or later.
    pub(crate) from: Option<Minute>,
    /// Only opened before this minute.
    pub(crate) to: Option<Minute>,
    /// Without the members of groups.
    pub(crate) without_members: bool,
    /// Recorded before the incident at this place.
    pub(crate) before: Option<i64>,
    /// At most this many.
    pub(crate) limit: u32,
}

/// An event of an incident with its deliveries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredEvent {
    /// The event.
    pub(crate) event: RecordedEvent,
    /// Its deliveries.
    pub(crate) deliveries: Vec<DeliveryRecord>,
}

impl Store {
    /// Incidents, newest first.
    pub(crate) async fn incidents(
        &self,
        filter: IncidentFilter,
    ) -> Result<Vec<IncidentRecord>, StoreError> {
        self.read(move |sql| list(sql, &filter)).await
    }

    /// The streams with an open incident.
    pub(crate) async fn streams_in_incidents(&self) -> Result<Vec<String>, StoreError> {
        self.read(|sql| {
            let mut statement = sql.prepare_cached(OPEN_STREAMS)?;
            let rows = statement.query_map(params![], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// An incident with the other streams that had the same trouble, and its events, in order.
    pub(crate) async fn incident(
        &self,
        id: Uuid,
    ) -> Result<Option<(IncidentRecord, Vec<StoredEvent>)>, StoreError> {
        self.read(move |sql| {
            let Some(mut incident) = one(sql, id)? else {
                return Ok(None);
            };
            alike::name_others(sql, &mut incident.message)?;
            Ok(Some((incident, events(sql, id)?)))
        })
        .await
    }

    /// Passes an incident to `decide` and records the update, if any. None if there is no such incident.
    pub(crate) async fn update_incident<F>(
        &self,
        id: Uuid,
        decide: F,
    ) -> Result<Option<(IncidentRecord, Vec<RecordedEvent>)>, StoreError>
    where
        F: Fn(&IncidentRecord) -> Option<IncidentUpdate> + Send + 'static,
    {
        self.writer
            .call(move |transaction| {
                let Some(incident) = one(transaction.sql, id)? else {
                    return Ok(None);
                };
                let recorded = match decide(&incident) {
                    Some(update) => record(transaction, &update)?,
                    None => Vec::new(),
                };
                Ok(one(transaction.sql, id)?.map(|incident| (incident, recorded)))
            })
            .await
    }

    /// Records the update of an incident that no fold decides, such as ingest down; `decide` gets the open ones of the kind.
    pub(crate) async fn change_incidents<F>(
        &self,
        kind: IncidentKind,
        decide: F,
    ) -> Result<Vec<RecordedEvent>, StoreError>
    where
        F: Fn(&[IncidentRecord]) -> Vec<IncidentUpdate> + Send + 'static,
    {
        // Usually there is nothing to record, and no need to wait for the writer.
        let open = self.read(move |sql| open_of(sql, kind, None)).await?;
        if decide(&open).is_empty() {
            return Ok(Vec::new());
        }
        self.writer
            .call(move |transaction| {
                let open = open_of(transaction.sql, kind, None)?;
                record_all(transaction, decide(&open))
            })
            .await
    }

    /// Stores feedback about an incident; none if there is no such incident.
    pub(crate) async fn label_incident(
        &self,
        id: Uuid,
        feedback: Feedback,
    ) -> Result<Option<IncidentRecord>, StoreError> {
        self.writer
            .call(move |transaction| {
                let verdict: &str = feedback.verdict.into();
                transaction
                    .sql
                    .prepare_cached(
                        "UPDATE incidents SET verdict = ?2, note = ?3, feedback_by = ?4, feedback_at_ms = ?5 WHERE id = ?1",
                    )?
                    .execute(params![
                        id.to_string(),
                        verdict,
                        feedback.note,
                        feedback.by,
                        feedback.at.0
                    ])?;
                one(transaction.sql, id)
            })
            .await
    }
}
