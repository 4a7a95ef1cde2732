//! One connection: its transaction, its prepared statements and what they return.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{SinkExt as _, future::try_join_all};
use rusqlite::ToSql;
use tokio::runtime::Handle;
use tokio_postgres::{
    CancelToken, Client, CopyInSink, IsolationLevel, Transaction, types as postgres_types,
};

use super::{
    Failure,
    cells::{Array, Parameter},
    rows::Fetched,
    wait,
};
use crate::store::engine::{Error, Result, Value, dialect};

/// Statements to keep; beyond that all are prepared again. Lists have one for each combination of filters.
const MAX_STATEMENTS: usize = 300;

/// Rows that a scan fetches at once.
const SCAN_ROWS: i32 = 2000;

/// Statements to send before the first answer is read.
const PIPELINED: usize = 500;

type Kept = RefCell<HashMap<String, Arc<Compiled>>>;

/// A statement that the server has prepared.
struct Compiled {
    statement: tokio_postgres::Statement,
    names: Vec<String>,
}

/// A connection.
pub(in crate::store) struct Session {
    handle: Handle,
    client: Client,
    kept: Kept,
}

impl Session {
    pub(super) fn new(handle: Handle, client: Client) -> Self {
        Self {
            handle,
            client,
            kept: Kept::default(),
        }
    }

    /// Begins a transaction that is rolled back unless it is committed.
    pub(in crate::store) fn begin(&mut self) -> std::result::Result<Open<'_>, Failure> {
        let transaction = wait(&self.handle, self.client.transaction())??;
        Ok(Open::new(&self.handle, transaction, &self.kept))
    }

    /// Begins a transaction that only reads, and sees the database as it is now.
    pub(in crate::store) fn snapshot(&mut self) -> std::result::Result<Open<'_>, Failure> {
        let transaction = self.client.build_transaction();
        let transaction = transaction
            .read_only(true)
            .isolation_level(IsolationLevel::RepeatableRead);
        let transaction = wait(&self.handle, transaction.start())??;
        Ok(Open::new(&self.handle, transaction, &self.kept))
    }

    /// Runs statements outside of a transaction.
    pub(in crate::store) fn run(&self, text: &str) -> std::result::Result<(), Failure> {
        Ok(wait(&self.handle, self.client.batch_execute(text))??)
    }

    pub(in crate::store) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(in crate::store) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }
}

/// A transaction.
pub(in crate::store) struct Open<'a> {
    handle: &'a Handle,
    transaction: Transaction<'a>,
    kept: &'a Kept,
    /// Rows that were changed.
    changes: Cell<usize>,
    /// True after a statement failed: the server then answers a commit with a rollback, and calls it a success.
    failed: Cell<bool>,
}

impl<'a> Open<'a> {
    const fn new(handle: &'a Handle, transaction: Transaction<'a>, kept: &'a Kept) -> Self {
        Self {
            handle,
            transaction,
            kept,
            changes: Cell::new(0),
            failed: Cell::new(false),
        }
    }

    pub(in crate::store) fn commit(self) -> std::result::Result<(), Failure> {
        if self.failed.get() {
            return Err(Failure::Refused(
                "a statement failed before the commit".to_owned(),
            ));
        }
        Ok(wait(self.handle, self.transaction.commit())??)
    }

    /// Waits for the answer to a statement.
    fn answer<T>(
        &self,
        statement: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    ) -> std::result::Result<T, Failure> {
        let answer = wait(self.handle, statement).and_then(|answer| Ok(answer?));
        self.failed.set(self.failed.get() || answer.is_err());
        answer
    }

    /// The number of rows that were changed so far.
    pub(in crate::store) const fn changes(&self) -> usize {
        self.changes.get()
    }

    /// Runs statements without values.
    pub(in crate::store) fn run(&self, text: &str) -> std::result::Result<(), Failure> {
        self.answer(self.transaction.batch_execute(text))
    }

    /// Begins to send rows to a table (`COPY ... FROM STDIN`), as text.
    pub(in crate::store) fn copy_in(&self, text: &str) -> Result<CopyIn<'_>> {
        let sink = self.answer(self.transaction.copy_in(text))?;
        Ok(CopyIn {
            open: self,
            sink: Box::pin(sink),
        })
    }

    pub(in crate::store) fn prepare(&self, text: &str) -> Result<Prepared<'_>> {
        let kept = self.kept.borrow().get(text).map(Arc::clone);
        let compiled = match kept {
            Some(compiled) => compiled,
            None => self.compile(text)?,
        };
        Ok(Prepared {
            open: self,
            compiled,
        })
    }

    fn compile(&self, text: &str) -> std::result::Result<Arc<Compiled>, Failure> {
        let dialect::Statement {
            text: translated,
            names,
        } = dialect::statement(text);
        let statement = self.answer(self.transaction.prepare(&translated))?;
        let compiled = Arc::new(Compiled { statement, names });
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= MAX_STATEMENTS {
            kept.clear();
        }
        kept.insert(text.to_owned(), Arc::clone(&compiled));
        Ok(compiled)
    }
}

/// Sends rows to a table. Without [`Self::finish`] none of them is stored.
pub(in crate::store) struct CopyIn<'a> {
    open: &'a Open<'a>,
    sink: Pin<Box<CopyInSink<Bytes>>>,
}

impl CopyIn<'_> {
    pub(in crate::store) fn send(&mut self, rows: Bytes) -> Result<()> {
        Ok(self.open.answer(self.sink.send(rows))?)
    }

    pub(in crate::store) fn finish(mut self) -> Result<()> {
        self.open.answer(self.sink.as_mut().finish())?;
        Ok(())
    }
}

/// A prepared statement of a transaction.
pub(in crate::store) struct Prepared<'a> {
    open: &'a Open<'a>,
    compiled: Arc<Compiled>,
}

impl Prepared<'_> {
    pub(in crate::store) fn execute(&mut self, values: &[&dyn ToSql]) -> Result<usize> {
        self.change(parameters(values)?)
    }

    /// Runs the statement once for many rows.
    pub(in crate::store) fn execute_arrays(&mut self, columns: &[Array]) -> Result<usize> {
        self.change(columns.iter().map(Array::as_value))
    }

    fn change<P, I>(&self, values: I) -> Result<usize>
    where
        P: tokio_postgres::types::BorrowToSql,
        I: IntoIterator<Item = P, IntoIter: ExactSizeIterator>,
    {
        let statement = &self.compiled.statement;
        let changed = self.open.transaction.execute_raw(statement, values);
        let changed = self.open.answer(changed)?;
        let changed = usize::try_from(changed).unwrap_or(usize::MAX);
        self.open.changes.set(self.open.changes.get() + changed);
        Ok(changed)
    }

    /// Runs the statement once with the values of each row, without a wait between them.
    pub(in crate::store) fn execute_each<const N: usize>(
        &mut self,
        rows: &[[Value; N]],
    ) -> Result<usize> {
        let mut all = 0;
        let rows = rows.iter().map(|row| {
            let values = row.iter().map(|value| Parameter::of(value));
            values.collect::<Result<Vec<_>>>()
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        for rows in rows.chunks(PIPELINED) {
            let sent = rows.iter().map(|row| {
                let (transaction, statement) = (&self.open.transaction, &self.compiled.statement);
                transaction.execute_raw(statement, row)
            });
            let changed = self.open.answer(try_join_all(sent))?;
            let changed = changed.into_iter().sum::<u64>();
            let changed = usize::try_from(changed).unwrap_or(usize::MAX);
            self.open.changes.set(self.open.changes.get() + changed);
            all += changed;
        }
        Ok(all)
    }

    /// Reads the first row for each of these values, without a wait between them.
    pub(in crate::store) fn query_each<T>(
        &mut self,
        values: &[i64],
        mut read: impl FnMut(&tokio_postgres::Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::with_capacity(values.len());
        for values in values.chunks(PIPELINED) {
            let given: Vec<[&(dyn postgres_types::ToSql + Sync); 1]> =
                values.iter().map(|value| [value as _]).collect();
            let sent = given.iter().map(|value| {
                let (transaction, statement) = (&self.open.transaction, &self.compiled.statement);
                transaction.query_opt(statement, value)
            });
            for row in self.open.answer(try_join_all(sent))? {
                found.push(read(row.as_ref().ok_or(Error::NoRow)?)?);
            }
        }
        Ok(found)
    }

    pub(in crate::store) fn query(&mut self, values: &[&dyn ToSql]) -> Result<Fetched<'_>> {
        self.fetch(&parameters(values)?)
    }

    pub(in crate::store) fn query_named(
        &mut self,
        values: &[(&str, &dyn ToSql)],
    ) -> Result<Fetched<'_>> {
        let names = self.compiled.names.iter();
        let value = |name: &String| values.iter().find(|(known, _)| known == name);
        let values = names
            .filter_map(value)
            .map(|(_, value)| Parameter::of(*value));
        self.fetch(&values.collect::<Result<Vec<_>>>()?)
    }

    fn fetch(&self, values: &[Parameter<'_>]) -> Result<Fetched<'_>> {
        let values: Vec<_> = values.iter().map(|value| value as _).collect();
        let fetched = self
            .open
            .transaction
            .query(&self.compiled.statement, &values);
        let rows = self.open.answer(fetched)?;
        Ok(Fetched::all(rows))
    }

    /// Rows in pieces: what is not asked for is not sent.
    pub(in crate::store) fn scan(&mut self, values: &[&dyn ToSql]) -> Result<Fetched<'_>> {
        let values = parameters(values)?;
        let bound = self
            .open
            .transaction
            .bind_raw(&self.compiled.statement, values);
        let portal = self.open.answer(bound)?;
        let open = self.open;
        Ok(Fetched::in_pieces(move || {
            let rows = open.transaction.query_portal(&portal, SCAN_ROWS);
            let rows = open.answer(rows)?;
            let is_last = rows.len() < SCAN_ROWS.unsigned_abs() as usize;
            Ok((rows, is_last))
        }))
    }
}

fn parameters<'a>(values: &[&'a dyn ToSql]) -> Result<Vec<Parameter<'a>>> {
    values.iter().map(|value| Parameter::of(*value)).collect()
}
