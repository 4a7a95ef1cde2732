//! Cooldowns of the alert keys, stored with the minutes of their stream.

use detection::{AlertKey, Cooldown, Minute, MonitoredStatus};

use super::engine::{self, Sql, Value, params};
use super::{
    StoreError,
    findings::{
        direction_code, direction_from, policy_code, policy_from, severity_code, severity_from,
    },
    writer::Transaction,
};

pub(super) fn of_stream(
    sql: Sql<'_>,
    stream_id: i64,
    stream: &str,
) -> Result<Vec<(AlertKey, Cooldown)>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT policy, status_id, direction, severity, fired, suppressed FROM cooldowns WHERE stream_id = ?1",
    )?;
    let stream: detection::Stream = stream
        .parse()
        .map_err(|error| StoreError::Broken(format!("{error}")))?;
    let rows = statement.query_map(params![stream_id], |row| {
        let key = AlertKey {
            stream: stream.clone(),
            policy: policy_from(row.get(0)?),
            status: MonitoredStatus::ALL[row.get::<_, usize>(1)?],
            direction: direction_from(row.get(2)?),
            severity: severity_from(row.get(3)?),
        };
        let fired = row
            .get::<_, Option<i64>>(4)?
            .map(Minute::from_epoch_minutes);
        Ok((
            key,
            Cooldown {
                fired,
                suppressed: row.get(5)?,
            },
        ))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Stores the cooldowns of keys whose streams were written in this transaction.
pub(super) fn write(
    transaction: &Transaction<'_>,
    cooldowns: &[(AlertKey, Cooldown)],
) -> engine::Result<()> {
    let mut write = transaction.sql.prepare_cached(
        "INSERT INTO cooldowns (stream_id, policy, status_id, direction, severity, fired, suppressed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (stream_id, policy, status_id, direction, severity) DO UPDATE SET fired = excluded.fired, suppressed = excluded.suppressed",
    )?;
    let rows = cooldowns.iter().map(|(key, cooldown)| {
        let stream_id = transaction.ids.stream(transaction.sql, &key.stream)?;
        Ok([
            Value::from(stream_id),
            policy_code(key.policy).into(),
            i64::try_from(key.status.index()).unwrap_or(i64::MAX).into(),
            direction_code(key.direction).into(),
            severity_code(key.severity).into(),
            cooldown.fired.map(Minute::epoch_minutes).into(),
            cooldown.suppressed.into(),
        ])
    });
    write.execute_each(&rows.collect::<engine::Result<Vec<_>>>()?)?;
    Ok(())
}
