//! Carries out the plan about incidents that wait, in one transaction. The plan is made in [`crate::alerts::release`].

use std::collections::BTreeMap;

use uuid::Uuid;

use super::engine::{Sql, params};
use super::{
    Store, StoreError,
    incidents::{
        self, alike,
        reading::{COLUMNS, read, read_message},
    },
    outbox,
    writer::Transaction,
};
use crate::alerts::{
    Recipients,
    incident_update::RecordedEvent,
    release::{Open, Plan},
};

impl Store {
    /// Passes the open incidents to `plan` and carries out what it says. Returns the events, and true if openings still wait.
    pub(crate) async fn release_incidents<F>(
        &self,
        now_ms: i64,
        plan: F,
    ) -> Result<(Vec<RecordedEvent>, bool), StoreError>
    where
        F: Fn(&Open) -> Plan + Send + 'static,
    {
        // Usually there is nothing to do, and no need to wait for the writer.
        let now = self.read(open).await?;
        if plan(&now).is_empty() {
            return Ok((Vec::new(), is_waiting(&now)));
        }
        self.writer
            .call(move |transaction| {
                let plan = plan(&open(transaction.sql)?);
                let events = carry_out(transaction, &plan, now_ms)?;
                Ok((events, is_waiting(&open(transaction.sql)?)))
            })
            .await
    }
}

fn is_waiting(open: &Open) -> bool {
    open.incidents
        .iter()
        .any(|incident| incident.is_open() && incident.release_at_ms.is_some())
}

fn open(sql: Sql<'_>) -> Result<Open, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM incidents WHERE ended_at_ms IS NULL UNION ALL
         SELECT {COLUMNS} FROM incidents WHERE ended_at_ms IS NOT NULL AND group_id IN (SELECT id FROM incidents WHERE ended_at_ms IS NULL AND kind = 'group')
         ORDER BY seq"
    );
    let mut statement = sql.prepare_cached(&text)?;
    let rows = statement.query_map(params![], read)?;
    let incidents = rows.collect::<Result<_, _>>()?;
    let streams = sql
        .prepare_cached("SELECT count(*) FROM streams WHERE retired_at_ms IS NULL")?
        .query_row(params![], |row| row.get(0))?;
    Ok(Open {
        incidents,
        streams,
        opened_with: opened_with(sql)?,
    })
}

/// How many streams each open group had when it opened.
fn opened_with(sql: Sql<'_>) -> Result<BTreeMap<Uuid, u32>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT message FROM incident_events WHERE kind = 'opened'
         AND incident_id IN (SELECT id FROM incidents WHERE ended_at_ms IS NULL AND kind = 'group')",
    )?;
    let messages = statement.query_map(params![], read_message)?;
    let counts = messages.map(|message| message.map(|of| (of.id, of.stream_count)));
    Ok(counts.collect::<Result<_, _>>()?)
}

fn carry_out(
    transaction: &mut Transaction<'_>,
    plan: &Plan,
    now_ms: i64,
) -> Result<Vec<RecordedEvent>, StoreError> {
    for (id, recipients) in &plan.releases {
        release(transaction, *id, recipients, now_ms)?;
    }
    for id in &plan.silenced {
        suppress(transaction.sql, *id, "silence", None)?;
    }
    let mut events = Vec::new();
    for update in &plan.updates {
        events.extend(incidents::recording::record(transaction, update)?);
        if update.is_group_opening() {
            // A group has waited with its members.
            let recipients = &update.events[0].recipients;
            if release(transaction, update.message.id, recipients, now_ms)?
                && let Some(opening) = events.last_mut()
            {
                opening.suppressed = None;
            }
        }
    }
    for (member, group) in &plan.joins {
        suppress(transaction.sql, *member, "group", Some(*group))?;
    }
    Ok(events)
}

/// Creates the deliveries of an opening that waited; of several, the newest. False if none waits, because nobody is notified any more.
fn release(
    transaction: &mut Transaction<'_>,
    id: Uuid,
    recipients: &Recipients,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let id = id.to_string();
    let newest: Option<i64> = transaction
        .sql
        .prepare_cached(
            "SELECT max(id) FROM incident_events WHERE incident_id = ?1 AND suppressed = 'waiting'",
        )?
        .query_row(params![&id], |row| row.get(0))?;
    let Some(newest) = newest else {
        return Ok(false);
    };
    transaction
        .sql
        .prepare_cached("UPDATE incident_events SET suppressed = CASE WHEN id = ?2 THEN NULL ELSE 'not_opened' END WHERE incident_id = ?1 AND suppressed = 'waiting'")?
        .execute(params![id, newest])?;
    transaction
        .sql
        .prepare_cached("UPDATE incidents SET suppressed = NULL, release_at_ms = NULL, notified_at_ms = ?2 WHERE id = ?1")?
        .execute(params![id, now_ms])?;
    alike::name_others_of_opening(transaction.sql, newest)?;
    outbox::insert_event(transaction, newest, recipients, now_ms, now_ms)?;
    Ok(true)
}

/// Gives an opening that waited another reason for no notification.
fn suppress(sql: Sql<'_>, id: Uuid, reason: &str, group: Option<Uuid>) -> Result<(), StoreError> {
    let (id, group) = (id.to_string(), group.map(|group| group.to_string()));
    sql.prepare_cached(
        "UPDATE incident_events SET suppressed = ?2 WHERE incident_id = ?1 AND suppressed = 'waiting'",
    )?
    .execute(params![id, reason])?;
    sql.prepare_cached(
        "UPDATE incidents SET suppressed = ?2, release_at_ms = NULL, group_id = ?3 WHERE id = ?1",
    )?
    .execute(params![id, reason, group])?;
    Ok(())
}
