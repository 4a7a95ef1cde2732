//! One body of SQL for two engines: what the rest of the store uses of rusqlite, over SQLite and over PostgreSQL.
//!
//! A statement is written once, in what both understand; values are those of rusqlite. What is not the same is outside: opening, locks
//! and integrity, and the rows of minutes, which are written the most.

pub(super) mod dialect;

use rusqlite::{ToSql, params_from_iter, types::FromSql};

use super::{StoreError, postgres};

pub(super) use rusqlite::{params, types::Value};

pub(super) type Result<T> = std::result::Result<T, Error>;

/// Why a statement failed, or a row could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Postgres(#[from] postgres::Failure),
    #[error("a row is missing")]
    NoRow,
    #[error("a stored value cannot be read: {0}")]
    Unreadable(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Of an unexpected value in the database.
    pub(super) fn unreadable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unreadable(why.into())
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match error {
            Error::Sqlite(error) => error.into(),
            Error::Postgres(failure) => failure.into(),
            Error::NoRow | Error::Unreadable(_) => {
                Self::Broken(format!("the database refused a statement: {error}"))
            }
        }
    }
}

/// Turns a missing row into `None`.
pub(super) trait OptionalExtension<T> {
    fn optional(self) -> Result<Option<T>>;
}

impl<T> OptionalExtension<T> for Result<T> {
    fn optional(self) -> Result<Option<T>> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoRow) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An open transaction. Of a reader, it is a snapshot.
#[derive(Clone, Copy)]
pub(super) enum Sql<'a> {
    Sqlite(&'a rusqlite::Connection),
    Postgres(&'a postgres::Open<'a>),
}

impl<'a> Sql<'a> {
    /// Prepares a statement, or takes the one of the same text that is prepared already.
    pub(super) fn prepare_cached(self, text: &str) -> Result<Statement<'a>> {
        Ok(match self {
            Self::Sqlite(connection) => Statement::Sqlite(connection.prepare_cached(text)?),
            Self::Postgres(open) => Statement::Postgres(open.prepare(text)?),
        })
    }
}

/// A prepared statement.
pub(super) enum Statement<'a> {
    Sqlite(rusqlite::CachedStatement<'a>),
    Postgres(postgres::Prepared<'a>),
}

impl Statement<'_> {
    /// Runs it, and returns the number of rows that it changed.
    pub(super) fn execute(&mut self, values: &[&dyn ToSql]) -> Result<usize> {
        Ok(match self {
            Self::Sqlite(statement) => statement.execute(values)?,
            Self::Postgres(statement) => statement.execute(values)?,
        })
    }

    /// Reads the first row; [`Error::NoRow`] if there is none.
    pub(super) fn query_row<T>(
        &mut self,
        values: &[&dyn ToSql],
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut rows = self.rows(values)?;
        rows.next()?.map_or(Err(Error::NoRow), |row| read(&row))
    }

    /// Reads every row, for few of them.
    pub(super) fn query_map<T, F>(
        &mut self,
        values: &[&dyn ToSql],
        read: F,
    ) -> Result<Mapped<'_, F>>
    where
        F: FnMut(&Row<'_>) -> Result<T>,
    {
        let rows = self.rows(values)?;
        Ok(Mapped { rows, read })
    }

    /// The same with named values, of which the statement may leave out some.
    pub(super) fn query_map_named<T, F>(
        &mut self,
        values: &[(&str, &dyn ToSql)],
        read: F,
    ) -> Result<Mapped<'_, F>>
    where
        F: FnMut(&Row<'_>) -> Result<T>,
    {
        let rows = match self {
            Self::Sqlite(statement) => {
                for (name, value) in values {
                    if let Some(index) = statement.parameter_index(name)? {
                        statement.raw_bind_parameter(index, value)?;
                    }
                }
                Rows::Sqlite(statement.raw_query())
            }
            Self::Postgres(statement) => Rows::Postgres(statement.query_named(values)?),
        };
        Ok(Mapped { rows, read })
    }

    /// Rows that are read one after the other, for many of them: the rest may be left unread.
    pub(super) fn query(&mut self, values: &[&dyn ToSql]) -> Result<Rows<'_>> {
        match self {
            Self::Sqlite(_) => self.rows(values),
            Self::Postgres(statement) => Ok(Rows::Postgres(statement.scan(values)?)),
        }
    }

    /// Runs it once with the values of each row, and returns the number of rows that it changed. PostgreSQL is sent all of them before it
    /// answers the first.
    pub(super) fn execute_each<const N: usize>(&mut self, rows: &[[Value; N]]) -> Result<usize> {
        match self {
            Self::Sqlite(statement) => {
                let mut changed = 0;
                for row in rows {
                    changed += statement.execute(params_from_iter(row))?;
                }
                Ok(changed)
            }
            Self::Postgres(statement) => statement.execute_each(rows),
        }
    }

    /// The first row for each of these values, in the same way; [`Error::NoRow`] if one has none.
    pub(super) fn query_each<T>(
        &mut self,
        values: &[i64],
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        if let Self::Postgres(statement) = self {
            return statement.query_each(values, |row| read(&Row::Postgres(row)));
        }
        let read_one = |value| self.query_row(params![value], &mut read);
        values.iter().map(read_one).collect()
    }

    /// True if there is a row.
    pub(super) fn exists(&mut self, values: &[&dyn ToSql]) -> Result<bool> {
        Ok(self.rows(values)?.next()?.is_some())
    }

    fn rows(&mut self, values: &[&dyn ToSql]) -> Result<Rows<'_>> {
        Ok(match self {
            Self::Sqlite(statement) => Rows::Sqlite(statement.query(values)?),
            Self::Postgres(statement) => Rows::Postgres(statement.query(values)?),
        })
    }
}

/// The rows of a query.
pub(super) enum Rows<'s> {
    Sqlite(rusqlite::Rows<'s>),
    Postgres(postgres::Fetched<'s>),
}

impl Rows<'_> {
    pub(super) fn next(&mut self) -> Result<Option<Row<'_>>> {
        Ok(match self {
            Self::Sqlite(rows) => rows.next()?.map(Row::Sqlite),
            Self::Postgres(rows) => rows.next()?.map(Row::Postgres),
        })
    }
}

/// The rows of a query, each read by a function.
pub(super) struct Mapped<'s, F> {
    rows: Rows<'s>,
    read: F,
}

impl<T, F: FnMut(&Row<'_>) -> Result<T>> Iterator for Mapped<'_, F> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.rows.next() {
            Ok(row) => row.map(|row| (self.read)(&row)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// One row.
pub(super) enum Row<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// The value of a column, by its number or its name.
    pub(super) fn get<I: Column, T: FromSql>(&self, column: I) -> Result<T> {
        match self {
            Self::Sqlite(row) => Ok(row.get(column)?),
            Self::Postgres(row) => postgres::get(row, column),
        }
    }
}

/// What names a column: its number or its name.
pub(super) trait Column:
    rusqlite::RowIndex + tokio_postgres::row::RowIndex + std::fmt::Display
{
}

impl Column for usize {}
impl Column for &str {}
