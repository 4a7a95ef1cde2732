//! The streams as they are listed: their freshness, the state of their newest minute, and what their producers send.

use detection::{Judgement, Minute, MonitoredStatus, Pauses, PolicyName, State};

use super::engine::{self, OptionalExtension as _, Row, Sql, params};
use super::{
    Store, StoreError, alerts,
    findings::{self, judgement_columns, state_column, state_from},
    names::stream_id,
    watermarks::{read_hours_off, read_pauses},
};
use crate::alerts::Alert;

/// A stream, its freshness and its state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StreamRecord {
    /// Its name.
    pub(crate) name: String,
    /// Its newest minute.
    pub(crate) newest_minute: Minute,
    /// When that minute arrived, milliseconds since 1970.
    pub(crate) arrived_at_ms: i64,
    /// Since when it is recorded as stale; none while new minutes arrive.
    pub(crate) stale_since_ms: Option<i64>,
    /// Since when only minutes too old to be evaluated arrive; `None` if newer ones arrive.
    pub(crate) old_since_ms: Option<i64>,
    /// Its pauses, which say when it is stale.
    pub(crate) pauses: Pauses,
    /// Whole hours that its minutes come behind the clock, if they do.
    pub(crate) hours_off: Option<i64>,
    /// Since when it is switched off; none while it is monitored.
    pub(crate) retired_at_ms: Option<i64>,
    /// The worst state of its newest minute.
    pub(crate) worst: State,
    /// Its last alert.
    pub(crate) last_alert: Option<Alert>,
}

/// A status in its stream's newest minute.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewestRow {
    /// Which status.
    pub(crate) status: MonitoredStatus,
    /// Which minute.
    pub(crate) minute: Minute,
    /// Its count.
    pub(crate) count: u32,
    /// True for the 0 of a status that no message named.
    pub(crate) implied: bool,
    /// True if a message of the stream ever named the status.
    pub(crate) sent: bool,
    /// The finding, or why there is none.
    pub(crate) judgement: Judgement,
    /// The last alert of the status.
    pub(crate) last_alert: Option<Alert>,
}

/// What the producer of a stream sends, for the notes of health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamInput {
    /// The stream.
    pub(crate) stream: String,
    /// Whole hours that its minutes come behind the clock, if they do.
    pub(crate) hours_off: Option<i64>,
    /// The monitored statuses that no message ever named.
    pub(crate) never_sent: Vec<MonitoredStatus>,
    /// Names of statuses that are not monitored, the first of them.
    pub(crate) other_statuses: Vec<String>,
    /// Minutes that were too old to be judged.
    pub(crate) unjudged_minutes: i64,
    /// When the last one of them arrived.
    pub(crate) unjudged_at_ms: Option<i64>,
}

impl StreamRecord {
    /// Its state: stale without new minutes, else that of its newest minute.
    pub(crate) const fn state(&self) -> State {
        match self.stale_since_ms {
            Some(_) => State::Stale,
            None => self.worst,
        }
    }
}

impl Store {
    /// Every stream that is monitored (`retired`: every one that is not) as this policy judges it, in the order of their first
    /// minutes' arrival.
    pub(crate) async fn streams(
        &self,
        policy: PolicyName,
        retired: bool,
    ) -> Result<Vec<StreamRecord>, StoreError> {
        self.read(move |sql| {
            let mut streams = listed(sql, policy, retired)?;
            let mut alerts = alerts::last_of_each(sql, policy)?;
            for stream in &mut streams {
                stream.last_alert = alerts.remove(&stream.name);
            }
            Ok(streams)
        })
        .await
    }

    /// As [`Self::streams`], the monitored ones without their last alerts: a lookup for each would cost more than all the rest.
    pub(crate) async fn streams_without_alerts(
        &self,
        policy: PolicyName,
    ) -> Result<Vec<StreamRecord>, StoreError> {
        self.read(move |sql| listed(sql, policy, false)).await
    }

    /// One stream as this policy judges it.
    pub(crate) async fn stream(
        &self,
        name: &str,
        policy: PolicyName,
    ) -> Result<Option<StreamRecord>, StoreError> {
        let name = name.to_owned();
        self.read(move |sql| {
            let mut statement =
                sql.prepare_cached(&format!("{} WHERE name = ?1", select(policy)))?;
            let found = statement.query_row(params![name], read_stream).optional()?;
            let Some(mut stream) = found else {
                return Ok(None);
            };
            stream.last_alert = alerts::last_of(sql, &stream.name, policy, None)?;
            Ok(Some(stream))
        })
        .await
    }

    /// What the producers of the monitored streams send.
    pub(crate) async fn stream_inputs(&self) -> Result<Vec<StreamInput>, StoreError> {
        self.read(|sql| {
            let mut statement = sql.prepare_cached(
                "SELECT name, hours_off, hours_off_times, named_statuses, other_statuses, unjudged_minutes, unjudged_at_ms
                 FROM streams WHERE retired_at_ms IS NULL ORDER BY id",
            )?;
            Ok(statement
                .query_map(params![], read_input)?
                .collect::<Result<_, _>>()?)
        })
        .await
    }

    /// True if the stream has minutes, also if it is retired.
    pub(crate) async fn has_stream(&self, name: &str) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.read(move |sql| Ok(stream_id(sql, &name)?.is_some()))
            .await
    }

    /// The names of the monitored streams, in the order of their first minutes' arrival.
    pub(crate) async fn stream_names(&self) -> Result<Vec<String>, StoreError> {
        self.read(|sql| {
            let mut statement = sql.prepare_cached(
                "SELECT name FROM streams WHERE retired_at_ms IS NULL ORDER BY id",
            )?;
            Ok(statement
                .query_map(params![], |row| row.get(0))?
                .collect::<Result<_, _>>()?)
        })
        .await
    }

    /// The monitored statuses of each stream's newest minute as this policy judges them, with its last alert of each status.
    pub(crate) async fn newest_rows(
        &self,
        streams: Vec<String>,
        policy: PolicyName,
    ) -> Result<Vec<Vec<NewestRow>>, StoreError> {
        self.read(move |sql| {
            let rows = streams
                .iter()
                .map(|stream| newest_rows(sql, stream, policy));
            rows.collect()
        })
        .await
    }

    /// How many streams are monitored, also by open minutes alone. Blocks.
    pub(crate) fn count_streams(&self) -> Result<usize, StoreError> {
        const COUNT: &str =
            "SELECT count(*) FROM (SELECT name FROM streams WHERE retired_at_ms IS NULL
             UNION SELECT stream FROM open_streams) AS names";
        self.read_blocking(|sql| {
            let mut count = sql.prepare_cached(COUNT)?;
            Ok(count.query_row(params![], |row| row.get(0))?)
        })
    }
}

fn listed(
    sql: Sql<'_>,
    policy: PolicyName,
    retired: bool,
) -> Result<Vec<StreamRecord>, StoreError> {
    let select = select(policy);
    let mut statement = sql.prepare_cached(&format!(
        "{select} WHERE (retired_at_ms IS NOT NULL) = ?1 ORDER BY id"
    ))?;
    let rows = statement.query_map(params![retired], read_stream)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn select(policy: PolicyName) -> String {
    format!(
        "SELECT name, newest_minute, arrived_at_ms, CASE WHEN arrived_at_ms <= stale_since_ms THEN stale_since_ms END AS stale_since_ms,
         old_since_ms, pauses, hours_off, hours_off_times, retired_at_ms, (SELECT max({}) FROM minute_counts WHERE stream_id = streams.id AND minute = newest_minute) AS worst FROM streams",
        state_column(policy)
    )
}

fn read_stream(row: &Row<'_>) -> engine::Result<StreamRecord> {
    Ok(StreamRecord {
        name: row.get("name")?,
        newest_minute: Minute::from_epoch_minutes(row.get("newest_minute")?),
        arrived_at_ms: row.get("arrived_at_ms")?,
        stale_since_ms: row.get("stale_since_ms")?,
        old_since_ms: row.get("old_since_ms")?,
        pauses: read_pauses(row)?,
        hours_off: read_hours_off(row)?.known(),
        retired_at_ms: row.get("retired_at_ms")?,
        worst: state_from(row.get::<_, Option<u8>>("worst")?.unwrap_or(0)),
        last_alert: None,
    })
}

fn read_input(row: &Row<'_>) -> engine::Result<StreamInput> {
    let named: u8 = row.get("named_statuses")?;
    let others: String = row.get("other_statuses")?;
    let never_sent = MonitoredStatus::ALL
        .into_iter()
        .filter(|status| named >> status.index() & 1 == 0);
    Ok(StreamInput {
        stream: row.get("name")?,
        hours_off: read_hours_off(row)?.known(),
        never_sent: never_sent.collect(),
        other_statuses: others
            .split(',')
            .filter(|name| !name.is_empty())
            .map(ToOwned::to_owned)
            .collect(),
        unjudged_minutes: row.get("unjudged_minutes")?,
        unjudged_at_ms: row.get("unjudged_at_ms")?,
    })
}

fn newest_rows(
    sql: Sql<'_>,
    stream: &str,
    policy: PolicyName,
) -> Result<Vec<NewestRow>, StoreError> {
    let mut statement = sql.prepare_cached(&format!(
        "SELECT status_id, minute, implied, named_statuses, {} FROM minute_counts JOIN streams ON stream_id = streams.id AND minute = newest_minute
         WHERE name = ?1 AND status_id < 5 ORDER BY status_id",
        judgement_columns(policy)
    ))?;
    let rows = statement
        .query_map(params![stream], |row| read_newest(row, policy))?
        .collect::<Result<Vec<_>, _>>()?;
    let with_alert = |mut newest: NewestRow| {
        newest.last_alert = alerts::last_of(sql, stream, policy, Some(newest.status))?;
        Ok(newest)
    };
    rows.into_iter().map(with_alert).collect()
}

fn read_newest(row: &Row<'_>, policy: PolicyName) -> engine::Result<NewestRow> {
    let status = MonitoredStatus::ALL[row.get::<_, usize>("status_id")?];
    let named: u8 = row.get("named_statuses")?;
    Ok(NewestRow {
        status,
        minute: Minute::from_epoch_minutes(row.get("minute")?),
        count: row.get("count")?,
        implied: row.get("implied")?,
        sent: named >> status.index() & 1 == 1,
        judgement: findings::read_judgement(row, policy, Some(status))?,
        last_alert: None,
    })
}
