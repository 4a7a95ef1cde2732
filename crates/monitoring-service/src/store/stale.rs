//! Which streams are recorded as stale. The rules are in [`crate::alerts::stale`].

use detection::Minute;

use super::{
    Store, StoreError,
    alerts::row,
    engine::{Sql, params},
    incidents::{reading::open_of, recording},
    watermarks::read_pauses,
};
use crate::alerts::{
    Alert,
    incident::IncidentKind,
    incident_record::IncidentRecord,
    incident_update::{IncidentUpdate, RecordedEvent},
    stale::{Freshness, StaleChange},
};

impl Store {
    /// The freshness of the monitored streams, by name.
    pub(crate) async fn freshness(&self) -> Result<Vec<Freshness>, StoreError> {
        self.read(freshness).await
    }

    /// Passes all streams to `decide`, marks streams as stale or no longer stale, and records the alerts and incidents in the same
    /// transaction. Returns the alerts and the events of incidents.
    pub(crate) async fn change_stale_streams<F, E>(
        &self,
        now_ms: i64,
        decide: F,
        end: E,
    ) -> Result<(Vec<Alert>, Vec<RecordedEvent>), StoreError>
    where
        F: Fn(&[Freshness]) -> StaleChange + Send + 'static,
        E: Fn(&IncidentRecord) -> IncidentUpdate + Send + 'static,
    {
        self.writer
            .call(move |transaction| {
                let change = decide(&freshness(transaction.sql)?);
                let mut mark = transaction.sql.prepare_cached(
                    "UPDATE streams SET stale_since_ms = ?2, stale_alerted = 0 WHERE name = ?1",
                )?;
                for stream in &change.stale {
                    mark.execute(params![stream, now_ms])?;
                }
                for stream in &change.resumed {
                    mark.execute(params![stream, None::<i64>])?;
                }
                let mut alerted = transaction
                    .sql
                    .prepare_cached("UPDATE streams SET stale_alerted = 1 WHERE name = ?1")?;
                for stream in &change.alerted {
                    alerted.execute(params![stream])?;
                }
                for alert in &change.alerts {
                    row::insert(transaction, alert)?;
                }
                let mut events = Vec::new();
                for update in &change.incidents {
                    events.extend(recording::record(transaction, update)?);
                }
                for stream in &change.resumed {
                    let open = open_of(transaction.sql, IncidentKind::StaleStream, Some(stream))?;
                    events.extend(recording::record_all(transaction, open.iter().map(&end))?);
                }
                Ok((change.alerts, events))
            })
            .await
    }
}

fn freshness(sql: Sql<'_>) -> Result<Vec<Freshness>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT name, newest_minute, arrived_at_ms, stale_since_ms, stale_alerted, pauses FROM streams
         WHERE retired_at_ms IS NULL ORDER BY name",
    )?;
    let rows = statement.query_map(params![], |row| {
        Ok(Freshness {
            stream: row.get(0)?,
            newest: Minute::from_epoch_minutes(row.get(1)?),
            arrived_at_ms: row.get(2)?,
            stale_since_ms: row.get(3)?,
            alerted: row.get(4)?,
            pauses: read_pauses(row)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
