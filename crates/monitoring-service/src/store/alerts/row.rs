//! The row of an alert: the only place that maps one to the other.

use std::sync::LazyLock;

use detection::{AlertKey, Anomaly, Minute, MonitoredStatus, Suppression};
use rusqlite::ToSql;
use uuid::Uuid;

use crate::alerts::{Alert, Recipients, Subject};
use crate::store::{
    StoreError,
    engine::{self, OptionalExtension as _, Row},
    findings::{self, Stored, policy_code, policy_from, severity_code, severity_from},
    outbox,
    writer::Transaction,
};

/// The columns that [`read`] reads, qualified where `deliveries` has the same name.
pub(in crate::store) const COLUMNS: &str = "alerts.seq, alerts.id, type, origin, recorded_at_ms, severity, message, alerts.stream, status_id, minute, count, late, \
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
pub(in crate::store) fn insert(
    transaction: &mut Transaction<'_>,
    alert: &Alert,
) -> Result<(), StoreError> {
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

/// An alert from a row with [`COLUMNS`].
pub(in crate::store) fn read(row: &Row<'_>) -> engine::Result<Alert> {
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

pub(super) fn uuid(row: &Row<'_>, column: &str) -> engine::Result<Uuid> {
    row.get::<_, String>(column)?
        .parse()
        .map_err(engine::Error::unreadable)
}

fn no_direction() -> engine::Error {
    engine::Error::unreadable("an alert has no direction")
}
