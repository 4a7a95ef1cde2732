//! Observed minutes: stores their counts and judgements, and reads them back for the fold.

use detection::{Minute, MonitoredStatus, Observed, ObservedMinute, RowChange};

use super::engine::{self, Sql, params};
use super::{
    Store, StoreError,
    findings::severity_from,
    names::{status_id, stream_id},
    upserts::{StoredRow, Upserts},
    writer::{Ids, Transaction},
};

impl Store {
    /// Observed minutes of a stream at or before a minute, newest first; none of an unknown stream.
    pub(crate) async fn observed_minutes(
        &self,
        stream: &str,
        before_or_at: Option<Minute>,
        limit: usize,
    ) -> Result<Vec<ObservedMinute>, StoreError> {
        let stream = stream.to_owned();
        self.read(move |sql| match stream_id(sql, &stream)? {
            Some(id) => observed_minutes(sql, id, before_or_at, limit, None),
            None => Ok(Vec::new()),
        })
        .await
    }

    /// The same, with `work` done on them by the thread that read them: for many of them, or for work that takes long.
    pub(crate) async fn with_observed_minutes<T: Send + 'static>(
        &self,
        stream: &str,
        before_or_at: Minute,
        limit: usize,
        work: impl FnOnce(Vec<ObservedMinute>) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let stream = stream.to_owned();
        self.scan(move |sql| {
            let id = stream_id(sql, &stream)?;
            let minutes = id.map_or(Ok(Vec::new()), |id| {
                observed_minutes(sql, id, Some(before_or_at), limit, None)
            })?;
            Ok(work(minutes))
        })
        .await
    }
}

/// Stores the rows of one minute and returns the stream's id.
pub(super) fn write(
    transaction: &mut Transaction<'_>,
    upserts: &mut Upserts<'_>,
    observed: &Observed,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let minute = observed.counts.minute();
    let stream_id = stream_id_or_new(
        transaction,
        observed.counts.stream().as_str(),
        minute,
        now_ms,
    )?;
    let mut replacing = Vec::with_capacity(8);
    for row in &observed.rows {
        let status_id = i64::try_from(row.status.index()).unwrap_or(i64::MAX);
        let (count, implied) = (row.count, row.implied);
        match &row.change {
            RowChange::Judged {
                judgement,
                shadow,
                peak,
            } => {
                let judgements = std::iter::once(judgement).chain(shadow);
                replacing.push(StoredRow::judged(status_id, row, *peak, judgements));
            }
            RowChange::CountOnly => {
                let row = StoredRow::unjudged(status_id, count, implied);
                upserts.count_only(stream_id, minute, &row)?;
            }
        }
    }
    for transaction_count in observed.counts.transactions() {
        if transaction_count.status.monitored().is_none() {
            let status_id = status_id_or_new(
                transaction.sql,
                transaction.ids,
                transaction_count.status.name(),
            )?;
            replacing.push(StoredRow::unjudged(
                status_id,
                transaction_count.count,
                false,
            ));
        }
    }
    upserts.add(stream_id, minute, &replacing)?;
    Ok(stream_id)
}

fn stream_id_or_new(
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

fn status_id_or_new(sql: Sql<'_>, ids: &mut Ids, name: &str) -> engine::Result<i64> {
    if let Some(id) = ids.statuses.get(name) {
        return Ok(*id);
    }
    sql.prepare_cached("INSERT INTO statuses (name) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute(params![name])?;
    let id = status_id(sql, name)?.ok_or(engine::Error::NoRow)?;
    ids.statuses.insert(name.to_owned(), id);
    Ok(id)
}

pub(super) const OBSERVED_MINUTES: &str =
    "SELECT minute, status_id, count, implied, peak FROM minute_counts
     WHERE stream_id = ?1 AND minute <= ?2 ORDER BY minute DESC, status_id DESC";

/// The newest observed minutes of a stream at or before a minute, newest first: this many, and all that are newer than `since`.
pub(super) fn observed_minutes(
    sql: Sql<'_>,
    stream_id: i64,
    before_or_at: Option<Minute>,
    limit: usize,
    since: Option<Minute>,
) -> Result<Vec<ObservedMinute>, StoreError> {
    let mut statement = sql.prepare_cached(OBSERVED_MINUTES)?;
    let newest = before_or_at.map_or(i64::MAX, Minute::epoch_minutes);
    let mut rows = statement.query(params![stream_id, newest])?;
    let mut minutes: Vec<ObservedMinute> = Vec::new();
    while let Some(row) = rows.next()? {
        let minute = Minute::from_epoch_minutes(row.get(0)?);
        if minutes.last().is_none_or(|last| last.minute != minute) {
            if minutes.len() >= limit && since.is_none_or(|since| minute <= since) {
                break;
            }
            minutes.push(ObservedMinute::new(minute));
        }
        let status: usize = row.get(1)?;
        if let (Some(last), true) = (minutes.last_mut(), status < MonitoredStatus::COUNT) {
            last.counts[status] = row.get(2)?;
            last.named[status] = !row.get::<_, bool>(3)?;
            last.peaks[status] = row.get::<_, Option<u8>>(4)?.map(severity_from);
        }
    }
    Ok(minutes)
}
