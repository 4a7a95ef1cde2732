//! The outbox: deliveries that are due, and how each try ended.

use rusqlite::{OptionalExtension, params};

use super::{
    AlertRecord, Attempt, DeliveryOutcome, DeliveryRecord, DueDelivery, Store, StoreError, alerts,
    writer::Transaction,
};

/// How the outbox stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// On their way.
    pub pending: u64,
    /// Given up.
    pub dead: u64,
    /// When the oldest of those on their way was asked for, milliseconds since 1970.
    pub oldest_pending_created_at_ms: Option<i64>,
}

/// Which deliveries to list; every field that is none does not limit.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of alerts of this stream.
    pub stream: Option<String>,
    /// `pending`, `delivered` or `dead`.
    pub state: Option<&'static str>,
    /// Asked for before the one of this number.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: u32,
}

/// A delivery with its alert.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedDelivery {
    /// How it stands.
    pub delivery: DeliveryRecord,
    /// What it delivers.
    pub alert: AlertRecord,
}

/// What came of asking for a delivery again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It is on its way again.
    Begun,
    /// It is still on its way: there is nothing to ask for.
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
                        delivery: alerts::read_delivery(row)?,
                        alert: alerts::read(row)?,
                    })
                })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Sends a delivery again that was given up or taken: the same alert, with the same id.
    pub async fn replay_delivery(&self, id: i64, now_ms: i64) -> Result<Replay, StoreError> {
        let replay = self.writer.call(move |transaction| {
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
            // The tries so far stay counted; what giving up counts from begins anew.
            transaction
                .sql
                .prepare_cached(
                    "UPDATE deliveries SET state = 'pending', created_at_ms = ?2, next_attempt_at_ms = ?2 WHERE id = ?1",
                )?
                .execute(params![id, now_ms])?;
            Ok(Replay::Begun)
        });
        let replay = replay.await?;
        self.outbox_changed().notify_one();
        Ok(replay)
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

    /// When the next delivery is due, milliseconds since 1970; none if nothing is on its way.
    pub async fn next_delivery_at(&self) -> Result<Option<i64>, StoreError> {
        const NEXT: &str = "SELECT min(next_attempt_at_ms) FROM deliveries WHERE state = 'pending'";
        self.read(|sql| Ok(sql.prepare_cached(NEXT)?.query_row([], |row| row.get(0))?))
            .await
    }

    /// Gives up deliveries asked for before `created_before_ms`; they can be asked for again.
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

    /// Notes how a try ended.
    pub async fn finish_attempt(
        &self,
        delivery_id: i64,
        attempt: Attempt,
    ) -> Result<(), StoreError> {
        self.writer
            .call(move |transaction| {
                let (state, next_attempt_at_ms) = match attempt.outcome {
                    DeliveryOutcome::Delivered => ("delivered", None),
                    DeliveryOutcome::Retry { at_ms } => ("pending", Some(at_ms)),
                    DeliveryOutcome::Dead => ("dead", None),
                };
                transaction
                    .sql
                    .prepare_cached(
                        "UPDATE deliveries SET state = ?2, attempts = attempts + 1, next_attempt_at_ms = ?3,
                         last_attempt_at_ms = ?4, last_status = ?5, last_error = ?6 WHERE id = ?1",
                    )?
                    .execute(params![
                        delivery_id,
                        state,
                        next_attempt_at_ms,
                        attempt.at_ms,
                        attempt.http_status,
                        attempt.error
                    ])?;
                Ok(())
            })
            .await
    }

    /// How many deliveries are on their way and how many were given up.
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
    // A literal, because it is that of a partial index.
    let state = filter
        .state
        .map_or_else(String::new, |state| format!(" AND state = '{state}'"));
    let (delivery, alert) = (alerts::DELIVERY_COLUMNS, alerts::COLUMNS);
    format!(
        "SELECT {delivery}, {alert} FROM {from} AND deliveries.id < ?1{state} ORDER BY {order} DESC LIMIT ?3"
    )
}
