//! Attempts to deliver: what is due at a receiver, the other messages of its incident, and the outcome.

use super::engine::{self, Row, params};
use super::{
    Store, StoreError, alerts,
    outbox::{Attempt, DeliveryOutcome, DeliveryState, DueDelivery, EVENT, read_content},
    writer::Transaction,
};
use crate::alerts::incident::IncidentEventKind;

/// The delivery of an incident's event to one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventDelivery {
    /// Its number.
    pub(crate) id: i64,
    /// The event.
    pub(crate) event: IncidentEventKind,
    /// Its state.
    pub(crate) state: DeliveryState,
    /// True if an attempt that was not answered may have arrived.
    pub(crate) in_doubt: bool,
}

/// The pending deliveries of one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PendingOf {
    /// The receiver.
    pub(crate) receiver: String,
    /// When the oldest was created, milliseconds since 1970.
    pub(crate) oldest_created_at_ms: i64,
}

/// Deliveries that are due at a receiver, the newest first, so that a backlog does not delay what is new. Of an incident only the oldest
/// pending one is due, and so it is with the alerts of the monitor about itself: an end never overtakes a beginning.
pub(super) fn due_statement(probe: bool) -> String {
    // While a receiver fails, each attempt is about another delivery: one that it refuses alone must not stop the others.
    let first = if probe { "attempts, " } else { "" };
    format!(
        "SELECT deliveries.id AS delivery_id, attempts, created_at_ms, in_doubt, {EVENT}, {}
         FROM deliveries LEFT JOIN alerts ON alerts.seq = alert_seq
         WHERE deliveries.receiver = ?1 AND deliveries.state = 'pending' AND next_attempt_at_ms <= ?2
         AND NOT EXISTS (
             SELECT 1 FROM incident_events AS this CROSS JOIN incident_events AS event CROSS JOIN deliveries AS earlier
             WHERE this.id = deliveries.event_id AND event.incident_id = this.incident_id AND earlier.event_id = event.id
             AND earlier.receiver = ?1 AND earlier.state = 'pending' AND earlier.id < deliveries.id)
         AND (coalesce(origin, '') <> 'monitor' OR type IN ('alert.test', 'receiver.summary') OR NOT EXISTS (
             SELECT 1 FROM deliveries AS earlier CROSS JOIN alerts AS other
             WHERE other.seq = earlier.alert_seq AND earlier.receiver = ?1 AND earlier.state = 'pending' AND earlier.id < deliveries.id
             AND other.origin = 'monitor' AND other.type NOT IN ('alert.test', 'receiver.summary')))
         ORDER BY {first}deliveries.id DESC LIMIT ?3",
        alerts::row::COLUMNS
    )
}

/// Makes the end of an incident pending again, where a receiver accepted its opening after that: one that is sent again by hand. It would
/// know the incident as open for ever.
const END_FOLLOWS: &str =
    "UPDATE deliveries SET state = 'pending', created_at_ms = ?2, next_attempt_at_ms = ?2 WHERE state <> 'pending' AND id IN (
         SELECT other.id FROM deliveries AS this CROSS JOIN incident_events AS mine CROSS JOIN incident_events AS event
         CROSS JOIN deliveries AS other
         WHERE mine.id = this.event_id AND event.incident_id = mine.incident_id AND other.event_id = event.id
         AND other.receiver = this.receiver AND this.id = ?1 AND mine.kind IN ('opened', 'escalated') AND event.kind = 'resolved' AND event.id > mine.id
         AND NOT EXISTS (SELECT 1 FROM incident_events AS later WHERE later.incident_id = mine.incident_id AND later.id > event.id))";

impl Store {
    /// Deliveries that are due at a receiver; `probe` while it fails.
    pub(crate) async fn due_deliveries(
        &self,
        receiver: &str,
        probe: bool,
        now_ms: i64,
        limit: u32,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        let receiver = receiver.to_owned();
        self.read(move |sql| {
            let mut statement = sql.prepare_cached(&due_statement(probe))?;
            let rows = statement.query_map(params![receiver, now_ms, limit], |row| {
                Ok(DueDelivery {
                    id: row.get("delivery_id")?,
                    attempts: row.get("attempts")?,
                    created_at_ms: row.get("created_at_ms")?,
                    in_doubt: row.get("in_doubt")?,
                    content: read_content(row)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// All deliveries of the incident of this delivery to its receiver, in their order.
    pub(crate) async fn deliveries_of_incident(
        &self,
        id: i64,
    ) -> Result<Vec<EventDelivery>, StoreError> {
        const OF_INCIDENT: &str =
            "SELECT other.id, event.kind AS event, other.state, other.in_doubt
             FROM deliveries AS this CROSS JOIN incident_events AS mine CROSS JOIN incident_events AS event CROSS JOIN deliveries AS other
             WHERE mine.id = this.event_id AND event.incident_id = mine.incident_id AND other.event_id = event.id
             AND other.receiver = this.receiver AND this.id = ?1 ORDER BY other.id";
        self.read(move |sql| {
            let mut statement = sql.prepare_cached(OF_INCIDENT)?;
            let rows = statement.query_map(params![id], read_event_delivery)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Marks pending deliveries as superseded, or sets them aside for a summary.
    pub(crate) async fn settle_deliveries(
        &self,
        superseded: Vec<i64>,
        summarized: Vec<i64>,
    ) -> Result<(), StoreError> {
        const SETTLE: &str = "UPDATE deliveries SET state = ?2, summary_seq = NULL, next_attempt_at_ms = NULL WHERE id = ?1 AND state = 'pending'";
        self.writer
            .call(move |transaction| {
                let mut statement = transaction.sql.prepare_cached(SETTLE)?;
                for (ids, state) in [
                    (&superseded, DeliveryState::Superseded),
                    (&summarized, DeliveryState::Summarized),
                ] {
                    for id in ids {
                        statement.execute(params![id, state.name()])?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// Records that an attempt begins: until it is finished, it may have arrived, also after a crash.
    pub(crate) async fn begin_attempt(&self, id: i64) -> Result<(), StoreError> {
        const BEGIN: &str = "UPDATE deliveries SET in_doubt = 1 WHERE id = ?1";
        let begin = move |transaction: &mut Transaction<'_>| {
            transaction
                .sql
                .prepare_cached(BEGIN)?
                .execute(params![id])?;
            Ok(())
        };
        self.writer.call(begin).await
    }

    /// Stores the outcome of an attempt. An opening that is delivered after the end of its incident is followed by that end.
    pub(crate) async fn finish_attempt(
        &self,
        delivery_id: i64,
        attempt: Attempt,
    ) -> Result<(), StoreError> {
        const FINISH: &str =
            "UPDATE deliveries SET state = ?2, attempts = attempts + 1, next_attempt_at_ms = ?3, last_attempt_at_ms = ?4,
             last_status = ?5, last_error = ?6, in_doubt = ?7 WHERE id = ?1";
        self.writer
            .call(move |transaction| {
                let (state, next_attempt_at_ms) = match attempt.outcome {
                    DeliveryOutcome::Delivered => (DeliveryState::Delivered, None),
                    DeliveryOutcome::Retry { at_ms } => (DeliveryState::Pending, Some(at_ms)),
                    DeliveryOutcome::Dead => (DeliveryState::Dead, None),
                };
                transaction.sql.prepare_cached(FINISH)?.execute(params![
                    delivery_id,
                    state.name(),
                    next_attempt_at_ms,
                    attempt.at_ms,
                    attempt.http_status,
                    attempt.error,
                    attempt.in_doubt
                ])?;
                if state == DeliveryState::Delivered {
                    let mut follow = transaction.sql.prepare_cached(END_FOLLOWS)?;
                    let followed = follow.execute(params![delivery_id, attempt.at_ms])?;
                    transaction.wakes_outbox |= followed > 0;
                }
                Ok(())
            })
            .await
    }

    /// Makes the deliveries due that wait because their receiver failed. Those that it refused with a status about the message keep
    /// their wait.
    pub(crate) async fn release_deliveries(
        &self,
        receiver: &str,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        const RELEASE: &str =
            "UPDATE deliveries SET next_attempt_at_ms = ?2 WHERE receiver = ?1 AND state = 'pending' AND attempts > 0
             AND next_attempt_at_ms > ?2 AND coalesce(last_status, 0) NOT IN (400, 413, 422)";
        let receiver = receiver.to_owned();
        let release = move |transaction: &mut Transaction<'_>| {
            let mut statement = transaction.sql.prepare_cached(RELEASE)?;
            statement.execute(params![receiver, now_ms])?;
            transaction.wakes_outbox = true;
            Ok(())
        };
        self.writer.call(release).await
    }

    /// When the next delivery to a receiver is due, milliseconds since 1970; `None` if none is pending.
    pub(crate) async fn next_delivery_to(&self, receiver: &str) -> Result<Option<i64>, StoreError> {
        const NEXT: &str = "SELECT min(next_attempt_at_ms) FROM deliveries WHERE receiver = ?1 AND state = 'pending'";
        let receiver = receiver.to_owned();
        self.read(move |sql| {
            let mut statement = sql.prepare_cached(NEXT)?;
            Ok(statement.query_row(params![receiver], |row| row.get(0))?)
        })
        .await
    }

    /// The receivers with pending deliveries, configured or not.
    pub(crate) async fn pending_by_receiver(&self) -> Result<Vec<PendingOf>, StoreError> {
        const PENDING: &str = "SELECT receiver, min(created_at_ms) FROM deliveries WHERE state = 'pending' GROUP BY receiver";
        self.read(|sql| {
            let mut statement = sql.prepare_cached(PENDING)?;
            let rows = statement.query_map(params![], |row| {
                Ok(PendingOf {
                    receiver: row.get(0)?,
                    oldest_created_at_ms: row.get(1)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Gives up the deliveries to a receiver that were created before `created_before_ms`; they can be replayed.
    pub(crate) async fn give_up_deliveries(
        &self,
        receiver: &str,
        created_before_ms: i64,
        why: String,
    ) -> Result<usize, StoreError> {
        const GIVE_UP: &str =
            "UPDATE deliveries SET state = 'dead', next_attempt_at_ms = NULL, last_error = ?3
             WHERE receiver = ?1 AND state = 'pending' AND created_at_ms < ?2";
        let receiver = receiver.to_owned();
        let given_up = move |transaction: &mut Transaction<'_>| {
            let mut statement = transaction.sql.prepare_cached(GIVE_UP)?;
            Ok(statement.execute(params![receiver, created_before_ms, why])?)
        };
        self.writer.call(given_up).await
    }
}

fn read_event_delivery(row: &Row<'_>) -> engine::Result<EventDelivery> {
    let wrong = |text: String| engine::Error::unreadable(format!("{text} is not known"));
    let (event, state): (String, String) = (row.get("event")?, row.get("state")?);
    Ok(EventDelivery {
        id: row.get("id")?,
        event: event.parse().map_err(|_| wrong(event))?,
        state: state.parse().map_err(|_| wrong(state))?,
        in_doubt: row.get("in_doubt")?,
    })
}
