//! Reading stored counts row by row: lists, and everything about one row.

use detection::{Judgement, Minute, MonitoredStatus, PolicyName};

use super::engine::{self, OptionalExtension as _, Row, Sql, params};
use super::{
    Store, StoreError, alerts,
    findings::{self, judgement_columns},
    names::{status_id, stream_id},
};
use crate::alerts::Alert;

/// A stored count of a stream, minute and status, with its judgement.
#[derive(Clone, Debug, PartialEq)]
pub struct RowRecord {
    /// Which minute.
    pub minute: Minute,
    /// Which status, monitored or not.
    pub status: String,
    /// Its count.
    pub count: u32,
    /// True for the 0 of a status that no message named.
    pub implied: bool,
    /// The finding, or the reason why there is none.
    pub judgement: Judgement,
    /// The evaluated count, if a correction was too late to be evaluated.
    pub judged_count: Option<u32>,
    status_id: i64,
}

impl RowRecord {
    /// Its position among the rows of its stream: newer rows have higher ones, and no row ever changes its own.
    pub(crate) const fn place(&self) -> i64 {
        place(self.minute, self.status_id)
    }

    /// The judgement in one sentence, for people.
    pub(crate) fn sentence(&self) -> String {
        self.judgement
            .sentence(&self.status, self.judged_count.unwrap_or(self.count))
    }
}

/// Factor that leaves room for the status id in a place.
const STATUS_BITS: i64 = 1 << 20;

/// Makes the places of minutes before 1970 positive too.
const MINUTE_OFFSET: i64 = 1 << 34;

const fn place(minute: Minute, status_id: i64) -> i64 {
    (minute.epoch_minutes() + MINUTE_OFFSET) * STATUS_BITS + status_id
}

const fn of_place(place: i64) -> (i64, i64) {
    (place / STATUS_BITS - MINUTE_OFFSET, place % STATUS_BITS)
}

/// The rows to read: those of a stream in [from, to).
#[derive(Clone, Debug, Default)]
pub struct RowFilter {
    /// The stream.
    pub stream: String,
    /// With what this policy says.
    pub policy: PolicyName,
    /// Of this status.
    pub status: Option<String>,
    /// From this minute on.
    pub from: Option<Minute>,
    /// Before this minute.
    pub to: Option<Minute>,
    /// Before the row at this `RowRecord::place`.
    pub before: Option<i64>,
    /// At most this many.
    pub limit: u32,
}

/// Everything that is stored about one minute and status.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// The row; none where no message came for the minute.
    pub row: Option<RowRecord>,
    /// The alerts of the policy about it, oldest first.
    pub alerts: Vec<Alert>,
    /// The newest observed minute of the stream.
    pub newest_minute: Minute,
}

impl Store {
    /// Rows, newest first.
    pub async fn rows(&self, filter: RowFilter) -> Result<Vec<RowRecord>, StoreError> {
        self.read(move |sql| rows(sql, &filter)).await
    }

    /// Rows, newest first, and the place to continue from if not all minutes were read: a page of a status that is not monitored
    /// reads only 30 days.
    pub(crate) async fn rows_of_page(
        &self,
        filter: RowFilter,
    ) -> Result<(Vec<RowRecord>, Option<i64>), StoreError> {
        self.read(move |sql| rows_of_a_stretch(sql, &filter)).await
    }

    /// Everything stored about one minute and status of a stream, as this policy judged it; none of an unknown stream.
    pub(crate) async fn explained(
        &self,
        stream: &str,
        minute: Minute,
        status: &str,
        policy: PolicyName,
    ) -> Result<Option<Explained>, StoreError> {
        let (stream, status) = (stream.to_owned(), status.to_owned());
        self.read(move |sql| {
            let newest = sql
                .prepare_cached("SELECT newest_minute FROM streams WHERE name = ?1")?
                .query_row(params![&stream], |row| {
                    row.get(0).map(Minute::from_epoch_minutes)
                })
                .optional()?;
            let Some(newest_minute) = newest else {
                return Ok(None);
            };
            let (from, to) = (Some(minute), Some(minute.plus(1)));
            let alerts = alerts::of_minute(sql, &stream, &status, minute, policy)?;
            let filter = RowFilter {
                stream,
                policy,
                status: Some(status),
                from,
                to,
                before: None,
                limit: 1,
            };
            let row = rows(sql, &filter)?.pop();
            Ok(Some(Explained {
                row,
                alerts,
                newest_minute,
            }))
        })
        .await
    }
}

fn rows(sql: Sql<'_>, filter: &RowFilter) -> Result<Vec<RowRecord>, StoreError> {
    let Some(stream_id) = stream_id(sql, &filter.stream)? else {
        return Ok(Vec::new());
    };
    let status_id = match &filter.status {
        None => None,
        Some(name) => match status_id(sql, name)? {
            None => return Ok(Vec::new()),
            known => known,
        },
    };
    let from = filter.from.map_or(i64::MIN, Minute::epoch_minutes);
    let end = filter.end(status_id);
    let mut values = params![stream_id, from, end, filter.limit].to_vec();
    let (before_minute, before_status) = filter.before.map_or((i64::MAX, i64::MAX), of_place);
    match &status_id {
        Some(status_id) => values.push(status_id),
        None => values.extend(params![before_minute, before_status]),
    }
    let mut statement = sql.prepare_cached(&statement(filter.policy, status_id.is_some()))?;
    let rows = statement.query_map(&values, |row| read(row, filter.policy))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Rows as [`rows`]. For a status that is not monitored, reads 30 days and returns the place to continue from, if there are older
/// minutes.
fn rows_of_a_stretch(
    sql: Sql<'_>,
    filter: &RowFilter,
) -> Result<(Vec<RowRecord>, Option<i64>), StoreError> {
    let rare = filter
        .status
        .as_ref()
        .is_some_and(|status| status.parse::<MonitoredStatus>().is_err());
    let mut newest = sql.prepare_cached("SELECT newest_minute FROM streams WHERE name = ?1")?;
    let newest: Option<i64> = newest
        .query_row(params![&filter.stream], |row| row.get(0))
        .optional()?;
    let Some(newest) = newest.filter(|_| rare) else {
        return Ok((rows(sql, filter)?, None));
    };
    let stretch = Minute::from_epoch_minutes(
        filter
            .end(None)
            .min(newest + 1)
            .saturating_sub(STRETCH_MINUTES),
    );
    let from = filter.from.unwrap_or(Minute::from_epoch_minutes(i64::MIN));
    let found = rows(
        sql,
        &RowFilter {
            from: Some(from.max(stretch)),
            ..filter.clone()
        },
    )?;
    if found.len() >= filter.limit as usize || from >= stretch {
        return Ok((found, None));
    }
    let older = sql.prepare_cached(OLDER)?.exists(params![
        filter.stream,
        from.epoch_minutes(),
        stretch.epoch_minutes()
    ])?;
    Ok((found, older.then(|| place(stretch, 0))))
}

/// Minutes that one page of a status reads: rows of a status that is not monitored may be rare.
const STRETCH_MINUTES: i64 = 30 * 1440;

pub(super) const OLDER: &str =
    "SELECT 1 FROM minute_counts WHERE stream_id = (SELECT id FROM streams WHERE name = ?1)
     AND minute >= ?2 AND minute < ?3";

impl RowFilter {
    /// Before this minute all rows are. The index leads to one bound of the minute only, so it is the lower one of the two;
    /// of one status, that is all that a cursor says.
    fn end(&self, status_id: Option<i64>) -> i64 {
        let (before_minute, before_status) = self.before.map_or((i64::MAX, i64::MAX), of_place);
        let with_its_minute = status_id.is_none_or(|status_id| status_id < before_status);
        let to = self.to.map_or(i64::MAX, Minute::epoch_minutes);
        to.min(before_minute.saturating_add(i64::from(with_its_minute)))
    }
}

/// Of every status, or of one. Every minute has a row of each monitored status, so a page of one is found at once; the rows of
/// another status may be anywhere.
pub(super) fn statement(policy: PolicyName, of_one: bool) -> String {
    let of_status = if of_one {
        "status_id = ?5"
    } else {
        "(minute, status_id) < (?5, ?6)"
    };
    format!(
        "SELECT minute, status_id, name, implied, {} FROM minute_counts CROSS JOIN statuses
         WHERE statuses.id = status_id AND stream_id = ?1 AND minute >= ?2 AND minute < ?3 AND {of_status} ORDER BY minute DESC, status_id DESC LIMIT ?4",
        judgement_columns(policy)
    )
}

fn read(row: &Row<'_>, policy: PolicyName) -> engine::Result<RowRecord> {
    let status: String = row.get("name")?;
    Ok(RowRecord {
        minute: Minute::from_epoch_minutes(row.get("minute")?),
        count: row.get("count")?,
        implied: row.get("implied")?,
        judgement: findings::read_judgement(row, policy, status.parse().ok())?,
        judged_count: row.get("judged_count")?,
        status_id: row.get("status_id")?,
        status,
    })
}
