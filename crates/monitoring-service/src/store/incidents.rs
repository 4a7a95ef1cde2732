//! Incidents and their events: recorded in the transaction of their cause, with the deliveries, and read back. The rules are in
//! [`crate::alerts`] and the fold.

pub(super) mod alike;
pub(super) mod reading;

use detection::{Incident, Minute, PolicyName, Severity};
use uuid::Uuid;

use self::reading::{COLUMNS, events, list, one, read, read_message};
use super::engine::{OptionalExtension as _, Sql, params};
use super::{
    Store, StoreError,
    findings::{policy_code, severity_code},
    outbox::{self, DeliveryRecord},
    writer::Transaction,
};
use crate::alerts::{
    incident::{EndReason, IncidentEventKind, IncidentKind, IncidentMessage},
    incident_record::{Feedback, IncidentRecord},
    incident_update::{EventSuppression, IncidentUpdate, NewEvent, RecordedEvent},
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

/// Without the `+` SQLite reads every incident that has a stream, in the order of the streams.
pub(super) const OPEN_STREAMS: &str =
    "SELECT stream FROM incidents WHERE ended_at_ms IS NULL AND +stream IS NOT NULL";

/// The last incident of a stream and policy, as the fold remembers it; none if the fold has forgotten it.
pub(super) fn last_of_stream(
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

/// Ends the open incidents of a stream that is retired, and lets the fold forget the last one.
pub(super) fn retire(
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

/// Records an update with its events and deliveries. Returns the events.
///
/// [`StoreError::StreamRetired`] if the fold goes on with an incident whose stream was retired.
pub(super) fn record(
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
pub(super) fn record_all(
    transaction: &mut Transaction<'_>,
    updates: impl IntoIterator<Item = IncidentUpdate>,
) -> Result<Vec<RecordedEvent>, StoreError> {
    let mut events = Vec::new();
    for update in updates {
        events.extend(record(transaction, &update)?);
    }
    Ok(events)
}

/// The open incidents of a kind and stream.
pub(super) fn open_of(
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

fn open_of_stream(sql: Sql<'_>, stream: &str) -> Result<Vec<IncidentRecord>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM incidents WHERE ended_at_ms IS NULL AND +stream = ?1 ORDER BY seq"
    );
    let mut statement = sql.prepare_cached(&text)?;
    let rows = statement.query_map(params![stream], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
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

fn json(message: &IncidentMessage) -> Result<String, StoreError> {
    serde_json::to_string(message)
        .map_err(|error| StoreError::Broken(format!("an incident cannot be written: {error}")))
}
