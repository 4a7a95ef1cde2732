//! PostgreSQL: its address, its connections and its errors. Every wait has a time limit.

mod cells;
pub(super) mod lock;
mod rows;
pub(super) mod schema;
mod session;
mod tls;
mod url;

pub(super) use cells::{Array, get};
pub(super) use rows::Fetched;
pub(super) use session::{Open, Prepared, Session};
pub use url::PostgresUrl;

use std::{
    fmt, io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake},
    thread::{self, Thread},
    time::Duration,
};

use tokio::runtime::{Handle, Runtime};
use tokio_postgres::{CancelToken, error::SqlState};

use self::tls::Tls;
use super::StoreError;

/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit of one answer. The server ends a statement earlier.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// Why PostgreSQL did not do what it was asked.
#[derive(Debug)]
pub(in crate::store) enum Failure {
    /// It cannot be used now: the caller may try again.
    Away(String),
    /// The transaction met another one: it may be run again at once.
    Conflict(String),
    /// It refuses.
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Away(text) | Self::Conflict(text) | Self::Refused(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Away(text) => Self::Unavailable(text),
            Failure::Conflict(text) => Self::Conflict(text),
            Failure::Refused(text) => Self::Broken(text),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            let cause = std::error::Error::source(&error);
            let is_lost = cause.is_some_and(<dyn std::error::Error>::is::<io::Error>);
            // The cause names the host at most.
            let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
            let text = format!("PostgreSQL: {error}{cause}");
            return if is_lost || error.is_closed() {
                Self::Away(text)
            } else {
                Self::Refused(text)
            };
        };
        let (code, text) = (refusal.code(), refusal.message());
        let text = format!("PostgreSQL: {text} ({})", code.code());
        if code.code().starts_with("40") {
            Self::Conflict(text)
        } else if is_temporary(code) {
            Self::Away(text)
        } else {
            Self::Refused(text)
        }
    }
}

/// True for what passes, or is mended, without a change of this program: by the class of the code, which its first two letters are.
fn is_temporary(code: &SqlState) -> bool {
    // Connection, resources, a state that a setting or an operator ends, input and output.
    let classes = ["08", "53", "55", "57", "58"];
    classes.iter().any(|class| code.code().starts_with(class))
        || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
}

/// One database of a server, and the thread that its connections run on.
pub(in crate::store) struct Server {
    url: PostgresUrl,
    tls: Tls,
    runtime: Option<Runtime>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A runtime that is dropped on a thread of another one panics.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Server {
    pub(in crate::store) fn new(url: PostgresUrl) -> Result<Arc<Self>, StoreError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|error| StoreError::Broken(format!("cannot start a thread: {error}")))?;
        let tls = Tls::new(url.config().get_ssl_mode())?;
        Ok(Arc::new(Self {
            url,
            tls,
            runtime: Some(runtime),
        }))
    }

    fn handle(&self) -> &Handle {
        self.runtime
            .as_ref()
            .expect("it is there until the drop")
            .handle()
    }

    /// Connects again, and runs these settings: what is refused, such as a changed password, may be mended while the service runs.
    pub(in crate::store) fn connect_again(&self, settings: &str) -> Result<Session, Failure> {
        let connected = self.connect(settings);
        connected.map_err(|failure| Failure::Away(failure.to_string()))
    }

    /// Connects, and runs these settings.
    pub(in crate::store) fn connect(&self, settings: &str) -> Result<Session, Failure> {
        let connected = async {
            let connecting = self.url.config().connect(self.tls.clone());
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
            let (client, connection) = connected.map_err(|_| {
                Failure::Away(format!(
                    "PostgreSQL: no connection within {} s",
                    CONNECT_TIMEOUT.as_secs()
                ))
            })??;
            // Its errors are those of the client's next statement.
            self.handle().spawn(async { drop(connection.await) });
            client.batch_execute(settings).await?;
            Ok::<_, Failure>(client)
        };
        let client = wait(self.handle(), connected)??;
        Ok(Session::new(self.handle().clone(), client))
    }

    /// Asks the server to end the statement that a connection runs. It may hit the next one.
    pub(in crate::store) fn cancel(&self, token: CancelToken) {
        let tls = self.tls.clone();
        // A cancellation that does not arrive leaves the statement to its own time limit.
        self.handle()
            .spawn(async move { drop(token.cancel_query(tls).await) });
    }

    /// The address without its password.
    pub(in crate::store) const fn url(&self) -> &PostgresUrl {
        &self.url
    }
}

/// Waits on this thread for what the connections' thread does, also within an async task, as SQLite would.
fn wait<T>(handle: &Handle, work: impl Future<Output = T>) -> Result<T, Failure> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    // For the timer.
    let _entered = handle.enter();
    let mut work = pin!(tokio::time::timeout(ANSWER_TIMEOUT, work));
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(outcome) = work.as_mut().poll(&mut context) {
            return outcome.map_err(|_| {
                Failure::Away(format!(
                    "PostgreSQL: no answer within {} s",
                    ANSWER_TIMEOUT.as_secs()
                ))
            });
        }
        thread::park();
    }
}
