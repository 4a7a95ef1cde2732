//! Observed minutes: stores their counts and judgements, and reads them back for the fold.

use std::sync::LazyLock;

use detection::{
    Judgement, Minute, MonitoredStatus, Observed, ObservedMinute, Row, RowChange, Severity, State,
};
use rusqlite::{CachedStatement, Connection, params};

use super::{
    Store, StoreError,
    findings::{COLUMN_COUNT, COLUMNS, Stored, policy_code, severity_code, severity_from},
    names::{status_id, stream_id},
    streams,
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

/// One row as it goes into `minute_counts`.
struct StoredRow {
    status_id: i64,
    count: u32,
    implied: bool,
    /// What each policy says; none of one that is off.
    states: [Option<State>; 2],
    peak: Option<Severity>,
    finding: Stored,
}

impl StoredRow {
    fn unjudged(status_id: i64, count: u32, implied: bool) -> Self {
        Self {
            status_id,
            count,
            implied,
            states: [Some(State::NotJudged); 2],
            peak: None,
            finding: Stored::default(),
        }
    }

    fn judged<'a>(
        status_id: i64,
        row: &Row,
        peak: Option<Severity>,
        judgements: impl IntoIterator<Item = &'a Judgement>,
    ) -> Self {
        let mut stored = Self {
            status_id,
            count: row.count,
            implied: row.implied,
            states: [None; 2],
            peak,
            finding: Stored::default(),
        };
        for judgement in judgements {
            if let Some(policy) = judgement.policy() {
                stored.states[usize::from(policy_code(policy))] = Some(judgement.state());
            }
            stored.finding.add(judgement);
        }
        stored
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
    let stream_id = streams::id_or_new(
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
                let insert = if implied {
                    &INSERT_IF_NEW
                } else {
                    &UPSERT_COUNT
                };
                let mut statement = transaction.sql.prepare_cached(insert.of(1))?;
                insert_rows(
                    &mut statement,
                    stream_id,
                    minute,
                    &[StoredRow::unjudged(status_id, count, implied)],
                )?;
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
    for rows in replacing.chunks(MAX_ROWS) {
        insert_rows(upserts.of(rows.len())?, stream_id, minute, rows)?;
    }
    Ok(stream_id)
}

/// Rows of one INSERT: a usual minute fits in one.
const MAX_ROWS: usize = 8;

/// Values of a row beside stream and minute.
const ROW_VALUES: usize = 6 + COLUMN_COUNT;

/// The statements that insert 1 to [`MAX_ROWS`] rows, with one rule for stored rows. Built once, since a backlog needs one a
/// hundred thousand times per second.
struct Insert(LazyLock<[String; MAX_ROWS]>);

impl Insert {
    fn of(&self, rows: usize) -> &str {
        &self.0[rows - 1]
    }
}

fn statements(conflict: &str) -> [String; MAX_ROWS] {
    let columns = format!("stream_id, minute, status_id, {VALUES}, {COLUMNS}");
    let row = format!("(?1,?2{})", ",?".repeat(ROW_VALUES));
    std::array::from_fn(|more| {
        format!(
            "INSERT INTO minute_counts ({columns}) VALUES {row}{} ON CONFLICT {conflict}",
            format!(",{row}").repeat(more)
        )
    })
}

/// The columns between the key and [`COLUMNS`].
const VALUES: &str = "count, implied, peak, state, adaptive_state";

static UPSERT_ROW: Insert = Insert(LazyLock::new(|| {
    let columns = format!("{VALUES}, {COLUMNS}");
    let replaced: Vec<_> = columns
        .split(", ")
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    statements(&format!(
        "DO UPDATE SET {}, judged_count = NULL WHERE count IS NOT excluded.count OR implied IS NOT excluded.implied",
        replaced.join(", ")
    ))
}));

/// A stored row keeps its judgements, and the count that was judged.
static UPSERT_COUNT: Insert = Insert(LazyLock::new(|| {
    statements(
        "DO UPDATE SET judged_count = iif(coalesce(nullif(state, 0), nullif(adaptive_state, 0)) IS NULL, NULL, coalesce(judged_count, count)), \
         count = excluded.count, implied = 0 WHERE count IS NOT excluded.count OR implied = 1",
    )
}));

static INSERT_IF_NEW: Insert = Insert(LazyLock::new(|| statements("DO NOTHING")));

/// [`UPSERT_ROW`], prepared once per transaction: looking up such a long text for each minute costs a tenth of a large commit.
pub(super) struct Upserts<'a> {
    sql: &'a Connection,
    kept: [Option<CachedStatement<'a>>; MAX_ROWS],
}

impl<'a> Upserts<'a> {
    pub(super) fn new(sql: &'a Connection) -> Self {
        Self {
            sql,
            kept: Default::default(),
        }
    }

    fn of(&mut self, rows: usize) -> rusqlite::Result<&mut CachedStatement<'a>> {
        let kept = &mut self.kept[rows - 1];
        match kept {
            Some(statement) => Ok(statement),
            None => Ok(kept.insert(self.sql.prepare_cached(UPSERT_ROW.of(rows))?)),
        }
    }
}

fn insert_rows(
    statement: &mut CachedStatement<'_>,
    stream_id: i64,
    minute: Minute,
    rows: &[StoredRow],
) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(1, stream_id)?;
    statement.raw_bind_parameter(2, minute.epoch_minutes())?;
    for (row, at) in rows.iter().zip((3..).step_by(ROW_VALUES)) {
        statement.raw_bind_parameter(at, row.status_id)?;
        statement.raw_bind_parameter(at + 1, row.count)?;
        statement.raw_bind_parameter(at + 2, row.implied)?;
        statement.raw_bind_parameter(at + 3, row.peak.map(severity_code))?;
        for (i, state) in row.states.into_iter().enumerate() {
            statement.raw_bind_parameter(at + 4 + i, state.map(State::code))?;
        }
        row.finding.bind(statement, at + 6)?;
    }
    statement.raw_execute()?;
    Ok(())
}

fn status_id_or_new(sql: &Connection, ids: &mut Ids, name: &str) -> rusqlite::Result<i64> {
    if let Some(id) = ids.statuses.get(name) {
        return Ok(*id);
    }
    sql.prepare_cached("INSERT INTO statuses (name) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([name])?;
    let id = status_id(sql, name)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    ids.statuses.insert(name.to_owned(), id);
    Ok(id)
}

pub(super) const OBSERVED_MINUTES: &str =
    "SELECT minute, status_id, count, implied, peak FROM minute_counts
     WHERE stream_id = ?1 AND minute <= ?2 ORDER BY minute DESC, status_id DESC";

/// The newest observed minutes of a stream at or before a minute, newest first: this many, and all that are newer than `since`.
pub(super) fn observed_minutes(
    sql: &Connection,
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
