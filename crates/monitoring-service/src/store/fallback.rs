//! What a failing receiver owes goes to the fallback, too. When a receiver fails long enough is decided in `notify`.

use super::engine::params;
use super::{Store, StoreError, writer::Transaction};

/// What a failing receiver owes, and who stands in for it.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    /// The receiver that fails.
    pub(crate) receiver: String,
    /// The fallback.
    pub(crate) fallback: String,
    /// Alerts queued before this, and what was given up before, are not new, milliseconds since 1970.
    pub(crate) oldest_ms: i64,
    /// False leaves out what is pending: the receiver is tried first.
    pub(crate) pending: bool,
}

/// Deliveries of a receiver, pending or given up, that the fallback does not have: openings and escalations of incidents that are open and
/// that nobody acknowledged since, and new alerts. The ends of conditions follow their beginnings when they are recorded; summaries are
/// not new.
const OWED: &str = "FROM deliveries AS owed LEFT JOIN alerts ON alerts.seq = owed.alert_seq
     LEFT JOIN incident_events AS event ON event.id = owed.event_id LEFT JOIN incidents ON incidents.id = event.incident_id
     WHERE owed.id IN (SELECT id FROM deliveries WHERE receiver = ?1 AND state = 'pending' AND ?4
         UNION ALL SELECT id FROM deliveries WHERE receiver = ?1 AND state = 'dead' AND created_at_ms >= ?3)
     AND NOT EXISTS (SELECT 1 FROM deliveries AS sent WHERE sent.event_id = owed.event_id AND sent.receiver = ?2)
     AND NOT EXISTS (SELECT 1 FROM deliveries AS sent WHERE sent.alert_seq = owed.alert_seq AND sent.receiver = ?2)
     AND (incidents.ended_at_ms IS NULL AND event.kind IN ('opened', 'escalated') AND NOT EXISTS (
             SELECT 1 FROM incident_events AS later WHERE later.incident_id = event.incident_id
             AND later.kind = 'acknowledged' AND later.id > event.id)
         OR owed.created_at_ms >= ?3 AND alerts.type NOT IN (
             'stream.resumed', 'ingest.up', 'ingest.accepting', 'ingest.summary', 'receiver.summary'))";

impl Store {
    /// Creates deliveries to the fallback of what a failing receiver owes and is new and open, in its order. Returns how many.
    pub(crate) async fn stand_in(&self, owed: Owed, now_ms: i64) -> Result<usize, StoreError> {
        // Usually there is nothing to do, and no need to wait for the writer.
        let asked = owed.clone();
        let some: bool = self
            .read(move |sql| {
                let mut statement =
                    sql.prepare_cached(&format!("SELECT EXISTS (SELECT 1 {OWED})"))?;
                let owed = params![
                    asked.receiver,
                    asked.fallback,
                    asked.oldest_ms,
                    asked.pending
                ];
                Ok(statement.query_row(owed, |row| row.get(0))?)
            })
            .await?;
        if !some {
            return Ok(0);
        }
        let stand_in = move |transaction: &mut Transaction<'_>| {
            let text = format!(
                "INSERT INTO deliveries (receiver, alert_seq, event_id, stream, state, attempts, created_at_ms, next_attempt_at_ms)
                 SELECT ?2, owed.alert_seq, owed.event_id, owed.stream, 'pending', 0, ?5, ?5 {OWED} ORDER BY owed.id"
            );
            let mut statement = transaction.sql.prepare_cached(&text)?;
            let owed = params![
                owed.receiver,
                owed.fallback,
                owed.oldest_ms,
                owed.pending,
                now_ms
            ];
            Ok(statement.execute(owed)?)
        };
        self.writer.call(stand_in).await
    }
}
