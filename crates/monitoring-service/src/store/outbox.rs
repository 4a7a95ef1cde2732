//! The outbox: one delivery for each alert or incident event and each receiver that gets it, and the outcome of each attempt. The
//! retry rules are in `notify`.

use serde::Serialize;
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;

use super::engine::{self, OptionalExtension as _, Row, Sql, params};
use super::{Store, StoreError, alerts, writer::Transaction};
use crate::{
    alerts::{Alert, Recipients, incident::IncidentMessage, json::At},
    routes::schema,
};

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, EnumString, IntoStaticStr)]
#[serde(into = "&'static str")]
#[strum(serialize_all = "snake_case")]
pub(crate) enum DeliveryState {
    /// To be sent or sent again.
    Pending,
    /// The receiver accepted it.
    Delivered,
    /// Given up.
    Dead,
    /// Not sent, because a later message replaces it.
    Superseded,
    /// Not sent by itself, because a summary counts it.
    Summarized,
}

impl DeliveryState {
    /// All of them.
    pub(crate) const ALL: [Self; 5] = [
        Self::Pending,
        Self::Delivered,
        Self::Dead,
        Self::Superseded,
        Self::Summarized,
    ];

    /// `pending`, `delivered`, `dead`, `superseded` or `summarized`.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

/// The delivery of an alert or an incident's event to a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryRecord {
    /// Its number.
    pub(crate) id: i64,
    /// The name of the receiver.
    pub(crate) receiver: String,
    /// Its state.
    #[schema(value_type = schema::DeliveryState)]
    pub(crate) state: DeliveryState,
    /// Attempts so far.
    pub(crate) attempts: u32,
    /// When it was created or replayed.
    pub(crate) created_at: At,
    /// When it is next attempted.
    pub(crate) next_attempt_at: Option<At>,
    /// When it was last attempted.
    pub(crate) last_attempt_at: Option<At>,
    /// The HTTP status of the last answer.
    pub(crate) last_status: Option<u16>,
    /// The last error.
    pub(crate) last_error: Option<String>,
    /// An attempt began and has no answer, or had none: it may have arrived.
    pub(crate) may_have_arrived: bool,
}

/// A delivery that is due.
#[derive(Clone, Debug)]
pub(crate) struct DueDelivery {
    /// Its number.
    pub(crate) id: i64,
    /// Attempts so far.
    pub(crate) attempts: u32,
    /// When it was created or replayed, milliseconds since 1970: the give-up deadline counts from here.
    pub(crate) created_at_ms: i64,
    /// True if an earlier attempt that was not answered may have arrived.
    pub(crate) in_doubt: bool,
    /// What to send.
    pub(crate) content: Content,
}

/// What a delivery sends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// An alert.
    Alert(Box<Alert>),
    /// An incident as it was at an event.
    Incident(Box<IncidentMessage>),
}

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum DeliveryOutcome {
    /// The receiver accepted it.
    Delivered,
    /// To be attempted again.
    Retry {
        /// When, milliseconds since 1970.
        at_ms: i64,
    },
    /// Given up; can be replayed.
    Dead,
}

impl DeliveryOutcome {
    /// `delivered`, `retry` or `dead`.
    pub(crate) fn name(&self) -> &'static str {
        self.into()
    }
}

/// One attempt to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Its outcome.
    pub(crate) outcome: DeliveryOutcome,
    /// When it ended, milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// The HTTP status of the answer, if there was one.
    pub(crate) http_status: Option<u16>,
    /// What went wrong, without any URL.
    pub(crate) error: Option<String>,
    /// True if this or an earlier attempt was not answered and may have arrived.
    pub(crate) in_doubt: bool,
}

/// The state of the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// Pending deliveries.
    pub pending: u64,
    /// Given up.
    pub dead: u64,
    /// When the oldest pending one was created, milliseconds since 1970.
    pub oldest_pending_created_at_ms: Option<i64>,
}

/// The deliveries to list; a field that is `None` does not filter.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryFilter {
    /// Only of alerts and incidents of this stream.
    pub(crate) stream: Option<String>,
    /// Only this state.
    pub(crate) state: Option<DeliveryState>,
    /// Created before the one of this number.
    pub(crate) before: Option<i64>,
    /// At most this many.
    pub(crate) limit: u32,
}

/// A delivery with what it sends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListedDelivery {
    /// The delivery.
    pub(crate) delivery: DeliveryRecord,
    /// What it sends.
    pub(crate) content: Content,
}

/// The outcome of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// It is pending again.
    Begun,
    /// It is still pending, so there is nothing to replay.
    Pending,
    /// There is no such delivery.
    Unknown,
}

impl Store {
    /// Deliveries with what they send, newest first.
    pub(crate) async fn deliveries(
        &self,
        filter: DeliveryFilter,
    ) -> Result<Vec<ListedDelivery>, StoreError> {
        self.read(move |sql| {
            let mut statement = sql.prepare_cached(&list_statement(&filter))?;
            let before = filter.before.unwrap_or(i64::MAX);
            let values = params![before, filter.limit, filter.stream];
            let given = values.len() - usize::from(filter.stream.is_none());
            let rows = statement.query_map(&values[..given], |row| {
                Ok(ListedDelivery {
                    delivery: read(row)?,
                    content: read_content(row)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Makes a delivered or dead delivery pending again, with the same alert and id.
    pub(crate) async fn replay_delivery(&self, id: i64, now_ms: i64) -> Result<Replay, StoreError> {
        self.writer.call(move |transaction| {
            let state: Option<String> = transaction
                .sql
                .prepare_cached("SELECT state FROM deliveries WHERE id = ?1")?
                .query_row(params![id], |row| row.get(0))
                .optional()?;
            match state.as_deref() {
                None => return Ok(Replay::Unknown),
                Some("pending") => return Ok(Replay::Pending),
                Some(_) => {}
            }
            // The attempts so far stay counted; the give-up deadline restarts.
            transaction
                .sql
                .prepare_cached(
                    "UPDATE deliveries SET state = 'pending', created_at_ms = ?2, next_attempt_at_ms = ?2 WHERE id = ?1",
                )?
                .execute(params![id, now_ms])?;
            transaction.wakes_outbox = true;
            Ok(Replay::Begun)
        })
        .await
    }

    /// When the next delivery is due, milliseconds since 1970; `None` if none is pending.
    pub(crate) async fn next_delivery_at(&self) -> Result<Option<i64>, StoreError> {
        const NEXT: &str = "SELECT min(next_attempt_at_ms) FROM deliveries WHERE state = 'pending'";
        self.read(|sql| {
            Ok(sql
                .prepare_cached(NEXT)?
                .query_row(params![], |row| row.get(0))?)
        })
        .await
    }

    /// The number of pending and dead deliveries.
    pub async fn outbox(&self) -> Result<OutboxState, StoreError> {
        self.read(|sql| {
            let (pending, oldest_pending_created_at_ms) = sql
                .prepare_cached(
                    "SELECT count(*), min(created_at_ms) FROM deliveries WHERE state = 'pending'",
                )?
                .query_row(params![], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let dead = sql
                .prepare_cached("SELECT count(*) FROM deliveries WHERE state = 'dead'")?
                .query_row(params![], |row| row.get(0))?;
            Ok(OutboxState {
                pending,
                dead,
                oldest_pending_created_at_ms,
            })
        })
        .await
    }
}

/// The statement of a list.
pub(super) fn list_statement(filter: &DeliveryFilter) -> String {
    let stream = match filter.stream {
        Some(_) => " AND deliveries.stream = ?3",
        None => "",
    };
    // A literal, as the partial index has it.
    let state = filter.state.map_or_else(String::new, |state| {
        format!(" AND state = '{}'", state.name())
    });
    let alert = alerts::row::COLUMNS;
    format!(
        "SELECT {COLUMNS}, {EVENT}, {alert} FROM deliveries LEFT JOIN alerts ON alerts.seq = alert_seq
         WHERE deliveries.id < ?1{stream}{state} ORDER BY deliveries.id DESC LIMIT ?2"
    )
}

/// Creates the deliveries of an alert.
pub(super) fn insert_alert(
    transaction: &mut Transaction<'_>,
    alert_seq: i64,
    alert: &Alert,
) -> engine::Result<()> {
    const INSERT: &str = "INSERT INTO deliveries (receiver, alert_seq, stream, state, attempts, created_at_ms, next_attempt_at_ms)
         VALUES (?1, ?2, ?3, 'pending', 0, ?4, ?4)";
    let stream = alert.anomaly().map(|anomaly| anomaly.key.stream.as_str());
    let mut insert = transaction.sql.prepare_cached(INSERT)?;
    for receiver in &alert.recipients.receivers {
        insert.execute(params![receiver, alert_seq, stream, alert.recorded_at_ms])?;
    }
    transaction.wakes_outbox |= !alert.recipients.receivers.is_empty();
    let (end_of, fallback) = (alert.subject.beginning(), &alert.recipients.fallback);
    if let (Some(beginning), Some(fallback)) = (end_of, fallback) {
        transaction
            .sql
            .prepare_cached(END_TO_FALLBACK)?
            .execute(params![
                fallback,
                alert_seq,
                alert.recorded_at_ms,
                beginning
            ])?;
    }
    Ok(())
}

/// The end of a condition, for the fallback if it was sent the newest beginning.
const END_TO_FALLBACK: &str =
    "INSERT INTO deliveries (receiver, alert_seq, state, attempts, created_at_ms, next_attempt_at_ms)
     SELECT ?1, ?2, 'pending', 0, ?3, ?3 WHERE EXISTS (
         SELECT 1 FROM deliveries WHERE receiver = ?1 AND alert_seq = (
             SELECT max(seq) FROM alerts WHERE origin = 'monitor' AND type = ?4 AND seq < ?2))";

/// Creates the deliveries of an incident's event, to be sent at `due_at_ms` or later. The events of an incident are inserted in their
/// order: receivers get them in that order.
pub(super) fn insert_event(
    transaction: &mut Transaction<'_>,
    event_id: i64,
    recipients: &Recipients,
    due_at_ms: i64,
    now_ms: i64,
) -> engine::Result<()> {
    const INSERT: &str = "INSERT INTO deliveries (receiver, event_id, stream, state, attempts, created_at_ms, next_attempt_at_ms)
         SELECT ?1, id, (SELECT stream FROM incidents WHERE incidents.id = incident_id), 'pending', 0, ?3, ?4 FROM incident_events WHERE id = ?2";
    let mut insert = transaction.sql.prepare_cached(INSERT)?;
    for receiver in &recipients.receivers {
        insert.execute(params![receiver, event_id, now_ms, due_at_ms])?;
    }
    transaction.wakes_outbox |= !recipients.receivers.is_empty();
    if let Some(fallback) = &recipients.fallback {
        let follow = format!("{INSERT} AND {KNOWS_INCIDENT}");
        let mut follow = transaction.sql.prepare_cached(&follow)?;
        let followed = follow.execute(params![fallback, event_id, now_ms, due_at_ms])?;
        transaction.wakes_outbox |= followed > 0;
    }
    Ok(())
}

/// True if the receiver was sent an earlier event of the incident of `incident_events`.
const KNOWS_INCIDENT: &str = "EXISTS (
     SELECT 1 FROM incident_events AS event CROSS JOIN deliveries AS earlier WHERE earlier.event_id = event.id
     AND event.incident_id = incident_events.incident_id AND earlier.receiver = ?1)";

/// The deliveries of an alert.
pub(super) fn of_alert(sql: Sql<'_>, alert_seq: i64) -> Result<Vec<DeliveryRecord>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM deliveries WHERE alert_seq = ?1 ORDER BY id");
    let mut statement = sql.prepare_cached(&text)?;
    Ok(statement
        .query_map(params![alert_seq], read)?
        .collect::<Result<_, _>>()?)
}

/// The deliveries of an incident's event.
pub(super) fn of_event(sql: Sql<'_>, event_id: i64) -> Result<Vec<DeliveryRecord>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM deliveries WHERE event_id = ?1 ORDER BY id");
    let mut statement = sql.prepare_cached(&text)?;
    Ok(statement
        .query_map(params![event_id], read)?
        .collect::<Result<_, _>>()?)
}

/// The message of the event that a delivery sends, if it sends one.
pub(super) const EVENT: &str =
    "(SELECT message FROM incident_events WHERE incident_events.id = event_id) AS event_message";

/// What a row with [`EVENT`] and the columns of its alert sends.
pub(super) fn read_content(row: &Row<'_>) -> engine::Result<Content> {
    let Some(message) = row.get::<_, Option<String>>("event_message")? else {
        return Ok(Content::Alert(Box::new(alerts::row::read(row)?)));
    };
    let message = serde_json::from_str(&message).map_err(engine::Error::unreadable)?;
    Ok(Content::Incident(Box::new(message)))
}

const COLUMNS: &str = "deliveries.id AS delivery_id, receiver, state, attempts, created_at_ms, next_attempt_at_ms, \
     last_attempt_at_ms, last_status, last_error, in_doubt";

/// A delivery from a row with [`COLUMNS`].
fn read(row: &Row<'_>) -> engine::Result<DeliveryRecord> {
    Ok(DeliveryRecord {
        id: row.get("delivery_id")?,
        receiver: row.get("receiver")?,
        // A CHECK constraint excludes other texts.
        state: row
            .get::<_, String>("state")?
            .parse()
            .unwrap_or(DeliveryState::Dead),
        attempts: row.get("attempts")?,
        created_at: At(row.get("created_at_ms")?),
        next_attempt_at: row.get::<_, Option<i64>>("next_attempt_at_ms")?.map(At),
        last_attempt_at: row.get::<_, Option<i64>>("last_attempt_at_ms")?.map(At),
        last_status: row.get("last_status")?,
        last_error: row.get("last_error")?,
        may_have_arrived: row.get("in_doubt")?,
    })
}
