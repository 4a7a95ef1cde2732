//! Summaries: counting what one message stands for, and recording it with its delivery. Their texts and rules are in
//! [`crate::alerts`].

use super::engine::{self, OptionalExtension as _, Row, Sql, params};
use super::{Store, StoreError, alerts, writer::Transaction};
use crate::alerts::{Alert, Subject, summary::Tally};

/// What is counted since the last summary, at most this long ago, milliseconds: a database of an earlier version has no summary.
const LOOKBACK_MS: i64 = 24 * 3_600_000;

/// Incidents that were too old to be notified when they opened or rose to a severity that is notified, also if they opened again since.
/// Events are recorded in order, so the newest one before this time is found from the end.
const OLD_INCIDENTS: &str =
    "SELECT count(*) AS incidents, count(*) FILTER (WHERE ended_at_ms IS NULL) AS open, 0 AS alerts, 0 AS streams,
     min(opened_at_ms) AS from_ms, max(coalesce(ended_at_ms, opened_at_ms)) AS to_ms, max(old.recorded_at_ms) AS recorded_ms
     FROM (SELECT incident_id, max(recorded_at_ms) AS recorded_at_ms FROM incident_events
         WHERE suppressed = 'too_old' AND id > coalesce((SELECT id FROM incident_events WHERE recorded_at_ms <= ?1 ORDER BY id DESC LIMIT 1), 0)
         GROUP BY incident_id) AS old CROSS JOIN incidents
     WHERE incidents.id = old.incident_id AND notified_at_ms IS NULL";

/// Alerts that were too old to be notified.
const OLD_ALERTS: &str =
    "SELECT 0 AS incidents, 0 AS open, count(*) AS alerts, count(DISTINCT stream) AS streams,
     min(minute) * 60000 AS from_ms, max(minute) * 60000 AS to_ms, max(recorded_at_ms) AS recorded_ms
     FROM alerts WHERE suppressed = 'too_old' AND recorded_at_ms > ?1";

/// What a receiver was not sent, and no summary counts yet.
const SET_ASIDE: &str =
    "FROM deliveries LEFT JOIN alerts ON alerts.seq = deliveries.alert_seq
     LEFT JOIN incident_events AS event ON event.id = deliveries.event_id LEFT JOIN incidents ON incidents.id = event.incident_id
     WHERE deliveries.receiver = ?1 AND deliveries.state = 'summarized' AND deliveries.summary_seq IS NULL";

impl Store {
    /// Passes what was too old to be notified since the last summary, with the time of that one, to `decide`, and records and returns
    /// the summary, if any. `incidents`: they are notified, not alerts.
    pub(crate) async fn sum_up_ingest<F>(
        &self,
        incidents: bool,
        now_ms: i64,
        decide: F,
    ) -> Result<Option<Alert>, StoreError>
    where
        F: Fn(&Tally, Option<i64>) -> Option<Alert> + Send + 'static,
    {
        // Usually there is nothing to record, and no need to wait for the writer.
        let (tally, last) = self
            .read(move |sql| too_old(sql, incidents, now_ms))
            .await?;
        if decide(&tally, last).is_none() {
            return Ok(None);
        }
        self.writer
            .call(move |transaction| {
                let (tally, last) = too_old(transaction.sql, incidents, now_ms)?;
                let summary = decide(&tally, last);
                if let Some(summary) = &summary {
                    alerts::row::insert(transaction, summary)?;
                }
                Ok(summary)
            })
            .await
    }

    /// Sets aside, for a summary, the alerts about counts that a receiver owes and that were queued before `before_ms`.
    pub(crate) async fn set_aside_alerts(
        &self,
        receiver: &str,
        before_ms: i64,
    ) -> Result<(), StoreError> {
        const SET_ASIDE: &str =
            "UPDATE deliveries SET state = 'summarized', summary_seq = NULL, next_attempt_at_ms = NULL
             WHERE receiver = ?1 AND state = 'pending' AND created_at_ms < ?2
             AND alert_seq IN (SELECT seq FROM alerts WHERE seq = alert_seq AND origin <> 'monitor')";
        let receiver = receiver.to_owned();
        let set_aside = move |transaction: &mut Transaction<'_>| {
            let mut statement = transaction.sql.prepare_cached(SET_ASIDE)?;
            statement.execute(params![receiver, before_ms])?;
            Ok(())
        };
        self.writer.call(set_aside).await
    }

    /// Records and returns the summary of what was set aside for a receiver. It replaces one that is pending and cannot have arrived.
    pub(crate) async fn sum_up_deliveries<F>(
        &self,
        receiver: &str,
        summary: F,
    ) -> Result<Option<Alert>, StoreError>
    where
        F: Fn(&Tally) -> Alert + Send + 'static,
    {
        let receiver = receiver.to_owned();
        let asked = receiver.clone();
        let some: bool = self
            .read(move |sql| {
                let text = format!("SELECT EXISTS (SELECT 1 {SET_ASIDE})");
                let mut statement = sql.prepare_cached(&text)?;
                Ok(statement.query_row(params![asked], |row| row.get(0))?)
            })
            .await?;
        if !some {
            return Ok(None);
        }
        let record = move |transaction: &mut Transaction<'_>| {
            replace_pending(transaction.sql, &receiver)?;
            let summary = summary(&set_aside(transaction.sql, &receiver)?);
            alerts::row::insert(transaction, &summary)?;
            transaction
                .sql
                .prepare_cached(
                    "UPDATE deliveries SET summary_seq = (SELECT seq FROM alerts WHERE id = ?2)
                     WHERE receiver = ?1 AND state = 'summarized' AND summary_seq IS NULL",
                )?
                .execute(params![receiver, summary.id.to_string()])?;
            Ok(Some(summary))
        };
        self.writer.call(record).await
    }
}

fn too_old(sql: Sql<'_>, incidents: bool, now_ms: i64) -> Result<(Tally, Option<i64>), StoreError> {
    let last: Option<i64> = sql
        .prepare_cached("SELECT recorded_at_ms FROM alerts WHERE origin = 'monitor' AND type = ?1 ORDER BY seq DESC LIMIT 1")?
        .query_row(params![Subject::IngestSummary.kind()], |row| row.get(0))
        .optional()?;
    let text = if incidents { OLD_INCIDENTS } else { OLD_ALERTS };
    let since_ms = last.unwrap_or(0).max(now_ms - LOOKBACK_MS);
    let tally = sql
        .prepare_cached(text)?
        .query_row(params![since_ms], read_tally)?;
    Ok((tally, last))
}

/// Supersedes a pending summary, so that the next one counts what it counted.
fn replace_pending(sql: Sql<'_>, receiver: &str) -> engine::Result<()> {
    const PENDING: &str =
        "SELECT summary.alert_seq FROM deliveries AS summary CROSS JOIN alerts WHERE alerts.seq = summary.alert_seq
         AND summary.receiver = ?1 AND summary.state = 'pending' AND summary.in_doubt = 0 AND alerts.type = ?2";
    let values = params![receiver, Subject::ReceiverSummary.kind()];
    let uncount = format!(
        "UPDATE deliveries SET summary_seq = NULL WHERE receiver = ?1 AND state = 'summarized' AND summary_seq IN ({PENDING})"
    );
    sql.prepare_cached(&uncount)?.execute(values)?;
    let supersede = format!(
        "UPDATE deliveries SET state = 'superseded', next_attempt_at_ms = NULL
         WHERE receiver = ?1 AND state = 'pending' AND alert_seq IN ({PENDING})"
    );
    sql.prepare_cached(&supersede)?.execute(values)?;
    Ok(())
}

fn set_aside(sql: Sql<'_>, receiver: &str) -> engine::Result<Tally> {
    let text = format!(
        "SELECT count(DISTINCT event.incident_id) AS incidents,
         count(DISTINCT incidents.id) FILTER (WHERE incidents.ended_at_ms IS NULL) AS open,
         count(alerts.seq) AS alerts, count(DISTINCT alerts.stream) AS streams,
         min(coalesce(incidents.opened_at_ms, alerts.minute * 60000, deliveries.created_at_ms)) AS from_ms,
         max(coalesce(incidents.ended_at_ms, incidents.opened_at_ms, alerts.minute * 60000, deliveries.created_at_ms)) AS to_ms,
         max(deliveries.created_at_ms) AS recorded_ms {SET_ASIDE}"
    );
    sql.prepare_cached(&text)?
        .query_row(params![receiver], read_tally)
}

/// Times are NULL where nothing is counted.
fn read_tally(row: &Row<'_>) -> engine::Result<Tally> {
    let time = |name: &str| Ok::<_, engine::Error>(row.get::<_, Option<i64>>(name)?.unwrap_or(0));
    Ok(Tally {
        incidents: row.get("incidents")?,
        open: row.get("open")?,
        alerts: row.get("alerts")?,
        streams: row.get("streams")?,
        from_ms: time("from_ms")?,
        to_ms: time("to_ms")?,
        recorded_ms: time("recorded_ms")?,
    })
}
