//! Values of rusqlite as PostgreSQL stores them, and back.

use bytes::BytesMut;
use rusqlite::{
    ToSql,
    types::{FromSql, ToSqlOutput, ValueRef},
};
use tokio_postgres::{
    Row,
    types::{self as postgres, IsNull, Type},
};

use super::Failure;
use crate::store::{
    engine::{Column, Error, Result},
    findings::Number,
};

type Boxed = Box<dyn std::error::Error + Sync + Send>;

/// A value of a row, as rusqlite would give it.
struct Cell<'a>(ValueRef<'a>);

impl<'a> postgres::FromSql<'a> for Cell<'a> {
    fn from_sql(kind: &Type, bytes: &'a [u8]) -> std::result::Result<Self, Boxed> {
        Ok(Self(match *kind {
            Type::INT8 => ValueRef::Integer(i64::from_sql(kind, bytes)?),
            Type::INT4 => ValueRef::Integer(i32::from_sql(kind, bytes)?.into()),
            Type::INT2 => ValueRef::Integer(i16::from_sql(kind, bytes)?.into()),
            Type::BOOL => ValueRef::Integer(bool::from_sql(kind, bytes)?.into()),
            Type::FLOAT8 => ValueRef::Real(f64::from_sql(kind, bytes)?),
            Type::BYTEA => ValueRef::Blob(bytes),
            _ => ValueRef::Text(bytes),
        }))
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, Boxed> {
        Ok(Self(ValueRef::Null))
    }

    fn accepts(kind: &Type) -> bool {
        let known = [
            Type::INT8,
            Type::INT4,
            Type::INT2,
            Type::BOOL,
            Type::FLOAT8,
            Type::BYTEA,
            Type::TEXT,
            Type::VARCHAR,
            Type::NAME,
        ];
        known.contains(kind)
    }
}

/// The value of a column.
pub(in crate::store) fn get<T: FromSql>(row: &Row, column: impl Column) -> Result<T> {
    let name = column.to_string();
    let cell: Cell<'_> = row.try_get(column).map_err(Failure::from)?;
    T::column_result(cell.0).map_err(|error| Error::unreadable(format!("{name}: {error}")))
}

/// A value of a statement.
#[derive(Debug)]
pub(super) struct Parameter<'a>(ToSqlOutput<'a>);

impl<'a> Parameter<'a> {
    pub(super) fn of(value: &'a dyn ToSql) -> Result<Self> {
        Ok(Self(value.to_sql()?))
    }
}

impl postgres::ToSql for Parameter<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> std::result::Result<IsNull, Boxed> {
        let value = match &self.0 {
            ToSqlOutput::Borrowed(value) => *value,
            ToSqlOutput::Owned(value) => ValueRef::from(value),
            _ => return Err("a kind of value that only SQLite has".into()),
        };
        match (value, kind) {
            (ValueRef::Null, _) => Ok(IsNull::Yes),
            // SQLite stores a number that is none as NULL.
            (ValueRef::Real(value), &Type::FLOAT8) if value.is_nan() => Ok(IsNull::Yes),
            (ValueRef::Real(value), &Type::FLOAT8) => postgres::ToSql::to_sql(&value, kind, out),
            (ValueRef::Integer(value), &Type::INT8) => postgres::ToSql::to_sql(&value, kind, out),
            (ValueRef::Integer(value), &Type::INT4) => {
                postgres::ToSql::to_sql(&i32::try_from(value)?, kind, out)
            }
            (ValueRef::Integer(value), &Type::BOOL) => {
                postgres::ToSql::to_sql(&(value != 0), kind, out)
            }
            (ValueRef::Blob(value), &Type::BYTEA) => postgres::ToSql::to_sql(&value, kind, out),
            (ValueRef::Text(value), &Type::TEXT | &Type::VARCHAR) => {
                // PostgreSQL has no character of the code 0.
                let text = std::str::from_utf8(value)?.replace('\0', "\u{fffd}");
                postgres::ToSql::to_sql(&text, kind, out)
            }
            (value, kind) => Err(format!("{:?} is no {kind}", value.data_type()).into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres::to_sql_checked!();
}

/// One column of many rows.
#[derive(Debug)]
pub(in crate::store) enum Array {
    Integers(Vec<Option<i64>>),
    Reals(Vec<Option<f64>>),
}

impl Array {
    /// The type of the array.
    pub(in crate::store) const fn kind(&self) -> &'static str {
        match self {
            Self::Integers(_) => "bigint[]",
            Self::Reals(_) => "double precision[]",
        }
    }

    /// Adds a value; another kind than the column's is NULL.
    pub(in crate::store) fn push(&mut self, value: Number) {
        match (self, value) {
            (Self::Integers(values), Number::Whole(value)) => values.push(Some(value)),
            (Self::Integers(values), _) => values.push(None),
            (Self::Reals(values), Number::Real(value)) if !value.is_nan() => {
                values.push(Some(value));
            }
            (Self::Reals(values), _) => values.push(None),
        }
    }

    pub(in crate::store) fn clear(&mut self) {
        match self {
            Self::Integers(values) => values.clear(),
            Self::Reals(values) => values.clear(),
        }
    }

    pub(super) fn as_value(&self) -> &(dyn postgres::ToSql + Sync) {
        match self {
            Self::Integers(values) => values,
            Self::Reals(values) => values,
        }
    }
}
