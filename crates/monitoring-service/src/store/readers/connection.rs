//! A connection that reads, of either engine, and how its query is interrupted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rusqlite::InterruptHandle;
use tokio_postgres::CancelToken;

use crate::store::{
    Database, StoreError,
    engine::Sql,
    postgres::{Server, Session},
    sqlite,
};

/// The server ends a query of a caller that is gone anyway; the limit is for one whose cancellation was lost.
const SETTINGS: &str =
    "SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '60s'";

/// A read-only connection.
pub(super) enum Connection {
    Sqlite(rusqlite::Connection),
    Postgres(Session),
}

impl Connection {
    pub(super) fn open(database: &Database) -> Result<Self, StoreError> {
        Ok(match database {
            Database::File(path) => Self::Sqlite(sqlite::open_reader(path)?),
            Database::Server(server) => Self::Postgres(server.connect_again(SETTINGS)?),
        })
    }

    /// False if the server has ended it.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(session) => !session.is_closed(),
        }
    }

    /// Runs a query in a transaction of its own, which is dropped.
    pub(super) fn query<T>(
        &mut self,
        query: impl FnOnce(Sql<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let snapshot = connection.unchecked_transaction()?;
                query(Sql::Sqlite(&snapshot))
            }
            Self::Postgres(session) => query(Sql::Postgres(&session.snapshot()?)),
        }
    }

    /// True if the next query may use it. An interrupt can also hit the end of a transaction, which is then still open; on the way to a
    /// server it can hit the next query.
    pub(super) fn is_usable(&self, interrupt: &Interrupt) -> bool {
        match (self, interrupt) {
            (Self::Sqlite(connection), _) => connection.is_autocommit(),
            (Self::Postgres(session), Interrupt::Postgres { sent, .. }) => {
                !session.is_closed() && !sent.load(Ordering::Relaxed)
            }
            (Self::Postgres(_), Interrupt::Sqlite(_)) => false,
        }
    }

    pub(super) fn interrupt(&self, database: &Database) -> Interrupt {
        match (self, database) {
            (Self::Sqlite(connection), _) => Interrupt::Sqlite(connection.get_interrupt_handle()),
            (Self::Postgres(session), Database::Server(server)) => Interrupt::Postgres {
                server: Arc::clone(server),
                token: session.cancel_token(),
                sent: AtomicBool::new(false),
            },
            (Self::Postgres(_), Database::File(_)) => unreachable!("a file has no session"),
        }
    }
}

/// Interrupts the query of a connection.
pub(super) enum Interrupt {
    Sqlite(InterruptHandle),
    Postgres {
        server: Arc<Server>,
        token: CancelToken,
        /// True once it was sent.
        sent: AtomicBool,
    },
}

impl Interrupt {
    pub(super) fn interrupt(&self) {
        match self {
            Self::Sqlite(handle) => handle.interrupt(),
            Self::Postgres {
                server,
                token,
                sent,
            } => {
                sent.store(true, Ordering::Relaxed);
                server.cancel(token.clone());
            }
        }
    }
}
