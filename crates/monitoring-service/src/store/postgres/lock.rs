//! The connection that writes. It holds an advisory lock of its session, so only the instance that works can commit; the others stand by.
//!
//! The server ends the session of an instance that is gone, paused or cut off, and with it the lock. What this instance remembers is
//! true only while no other has worked, so after a lost connection it goes on if it is still the last that did, and ends otherwise.

use std::{sync::Arc, thread, time::Duration};

use uuid::Uuid;

use super::{Failure, PostgresUrl, Server, Session, schema};
use crate::{
    clock::Stopwatch,
    store::{
        StoreError,
        engine::{Sql, params},
    },
};

/// The server ends the session when nothing is heard of this instance for 15 s, within a transaction or without, and after 11 s if its host
/// does not answer.
const SETTINGS: &str = "SET idle_session_timeout = '15s'; SET idle_in_transaction_session_timeout = '15s';
    SET statement_timeout = '30s'; SET lock_timeout = '10s';
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '11s'";

/// Interval of the signs of life.
pub(in crate::store) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// Pause between attempts to connect; whoever asks meanwhile gets the last error.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Attempts of a command to take the lock, and their interval.
const COMMAND_ATTEMPTS: u32 = 10;
const COMMAND_INTERVAL: Duration = Duration::from_millis(100);

/// The lock of the service ("txmn") on this schema.
const TAKE: &str = "SELECT pg_try_advisory_lock(1954049390, hashtext(current_schema()))";

/// Who wrote last.
const LAST_WRITER: &str = "SELECT writer FROM database_state";

/// An instance that is to work, and asks for the lock.
pub(in crate::store) struct Applicant {
    server: Arc<Server>,
    session: Option<Session>,
}

impl Applicant {
    pub(in crate::store) const fn new(server: Arc<Server>) -> Self {
        Self {
            server,
            session: None,
        }
    }

    /// Takes the lock and makes the tables; none while another instance works. [`StoreError::Unavailable`] while the server is away.
    pub(in crate::store) fn apply(&mut self) -> Result<Option<Writing>, StoreError> {
        let mut session = match self.session.take() {
            Some(session) if !session.is_closed() => session,
            _ => self
                .server
                .connect(SETTINGS)
                .map_err(|failure| match failure {
                    Failure::Away(_) => failure,
                    Failure::Refused(text) => {
                        Failure::Refused(format!("{text}; check DATABASE_URL"))
                    }
                })?,
        };
        if !take(&mut session)? {
            self.session = Some(session);
            return Ok(None);
        }
        let id = Uuid::new_v4().to_string();
        schema::prepare(&mut session, &id)?;
        Ok(Some(Writing {
            server: Arc::clone(&self.server),
            id,
            session: Some(session),
            failed: None,
            replaced: false,
        }))
    }
}

/// The connection of a command that writes while no service runs. The session of one that has just stopped may take a moment to end.
pub(in crate::store) fn of_command(url: &PostgresUrl) -> Result<Writing, StoreError> {
    let mut applicant = Applicant::new(Server::new(url.clone())?);
    for _ in 0..COMMAND_ATTEMPTS {
        if let Some(writing) = applicant.apply()? {
            return Ok(writing);
        }
        thread::sleep(COMMAND_INTERVAL);
    }
    Err(StoreError::Broken(
        "another monitoring-service uses this database; stop it, and those that stand by"
            .to_owned(),
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
    /// Set when another instance has worked meanwhile.
    replaced: bool,
}

impl Writing {
    /// Runs `work` in a transaction and commits it. Returns true beside its value if rows were changed.
    pub(in crate::store) fn transact<T>(
        &mut self,
        work: impl FnOnce(Sql<'_>) -> Result<T, StoreError>,
    ) -> Result<(T, bool), StoreError> {
        let done = self.session().and_then(|session| {
            let open = session.begin()?;
            let value = work(Sql::Postgres(&open))?;
            let changed = open.changes() > 0;
            open.commit()?;
            Ok((value, changed))
        });
        if let Err(StoreError::Unavailable(_)) = &done {
            // Whether a commit that was not answered is stored is found out by reading.
            self.session = None;
        }
        done
    }

    /// True if the last error is that of a job: others may succeed.
    pub(in crate::store) const fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// A sign of life. It also notices a lost connection, and connects again.
    pub(in crate::store) fn keep_alive(&mut self) {
        let alive = self
            .session()
            .and_then(|session| Ok(session.run("SELECT 1")?));
        if let Err(error) = alive {
            tracing::debug!(%error, "no connection to write with");
            self.session = None;
        }
    }

    /// [`StoreError::Broken`] after another instance has worked.
    pub(in crate::store) fn check(&self) -> Result<(), StoreError> {
        if self.replaced {
            return Err(StoreError::Broken(
                "another monitoring-service has taken over this database; this one ends, and stands by when it is started again"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// Waits for `work`, at most until the next sign of life is due.
    pub(in crate::store) fn wait<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let limited = async { tokio::time::timeout(KEEP_ALIVE_INTERVAL, work).await };
        super::wait(self.server.handle(), limited).ok()?.ok()
    }

    fn session(&mut self) -> Result<&mut Session, StoreError> {
        self.check()?;
        if self.session.as_ref().is_some_and(Session::is_closed) {
            self.session = None;
        }
        if self.session.is_none() {
            self.session = Some(self.reconnect()?);
        }
        self.session.as_mut().ok_or(StoreError::Closed)
    }

    fn reconnect(&mut self) -> Result<Session, StoreError> {
        if let Some((since, error)) = &self.failed
            && since.elapsed() < RECONNECT_PAUSE
        {
            return Err(StoreError::Unavailable(error.clone()));
        }
        match self.connect_again() {
            Err(StoreError::Unavailable(error)) => {
                self.failed = Some((Stopwatch::start(), error.clone()));
                Err(StoreError::Unavailable(error))
            }
            Err(error) => Err(error),
            Ok(session) => {
                tracing::info!(database = %self.server.url(), "connected again");
                self.failed = None;
                Ok(session)
            }
        }
    }

    fn connect_again(&mut self) -> Result<Session, StoreError> {
        let mut session = self.server.connect_again(SETTINGS)?;
        let taken = take(&mut session)?;
        let open = session.begin()?;
        let last: String = Sql::Postgres(&open)
            .prepare_cached(LAST_WRITER)?
            .query_row(params![], |row| row.get(0))?;
        drop(open);
        self.replaced = last != self.id;
        self.check()?;
        if !taken {
            return Err(StoreError::Unavailable(
                "the server has not ended the lost connection yet".to_owned(),
            ));
        }
        Ok(session)
    }
}

/// Takes the lock; false if another session has it.
fn take(session: &mut Session) -> Result<bool, StoreError> {
    let open = session.begin()?;
    let taken: Option<bool> = Sql::Postgres(&open)
        .prepare_cached(TAKE)?
        .query_row(params![], |row| row.get(0))?;
    taken.ok_or_else(|| {
        Failure::Refused(
            "PostgreSQL: the user's search_path has no schema; create one, or grant USAGE on it"
                .to_owned(),
        )
        .into()
    })
}
