//! The connection that writes, and its locks.
//!
//! Every transaction takes a lock for its length: exclusive, as if one writer wrote for all instances, or shared among those that write
//! minutes of their own partitions alone. One instance leads: it holds a lock of its session and does what must be done once. The server ends the
//! session of an instance that is gone, paused or cut off, and with it all of its locks.

use std::{sync::Arc, thread, time::Duration};

use tokio::sync::watch;
use uuid::Uuid;

use super::{Failure, PostgresUrl, Server, Session, schema};
use crate::{
    clock::Stopwatch,
    store::{
        StoreError,
        engine::{Sql, params},
        writer::Lock,
    },
};

/// The server ends the session when nothing is heard of this instance for 10 s, or for 5 s within a transaction, since the others wait for
/// that; and after 11 s if its host does not answer.
const SETTINGS: &str = "SET idle_session_timeout = '10s'; SET idle_in_transaction_session_timeout = '5s';
    SET statement_timeout = '30s'; SET lock_timeout = '30s';
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '11s'";

/// Interval of the signs of life, and of the attempts to lead.
pub(in crate::store) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Pause between attempts to connect; whoever asks meanwhile gets the last error.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Attempts of a command to lead, and their interval.
const COMMAND_ATTEMPTS: u32 = 30;
const COMMAND_INTERVAL: Duration = Duration::from_millis(100);

/// The lock of the leader ("txmn") on this schema.
const LEAD: &str = "SELECT pg_try_advisory_lock(1954049390, hashtext(current_schema()))";

/// The lock of a transaction ("txmo") on this schema.
const EXCLUSIVE: &str = "SELECT pg_advisory_xact_lock(1954049391, hashtext(current_schema()))";
const SHARED: &str = "SELECT pg_advisory_xact_lock_shared(1954049391, hashtext(current_schema()))";

/// Who led last.
const LAST_LEADER: &str = "SELECT leader FROM database_state";
const NOTE_LEADER: &str = "UPDATE database_state SET leader = ?1";

/// The connection of a command that writes while no service runs. The session of one that has just stopped may take a moment to end.
pub(in crate::store) fn of_command(url: &PostgresUrl) -> Result<Writing, StoreError> {
    let mut writing = Writing::open(Server::new(url.clone())?)?;
    for _ in 0..COMMAND_ATTEMPTS {
        writing.apply();
        if writing.leading.borrow().is_some() {
            return Ok(writing);
        }
        thread::sleep(COMMAND_INTERVAL);
    }
    Err(StoreError::Broken(
        "another monitoring-service uses this database; stop all instances".to_owned(),
    ))
}

/// The connection that writes.
pub(in crate::store) struct Writing {
    server: Arc<Server>,
    /// The name of this instance.
    id: String,
    session: Option<Session>,
    /// The last failed attempt to connect.
    failed: Option<(Stopwatch, String)>,
    /// The last attempt to lead.
    tried: Option<Stopwatch>,
    /// The number of the last term.
    term: u64,
    /// The term in which this instance leads, if it does.
    leading: watch::Sender<Option<u64>>,
}

impl Writing {
    /// Connects, makes the tables if there are none, and leads if no other instance does. [`StoreError::Unavailable`] while the server is
    /// away.
    pub(in crate::store) fn open(server: Arc<Server>) -> Result<Self, StoreError> {
        let connected = server.connect(SETTINGS).map_err(|failure| match failure {
            Failure::Refused(text) => Failure::Refused(format!("{text}; check DATABASE_URL")),
            other => other,
        });
        let mut session = connected?;
        schema::prepare(&mut session, EXCLUSIVE)?;
        let mut writing = Self {
            server,
            id: Uuid::new_v4().to_string(),
            session: Some(session),
            failed: None,
            tried: None,
            term: 0,
            leading: watch::Sender::new(None),
        };
        writing.try_to_lead()?;
        Ok(writing)
    }

    /// The term in which this instance leads, if it does.
    pub(in crate::store) fn leading(&self) -> watch::Receiver<Option<u64>> {
        self.leading.subscribe()
    }

    /// Runs `work` in a transaction and commits it; `work` gets the term in which this instance leads. Returns true beside its value if
    /// rows were changed.
    pub(in crate::store) fn transact<T>(
        &mut self,
        lock: Lock,
        work: impl FnOnce(Sql<'_>, Option<u64>) -> Result<T, StoreError>,
    ) -> Result<(T, bool), StoreError> {
        let done = self.connected().and_then(|()| {
            let term = *self.leading.borrow();
            let session = self.session.as_mut().ok_or(StoreError::Closed)?;
            let open = session.begin()?;
            open.run(match lock {
                Lock::Exclusive => EXCLUSIVE,
                Lock::Shared => SHARED,
            })?;
            let value = work(Sql::Postgres(&open), term)?;
            let changed = open.changes() > 0;
            open.commit()?;
            Ok((value, changed))
        });
        if let Err(StoreError::Unavailable(_)) = &done {
            // Whether a commit that was not answered is stored is found out by reading.
            self.disconnect();
        }
        done
    }

    /// True if the last error is that of a job: others may succeed.
    pub(in crate::store) const fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// A sign of life. It also notices a lost connection, and connects again.
    pub(in crate::store) fn keep_alive(&mut self) {
        let alive = self.connected().and_then(|()| {
            let session = self.session.as_ref().ok_or(StoreError::Closed)?;
            Ok(session.run("SELECT 1")?)
        });
        if let Err(error) = alive {
            tracing::debug!(%error, "no connection to write with");
            self.disconnect();
        }
    }

    /// Tries to lead, at most once in an interval.
    pub(in crate::store) fn apply(&mut self) {
        let is_due = self
            .tried
            .is_none_or(|tried| tried.elapsed() >= KEEP_ALIVE_INTERVAL);
        if self.leading.borrow().is_some() || self.session.is_none() || !is_due {
            return;
        }
        if let Err(error) = self.try_to_lead() {
            tracing::debug!(%error, "cannot ask whether another instance leads");
        }
    }

    /// Waits for `work`, at most until the next sign of life is due.
    pub(in crate::store) fn wait<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let limited = async { tokio::time::timeout(KEEP_ALIVE_INTERVAL, work).await };
        super::wait(self.server.handle(), limited).ok()?.ok()
    }

    /// Takes the lock of the leader, if no other instance has it. A term goes on if nobody led meanwhile: what its tasks know is still true.
    fn try_to_lead(&mut self) -> Result<(), StoreError> {
        let Some(session) = self.session.as_mut() else {
            return Ok(());
        };
        self.tried = Some(Stopwatch::start());
        let noted = take_lead(session, &self.id);
        match noted {
            Ok(None) => {}
            Ok(Some(last)) => {
                if last != self.id {
                    self.term += 1;
                }
                tracing::info!(term = self.term, "this instance leads");
                self.leading.send_replace(Some(self.term));
            }
            Err(error) => {
                // The lock may be taken and not noted.
                self.disconnect();
                return Err(error);
            }
        }
        Ok(())
    }

    fn disconnect(&mut self) {
        self.session = None;
        if self.leading.send_replace(None).is_some() {
            tracing::warn!("connection lost; another instance may lead now");
        }
    }

    /// Makes sure that there is a connection.
    fn connected(&mut self) -> Result<(), StoreError> {
        if self.session.as_ref().is_some_and(Session::is_closed) {
            self.disconnect();
        }
        if self.session.is_some() {
            return Ok(());
        }
        if let Some((since, error)) = &self.failed
            && since.elapsed() < RECONNECT_PAUSE
        {
            return Err(StoreError::Unavailable(error.clone()));
        }
        match self.server.connect_again(SETTINGS) {
            Err(failure) => {
                self.failed = Some((Stopwatch::start(), failure.to_string()));
                Err(failure.into())
            }
            Ok(session) => {
                tracing::info!(database = %self.server.url(), "connected again");
                (self.failed, self.session) = (None, Some(session));
                self.try_to_lead()
            }
        }
    }
}

/// Takes the lock of the leader, and notes who leads. Returns who led last; none if another session has the lock.
fn take_lead(session: &mut Session, id: &str) -> Result<Option<String>, StoreError> {
    let open = session.begin()?;
    let sql = Sql::Postgres(&open);
    let taken: bool = sql
        .prepare_cached(LEAD)?
        .query_row(params![], |row| row.get(0))?;
    if !taken {
        return Ok(None);
    }
    let last: String = sql
        .prepare_cached(LAST_LEADER)?
        .query_row(params![], |row| row.get(0))?;
    sql.prepare_cached(NOTE_LEADER)?.execute(params![id])?;
    open.commit()?;
    Ok(Some(last))
}
