//! Cooldowns of the alert keys, stored with the minutes of their stream.

use detection::{AlertKey, Cooldown, Minute, MonitoredStatus};
use rusqlite::{Connection, params};

use super::{
    StoreError,
    findings::{
        direction_code, direction_from, policy_code, policy_from, severity_code, severity_from,
    },
    names::stream_id,
};

pub(super) fn of_stream(
    sql: &Connection,
    stream_id: i64,
    stream: &str,
) -> Result<Vec<(AlertKey, Cooldown)>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT policy, status_id, direction, severity, fired, suppressed FROM cooldowns WHERE stream_id = ?1",
    )?;
    let stream: detection::Stream = stream
        .parse()
        .map_err(|error| StoreError::Broken(format!("{error}")))?;
    let rows = statement.query_map([stream_id], |row| {
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

pub(super) fn write(
    sql: &Connection,
    key: &AlertKey,
    cooldown: &Cooldown,
) -> Result<(), StoreError> {
    let stream_id = stream_id(sql, key.stream.as_str())?;
    sql.prepare_cached("INSERT OR REPLACE INTO cooldowns VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            stream_id,
            policy_code(key.policy),
            key.status.index(),
            direction_code(key.direction),
            severity_code(key.severity),
            cooldown.fired.map(Minute::epoch_minutes),
            cooldown.suppressed
        ])?;
    Ok(())
}
