//! Alerts in the database: recording them with their delivery, and reading them back. The only place that maps an alert
//! to its row.

use std::sync::LazyLock;

use detection::{AlertKey, Anomaly, Minute, MonitoredStatus, PolicyName, Severity, Suppression};
use rusqlite::ToSql;
use uuid::Uuid;

use super::engine::{self, OptionalExtension as _, Row, Sql, params};
use super::{
    Store, StoreError,
    findings::{
        self, Stored, direction_code, policy_code, policy_from, severity_code, severity_from,
    },
    outbox::{self, DeliveryRecord},
    writer::Transaction,
};
use crate::alerts::{Alert, Origin, Recipients, Subject, submission::PriorSubmission};

/// The alerts to list; a field that is `None` does not filter.
#[derive(Clone, Debug, Default)]
pub struct AlertFilter {
    /// Only this stream.
    pub stream: Option<String>,
    /// Only this status.
    pub status: Option<MonitoredStatus>,
    /// Only of this policy.
    pub policy: Option<PolicyName>,
    /// Only this severity.
    pub severity: Option<Severity>,
    /// Only this origin.
    pub origin: Option<Origin>,
    /// Only notified (true) or suppressed (false) alerts.
    pub notified: Option<bool>,
    /// Only of this minute or later. An alert of the monitor counts by the minute of its recording.
    pub from: Option<Minute>,
    /// Only of a minute before this one.
    pub to: Option<Minute>,
    /// Recorded before the alert of this number.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: u32,
}

/// What was recorded last, by any instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    /// The number of an alert.
    pub(crate) alert: Option<i64>,
    /// The number of an event of an incident.
    pub(crate) incident: Option<i64>,
    /// When a minute arrived, milliseconds since 1970.
    pub(crate) arrival_ms: Option<i64>,
}

impl Store {
    /// Records an alert, with its deliveries if it is notified.
    pub(crate) async fn record_alert(&self, alert: Alert) -> Result<(), StoreError> {
        self.writer
            .call(move |transaction| insert(transaction, &alert))
            .await
    }

    /// Records the alert of a submission after `decide` has seen the last submission of its key that was not muted. One
    /// transaction, so that only one of two concurrent submissions is notified. An alert that is not muted gets the number of
    /// submissions suppressed since. Returns the recorded alert.
    pub(crate) async fn record_submission<F>(
        &self,
        alert: Alert,
        decide: F,
    ) -> Result<Alert, StoreError>
    where
        F: Fn(&mut Alert, Option<PriorSubmission>) + Send + 'static,
    {
        self.writer
            .call(move |transaction| {
                let (sql, mut alert) = (transaction.sql, alert.clone());
                let key = alert.anomaly().map(|anomaly| anomaly.key.clone());
                let prior = match &key {
                    Some(key) => prior_submission(sql, key)?,
                    None => None,
                };
                decide(&mut alert, prior.map(|(_, prior)| prior));
                // Counting them for each muted submission would take longer with every one.
                if let (Some(key), Some((seq, _)), false) = (&key, prior, alert.is_muted()) {
                    alert.suppressed_before = submissions_after(sql, key, seq)?;
                }
                insert(transaction, &alert)?;
                Ok(alert)
            })
            .await
    }

    /// Passes the newest alert about the begin or the end of a condition (`subjects`) to `decide`, and records and returns the new
    /// alert, if any.
    pub(crate) async fn record_condition<F>(
        &self,
        subjects: [Subject; 2],
        decide: F,
    ) -> Result<Option<Alert>, StoreError>
    where
        F: Fn(Option<&Alert>) -> Option<Alert> + Send + 'static,
    {
        // Usually there is nothing to record, and no need to wait for the writer.
        let newest = {
            let subjects = subjects.clone();
            self.read(move |sql| newest_of(sql, &subjects)).await?
        };
        if decide(newest.as_ref()).is_none() {
            return Ok(None);
        }
        self.writer
            .call(move |transaction| {
                let alert = decide(newest_of(transaction.sql, &subjects)?.as_ref());
                if let Some(alert) = &alert {
                    insert(transaction, alert)?;
                }
                Ok(alert)
            })
            .await
    }

    /// What was recorded last.
    pub(crate) async fn newest(&self) -> Result<Newest, StoreError> {
        const NEWEST: &str = "SELECT (SELECT max(seq) FROM alerts), (SELECT max(id) FROM incident_events), (SELECT max(arrived_at_ms) FROM streams)";
        self.read(|sql| {
            let mut newest = sql.prepare_cached(NEWEST)?;
            Ok(newest.query_row(params![], |row| {
                Ok(Newest {
                    alert: row.get(0)?,
                    incident: row.get(1)?,
                    arrival_ms: row.get(2)?,
                })
            })?)
        })
        .await
    }

    /// Alerts with their numbers, newest first.
    pub async fn alerts(&self, filter: AlertFilter) -> Result<Vec<(i64, Alert)>, StoreError> {
        self.read(move |sql| list(sql, &filter)).await
    }

    /// An alert and its deliveries.
    pub(crate) async fn alert(
        &self,
        id: Uuid,
    ) -> Result<Option<(Alert, Vec<DeliveryRecord>)>, StoreError> {
        self.read(move |sql| {
            let mut statement =
                sql.prepare_cached(&format!("SELECT {COLUMNS} FROM alerts WHERE id = ?1"))?;
            let found = statement
                .query_row(params![id.to_string()], |row| {
                    Ok((row.get("seq")?, read(row)?))
                })
                .optional()?;
            found
                .map(|(seq, alert)| Ok((alert, outbox::of_alert(sql, seq)?)))
                .transpose()
        })
        .await
    }
}

/// The columns that [`read`] reads, qualified where `deliveries` has the same name.
pub(super) const COLUMNS: &str = "alerts.seq, alerts.id, type, origin, recorded_at_ms, severity, message, alerts.stream, status_id, minute, count, late, \
     streams, suppressed, suppressed_by, suppressed_before, trace_id, span_id, policy, direction, threshold, window_minutes, mean, std_dev, \
     window_score, expected, spread, bar, heat, window_count, window_expected, payments, expected_payments, day_count, day_payments";

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let columns = format!(
        "id, type, origin, recorded_at_ms, severity, message, stream, status_id, minute, count, late, streams, suppressed, \
         suppressed_by, suppressed_before, trace_id, span_id, policy, {}",
        findings::COLUMNS
    );
    let values = vec!["?"; columns.split(", ").count()].join(", ");
    format!(
        "INSERT INTO alerts ({columns}) VALUES ({values}) ON CONFLICT (id) DO NOTHING RETURNING seq"
    )
});

/// Writes an alert and, if it is notified, its deliveries. An id that is stored is the same alert: nothing is written twice.
pub(super) fn insert(transaction: &mut Transaction<'_>, alert: &Alert) -> Result<(), StoreError> {
    let anomaly = alert.anomaly();
    let streams = alert.subject.streams();
    let values: [&dyn ToSql; 18] = [
        &alert.id.to_string(),
        &alert.subject.kind(),
        &alert.subject.origin().name(),
        &alert.recorded_at_ms,
        &severity_code(alert.severity()),
        &alert.message,
        &anomaly.map(|anomaly| anomaly.key.stream.as_str()),
        &anomaly.map(|anomaly| anomaly.key.status.index()),
        &anomaly.map(|anomaly| anomaly.minute.epoch_minutes()),
        &anomaly.map(|anomaly| anomaly.count),
        &anomaly.map(|anomaly| anomaly.late),
        &(!streams.is_empty()).then(|| streams.join("\n")),
        &alert.suppression.map(Suppression::reason),
        &alert
            .suppression
            .and_then(Suppression::by)
            .map(|id| id.to_string()),
        &alert.suppressed_before,
        &alert.trace_id,
        &alert.span_id,
        &anomaly.map(|anomaly| policy_code(anomaly.key.policy)),
    ];
    let finding = anomaly.map_or_else(Stored::default, |anomaly| Stored::finding(&anomaly.finding));
    let finding = finding.values();
    let finding = finding.iter().map(|value| value as &dyn ToSql);
    let values: Vec<_> = values.into_iter().chain(finding).collect();
    let seq = transaction
        .sql
        .prepare_cached(&INSERT)?
        .query_row(&values, |row| row.get(0))
        .optional()?;
    if let (Some(seq), true) = (seq, alert.is_notified()) {
        outbox::insert_alert(transaction, seq, alert)?;
    }
    Ok(())
}

fn newest_of(sql: Sql<'_>, subjects: &[Subject; 2]) -> Result<Option<Alert>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM alerts WHERE stream IS NULL AND type IN (?1, ?2) ORDER BY seq DESC LIMIT 1"
    );
    let [begin, end] = subjects.each_ref().map(Subject::kind);
    Ok(sql
        .prepare_cached(&text)?
        .query_row(params![begin, end], read)
        .optional()?)
}

pub(super) const PRIOR_SUBMISSION: &str =
    "SELECT seq, id, recorded_at_ms FROM alerts WHERE origin = 'evaluate' AND stream = ?1 AND policy = ?2 AND status_id = ?3
     AND direction = ?4 AND severity = ?5 AND suppressed_by IS NULL ORDER BY seq DESC LIMIT 1";

/// The last submission of a key that was not muted, with its sequence number.
fn prior_submission(
    sql: Sql<'_>,
    key: &AlertKey,
) -> Result<Option<(i64, PriorSubmission)>, StoreError> {
    let mut statement = sql.prepare_cached(PRIOR_SUBMISSION)?;
    let prior = statement.query_row(
        params![
            key.stream.as_str(),
            policy_code(key.policy),
            key.status.index(),
            direction_code(key.direction),
            severity_code(key.severity)
        ],
        |row| {
            let (id, recorded_at_ms) = (uuid(row, "id")?, row.get(2)?);
            Ok((row.get(0)?, PriorSubmission { id, recorded_at_ms }))
        },
    );
    Ok(prior.optional()?)
}

/// The number of submissions of a key after this sequence number.
fn submissions_after(sql: Sql<'_>, key: &AlertKey, seq: i64) -> Result<u32, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT count(*) FROM alerts WHERE origin = 'evaluate' AND stream = ?1 AND policy = ?2 AND status_id = ?3
         AND direction = ?4 AND severity = ?5 AND seq > ?6",
    )?;
    let values = params![
        key.stream.as_str(),
        policy_code(key.policy),
        key.status.index(),
        direction_code(key.direction),
        severity_code(key.severity),
        seq
    ];
    Ok(statement.query_row(values, |row| row.get(0))?)
}

/// The statement of a list. Each condition has an index in the order of recording; the first given one leads and the others
/// only filter: `+` keeps SQLite, which has no statistics, from choosing another.
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
        (filter.notified == Some(false), "suppressed IS NOT NULL"),
        (filter.severity.is_some(), "severity = :severity"),
        (filter.policy.is_some(), "policy = :policy"),
        (filter.notified == Some(true), "suppressed IS NULL"),
        (filter.origin == Some(Origin::Stream), "origin = 'stream'"),
        (
            filter.from.is_some(),
            "coalesce(minute, recorded_at_ms / 60000) >= :from",
        ),
        (
            filter.to.is_some(),
            "coalesce(minute, recorded_at_ms / 60000) < :to",
        ),
    ];
    let mut conditions = String::from("seq < :before");
    for (at, (_, condition)) in given.into_iter().filter(|(given, _)| *given).enumerate() {
        let filters_only = if at > 0 { "+" } else { "" };
        conditions.extend([" AND ", filters_only, condition]);
    }
    format!("SELECT {COLUMNS} FROM alerts WHERE {conditions} ORDER BY seq DESC LIMIT :limit")
}

fn list(sql: Sql<'_>, filter: &AlertFilter) -> Result<Vec<(i64, Alert)>, StoreError> {
    let text = list_statement(filter);
    let mut statement = sql.prepare_cached(&text)?;
    let values: [(&str, &dyn ToSql); 8] = [
        (":before", &filter.before.unwrap_or(i64::MAX)),
        (":stream", &filter.stream),
        (":status_id", &filter.status.map(MonitoredStatus::index)),
        (":policy", &filter.policy.map(policy_code)),
        (":severity", &filter.severity.map(severity_code)),
        (":from", &filter.from.map(Minute::epoch_minutes)),
        (":to", &filter.to.map(Minute::epoch_minutes)),
        (":limit", &filter.limit),
    ];
    let alerts = statement.query_map_named(&values, |row| Ok((row.get("seq")?, read(row)?)))?;
    Ok(alerts.collect::<Result<_, _>>()?)
}

/// The newest alert of a policy about a stream's status (about the stream as a whole where none is named).
pub(super) fn last_of(
    sql: Sql<'_>,
    stream: &str,
    policy: PolicyName,
    status: Option<MonitoredStatus>,
) -> Result<Option<Alert>, StoreError> {
    let condition = if status.is_some() {
        " AND status_id = ?3"
    } else {
        ""
    };
    let text = format!(
        "SELECT {COLUMNS} FROM alerts WHERE stream = ?1 AND policy = ?2{condition} AND origin = 'stream' ORDER BY seq DESC LIMIT 1"
    );
    let mut statement = sql.prepare_cached(&text)?;
    let (policy, index) = (policy_code(policy), status.map(MonitoredStatus::index));
    let values = params![stream, policy, index];
    let given = values.len() - usize::from(status.is_none());
    Ok(statement.query_row(&values[..given], read).optional()?)
}

/// The alerts of a policy about one minute and status of a stream, oldest first.
pub(super) fn of_minute(
    sql: Sql<'_>,
    stream: &str,
    status: &str,
    minute: Minute,
    policy: PolicyName,
) -> Result<Vec<Alert>, StoreError> {
    let Ok(status) = status.parse::<MonitoredStatus>() else {
        return Ok(Vec::new());
    };
    let text = format!(
        "SELECT {COLUMNS} FROM alerts WHERE stream = ?1 AND status_id = ?2 AND minute = ?3 AND +policy = ?4 AND origin = 'stream' ORDER BY seq"
    );
    let mut statement = sql.prepare_cached(&text)?;
    let rows = statement.query_map(
        params![
            stream,
            status.index(),
            minute.epoch_minutes(),
            policy_code(policy)
        ],
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Alerts of a policy about minutes of a stream in a range. The statuses are named so that SQLite uses the index by stream, status and minute.
pub(super) const IN_RANGE: &str =
    "FROM alerts WHERE stream = ?1 AND status_id IN (0, 1, 2, 3, 4) AND minute >= ?2 AND minute < ?3
     AND +policy = ?4 AND origin = 'stream'";

/// The first of them in [from, to), by minute.
pub(super) fn of_range(
    sql: Sql<'_>,
    stream: &str,
    policy: PolicyName,
    from: Minute,
    to: Minute,
    max: usize,
) -> Result<Vec<Alert>, StoreError> {
    let mut statement = sql.prepare_cached(&format!(
        "SELECT {COLUMNS} {IN_RANGE} ORDER BY minute, seq LIMIT ?5"
    ))?;
    let rows = statement.query_map(
        params![
            stream,
            from.epoch_minutes(),
            to.epoch_minutes(),
            policy_code(policy),
            max
        ],
        read,
    )?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The newest of them by minute, the newest first. `range`: the parameters of [`IN_RANGE`].
pub(super) fn newest_of_range(
    sql: Sql<'_>,
    range: &[&dyn ToSql],
    max: usize,
) -> engine::Result<Vec<Alert>> {
    let text = format!("SELECT {COLUMNS} {IN_RANGE} ORDER BY minute DESC, seq DESC LIMIT {max}");
    let mut statement = sql.prepare_cached(&text)?;
    statement.query_map(range, read)?.collect()
}

/// How many of them were not muted, and how many were: only the cooldown and silences have an id.
pub(super) fn count_range(
    sql: Sql<'_>,
    stream: &str,
    policy: PolicyName,
    from: Minute,
    to: Minute,
) -> Result<(usize, usize), StoreError> {
    let text = format!("SELECT count(*) - count(suppressed_by), count(suppressed_by) {IN_RANGE}");
    let range = params![
        stream,
        from.epoch_minutes(),
        to.epoch_minutes(),
        policy_code(policy)
    ];
    Ok(sql
        .prepare_cached(&text)?
        .query_row(range, |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// An alert from a row with [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> engine::Result<Alert> {
    let suppressed: Option<String> = row.get("suppressed")?;
    let by = row
        .get::<_, Option<String>>("suppressed_by")?
        .and_then(|id| id.parse().ok());
    Ok(Alert {
        id: uuid(row, "id")?,
        subject: read_subject(row)?,
        message: row.get("message")?,
        recorded_at_ms: row.get("recorded_at_ms")?,
        suppression: suppressed.and_then(|reason| Suppression::from_parts(&reason, by)),
        recipients: Recipients::default(),
        suppressed_before: row.get("suppressed_before")?,
        trace_id: row.get("trace_id")?,
        span_id: row.get("span_id")?,
    })
}

fn read_subject(row: &Row<'_>) -> engine::Result<Subject> {
    let (kind, origin): (String, String) = (row.get("type")?, row.get("origin")?);
    let streams = || {
        let names: Option<String> = row.get("streams")?;
        let names = names.iter().flat_map(|names| names.lines());
        Ok::<_, engine::Error>(names.map(ToOwned::to_owned).collect())
    };
    Ok(match (kind.as_str(), origin.as_str()) {
        ("stream.stale", _) => Subject::StaleStreams {
            streams: streams()?,
        },
        ("stream.resumed", _) => Subject::StreamsResumed {
            streams: streams()?,
        },
        ("ingest.down", _) => Subject::IngestDown,
        ("ingest.up", _) => Subject::IngestUp,
        ("ingest.rejecting", _) => Subject::IngestRejecting,
        ("ingest.accepting", _) => Subject::IngestAccepting,
        ("ingest.summary", _) => Subject::IngestSummary,
        ("receiver.summary", _) => Subject::ReceiverSummary,
        ("alert.test", _) => Subject::Test,
        (_, "evaluate") => Subject::Submission(read_anomaly(row)?),
        _ => Subject::Anomaly(read_anomaly(row)?),
    })
}

fn read_anomaly(row: &Row<'_>) -> engine::Result<Anomaly> {
    let severity = severity_from(row.get("severity")?);
    let count = row.get("count")?;
    let policy = policy_from(row.get("policy")?);
    let status = MonitoredStatus::ALL[row.get::<_, usize>("status_id")?];
    let finding = findings::read_finding(row, policy, status, severity, count)?;
    let stream: String = row.get("stream")?;
    Ok(Anomaly {
        key: AlertKey {
            stream: stream.parse().map_err(engine::Error::unreadable)?,
            policy,
            status,
            direction: finding.direction.ok_or_else(no_direction)?,
            severity,
        },
        minute: Minute::from_epoch_minutes(row.get("minute")?),
        count,
        finding,
        late: row.get("late")?,
    })
}

fn uuid(row: &Row<'_>, column: &str) -> engine::Result<Uuid> {
    row.get::<_, String>(column)?
        .parse()
        .map_err(engine::Error::unreadable)
}

fn no_direction() -> engine::Error {
    engine::Error::unreadable("an alert has no direction")
}
