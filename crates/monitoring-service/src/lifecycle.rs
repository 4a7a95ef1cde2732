//! Start and stop: the only place that spawns tasks and threads. A task that ends stops all others, so
//! the service never runs without one of its parts.
//!
//! A [`CancellationToken`] asks each task to stop within a time limit. What the tasks do is defined elsewhere.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use common::signals::StopSignals;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

mod watchdog;

pub(crate) use watchdog::watchdog;

/// Time limit for tasks to stop. With three seconds to flush telemetry, a stop takes at most ten.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(7);

/// Signals within this time of the first one count as the same.
const SAME_SIGNAL_TIMEOUT: Duration = Duration::from_millis(500);

/// Time limit for blocking calls that still run when the service has ended.
const RUNTIME_STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Exit code after a second stop signal.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs the service on a runtime of its own.
pub fn run(service: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    http_listener::raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let outcome = runtime.block_on(service);
    // Dropping the runtime would wait without limit for a blocking call that hangs.
    runtime.shutdown_timeout(RUNTIME_STOP_TIMEOUT);
    outcome
}

/// A socket that listens on this address.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address}; stop the program that uses it, or give another address (HTTP_ADDR or --http-addr)"
        )
    })
}

/// Returns a token that the first stop signal cancels. A second signal ends the process at once.
pub fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut signals = StopSignals::listen()?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    spawn(async move {
        let signal = signals.next().await;
        tracing::info!(signal, "stopping; a second signal ends the process at once");
        token.cancel();
        // `timeout` and similar tools signal the process and then its group, which must count as one signal.
        let same_signal = async {
            loop {
                signals.next().await;
            }
        };
        let _: Result<(), _> = tokio::time::timeout(SAME_SIGNAL_TIMEOUT, same_signal).await;
        signals.next().await;
        exit(EXIT_INTERRUPTED);
    });
    Ok(stop)
}

/// The tasks and threads of one service. The first that fails, panics or returns before the stop stops
/// all others.
#[derive(Debug)]
pub(crate) struct Supervisor {
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
    running: BTreeMap<Id, &'static str>,
}

impl Supervisor {
    /// A supervisor without tasks. Cancelling `stop` asks all tasks to stop.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
        }
    }

    /// Runs a task, which must return soon after the stop and not before.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let task = self.tasks.spawn(task);
        self.running.insert(task.id(), name);
    }

    /// Runs a blocking task on its own thread. It must return soon after the stop, too.
    pub(crate) fn thread(
        &mut self,
        name: &'static str,
        task: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let (done, outcome) = oneshot::channel();
        thread::Builder::new()
            .name(name.to_owned())
            // After the time limit of the stop the receiver is gone, so the outcome is dropped.
            .spawn(move || drop(done.send(task())))
            .with_context(|| format!("cannot start thread {name}"))?;
        // The sender is dropped without an outcome if the thread panics.
        self.spawn(name, async {
            outcome
                .await
                .unwrap_or_else(|_| Err(anyhow!("it panicked")))
        });
        Ok(())
    }

    /// Waits until a task ends or `stop` is cancelled, then for all tasks, for at most `timeout` after
    /// the stop.
    ///
    /// # Errors
    /// The first error of a task, or the names of tasks that did not stop in time.
    pub(crate) async fn finish(mut self, timeout: Duration) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let too_late = async {
            stop.cancelled().await;
            tokio::time::sleep(timeout).await;
        };
        tokio::pin!(too_late);
        let mut first_error = None;
        loop {
            let ended = tokio::select! {
                ended = self.tasks.join_next_with_id() => ended,
                () = &mut too_late => break,
            };
            let Some(ended) = ended else { break };
            if let Some(error) = self.error_of(ended) {
                report(error, &mut first_error);
            }
            stop.cancel();
        }
        let running: Vec<_> = self.running.into_values().collect();
        match first_error {
            Some(error) => Err(error),
            None if running.is_empty() => Ok(()),
            None => Err(anyhow!(
                "still running {timeout:?} after the stop: {}",
                running.join(", ")
            )),
        }
    }

    /// The error of a task that ended; `None` if its end is no error.
    fn error_of(
        &mut self,
        ended: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> Option<anyhow::Error> {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(anyhow!("it panicked"))),
        };
        let name = self.running.remove(&id).unwrap_or("task");
        match outcome {
            Err(error) => Some(error.context(format!("{name} failed"))),
            Ok(()) if self.stop.is_cancelled() => None,
            Ok(()) => Some(anyhow!("{name} ended before the stop")),
        }
    }
}

/// Keeps the first error as the result of the process. Later ones may be consequences and are only logged.
fn report(error: anyhow::Error, first_error: &mut Option<anyhow::Error>) {
    if first_error.is_some() {
        tracing::error!(error = format!("{error:#}"), "task failed during the stop");
    } else {
        *first_error = Some(error);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

#[expect(
    clippy::exit,
    reason = "after a second signal or a hung task, a graceful stop may never finish"
)]
fn exit(code: i32) -> ! {
    std::process::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn supervisor() -> (Supervisor, CancellationToken) {
        let stop = CancellationToken::new();
        (Supervisor::new(stop.clone()), stop)
    }

    async fn until(stop: CancellationToken) -> anyhow::Result<()> {
        stop.cancelled().await;
        Ok(())
    }

    fn message(outcome: anyhow::Result<()>) -> String {
        format!("{:#}", outcome.expect_err("must fail"))
    }

    #[tokio::test]
    async fn a_requested_stop_is_not_an_error() {
        let (mut supervisor, stop) = supervisor();
        supervisor.spawn("waiting", until(stop.clone()));
        let (sender, receiver) = std::sync::mpsc::channel();
        supervisor
            .thread("blocking", move || {
                receiver.recv().context("sender dropped")
            })
            .expect("starts");
        stop.cancel();
        sender.send(()).expect("still there");
        supervisor.finish(SOON).await.expect("nothing failed");
    }

    #[tokio::test]
    async fn the_first_failed_task_stops_the_others() {
        let (mut supervisor, stop) = supervisor();
        supervisor.spawn("waiting", until(stop.clone()));
        supervisor.spawn("second", async move {
            stop.cancelled().await;
            anyhow::bail!("a consequence")
        });
        supervisor.spawn("first", async { anyhow::bail!("the disk is gone") });
        assert_eq!(
            message(supervisor.finish(SOON).await),
            "first failed: the disk is gone"
        );
    }

    #[tokio::test]
    async fn a_panic_is_an_error_that_names_the_task() {
        let (mut supervisor, stop) = self::supervisor();
        supervisor.spawn("waiting", until(stop));
        supervisor.spawn("careless", async { panic!("a bug, on purpose") });
        assert_eq!(
            message(supervisor.finish(SOON).await),
            "careless failed: it panicked"
        );

        let (mut supervisor, _) = self::supervisor();
        supervisor
            .thread("threaded", || panic!("a bug, on purpose"))
            .expect("starts");
        assert_eq!(
            message(supervisor.finish(SOON).await),
            "threaded failed: it panicked"
        );
    }

    #[tokio::test]
    async fn a_task_that_returns_before_the_stop_failed() {
        let (mut supervisor, _) = supervisor();
        supervisor.spawn("lazy", async { Ok(()) });
        assert_eq!(
            message(supervisor.finish(SOON).await),
            "lazy ended before the stop"
        );
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_named() {
        let (mut supervisor, stop) = supervisor();
        supervisor.spawn("stubborn", std::future::pending());
        stop.cancel();
        assert_eq!(
            message(supervisor.finish(Duration::ZERO).await),
            "still running 0ns after the stop: stubborn"
        );
    }
}
