//! Writes rows of minutes, the most written table: of SQLite minute by minute with prepared statements, to PostgreSQL many minutes at
//! once.

use std::{collections::HashSet, sync::LazyLock};

use detection::{Judgement, Minute, Row, Severity, State};
use rusqlite::{CachedStatement, Connection, ToSql};

use super::{
    engine::{self, Sql},
    findings::{COLUMN_COUNT, COLUMNS, IS_REAL, Number, Stored, policy_code, severity_code, whole},
    postgres::{Array, Open},
};

/// One row as it goes into `minute_counts`.
pub(super) struct StoredRow {
    status_id: i64,
    count: u32,
    implied: bool,
    /// What each policy says; none of one that is off.
    states: [Option<State>; 2],
    peak: Option<Severity>,
    finding: Stored,
}

impl StoredRow {
    pub(super) fn unjudged(status_id: i64, count: u32, implied: bool) -> Self {
        Self {
            status_id,
            count,
            implied,
            states: [Some(State::NotJudged); 2],
            peak: None,
            finding: Stored::default(),
        }
    }

    pub(super) fn judged<'a>(
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

    /// Its values behind stream and minute.
    fn values(&self) -> [Number; ROW_VALUES] {
        let [zscore, adaptive] = self.states.map(|state| whole(state.map(State::code)));
        let mut values = [Number::Null; ROW_VALUES];
        values[..6].copy_from_slice(&[
            Number::Whole(self.status_id),
            Number::Whole(self.count.into()),
            Number::Whole(self.implied.into()),
            whole(self.peak.map(severity_code)),
            zscore,
            adaptive,
        ]);
        values[6..].copy_from_slice(&self.finding.values());
        values
    }
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
            "INSERT INTO minute_counts ({columns}) VALUES {row}{} ON CONFLICT (stream_id, minute, status_id) {conflict}",
            format!(",{row}").repeat(more)
        )
    })
}

/// The columns between the key and [`COLUMNS`].
const VALUES: &str = "count, implied, peak, state, adaptive_state";

static UPSERT_ROW: Insert = Insert(LazyLock::new(|| statements(&REPLACE)));

/// Another count replaces the row.
static REPLACE: LazyLock<String> = LazyLock::new(|| {
    let columns = format!("{VALUES}, {COLUMNS}");
    let replaced: Vec<_> = columns
        .split(", ")
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    format!(
        "DO UPDATE SET {}, judged_count = NULL
         WHERE minute_counts.count <> excluded.count OR minute_counts.implied <> excluded.implied",
        replaced.join(", ")
    )
});

/// A stored row keeps its judgements, and the count that was judged.
static UPSERT_COUNT: Insert = Insert(LazyLock::new(|| {
    statements(
        "DO UPDATE SET judged_count = CASE
             WHEN coalesce(nullif(minute_counts.state, 0), nullif(minute_counts.adaptive_state, 0)) IS NOT NULL
             THEN coalesce(minute_counts.judged_count, minute_counts.count) END,
         count = excluded.count, implied = 0 WHERE minute_counts.count <> excluded.count OR minute_counts.implied = 1",
    )
}));

static INSERT_IF_NEW: Insert = Insert(LazyLock::new(|| statements("DO NOTHING")));

/// Writes the rows of one transaction.
pub(super) struct Upserts<'a> {
    sql: Sql<'a>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Sqlite(Box<Kept<'a>>),
    Postgres(Collected),
}

impl<'a> Upserts<'a> {
    pub(super) fn new(sql: Sql<'a>) -> Self {
        let kind = match sql {
            Sql::Sqlite(connection) => Kind::Sqlite(Box::new(Kept {
                connection,
                statements: Default::default(),
            })),
            Sql::Postgres(_) => Kind::Postgres(Collected::new()),
        };
        Self { sql, kind }
    }

    /// Stores rows of one minute; another stored count is replaced.
    pub(super) fn add(
        &mut self,
        stream_id: i64,
        minute: Minute,
        rows: &[StoredRow],
    ) -> engine::Result<()> {
        let collected = match &mut self.kind {
            Kind::Sqlite(kept) => return Ok(kept.add(stream_id, minute, rows)?),
            Kind::Postgres(collected) => collected,
        };
        let is_stored_twice = |row: &StoredRow| collected.has(stream_id, minute, row);
        if collected.keys.len() >= MAX_COLLECTED || rows.iter().any(is_stored_twice) {
            self.flush()?;
        }
        if let Kind::Postgres(collected) = &mut self.kind {
            for row in rows {
                collected.add(stream_id, minute, row);
            }
        }
        Ok(())
    }

    /// Stores a count alone: an implied one only if there is none, and another one beside the stored judgement.
    pub(super) fn count_only(
        &mut self,
        stream_id: i64,
        minute: Minute,
        row: &StoredRow,
    ) -> engine::Result<()> {
        self.flush()?;
        let insert = if row.implied {
            &INSERT_IF_NEW
        } else {
            &UPSERT_COUNT
        };
        let minute = minute.epoch_minutes();
        let values = row.values();
        let key: [&dyn ToSql; 2] = [&stream_id, &minute];
        let values = values.iter().map(|value| value as &dyn ToSql);
        let values: Vec<_> = key.into_iter().chain(values).collect();
        self.sql.prepare_cached(insert.of(1))?.execute(&values)?;
        Ok(())
    }

    /// Writes what was collected.
    pub(super) fn flush(&mut self) -> engine::Result<()> {
        match (&mut self.kind, self.sql) {
            (Kind::Postgres(collected), Sql::Postgres(open)) => collected.flush(open),
            _ => Ok(()),
        }
    }
}

/// [`UPSERT_ROW`], prepared once per transaction: looking up such a long text for each minute costs a tenth of a large commit.
struct Kept<'a> {
    connection: &'a Connection,
    statements: [Option<CachedStatement<'a>>; MAX_ROWS],
}

impl Kept<'_> {
    fn add(&mut self, stream_id: i64, minute: Minute, rows: &[StoredRow]) -> rusqlite::Result<()> {
        for rows in rows.chunks(MAX_ROWS) {
            let kept = &mut self.statements[rows.len() - 1];
            let statement = match kept {
                Some(statement) => statement,
                None => kept.insert(self.connection.prepare_cached(UPSERT_ROW.of(rows.len()))?),
            };
            statement.raw_bind_parameter(1, stream_id)?;
            statement.raw_bind_parameter(2, minute.epoch_minutes())?;
            let values = rows.iter().flat_map(StoredRow::values);
            for (value, at) in values.zip(3..) {
                statement.raw_bind_parameter(at, value)?;
            }
            statement.raw_execute()?;
        }
        Ok(())
    }
}

/// Rows to write at once; a batch of messages has some thousands.
const MAX_COLLECTED: usize = 20_000;

/// Rows by column, for one statement. It cannot change a row twice.
struct Collected {
    columns: Vec<Array>,
    keys: HashSet<(i64, i64, i64)>,
}

impl Collected {
    fn new() -> Self {
        let of_key_and_values = [false; 2 + ROW_VALUES - COLUMN_COUNT];
        let is_real = of_key_and_values.into_iter().chain(IS_REAL);
        let columns = is_real.map(|is_real| {
            if is_real {
                Array::Reals(Vec::new())
            } else {
                Array::Integers(Vec::new())
            }
        });
        Self {
            columns: columns.collect(),
            keys: HashSet::new(),
        }
    }

    fn has(&self, stream_id: i64, minute: Minute, row: &StoredRow) -> bool {
        self.keys
            .contains(&(stream_id, minute.epoch_minutes(), row.status_id))
    }

    fn add(&mut self, stream_id: i64, minute: Minute, row: &StoredRow) {
        let minute = minute.epoch_minutes();
        self.keys.insert((stream_id, minute, row.status_id));
        let key = [stream_id, minute].map(Number::Whole);
        let values = key.into_iter().chain(row.values());
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.push(value);
        }
    }

    fn flush(&mut self, open: &Open<'_>) -> engine::Result<()> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let arrays: Vec<_> = (1..)
            .zip(&self.columns)
            .map(|(at, column)| format!("CAST(?{at} AS {})", column.kind()))
            .collect();
        let text = format!(
            "INSERT INTO minute_counts (stream_id, minute, status_id, {VALUES}, {COLUMNS}) SELECT * FROM unnest({})
             ON CONFLICT (stream_id, minute, status_id) {}",
            arrays.join(", "),
            *REPLACE
        );
        open.prepare(&text)?.execute_arrays(&self.columns)?;
        self.columns.iter_mut().for_each(Array::clear);
        self.keys.clear();
        Ok(())
    }
}
