//! Reads incidents and their events back.

use detection::{Incident, Minute, PolicyName};
use rusqlite::ToSql;
use uuid::Uuid;

use super::{IncidentFilter, StoredEvent};
use crate::store::engine::{self, OptionalExtension as _, Row, Sql, params};
use crate::{
    alerts::{
        incident::{IncidentKind, IncidentMessage},
        incident_record::{Feedback, IncidentRecord},
        incident_update::{EventSuppression, RecordedEvent},
        json::At,
    },
    store::{
        StoreError,
        findings::{policy_code, severity_code},
        outbox,
    },
};

pub(in crate::store) const COLUMNS: &str = "incidents.seq, incidents.message, minute, incidents.recorded_at_ms, incidents.suppressed, release_at_ms, \
     notified_at_ms, escalated_at_ms, acknowledged_at_ms, group_id, verdict, note, feedback_by, feedback_at_ms";

pub(in crate::store) fn one(sql: Sql<'_>, id: Uuid) -> Result<Option<IncidentRecord>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM incidents WHERE id = ?1");
    let mut statement = sql.prepare_cached(&text)?;
    Ok(statement
        .query_row(params![id.to_string()], read)
        .optional()?)
}

/// Without the `+` SQLite reads every incident that has a stream, in the order of the streams.
pub(in crate::store) const OPEN_STREAMS: &str =
    "SELECT stream FROM incidents WHERE ended_at_ms IS NULL AND +stream IS NOT NULL";

/// The last incident of a stream and policy, as the fold remembers it; none if the fold has forgotten it.
pub(in crate::store) fn last_of_stream(
    sql: Sql<'_>,
    stream: &str,
    policy: PolicyName,
) -> Result<Option<Incident>, StoreError> {
    let memory: Option<Option<String>> = sql
        .prepare_cached(
            "SELECT memory FROM incidents WHERE stream = ?1 AND policy = ?2 ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(params![stream, policy_code(policy)], |row| row.get(0))
        .optional()?;
    memory
        .flatten()
        .map(|json| serde_json::from_str(&json))
        .transpose()
        .map_err(|error| StoreError::Broken(format!("an incident cannot be read: {error}")))
}

/// The open incidents of a kind and stream.
pub(in crate::store) fn open_of(
    sql: Sql<'_>,
    kind: IncidentKind,
    stream: Option<&str>,
) -> Result<Vec<IncidentRecord>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM incidents WHERE ended_at_ms IS NULL AND +kind = ?1 AND +stream IS NOT DISTINCT FROM ?2 ORDER BY seq"
    );
    let mut statement = sql.prepare_cached(&text)?;
    let rows = statement.query_map(params![<&str>::from(kind), stream], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn open_of_stream(
    sql: Sql<'_>,
    stream: &str,
) -> Result<Vec<IncidentRecord>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM incidents WHERE ended_at_ms IS NULL AND +stream = ?1 ORDER BY seq"
    );
    let mut statement = sql.prepare_cached(&text)?;
    let rows = statement.query_map(params![stream], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The statement of a list. The first given condition leads, and the others only filter (`+`), as in the list of alerts.
pub(in crate::store) fn list_statement(filter: &IncidentFilter) -> String {
    let given = [
        // A literal, as the partial index has it.
        (filter.open == Some(true), "ended_at_ms IS NULL"),
        (filter.stream.is_some(), "stream = :stream"),
        (filter.kind.is_some(), "kind = :kind"),
        (filter.severity.is_some(), "severity = :severity"),
        (filter.open == Some(false), "ended_at_ms IS NOT NULL"),
        (filter.from.is_some(), "opened_at_ms >= :from"),
        (filter.to.is_some(), "opened_at_ms < :to"),
        (filter.without_members, "group_id IS NULL"),
    ];
    let mut conditions = String::from("seq < :before");
    for (at, (_, condition)) in given.into_iter().filter(|(given, _)| *given).enumerate() {
        let filters_only = if at > 0 { "+" } else { "" };
        conditions.extend([" AND ", filters_only, condition]);
    }
    format!("SELECT {COLUMNS} FROM incidents WHERE {conditions} ORDER BY seq DESC LIMIT :limit")
}

pub(super) fn list(
    sql: Sql<'_>,
    filter: &IncidentFilter,
) -> Result<Vec<IncidentRecord>, StoreError> {
    let text = list_statement(filter);
    let mut statement = sql.prepare_cached(&text)?;
    let start_ms = |minute: Minute| minute.start().as_millisecond();
    let values: [(&str, &dyn ToSql); 7] = [
        (":before", &filter.before.unwrap_or(i64::MAX)),
        (":stream", &filter.stream),
        (":kind", &filter.kind.map(<&str>::from)),
        (":severity", &filter.severity.map(severity_code)),
        (":from", &filter.from.map(start_ms)),
        (":to", &filter.to.map(start_ms)),
        (":limit", &filter.limit),
    ];
    let incidents = statement.query_map_named(&values, read)?;
    Ok(incidents.collect::<Result<_, _>>()?)
}

pub(super) fn events(sql: Sql<'_>, id: Uuid) -> Result<Vec<StoredEvent>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT id, message, suppressed FROM incident_events WHERE incident_id = ?1 ORDER BY sequence",
    )?;
    let rows = statement.query_map(params![id.to_string()], |row| {
        Ok(RecordedEvent {
            seq: row.get("id")?,
            message: read_message(row)?,
            suppressed: read_suppressed(row)?,
        })
    })?;
    let events = rows.collect::<Result<Vec<_>, _>>()?.into_iter();
    events
        .map(|event| {
            let deliveries = outbox::of_event(sql, event.seq)?;
            Ok(StoredEvent { event, deliveries })
        })
        .collect()
}

pub(in crate::store) fn read_message(row: &Row<'_>) -> engine::Result<IncidentMessage> {
    let json: String = row.get("message")?;
    serde_json::from_str(&json).map_err(engine::Error::unreadable)
}

fn read_suppressed(row: &Row<'_>) -> engine::Result<Option<EventSuppression>> {
    let reason: Option<String> = row.get("suppressed")?;
    reason
        .map(|reason| reason.parse().map_err(engine::Error::unreadable))
        .transpose()
}

/// An incident from a row with [`COLUMNS`].
pub(in crate::store) fn read(row: &Row<'_>) -> engine::Result<IncidentRecord> {
    let (group, verdict): (Option<String>, Option<String>) =
        (row.get("group_id")?, row.get("verdict")?);
    let feedback = match verdict {
        Some(verdict) => Some(Feedback {
            verdict: verdict.parse().map_err(engine::Error::unreadable)?,
            note: row.get("note")?,
            by: row.get("feedback_by")?,
            at: At(row.get("feedback_at_ms")?),
        }),
        None => None,
    };
    Ok(IncidentRecord {
        seq: row.get("seq")?,
        message: read_message(row)?,
        minute: row
            .get::<_, Option<i64>>("minute")?
            .map(Minute::from_epoch_minutes),
        recorded_at_ms: row.get("recorded_at_ms")?,
        suppressed: read_suppressed(row)?,
        release_at_ms: row.get("release_at_ms")?,
        notified_at_ms: row.get("notified_at_ms")?,
        escalated_at_ms: row.get("escalated_at_ms")?,
        acknowledged_at_ms: row.get("acknowledged_at_ms")?,
        group: group
            .map(|id| id.parse().map_err(engine::Error::unreadable))
            .transpose()?,
        feedback,
    })
}
