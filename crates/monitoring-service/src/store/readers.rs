//! The read-only connections: how many queries run at a time, and how one ends that nobody waits for any more. No query waits
//! for the writer, nor the writer for a query, but to start the write-ahead log anew (see `writer`).

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, InterruptHandle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{StoreError, schema};

/// Queries at a time; more wait.
const READERS: usize = 4;

/// Of them, those over ranges of any length: the rest is left to pages, probes and deliveries, which are quick.
const LONG_READERS: usize = 2;

/// How much a query may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// A bounded number of rows, through an index.
    Page,
    /// A range of minutes of any length.
    Long,
}

/// The read-only connections to one database.
pub(super) struct Readers {
    path: PathBuf,
    places: Arc<Semaphore>,
    long_places: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
    running: Mutex<Vec<Arc<InterruptHandle>>>,
}

/// A query that runs, on its way out also where it panics.
struct Inside<'a> {
    readers: &'a Readers,
    interrupt: Arc<InterruptHandle>,
    waiting: &'a Waiting,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // From here on its connection may be another query's.
        self.waiting.end();
        lock(&self.readers.running).retain(|running| !Arc::ptr_eq(running, &self.interrupt));
    }
}

/// What a query holds while it runs.
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    _long_place: Option<OwnedSemaphorePermit>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            places: Arc::new(Semaphore::new(READERS)),
            long_places: Arc::new(Semaphore::new(LONG_READERS)),
            idle: Mutex::default(),
            running: Mutex::default(),
        }
    }

    /// Waits for a place. A long look first waits for one of its own kind, so that it never takes the last one.
    pub(super) async fn place(&self, reach: Reach) -> Result<Place, StoreError> {
        let long_place = match reach {
            Reach::Page => None,
            Reach::Long => Some(taken(&self.long_places).await?),
        };
        Ok(Place {
            _place: taken(&self.places).await?,
            _long_place: long_place,
        })
    }

    /// Runs a query on this thread, until it ends or nobody waits for it. Blocks.
    pub(super) fn run<T>(
        &self,
        waiting: &Waiting,
        query: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let pooled = lock(&self.idle).pop();
        let connection = match pooled {
            Some(connection) => connection,
            None => schema::open_reader(&self.path)?,
        };
        let result = {
            let inside = self.enter(connection.get_interrupt_handle(), waiting);
            if waiting.begin(&inside.interrupt) {
                query(&connection)
            } else {
                Err(StoreError::Closed)
            }
        };
        // An interrupt can hit the end of a transaction too: one that is still open must not be the next query's.
        if connection.is_autocommit() {
            lock(&self.idle).push(connection);
        }
        result
    }

    fn enter<'a>(&'a self, interrupt: InterruptHandle, waiting: &'a Waiting) -> Inside<'a> {
        let interrupt = Arc::new(interrupt);
        lock(&self.running).push(Arc::clone(&interrupt));
        Inside {
            readers: self,
            interrupt,
            waiting,
        }
    }

    /// Interrupts the queries that run. One that is just between two statements is not troubled.
    pub(super) fn interrupt(&self) {
        lock(&self.running)
            .iter()
            .for_each(|running| running.interrupt());
    }
}

async fn taken(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
    Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(|_| StoreError::Closed)
}

/// What a lock holds is right at any time, also where a thread panicked with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether somebody waits for a query. A clone is about the same query.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<Query>>);

#[derive(Default)]
enum Query {
    #[default]
    NotRunning,
    Running(Arc<InterruptHandle>),
    NotWanted,
}

impl Waiting {
    /// False if nobody waits any more.
    fn begin(&self, interrupt: &Arc<InterruptHandle>) -> bool {
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

/// The one who waits: when dropped, the query is interrupted.
pub(super) struct Waiter(pub(super) Waiting);

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut query = lock(&self.0.0);
        if let Query::Running(interrupt) = &*query {
            interrupt.interrupt();
        }
        *query = Query::NotWanted;
    }
}
