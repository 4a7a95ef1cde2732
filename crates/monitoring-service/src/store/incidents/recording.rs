//! Records updates of incidents: their events with the deliveries, and what is remembered between updates.

use super::{
    alike,
    reading::{open_of_stream, read_message},
};
use crate::alerts::{
    incident::{EndReason, IncidentEventKind, IncidentMessage},
    incident_record::IncidentRecord,
    incident_update::{EventSuppression, IncidentUpdate, NewEvent, RecordedEvent},
};
use crate::store::{
    StoreError,
    engine::{OptionalExtension as _, Sql, params},
    findings::{policy_code, severity_code},
    outbox,
    writer::Transaction,
};

/// Records an update with its events and deliveries. Returns the events.
///
/// [`StoreError::StreamRetired`] if the fold goes on with an incident whose stream was retired.
pub(in crate::store) fn record(
    transaction: &mut Transaction<'_>,
    update: &IncidentUpdate,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let id = update.message.id.to_string();
    let known = transaction
        .sql
        .prepare_cached(
            "SELECT sequence, ended_at_ms IS NULL AS open, notified_at_ms IS NOT NULL AS notified, group_id IS NOT NULL AS grouped,
             memory IS NULL AS forgotten, stream IS NOT NULL AS of_stream, message FROM incidents WHERE id = ?1",
        )?
        .query_row(params![&id], |row| {
            let message = read_message(row)?;
            let others = (message.streams, message.stream_count);
            Ok(Known {
                sequence: row.get("sequence")?,
                is_open: row.get("open")?,
                heard: match (row.get("grouped")?, row.get("notified")?) {
                    (true, _) => Heard::Group,
                    (false, true) => Heard::Receivers,
                    (false, false) => Heard::Nobody,
                },
                is_forgotten: row.get("forgotten")?,
                acknowledged_by: message.acknowledged_by,
                trace: (message.trace_id, message.span_id),
                others: row.get::<_, bool>("of_stream")?.then_some(others),
            })
        })
        .optional()?;
    let mut known = match known {
        Some(known) => known,
        None => insert(transaction.sql, update)?,
    };
    let opens = |event: &NewEvent| event.message.event == IncidentEventKind::Opened;
    let opens = update.events.iter().any(opens);
    if let Some((memory, minute)) = &update.memory {
        if known.is_forgotten && !opens {
            let stream = update.message.stream.clone().unwrap_or_default();
            return Err(StoreError::StreamRetired(stream));
        }
        transaction
            .sql
            .prepare_cached("UPDATE incidents SET memory = ?2, minute = ?3 WHERE id = ?1")?
            .execute(params![id, memory, minute.epoch_minutes()])?;
    }
    // A person resolved it. Its findings go on to be counted and change nothing, until it opens again.
    if !known.is_open && !opens {
        return Ok(Vec::new());
    }
    let mut recorded = Vec::with_capacity(update.events.len());
    for event in &update.events {
        recorded.push(record_event(transaction, &mut known, event)?);
    }
    write_message(transaction.sql, update, &known)?;
    Ok(recorded)
}

/// Records several updates.
pub(in crate::store) fn record_all(
    transaction: &mut Transaction<'_>,
    updates: impl IntoIterator<Item = IncidentUpdate>,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let mut events = Vec::new();
    for update in updates {
        events.extend(record(transaction, &update)?);
    }
    Ok(events)
}

/// Ends the open incidents of a stream that is retired, and lets the fold forget the last one.
pub(in crate::store) fn retire(
    transaction: &mut Transaction<'_>,
    stream: &str,
    end: impl Fn(&IncidentRecord) -> IncidentUpdate,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let open = open_of_stream(transaction.sql, stream)?;
    let events = record_all(transaction, open.iter().map(end))?;
    transaction
        .sql
        .prepare_cached(
            "UPDATE incidents SET memory = NULL WHERE seq IN (SELECT max(seq) FROM incidents WHERE stream = ?1 GROUP BY policy)",
        )?
        .execute(params![stream])?;
    Ok(events)
}

/// Who heard of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nobody,
    /// The receivers of its group, as a member of it.
    Group,
    Receivers,
}

/// Who knows of an incident, before an update.
struct Known {
    sequence: u32,
    is_open: bool,
    heard: Heard,
    /// True if its stream was retired: the fold starts again.
    is_forgotten: bool,
    acknowledged_by: Option<String>,
    /// Trace and span of its opening.
    trace: (Option<String>, Option<String>),
    /// The other streams that were named last; none where the incident is of no single stream.
    others: Option<(Vec<String>, u32)>,
}

impl Known {
    /// Gives a message what the incident keeps between updates.
    fn keep(&self, message: &mut IncidentMessage) {
        message.sequence = self.sequence;
        message.acknowledged_by.clone_from(&self.acknowledged_by);
        (message.trace_id, message.span_id) = self.trace.clone();
        if let Some((streams, count)) = &self.others {
            (message.streams, message.stream_count) = (streams.clone(), *count);
        }
    }
}

fn insert(sql: Sql<'_>, update: &IncidentUpdate) -> Result<Known, StoreError> {
    let message = &update.message;
    let kind: &str = message.kind.into();
    sql.prepare_cached(
        "INSERT INTO incidents (id, kind, stream, policy, severity, opened_at_ms, recorded_at_ms, message, sequence)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0)",
    )?
    .execute(params![
        message.id.to_string(),
        kind,
        message.stream,
        message.policy.map(policy_code),
        severity_code(message.severity),
        message.opened_at.0,
        message.recorded_at.0,
        json(message)?
    ])?;
    Ok(Known {
        sequence: 0,
        is_open: true,
        heard: Heard::Nobody,
        is_forgotten: false,
        acknowledged_by: None,
        trace: (None, None),
        others: message.stream.is_some().then(|| (Vec::new(), 1)),
    })
}

fn record_event(
    transaction: &mut Transaction<'_>,
    known: &mut Known,
    event: &NewEvent,
) -> Result<RecordedEvent, StoreError> {
    let mut message = event.message.clone();
    let kind = message.event;
    if kind == IncidentEventKind::Escalated && known.heard == Heard::Nobody {
        message.event = IncidentEventKind::Opened;
    }
    if kind == IncidentEventKind::Opened {
        known.heard = Heard::Nobody;
        known.acknowledged_by = None;
        known.trace = (message.trace_id.take(), message.span_id.take());
    }
    if kind == IncidentEventKind::Acknowledged {
        known.acknowledged_by.clone_from(&message.acknowledged_by);
    }
    known.sequence += 1;
    known.keep(&mut message);
    let suppressed = match known.heard {
        Heard::Group => Some(EventSuppression::Group),
        Heard::Receivers => event.as_news,
        Heard::Nobody => event.as_opening,
    };
    let sql = transaction.sql;
    if suppressed.is_none() {
        alike::name_others(sql, &mut message)?;
        if let Some(others) = &mut known.others {
            *others = (message.streams.clone(), message.stream_count);
        }
    }
    let seq = sql.prepare_cached(
        "INSERT INTO incident_events (incident_id, sequence, kind, recorded_at_ms, suppressed, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         RETURNING id",
    )?
    .query_row(
        params![
            message.id.to_string(),
            message.sequence,
            <&str>::from(message.event),
            message.recorded_at.0,
            suppressed.map(EventSuppression::reason),
            json(&message)?
        ],
        |row| row.get(0),
    )?;
    if suppressed.is_none() {
        let now_ms = message.recorded_at.0;
        outbox::insert_event(transaction, seq, &event.recipients, now_ms, now_ms)?;
    }
    follow(transaction.sql, known, event, &message, suppressed)?;
    Ok(RecordedEvent {
        seq,
        message,
        suppressed,
    })
}

/// What an event changes of the incident's notification.
fn follow(
    sql: Sql<'_>,
    known: &mut Known,
    event: &NewEvent,
    message: &IncidentMessage,
    suppressed: Option<EventSuppression>,
) -> Result<(), StoreError> {
    let (id, at_ms) = (message.id.to_string(), message.recorded_at.0);
    match event.message.event {
        IncidentEventKind::Opened | IncidentEventKind::Escalated if known.heard != Heard::Group => {
            if known.heard == Heard::Nobody {
                if suppressed.is_none() {
                    known.heard = Heard::Receivers;
                }
                let release_at = suppressed
                    .filter(|reason| *reason == EventSuppression::Waiting)
                    .map(|_| at_ms + event.wait_ms);
                sql.prepare_cached(
                    "UPDATE incidents SET suppressed = ?2, release_at_ms = ?3, notified_at_ms = ?4, group_id = NULL WHERE id = ?1",
                )?
                .execute(params![
                    id,
                    suppressed.map(EventSuppression::reason),
                    release_at,
                    (known.heard == Heard::Receivers).then_some(at_ms)
                ])?;
            }
            if message.event == IncidentEventKind::Opened {
                sql.prepare_cached(
                    "UPDATE incidents SET escalated_at_ms = NULL, acknowledged_at_ms = NULL WHERE id = ?1",
                )?
                .execute(params![&id])?;
            }
            if event.once {
                sql.prepare_cached("UPDATE incidents SET escalated_at_ms = ?2 WHERE id = ?1")?
                    .execute(params![id, at_ms])?;
            }
        }
        IncidentEventKind::Opened | IncidentEventKind::Escalated => {}
        IncidentEventKind::Acknowledged => {
            sql.prepare_cached("UPDATE incidents SET acknowledged_at_ms = ?2 WHERE id = ?1")?
                .execute(params![id, at_ms])?;
        }
        IncidentEventKind::Resolved => {
            sql.prepare_cached(
                "UPDATE incident_events SET suppressed = 'not_opened' WHERE incident_id = ?1 AND suppressed = 'waiting'",
            )?
            .execute(params![&id])?;
            // A policy that alerts again later starts again.
            let forgets = message.end_reason == Some(EndReason::PolicyOff);
            sql.prepare_cached(
                "UPDATE incidents SET release_at_ms = NULL, suppressed = CASE WHEN suppressed = 'waiting' THEN 'not_opened' ELSE suppressed END,
                 memory = CASE WHEN ?2 THEN NULL ELSE memory END WHERE id = ?1",
            )?
            .execute(params![id, forgets])?;
        }
    }
    Ok(())
}

/// The incident as it is now.
fn write_message(sql: Sql<'_>, update: &IncidentUpdate, known: &Known) -> Result<(), StoreError> {
    let mut message = update.message.clone();
    known.keep(&mut message);
    sql.prepare_cached(
        "UPDATE incidents SET message = ?2, sequence = ?3, severity = ?4, ended_at_ms = ?5 WHERE id = ?1",
    )?
    .execute(params![
        message.id.to_string(),
        json(&message)?,
        message.sequence,
        severity_code(message.severity),
        message.ended_at.map(|at| at.0)
    ])?;
    Ok(())
}

pub(super) fn json(message: &IncidentMessage) -> Result<String, StoreError> {
    serde_json::to_string(message)
        .map_err(|error| StoreError::Broken(format!("an incident cannot be written: {error}")))
}
