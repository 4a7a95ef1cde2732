//! The outbox: one delivery for each notified alert, and the outcome of each attempt. The retry rules are in `notify`.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;

use super::{Store, StoreError, alerts, writer::Transaction};
use crate::{
    alerts::{Alert, json::At},
    routes::schema,
};

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, EnumString, IntoStaticStr)]
#[serde(into = "&'static str")]
#[strum(serialize_all = "snake_case")]
pub enum DeliveryState {
    /// To be sent or sent again.
    Pending,
    /// The receiver accepted it.
    Delivered,
    /// Given up.
    Dead,
}

impl DeliveryState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Dead];

    /// `pending`, `delivered` or `dead`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The delivery of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub struct DeliveryRecord {
    /// Its number.
    pub id: i64,
    /// Its state.
    #[schema(value_type = schema::DeliveryState)]
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was created or replayed.
    pub created_at: At,
    /// When it is next attempted.
    pub next_attempt_at: Option<At>,
    /// When it was last attempted.
    pub last_attempt_at: Option<At>,
    /// The HTTP status of the last answer.
    pub last_status: Option<u16>,
    /// The last error.
    pub last_error: Option<String>,
}

/// A delivery that is due.
#[derive(Clone, Debug)]
pub struct DueDelivery {
    /// Its number.
    pub id: i64,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was created or replayed, milliseconds since 1970: the give-up deadline counts from here.
    pub created_at_ms: i64,
    /// The alert to send.
    pub alert: Alert,
}

/// The outcome of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum DeliveryOutcome {
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
    pub fn name(&self) -> &'static str {
        self.into()
    }
}

/// One attempt to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its outcome.
    pub outcome: DeliveryOutcome,
    /// When it ended, milliseconds since 1970.
    pub at_ms: i64,
    /// The HTTP status of the answer, if there was one.
    pub http_status: Option<u16>,
    /// What went wrong, without any URL.
    pub error: Option<String>,
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
pub struct DeliveryFilter {
    /// Only alerts of this stream.
    pub stream: Option<String>,
    /// Only this state.
    pub state: Option<DeliveryState>,
    /// Created before the one of this number.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: u32,
}

/// A delivery with its alert.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedDelivery {
    /// The delivery.
    pub delivery: DeliveryRecord,
    /// Its alert.
    pub alert: Alert,
}

/// The outcome of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It is pending again.
    Begun,
    /// It is still pending, so there is nothing to replay.
    Pending,
    /// There is no such delivery.
    Unknown,
}

impl Store {
    /// Deliveries with their alerts, newest first.
    pub async fn deliveries(
        &self,
        filter: DeliveryFilter,
    ) -> Result<Vec<ListedDelivery>, StoreError> {
        self.read(move |sql| {
            let mut statement = sql.prepare_cached(&list_statement(&filter))?;
            let before = filter.before.unwrap_or(i64::MAX);
            let rows =
                statement.query_map(params![before, filter.stream, filter.limit], |row| {
                    Ok(ListedDelivery {
                        delivery: read(row)?,
                        alert: alerts::read(row)?,
                    })
                })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Makes a delivered or dead delivery pending again, with the same alert and id.
    pub async fn replay_delivery(&self, id: i64, now_ms: i64) -> Result<Replay, StoreError> {
        self.writer.call(move |transaction| {
            let state: Option<String> = transaction
                .sql
                .prepare_cached("SELECT state FROM deliveries WHERE id = ?1")?
                .query_row([id], |row| row.get(0))
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

    /// Deliveries due at `now_ms`, those waiting longest first.
    pub async fn due_deliveries(
        &self,
        now_ms: i64,
        limit: u32,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        self.read(move |sql| {
            let text = format!(
                "SELECT deliveries.id AS delivery_id, attempts, created_at_ms, {} FROM deliveries JOIN alerts ON alerts.seq = alert_seq
                 WHERE state = 'pending' AND next_attempt_at_ms <= ?1 ORDER BY next_attempt_at_ms, deliveries.id LIMIT ?2",
                alerts::COLUMNS
            );
            let mut statement = sql.prepare_cached(&text)?;
            let rows = statement.query_map(params![now_ms, limit], |row| {
                Ok(DueDelivery {
                    id: row.get("delivery_id")?,
                    attempts: row.get("attempts")?,
                    created_at_ms: row.get("created_at_ms")?,
                    alert: alerts::read(row)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// When the next delivery is due, milliseconds since 1970; `None` if none is pending.
    pub async fn next_delivery_at(&self) -> Result<Option<i64>, StoreError> {
        const NEXT: &str = "SELECT min(next_attempt_at_ms) FROM deliveries WHERE state = 'pending'";
        self.read(|sql| Ok(sql.prepare_cached(NEXT)?.query_row([], |row| row.get(0))?))
            .await
    }

    /// Gives up deliveries created before `created_before_ms`; they can be replayed.
    pub async fn give_up_deliveries(
        &self,
        created_before_ms: i64,
        why: &'static str,
    ) -> Result<usize, StoreError> {
        const GIVE_UP: &str =
            "UPDATE deliveries SET state = 'dead', next_attempt_at_ms = NULL, last_error = ?2
             WHERE state = 'pending' AND created_at_ms < ?1";
        let given_up = move |transaction: &mut Transaction<'_>| {
            Ok(transaction
                .sql
                .prepare_cached(GIVE_UP)?
                .execute(params![created_before_ms, why])?)
        };
        self.writer.call(given_up).await
    }

    /// Stores the outcome of an attempt.
    pub async fn finish_attempt(
        &self,
        delivery_id: i64,
        attempt: Attempt,
    ) -> Result<(), StoreError> {
        self.writer
            .call(move |transaction| {
                let (state, next_attempt_at_ms) = match attempt.outcome {
                    DeliveryOutcome::Delivered => (DeliveryState::Delivered, None),
                    DeliveryOutcome::Retry { at_ms } => (DeliveryState::Pending, Some(at_ms)),
                    DeliveryOutcome::Dead => (DeliveryState::Dead, None),
                };
                transaction
                    .sql
                    .prepare_cached(
                        "UPDATE deliveries SET state = ?2, attempts = attempts + 1, next_attempt_at_ms = ?3,
                         last_attempt_at_ms = ?4, last_status = ?5, last_error = ?6 WHERE id = ?1",
                    )?
                    .execute(params![
                        delivery_id,
                        state.name(),
                        next_attempt_at_ms,
                        attempt.at_ms,
                        attempt.http_status,
                        attempt.error
                    ])?;
                Ok(())
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
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let dead = sql
                .prepare_cached("SELECT count(*) FROM deliveries WHERE state = 'dead'")?
                .query_row([], |row| row.get(0))?;
            Ok(OutboxState {
                pending,
                dead,
                oldest_pending_created_at_ms,
            })
        })
        .await
    }
}

/// The statement of a list. Deliveries are in the order of their alerts, so that those of a stream are found by its alerts.
pub(super) fn list_statement(filter: &DeliveryFilter) -> String {
    let (from, order) = match filter.stream {
        Some(_) => (
            "alerts CROSS JOIN deliveries ON alert_seq = alerts.seq WHERE stream = ?2",
            "alerts.seq",
        ),
        None => (
            "deliveries CROSS JOIN alerts ON alerts.seq = alert_seq WHERE ?2 IS NULL",
            "deliveries.id",
        ),
    };
    // A literal, as the partial index has it.
    let state = filter.state.map_or_else(String::new, |state| {
        format!(" AND state = '{}'", state.name())
    });
    let (delivery, alert) = (COLUMNS, alerts::COLUMNS);
    format!(
        "SELECT {delivery}, {alert} FROM {from} AND deliveries.id < ?1{state} ORDER BY {order} DESC LIMIT ?3"
    )
}

/// Creates the delivery of an alert.
pub(super) fn insert(
    transaction: &mut Transaction<'_>,
    alert_seq: i64,
    now_ms: i64,
) -> rusqlite::Result<()> {
    const INSERT: &str =
        "INSERT INTO deliveries (alert_seq, state, attempts, created_at_ms, next_attempt_at_ms)
         VALUES (?1, 'pending', 0, ?2, ?2)";
    transaction.wakes_outbox = true;
    transaction
        .sql
        .prepare_cached(INSERT)?
        .execute(params![alert_seq, now_ms])?;
    Ok(())
}

/// The deliveries of an alert.
pub(super) fn of_alert(
    sql: &Connection,
    alert_seq: i64,
) -> Result<Vec<DeliveryRecord>, StoreError> {
    let text = format!("SELECT {COLUMNS} FROM deliveries WHERE alert_seq = ?1 ORDER BY id");
    let mut statement = sql.prepare_cached(&text)?;
    Ok(statement
        .query_map([alert_seq], read)?
        .collect::<Result<_, _>>()?)
}

const COLUMNS: &str = "deliveries.id AS delivery_id, state, attempts, created_at_ms, next_attempt_at_ms, \
     last_attempt_at_ms, last_status, last_error";

/// A delivery from a row with [`COLUMNS`].
fn read(row: &Row<'_>) -> rusqlite::Result<DeliveryRecord> {
    Ok(DeliveryRecord {
        id: row.get("delivery_id")?,
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
    })
}
