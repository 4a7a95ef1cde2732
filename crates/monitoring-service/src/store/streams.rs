//! Streams: their freshness, the state of their newest minute, and whether they are recorded as stale. The rules are
//! in [`crate::alerts::stale`].

use detection::{
    DetectorState, Judgement, Minute, MonitorSettings, MonitoredStatus, Pauses, PolicyName, State,
    StoredStream,
    detector::adaptive::{AdaptiveSettings, AdaptiveState, MAX_LEARNED_MINUTES},
};

use super::engine::{self, OptionalExtension as _, Row, Sql, params};
use super::{
    Store, StoreError, alerts, cooldowns, detector_states,
    findings::{self, judgement_columns, state_column, state_from},
    incidents,
    minutes::observed_minutes,
    names::stream_id,
    open_minutes,
    watermarks::{read_hours_off, read_pauses},
    writer::Transaction,
};
use crate::alerts::{
    Alert,
    incident::IncidentKind,
    incident_record::IncidentRecord,
    incident_update::{IncidentUpdate, RecordedEvent},
    stale::{Freshness, StaleChange},
};

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
            listed(sql, policy, retired)?
                .into_iter()
                .map(|stream| with_last_alert(sql, stream, policy))
                .collect()
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
            found
                .map(|stream| with_last_alert(sql, stream, policy))
                .transpose()
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

    /// Switches a stream off until its next minute, and ends its open incidents: in one transaction everything is forgotten that would go
    /// on without a minute. None if there is no stream of this name.
    pub(crate) async fn retire_stream<E>(
        &self,
        name: &str,
        settings: MonitorSettings,
        now_ms: i64,
        end: E,
    ) -> Result<Option<Vec<RecordedEvent>>, StoreError>
    where
        E: Fn(&IncidentRecord) -> IncidentUpdate + Send + 'static,
    {
        let name = name.to_owned();
        self.writer
            .call(move |transaction| {
                let sql = transaction.sql;
                let retired = sql
                    .prepare_cached(
                        "UPDATE streams SET retired_at_ms = coalesce(retired_at_ms, ?2), stale_since_ms = NULL, stale_alerted = 0,
                         version = version + 1 WHERE name = ?1",
                    )?
                    .execute(params![name, now_ms])?;
                if retired == 0 {
                    return Ok(None);
                }
                open_minutes::forget(sql, &name)?;
                drop_episode(transaction, &name, &settings)?;
                incidents::retire(transaction, &name, &end).map(Some)
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

    /// What is stored of a stream, for [`detection::Monitor::restore`], and its version; none if it has no minute yet. Blocks.
    pub(crate) fn stored_stream(
        &self,
        stream: &str,
        settings: &MonitorSettings,
    ) -> Result<Option<(StoredStream, i64)>, StoreError> {
        self.read_blocking(|sql| {
            let stored = stored_stream(sql, stream, settings)?;
            let version = stream_version(sql, stream)?;
            Ok(stored.zip(version))
        })
    }

    /// The version of a stream: it changes with each commit of its minutes. None if it has no minute yet. Blocks.
    pub(crate) fn stream_version(&self, stream: &str) -> Result<Option<i64>, StoreError> {
        self.read_blocking(|sql| Ok(stream_version(sql, stream)?))
    }

    /// The state of the policy `adaptive` after the newest stored minute of a stream.
    pub(crate) async fn adaptive_state(
        &self,
        stream: &str,
        settings: MonitorSettings,
        adaptive: AdaptiveSettings,
    ) -> Result<AdaptiveState, StoreError> {
        let stream = stream.to_owned();
        self.scan(move |sql| {
            let mut stored = stored_stream(sql, &stream, &settings)?.unwrap_or_default();
            Ok(stored.fold_adaptive(adaptive).0.clone())
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
                    alerts::insert(transaction, alert)?;
                }
                let mut events = Vec::new();
                for update in &change.incidents {
                    events.extend(incidents::record(transaction, update)?);
                }
                for stream in &change.resumed {
                    let open = incidents::open_of(
                        transaction.sql,
                        IncidentKind::StaleStream,
                        Some(stream),
                    )?;
                    events.extend(incidents::record_all(transaction, open.iter().map(&end))?);
                }
                Ok((change.alerts, events))
            })
            .await
    }
}

/// Ends the episode of the policy `adaptive`, so that the next one of the stream opens and alerts.
fn drop_episode(
    transaction: &Transaction<'_>,
    stream: &str,
    settings: &MonitorSettings,
) -> Result<(), StoreError> {
    let sql = transaction.sql;
    let (Some(adaptive), Some(mut stored)) =
        (settings.adaptive(), stored_stream(sql, stream, settings)?)
    else {
        return Ok(());
    };
    let mut state = stored.fold_adaptive(adaptive).0.clone();
    if let (true, Some(minute)) = (state.drop_episode(), state.newest()) {
        let state = DetectorState {
            stream: stream.parse().map_err(engine::Error::unreadable)?,
            policy: PolicyName::Adaptive,
            minute,
            bytes: state.to_bytes(),
        };
        detector_states::write(transaction, &[state])?;
    }
    Ok(())
}

fn stored_stream(
    sql: Sql<'_>,
    stream: &str,
    settings: &MonitorSettings,
) -> Result<Option<StoredStream>, StoreError> {
    let Some(id) = stream_id(sql, stream)? else {
        return Ok(None);
    };
    let (mut adaptive, mut since) = (AdaptiveState::default(), None);
    if settings.adaptive().is_some() {
        let newest = sql
            .prepare_cached("SELECT newest_minute FROM streams WHERE id = ?1")?
            .query_row(params![id], |row| {
                row.get(0).map(Minute::from_epoch_minutes)
            })?;
        adaptive = detector_states::adaptive(sql, id, newest)?;
        since = adaptive
            .newest()
            .or(Some(newest.plus(-MAX_LEARNED_MINUTES)));
    }
    let minutes = observed_minutes(sql, id, None, settings.history_capacity(), since)?;
    Ok(Some(StoredStream {
        minutes,
        cooldowns: cooldowns::of_stream(sql, id, stream)?,
        adaptive,
        incident: incidents::last_of_stream(sql, stream, settings.detector.policy())?,
    }))
}

fn stream_version(sql: Sql<'_>, stream: &str) -> engine::Result<Option<i64>> {
    sql.prepare_cached("SELECT version FROM streams WHERE name = ?1")?
        .query_row(params![stream], |row| row.get(0))
        .optional()
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

fn with_last_alert(
    sql: Sql<'_>,
    mut stream: StreamRecord,
    policy: PolicyName,
) -> Result<StreamRecord, StoreError> {
    stream.last_alert = alerts::last_of(sql, &stream.name, policy, None)?;
    Ok(stream)
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

pub(super) fn id_or_new(
    transaction: &mut Transaction<'_>,
    name: &str,
    minute: Minute,
    now_ms: i64,
) -> engine::Result<i64> {
    // Another instance may create it at the same time.
    const CREATE: &str = "INSERT INTO streams (name, newest_minute, arrived_at_ms) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO NOTHING";
    if let Some(id) = transaction.ids.streams.get(name) {
        return Ok(*id);
    }
    let mut id = stream_id(transaction.sql, name)?;
    if id.is_none() {
        transaction.sql.prepare_cached(CREATE)?.execute(params![
            name,
            minute.epoch_minutes(),
            now_ms
        ])?;
        id = stream_id(transaction.sql, name)?;
    }
    let id = id.ok_or(engine::Error::NoRow)?;
    transaction.ids.streams.insert(name.to_owned(), id);
    Ok(id)
}
