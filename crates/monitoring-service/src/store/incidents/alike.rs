//! Finds the incidents that may be about the same trouble as one of them. Which are is decided in [`crate::alerts::alike`].

use super::{reading::read_message, recording::json};
use crate::store::engine::{Sql, params};
use crate::{
    alerts::{
        alike::{self, TOGETHER_MS},
        incident::IncidentMessage,
    },
    store::StoreError,
};

/// Incidents that end longer than this after the one in question are not looked through, milliseconds: practically none lasts longer.
const MAX_LENGTH_MS: i64 = 24 * 3_600_000;

/// Names the other streams with the same trouble in the message about an incident of one stream.
pub(in crate::store) fn name_others(
    sql: Sql<'_>,
    message: &mut IncidentMessage,
) -> Result<(), StoreError> {
    if message.stream.is_none() {
        return Ok(());
    }
    let mut statement = sql.prepare_cached(
        "SELECT message FROM incidents WHERE ended_at_ms IS NULL AND +kind = ?1
         UNION ALL SELECT message FROM incidents WHERE ended_at_ms BETWEEN ?2 AND ?3 AND +kind = ?1",
    )?;
    let kind: &str = message.kind.into();
    let (from_ms, last_ms) = (
        message.opened_at.0 - TOGETHER_MS,
        message.ended_at.unwrap_or(message.opened_at).0 + MAX_LENGTH_MS,
    );
    let found = statement.query_map(params![kind, from_ms, last_ms], read_message)?;
    let found: Vec<_> = found.collect::<Result<_, _>>()?;
    alike::name_others(message, &found);
    Ok(())
}

/// The same for an opening that waited and is notified now, and for its incident.
pub(in crate::store) fn name_others_of_opening(
    sql: Sql<'_>,
    event_id: i64,
) -> Result<(), StoreError> {
    let mut message = sql
        .prepare_cached("SELECT message FROM incident_events WHERE id = ?1")?
        .query_row(params![event_id], read_message)?;
    if message.stream.is_none() {
        return Ok(());
    }
    name_others(sql, &mut message)?;
    sql.prepare_cached("UPDATE incident_events SET message = ?2 WHERE id = ?1")?
        .execute(params![event_id, json(&message)?])?;
    let id = message.id.to_string();
    let mut incident = sql
        .prepare_cached("SELECT message FROM incidents WHERE id = ?1")?
        .query_row(params![id], read_message)?;
    (incident.streams, incident.stream_count) = (message.streams, message.stream_count);
    sql.prepare_cached("UPDATE incidents SET message = ?2 WHERE id = ?1")?
        .execute(params![id, json(&incident)?])?;
    Ok(())
}
