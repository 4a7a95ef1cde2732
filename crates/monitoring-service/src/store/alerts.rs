//! Alerts in the database: recording them with their delivery, and reading them back.

use detection::{Baseline, Minute, MonitoredStatus, Severity};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use uuid::Uuid;

use super::{
    AlertRecord, AlertType, Anomaly, NotPaged, Origin, Store, StoreError, SuppressedBy,
    codes::{direction_code, direction_from, severity_from},
};

/// Which alerts to list; every field that is none does not limit.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// Of this stream.
    pub stream: Option<String>,
    /// Of this status.
    pub status: Option<MonitoredStatus>,
    /// Of this severity.
    pub severity: Option<Severity>,
    /// From there.
    pub origin: Option<Origin>,
    /// Only those that went out (true) or were held back (false).
    pub dispatched: Option<bool>,
    /// Recorded before the alert of this number.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: u32,
}

/// How a page is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// Its number.
    pub id: i64,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// Tries so far.
    pub attempts: u32,
    /// When it was asked for, milliseconds since 1970.
    pub created_at_ms: i64,
    /// When it is tried again.
    pub next_attempt_at_ms: Option<i64>,
    /// When it was last tried.
    pub last_attempt_at_ms: Option<i64>,
    /// The HTTP status of the last answer.
    pub last_status: Option<u16>,
    /// What went wrong last.
    pub last_error: Option<String>,
}

impl Store {
    /// Records an alert, with its delivery if it [`AlertRecord::is_paged`].
    pub async fn record_alert(&self, alert: AlertRecord) -> Result<(), StoreError> {
        let paged = alert.is_paged();
        self.writer
            .call(move |transaction| insert(transaction.sql, &alert))
            .await?;
        if paged {
            self.outbox_changed().notify_one();
        }
        Ok(())
    }

    /// Records an anomalous submission: held back if one of the same key was dispatched less than `cooldown_ms` before.
    /// Gives it as it was recorded.
    pub async fn record_submission(
        &self,
        alert: AlertRecord,
        cooldown_ms: i64,
    ) -> Result<AlertRecord, StoreError> {
        let recorded = self.writer.call(move |transaction| {
            let mut alert = alert.clone();
            decide_submission(transaction.sql, &mut alert, cooldown_ms)?;
            insert(transaction.sql, &alert)?;
            Ok(alert)
        });
        let recorded = recorded.await?;
        if recorded.is_paged() {
            self.outbox_changed().notify_one();
        }
        Ok(recorded)
    }

    /// Alerts with their numbers, newest first.
    pub async fn alerts(&self, filter: AlertFilter) -> Result<Vec<(i64, AlertRecord)>, StoreError> {
        self.read(move |sql| list(sql, &filter)).await
    }

    /// An alert and its deliveries.
    pub async fn alert(
        &self,
        id: Uuid,
    ) -> Result<Option<(AlertRecord, Vec<DeliveryRecord>)>, StoreError> {
        self.read(move |sql| {
            let mut statement =
                sql.prepare_cached(&format!("SELECT {COLUMNS} FROM alerts WHERE id = ?1"))?;
            let found = statement
                .query_row([id.to_string()], |row| Ok((row.get("seq")?, read(row)?)))
                .optional()?;
            found
                .map(|(seq, alert)| Ok((alert, deliveries(sql, seq)?)))
                .transpose()
        })
        .await
    }
}

pub(super) const COLUMNS: &str = "alerts.seq, alerts.id, type, origin, recorded_at_ms, severity, message, stream, status_id, direction, minute, \
     count, z_score, window_minutes, mean, std_dev, threshold, late, streams, suppressed_by, silenced, suppressed_before, not_paged, trace_id, span_id";

/// Writes an alert and, if it is paged, its delivery. An id already there is the same alert: nothing is written twice.
pub(super) fn insert(sql: &Connection, alert: &AlertRecord) -> Result<(), StoreError> {
    let anomaly = alert.anomaly.as_ref();
    let streams = (!alert.streams.is_empty()).then(|| alert.streams.join("\n"));
    let written = sql
        .prepare_cached(
            "INSERT INTO alerts (id, type, origin, recorded_at_ms, severity, message, stream, status_id, direction, minute, count, z_score,
                 window_minutes, mean, std_dev, threshold, late, streams, suppressed_by, silenced, suppressed_before, not_paged, trace_id, span_id)
             VALUES (:id, :type, :origin, :recorded_at_ms, :severity, :message, :stream, :status_id, :direction, :minute, :count, :z_score,
                 :window_minutes, :mean, :std_dev, :threshold, :late, :streams, :suppressed_by, :silenced, :suppressed_before, :not_paged, :trace_id, :span_id)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(named_params! {
            ":id": alert.id.to_string(),
            ":type": alert.alert_type.name(),
            ":origin": alert.origin.name(),
            ":recorded_at_ms": alert.recorded_at_ms,
            ":severity": alert.severity.code(),
            ":message": alert.message,
            ":stream": anomaly.map(|a| &a.stream),
            ":status_id": anomaly.map(|a| a.status.index()),
            ":direction": anomaly.map(|a| direction_code(a.direction)),
            ":minute": anomaly.map(|a| a.minute.epoch_minutes()),
            ":count": anomaly.map(|a| a.count),
            ":z_score": anomaly.and_then(|a| a.z_score),
            ":window_minutes": anomaly.map(|a| a.baseline.minutes()),
            ":mean": anomaly.and_then(|a| a.baseline.mean()),
            ":std_dev": anomaly.and_then(|a| a.baseline.std_dev()),
            ":threshold": anomaly.map(|a| a.threshold),
            ":late": anomaly.map(|a| a.late),
            ":streams": streams,
            ":suppressed_by": alert.suppressed_by.map(|by| by.id().to_string()),
            ":silenced": matches!(alert.suppressed_by, Some(SuppressedBy::Silence(_))),
            ":suppressed_before": alert.suppressed_before,
            ":not_paged": alert.not_paged.map(NotPaged::name),
            ":trace_id": alert.trace_id,
            ":span_id": alert.span_id,
        })?;
    if written == 1 && alert.is_paged() {
        sql.prepare_cached(
            "INSERT INTO deliveries (alert_seq, state, attempts, created_at_ms, next_attempt_at_ms) VALUES (?1, 'pending', 0, ?2, ?2)",
        )?
        .execute(params![sql.last_insert_rowid(), alert.recorded_at_ms])?;
    }
    Ok(())
}

/// The cooldown of submissions, on the wall clock: looked up where it is written, so that two at once cannot both go out.
fn decide_submission(
    sql: &Connection,
    alert: &mut AlertRecord,
    cooldown_ms: i64,
) -> Result<(), StoreError> {
    // A silence holds back before the cooldown does, as in the fold.
    let Some(Anomaly {
        stream,
        status,
        direction,
        ..
    }) = alert.anomaly.as_ref().filter(|_| alert.is_dispatched())
    else {
        return Ok(());
    };
    let last = sql
        .prepare_cached(
            "SELECT seq, id, recorded_at_ms FROM alerts WHERE origin = 'evaluate' AND stream = ?1 AND status_id = ?2
             AND direction = ?3 AND severity = ?4 AND suppressed_by IS NULL ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(params![stream, status.index(), direction_code(*direction), alert.severity.code()], |row| {
            Ok((row.get::<_, i64>(0)?, uuid(row, "id")?, row.get::<_, i64>(2)?))
        })
        .optional()?;
    let Some((seq, id, recorded_at_ms)) = last else {
        return Ok(());
    };
    // One from the future was recorded before the clock was set back: it holds nothing back.
    if (0..cooldown_ms).contains(&(alert.recorded_at_ms - recorded_at_ms)) {
        (alert.suppressed_by, alert.not_paged) = (Some(SuppressedBy::Alert(id)), None);
        return Ok(());
    }
    alert.suppressed_before = sql
        .prepare_cached(
            "SELECT count(*) FROM alerts WHERE origin = 'evaluate' AND stream = ?1 AND status_id = ?2
             AND direction = ?3 AND severity = ?4 AND seq > ?5",
        )?
        .query_row(params![stream, status.index(), direction_code(*direction), alert.severity.code(), seq], |row| {
            row.get(0)
        })?;
    Ok(())
}

/// The statement of a list. Each condition has an index in the order of recording; the first of those given leads, the others
/// only filter, which `+` tells SQLite: it knows no figures to choose by.
pub(super) fn list_statement(filter: &AlertFilter) -> String {
    let given = [
        (filter.stream.is_some(), "stream = :stream"),
        // Literals, because they are those of partial indexes.
        (
            filter.origin == Some(Origin::Evaluate),
            "origin = 'evaluate'",
        ),
        (filter.origin == Some(Origin::Monitor), "origin = 'monitor'"),
        (filter.status.is_some(), "status_id = :status_id"),
        (
            filter.dispatched == Some(false),
            "suppressed_by IS NOT NULL",
        ),
        (filter.severity.is_some(), "severity = :severity"),
        (filter.dispatched == Some(true), "suppressed_by IS NULL"),
        (filter.origin == Some(Origin::Stream), "origin = 'stream'"),
    ];
    let mut conditions = String::from("seq < :before");
    for (at, (_, condition)) in given.into_iter().filter(|(given, _)| *given).enumerate() {
        let filters_only = if at > 0 { "+" } else { "" };
        conditions.extend([" AND ", filters_only, condition]);
    }
    format!("SELECT {COLUMNS} FROM alerts WHERE {conditions} ORDER BY seq DESC LIMIT :limit")
}

fn list(sql: &Connection, filter: &AlertFilter) -> Result<Vec<(i64, AlertRecord)>, StoreError> {
    let text = list_statement(filter);
    let mut statement = sql.prepare_cached(&text)?;
    let mut bind =
        |name: &str, value: &dyn rusqlite::ToSql| match statement.parameter_index(name)? {
            Some(index) => statement.raw_bind_parameter(index, value),
            None => Ok(()),
        };
    bind(":before", &filter.before.unwrap_or(i64::MAX))?;
    bind(":stream", &filter.stream)?;
    bind(":status_id", &filter.status.map(MonitoredStatus::index))?;
    bind(":severity", &filter.severity.map(Severity::code))?;
    bind(":limit", &filter.limit)?;
    let mut rows = statement.raw_query();
    let mut alerts = Vec::new();
    while let Some(row) = rows.next()? {
        alerts.push((row.get("seq")?, read(row)?));
    }
    Ok(alerts)
}

fn deliveries(sql: &Connection, alert_seq: i64) -> Result<Vec<DeliveryRecord>, StoreError> {
    let text =
        format!("SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE alert_seq = ?1 ORDER BY id");
    let mut statement = sql.prepare_cached(&text)?;
    Ok(statement
        .query_map([alert_seq], read_delivery)?
        .collect::<Result<_, _>>()?)
}

pub(super) const DELIVERY_COLUMNS: &str = "deliveries.id AS delivery_id, state, attempts, created_at_ms, next_attempt_at_ms, \
     last_attempt_at_ms, last_status, last_error";

/// A delivery from a row with [`DELIVERY_COLUMNS`].
pub(super) fn read_delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryRecord> {
    Ok(DeliveryRecord {
        id: row.get("delivery_id")?,
        state: row.get("state")?,
        attempts: row.get("attempts")?,
        created_at_ms: row.get("created_at_ms")?,
        next_attempt_at_ms: row.get("next_attempt_at_ms")?,
        last_attempt_at_ms: row.get("last_attempt_at_ms")?,
        last_status: row.get("last_status")?,
        last_error: row.get("last_error")?,
    })
}

/// The newest alert of a stream's status (of the stream as a whole where none is named).
pub(super) fn last_of(
    sql: &Connection,
    stream: &str,
    status: Option<MonitoredStatus>,
) -> Result<Option<AlertRecord>, StoreError> {
    let condition = if status.is_some() {
        " AND status_id = ?2"
    } else {
        " AND ?2 IS NULL"
    };
    let text = format!(
        "SELECT {COLUMNS} FROM alerts WHERE stream = ?1{condition} AND origin = 'stream' ORDER BY seq DESC LIMIT 1"
    );
    let mut statement = sql.prepare_cached(&text)?;
    Ok(statement
        .query_row(params![stream, status.map(MonitoredStatus::index)], read)
        .optional()?)
}

/// The alerts of a stream about one of its minutes and statuses, oldest first.
pub(super) fn of_minute(
    sql: &Connection,
    stream: &str,
    status: &str,
    minute: Minute,
) -> Result<Vec<AlertRecord>, StoreError> {
    let Some(status) = MonitoredStatus::from_name(status) else {
        return Ok(Vec::new());
    };
    let text = format!(
        "SELECT {COLUMNS} FROM alerts WHERE stream = ?1 AND status_id = ?2 AND minute = ?3 AND origin = 'stream' ORDER BY seq"
    );
    let mut statement = sql.prepare_cached(&text)?;
    let rows = statement.query_map(
        params![stream, status.index(), minute.epoch_minutes()],
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Alerts of a stream about minutes in a range. The statuses are named so that the index by stream, status and minute serves.
pub(super) const IN_RANGE: &str =
    "FROM alerts WHERE stream = ?1 AND status_id IN (0, 1, 2, 3, 4) AND minute >= ?2 AND minute < ?3
     AND origin = 'stream'";

/// The first alerts of a stream about minutes in [from, to), by minute.
pub(super) fn of_range(
    sql: &Connection,
    stream: &str,
    from: Minute,
    to: Minute,
    most: usize,
) -> Result<Vec<AlertRecord>, StoreError> {
    let mut statement = sql.prepare_cached(&format!(
        "SELECT {COLUMNS} {IN_RANGE} ORDER BY minute, seq LIMIT ?4"
    ))?;
    let rows = statement.query_map(
        params![stream, from.epoch_minutes(), to.epoch_minutes(), most],
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// How many of them were dispatched, and how many held back.
pub(super) fn count_range(
    sql: &Connection,
    stream: &str,
    from: Minute,
    to: Minute,
) -> Result<(usize, usize), StoreError> {
    let text = format!("SELECT count(*) - count(suppressed_by), count(suppressed_by) {IN_RANGE}");
    let range = params![stream, from.epoch_minutes(), to.epoch_minutes()];
    Ok(sql
        .prepare_cached(&text)?
        .query_row(range, |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// An alert from a row with [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<AlertRecord> {
    let text = |name: &str| row.get::<_, String>(name);
    let stream: Option<String> = row.get("stream")?;
    let streams: Option<String> = row.get("streams")?;
    Ok(AlertRecord {
        id: uuid(row, "id")?,
        alert_type: AlertType::from_name(&text("type")?).unwrap_or(AlertType::Anomaly),
        origin: Origin::from_name(&text("origin")?).unwrap_or(Origin::Stream),
        recorded_at_ms: row.get("recorded_at_ms")?,
        severity: severity_from(row.get("severity")?),
        message: row.get("message")?,
        anomaly: stream.map(|stream| read_anomaly(row, stream)).transpose()?,
        streams: streams
            .iter()
            .flat_map(|names| names.lines())
            .map(ToOwned::to_owned)
            .collect(),
        suppressed_by: read_suppressed_by(row)?,
        suppressed_before: row.get("suppressed_before")?,
        not_paged: row
            .get::<_, Option<String>>("not_paged")?
            .and_then(|name| NotPaged::from_name(&name)),
        trace_id: row.get("trace_id")?,
        span_id: row.get("span_id")?,
    })
}

fn read_suppressed_by(row: &Row<'_>) -> rusqlite::Result<Option<SuppressedBy>> {
    let id = row
        .get::<_, Option<String>>("suppressed_by")?
        .and_then(|id| id.parse().ok());
    let silenced: bool = row.get("silenced")?;
    Ok(id.map(|id| {
        if silenced {
            SuppressedBy::Silence(id)
        } else {
            SuppressedBy::Alert(id)
        }
    }))
}

fn read_anomaly(row: &Row<'_>, stream: String) -> rusqlite::Result<Anomaly> {
    Ok(Anomaly {
        stream,
        status: MonitoredStatus::ALL[row.get::<_, usize>("status_id")?],
        direction: direction_from(row.get("direction")?),
        minute: Minute::from_epoch_minutes(row.get("minute")?),
        count: row.get("count")?,
        z_score: row.get("z_score")?,
        baseline: Baseline::from_figures(
            row.get("mean")?,
            row.get("std_dev")?,
            row.get("window_minutes")?,
        ),
        threshold: row.get("threshold")?,
        late: row.get("late")?,
    })
}

fn uuid(row: &Row<'_>, column: &str) -> rusqlite::Result<Uuid> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
    })
}
