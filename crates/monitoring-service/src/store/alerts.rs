//! Alerts, read back: lists, the last one of a stream, those of a range of minutes.

pub(super) mod recording;
pub(super) mod row;

use std::collections::HashMap;

use detection::{Minute, MonitoredStatus, PolicyName, Severity};
use rusqlite::ToSql;
use uuid::Uuid;

use self::row::{COLUMNS, read};
use super::engine::{self, OptionalExtension as _, Sql, params};
use super::{
    Store, StoreError,
    findings::{policy_code, severity_code},
    outbox::{self, DeliveryRecord},
};
use crate::alerts::{Alert, Origin};

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

impl Store {
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

/// The newest alert of a policy about each stream, in one statement: one for each would be as many journeys to a server.
pub(super) fn last_of_each(
    sql: Sql<'_>,
    policy: PolicyName,
) -> Result<HashMap<String, Alert>, StoreError> {
    let mut statement = sql.prepare_cached(&last_of_each_statement())?;
    let rows = statement.query_map(params![policy_code(policy)], |row| {
        Ok((row.get("stream")?, read(row)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The statement of [`last_of_each`].
pub(super) fn last_of_each_statement() -> String {
    format!(
        "SELECT {COLUMNS} FROM alerts WHERE seq IN (SELECT (
             SELECT last.seq FROM alerts AS last WHERE last.stream = streams.name AND last.policy = ?1 AND last.origin = 'stream'
             ORDER BY last.seq DESC LIMIT 1) FROM streams)"
    )
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
