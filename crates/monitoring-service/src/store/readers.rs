//! The read-only connections: limits concurrent queries and cancels queries of callers that are gone. Each query sees the database as it
//! is when it begins. Queries and the writer do not wait for each other, except to restart the write-ahead log (see `wal`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::connection::{Connection, Interrupt};
use super::{Database, StoreError, engine::Sql};

mod connection;

/// Maximum concurrent queries; further ones wait.
const MAX_READERS: usize = 4;

/// Maximum concurrent range scans; the other connections serve short queries.
const MAX_RANGE_SCANS: usize = 2;

/// The class of a query, by the number of rows it may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueryClass {
    /// A bounded number of rows, through an index.
    Page,
    /// A range of minutes of any length.
    RangeScan,
}

/// The read-only connections to one database.
pub(super) struct Readers {
    database: Database,
    permits: Arc<Semaphore>,
    range_scan_permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
    running: Mutex<Vec<Arc<Interrupt>>>,
}

/// A running query; dropped at its end, also after a panic.
struct Running<'a> {
    readers: &'a Readers,
    interrupt: Arc<Interrupt>,
    waiting: &'a Waiting,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // From here on another query may use its connection.
        self.waiting.end();
        lock(&self.readers.running).retain(|other| !Arc::ptr_eq(other, &self.interrupt));
    }
}

/// The permit that a query holds while it runs.
pub(super) struct ReaderPermit {
    _any: OwnedSemaphorePermit,
    _range_scan: Option<OwnedSemaphorePermit>,
}

impl Readers {
    pub(super) fn new(database: Database) -> Self {
        Self {
            database,
            permits: Arc::new(Semaphore::new(MAX_READERS)),
            range_scan_permits: Arc::new(Semaphore::new(MAX_RANGE_SCANS)),
            idle: Mutex::default(),
            running: Mutex::default(),
        }
    }

    /// Waits for a permit. A range scan first waits for one of its class, so that range scans never take the last one.
    pub(super) async fn permit(&self, class: QueryClass) -> Result<ReaderPermit, StoreError> {
        let range_scan = match class {
            QueryClass::Page => None,
            QueryClass::RangeScan => Some(acquire(&self.range_scan_permits).await?),
        };
        Ok(ReaderPermit {
            _any: acquire(&self.permits).await?,
            _range_scan: range_scan,
        })
    }

    /// Runs a query on this thread, until it ends or is cancelled. Blocks.
    pub(super) fn run<T>(
        &self,
        waiting: &Waiting,
        query: impl FnOnce(Sql<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection()?;
        let running = self.enter(connection.interrupt(&self.database), waiting);
        let result = if waiting.begin(&running.interrupt) {
            connection.query(query)
        } else {
            Err(StoreError::Closed)
        };
        let interrupt = Arc::clone(&running.interrupt);
        drop(running);
        if connection.is_usable(&interrupt) {
            lock(&self.idle).push(connection);
        }
        result
    }

    /// An idle connection, or a new one.
    fn connection(&self) -> Result<Connection, StoreError> {
        loop {
            let idle = lock(&self.idle).pop();
            match idle {
                Some(connection) if connection.is_open() => return Ok(connection),
                // The server has ended it.
                Some(_) => {}
                None => return Connection::open(&self.database),
            }
        }
    }

    fn enter<'a>(&'a self, interrupt: Interrupt, waiting: &'a Waiting) -> Running<'a> {
        let interrupt = Arc::new(interrupt);
        lock(&self.running).push(Arc::clone(&interrupt));
        Running {
            readers: self,
            interrupt,
            waiting,
        }
    }

    /// Interrupts the running queries. One between two statements is not affected.
    pub(super) fn interrupt(&self) {
        lock(&self.running)
            .iter()
            .for_each(|running| running.interrupt());
    }
}

async fn acquire(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
    Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(|_| StoreError::Closed)
}

/// Ignores poisoning: the values behind the locks are consistent at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the caller of a query still waits. Clones share the state.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<Query>>);

#[derive(Default)]
enum Query {
    #[default]
    NotRunning,
    Running(Arc<Interrupt>),
    NotWanted,
}

impl Waiting {
    /// False if the caller is gone.
    fn begin(&self, interrupt: &Arc<Interrupt>) -> bool {
        let mut query = lock(&self.0);
        let wanted = !matches!(*query, Query::NotWanted);
        if wanted {
            *query = Query::Running(Arc::clone(interrupt));
        }
        wanted
    }

    fn end(&self) {
        *lock(&self.0) = Query::NotRunning;
    }
}

/// Cancels the query when dropped.
pub(super) struct CancelOnDrop(pub(super) Waiting);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let mut query = lock(&self.0.0);
        if let Query::Running(interrupt) = &*query {
            interrupt.interrupt();
        }
        *query = Query::NotWanted;
    }
}
