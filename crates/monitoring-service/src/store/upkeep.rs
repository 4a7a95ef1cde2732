//! What the scheduler has the store do: note silence and its end, and prune what is past its retention.

use detection::Severity;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{AlertRecord, AlertType, Origin, Paging, Store, StoreError, alerts};

/// Streams that one alert names at most.
const MAX_NAMED: usize = 20;

/// Minutes of one stream that one step prunes: short enough never to hold up ingest.
const STEP_MINUTES: i64 = 240;

/// Rows of the other tables that one step prunes.
const STEP_ROWS: u32 = 1000;

/// Dead letters that are kept.
const MAX_DEAD_LETTERS: u32 = 10_000;

/// The namespace of the ids of the monitor's own alerts (RFC 9562, version 5).
const NAMESPACE: Uuid = Uuid::from_u128(0x2c1b_52a6_90b3_5a6e_8f5e_5f7a_7c0d_93e1);

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Milliseconds: minutes by event time from each stream's newest, alerts and deliveries by recording time.
    pub length_ms: i64,
}

impl Store {
    /// Marks live streams without a new minute for `stale_after_ms` as quiet, and those that have one again as back.
    /// Records one alert for all that went quiet and one for all that came back, and gives them.
    pub async fn note_stale_streams(
        &self,
        now_ms: i64,
        stale_after_ms: i64,
        paging: Paging,
    ) -> Result<Vec<AlertRecord>, StoreError> {
        let recorded = self.writer.call(move |transaction| {
            let quiet = went_quiet(transaction.sql, now_ms, stale_after_ms)?;
            let back = came_back(transaction.sql)?;
            let alerts = [
                (AlertType::StreamStale, quiet),
                (AlertType::StreamResumed, back),
            ];
            let alerts: Vec<_> = alerts
                .into_iter()
                .filter(|(_, streams)| !streams.is_empty())
                .map(|(alert_type, streams)| {
                    of_monitor(alert_type, streams, now_ms, now_ms, &paging)
                })
                .collect();
            alerts
                .iter()
                .try_for_each(|alert| alerts::insert(transaction.sql, alert))?;
            Ok(alerts)
        });
        Ok(self.recorded(recorded.await?))
    }

    /// Records that nothing is being watched since `since_ms`, and why, once; none if that is known already.
    pub async fn note_ingest_down(
        &self,
        since_ms: i64,
        now_ms: i64,
        paging: Paging,
        why: String,
    ) -> Result<Vec<AlertRecord>, StoreError> {
        let recorded = self.writer.call(move |transaction| {
            if blind_since(transaction.sql)?.is_some() {
                return Ok(Vec::new());
            }
            let alert = of_monitor(AlertType::IngestDown, Vec::new(), since_ms, now_ms, &paging);
            let alert = AlertRecord {
                message: format!("{}: {why}", alert.message),
                ..alert
            };
            alerts::insert(transaction.sql, &alert)?;
            Ok(vec![alert])
        });
        Ok(self.recorded(recorded.await?))
    }

    /// Records that the monitor sees again, if it was noted blind.
    pub async fn note_ingest_up(
        &self,
        now_ms: i64,
        paging: Paging,
    ) -> Result<Vec<AlertRecord>, StoreError> {
        if self.read(blind_since).await?.is_none() {
            return Ok(Vec::new());
        }
        let recorded = self.writer.call(move |transaction| {
            let Some(since_ms) = blind_since(transaction.sql)? else {
                return Ok(Vec::new());
            };
            let alert = of_monitor(AlertType::IngestUp, Vec::new(), since_ms, now_ms, &paging);
            alerts::insert(transaction.sql, &alert)?;
            Ok(vec![alert])
        });
        Ok(self.recorded(recorded.await?))
    }

    /// Records one alert that is marked as a test, to be delivered as any other.
    pub async fn record_test(
        &self,
        now_ms: i64,
        paging: Paging,
    ) -> Result<AlertRecord, StoreError> {
        let alert = AlertRecord {
            id: Uuid::new_v4(),
            ..of_monitor(AlertType::Test, Vec::new(), now_ms, now_ms, &paging)
        };
        self.record_alert(alert.clone()).await?;
        Ok(alert)
    }

    fn recorded(&self, alerts: Vec<AlertRecord>) -> Vec<AlertRecord> {
        if alerts.iter().any(AlertRecord::is_paged) {
            self.outbox_changed().notify_one();
        }
        alerts
    }

    /// Prunes one small step; true if there is more to prune.
    pub async fn prune_step(&self, now_ms: i64, retention: Retention) -> Result<bool, StoreError> {
        self.writer
            .call(move |transaction| {
                let oldest_ms = now_ms - retention.length_ms;
                let minutes = prune_minutes(transaction.sql, retention.length_ms / 60_000)?;
                let alerts = transaction.sql.execute(
                    "DELETE FROM alerts WHERE seq IN (SELECT seq FROM alerts WHERE recorded_at_ms < ?1
                         AND NOT EXISTS (SELECT 1 FROM deliveries WHERE alert_seq = seq AND state = 'pending') LIMIT ?2)",
                    params![oldest_ms, STEP_ROWS],
                )?;
                let letters = transaction.sql.execute(
                    "DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters
                         WHERE id <= (SELECT max(id) FROM dead_letters) - ?1 ORDER BY id LIMIT ?2)",
                    params![MAX_DEAD_LETTERS, STEP_ROWS],
                )?;
                Ok(minutes + alerts + letters > 0)
            })
            .await
    }
}

/// Live: its newest minute, when it came, was at most `stale_after_ms` old. Only live streams can go quiet: a replayed old file cannot.
fn went_quiet(
    sql: &Connection,
    now_ms: i64,
    stale_after_ms: i64,
) -> Result<Vec<String>, StoreError> {
    let mut statement = sql.prepare_cached(
        "UPDATE streams SET stale_since_ms = ?1 WHERE stale_since_ms IS NULL
         AND arrived_at_ms - newest_minute * 60000 <= ?2 AND arrived_at_ms < ?1 - ?2 RETURNING name",
    )?;
    Ok(statement
        .query_map([now_ms, stale_after_ms], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

fn came_back(sql: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = sql.prepare_cached(
        "UPDATE streams SET stale_since_ms = NULL WHERE arrived_at_ms > stale_since_ms RETURNING name",
    )?;
    Ok(statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?)
}

/// Since when the monitor is noted blind: the newest of its alerts about itself says so.
fn blind_since(sql: &Connection) -> Result<Option<i64>, StoreError> {
    let newest: Option<(String, i64)> = sql
        .prepare_cached(
            "SELECT type, recorded_at_ms FROM alerts WHERE stream IS NULL AND type IN ('ingest.down', 'ingest.up')
             ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(newest
        .filter(|(alert_type, _)| alert_type == AlertType::IngestDown.name())
        .map(|(_, since)| since))
}

/// An alert of the monitor about its own feed. Its id is a hash of its type and the stored start, so that it is written once.
fn of_monitor(
    alert_type: AlertType,
    mut streams: Vec<String>,
    since_ms: i64,
    now_ms: i64,
    paging: &Paging,
) -> AlertRecord {
    streams.sort_unstable();
    let count = streams.len();
    streams.truncate(MAX_NAMED);
    let named = streams.join(", ");
    let message = match alert_type {
        AlertType::StreamStale => format!("no new minute from {count} live stream(s): {named}"),
        AlertType::StreamResumed => format!("new minutes again from {count} stream(s): {named}"),
        AlertType::IngestUp => "minutes are read from Kafka again: the monitor sees".into(),
        AlertType::Test => "this is a test: alerts arrive here".into(),
        AlertType::IngestDown | AlertType::Anomaly => "nothing is being watched".into(),
    };
    AlertRecord {
        id: Uuid::new_v5(
            &NAMESPACE,
            format!("{}\n{since_ms}", alert_type.name()).as_bytes(),
        ),
        alert_type,
        origin: Origin::Monitor,
        recorded_at_ms: now_ms,
        severity: Severity::Critical,
        message,
        anomaly: None,
        streams,
        suppressed_by: None,
        suppressed_before: 0,
        not_paged: paging.refuses(Severity::Critical, None, now_ms),
        trace_id: None,
        span_id: None,
    }
}

/// Deletes the oldest minutes of each stream that are older than `minutes` before its newest, at most a step of each.
fn prune_minutes(sql: &Connection, minutes: i64) -> Result<usize, StoreError> {
    let mut overdue = sql.prepare_cached(
        "SELECT id, newest_minute - ?1, (SELECT min(minute) FROM minute_counts WHERE stream_id = streams.id) AS oldest
         FROM streams WHERE oldest < newest_minute - ?1 LIMIT 8",
    )?;
    let overdue: Vec<(i64, i64, i64)> = overdue
        .query_map([minutes], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut delete =
        sql.prepare_cached("DELETE FROM minute_counts WHERE stream_id = ?1 AND minute < ?2")?;
    let mut deleted = 0;
    for (stream_id, keep_from, oldest) in overdue {
        deleted += delete.execute([stream_id, keep_from.min(oldest + STEP_MINUTES)])?;
    }
    Ok(deleted)
}
