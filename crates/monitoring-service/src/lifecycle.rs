//! Start and stop: the only place that spawns. A task that ends stops all others, so the service is never half alive.
//!
//! What the tasks do is not known here, and how each one stops is its own affair: it is told by a
//! [`CancellationToken`] and has a bounded time.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

/// How long tasks may take to stop. With three seconds to send the last telemetry a stop takes at most ten.
pub const STOP_DEADLINE: Duration = Duration::from_secs(7);

/// How long a task may go without a beat before the process is ended, in checks a second apart.
const HUNG_AFTER_CHECKS: u32 = 60;

/// Signals within this long of the first are the same one.
const ONCE: Duration = Duration::from_millis(500);

/// Exit code of a process that its watchdog ended (`EX_SOFTWARE`).
const EXIT_HUNG: i32 = 70;

/// Runs the service on a runtime of its own. Whatever still runs when it ends is left behind after a second.
pub fn run(service: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no threads can be started")?;
    let outcome = runtime.block_on(service);
    // Dropping the runtime would wait without limit for a blocking call that hangs.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// Lets this process open as many files as it may: each connection is one, and the usual limit is that of the connections
/// alone. Where it cannot be raised things are as they were.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
}

/// A socket that listens on this address.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot listen on {address}: stop the program that does, or give another address (HTTP_ADDR or --http-addr)"
        )
    })
}

/// A token that SIGTERM or SIGINT (Ctrl-C) cancels. The second signal ends the process at once.
pub fn signals() -> anyhow::Result<CancellationToken> {
    let listen = |kind| signal(kind).context("signals cannot be listened to");
    let (mut terminate, mut interrupt) = (
        listen(SignalKind::terminate())?,
        listen(SignalKind::interrupt())?,
    );
    let stop = CancellationToken::new();
    let token = stop.clone();
    spawn(async move {
        let name = received(&mut terminate, &mut interrupt).await;
        tracing::info!(
            signal = name,
            "stopping; a second signal ends the process at once"
        );
        token.cancel();
        // `timeout` and its like signal a process and then its group: twice at once is once.
        let echoes = async {
            loop {
                received(&mut terminate, &mut interrupt).await;
            }
        };
        let _: Result<(), _> = tokio::time::timeout(ONCE, echoes).await;
        received(&mut terminate, &mut interrupt).await;
        exit(130);
    });
    Ok(stop)
}

async fn received(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// The tasks and threads of one service. The first that fails, panics or returns without being asked to stops all.
#[derive(Debug)]
pub struct Supervisor {
    stop: CancellationToken,
    tracker: TaskTracker,
    ended: Arc<Mutex<Ended>>,
}

#[derive(Debug, Default)]
struct Ended {
    running: Vec<&'static str>,
    first_error: Option<anyhow::Error>,
}

impl Supervisor {
    /// Supervises nothing yet. Cancelling `stop` stops what will be spawned, and a task that ends cancels it.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            tracker: TaskTracker::new(),
            ended: Arc::default(),
        }
    }

    /// Told to every task: stop.
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs a task, which is to return soon after the token is cancelled and not before.
    pub fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let watch = self.watch(name);
        spawn(async move {
            let outcome = task.await;
            watch.end(outcome);
        });
    }

    /// Runs a task that blocks, on a thread of its own. The same rules hold.
    pub fn thread(
        &self,
        name: &'static str,
        task: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let watch = self.watch(name);
        let body = move || {
            let outcome = task();
            watch.end(outcome);
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)
            .with_context(|| format!("thread {name} cannot be started"))?;
        Ok(())
    }

    /// Waits for the stop, then for all tasks, but no longer than `deadline`. The error is the first that occurred,
    /// or tells which tasks did not stop.
    pub async fn finish(self, deadline: Duration) -> anyhow::Result<()> {
        self.stop.cancelled().await;
        self.tracker.close();
        let in_time = tokio::time::timeout(deadline, self.tracker.wait())
            .await
            .is_ok();
        let mut ended = lock(&self.ended);
        let hanging = ended.running.join(", ");
        match ended.first_error.take() {
            Some(error) => Err(error),
            None if in_time => Ok(()),
            None => Err(anyhow!(
                "still running {deadline:?} after the stop: {hanging}"
            )),
        }
    }

    fn watch(&self, name: &'static str) -> Watch {
        lock(&self.ended).running.push(name);
        Watch {
            name,
            outcome: None,
            ended: Arc::clone(&self.ended),
            stop: self.stop.clone(),
            _stop_guard: self.stop.clone().drop_guard(),
            _tracked: self.tracker.token(),
        }
    }
}

/// Goes with a task. However the task ends, dropping this tells why and stops the others.
struct Watch {
    name: &'static str,
    outcome: Option<anyhow::Result<()>>,
    ended: Arc<Mutex<Ended>>,
    stop: CancellationToken,
    // Dropped after `Drop::drop` and in this order: why a task ended is known before any other can fail of it, and
    // all of it before `finish` goes on.
    _stop_guard: DropGuard,
    _tracked: TaskTrackerToken,
}

impl Watch {
    fn end(mut self, outcome: anyhow::Result<()>) {
        self.outcome = Some(outcome);
    }

    fn error(&mut self) -> Option<anyhow::Error> {
        let Self { name, .. } = self;
        match self.outcome.take() {
            Some(Err(error)) => Some(error.context(format!("{name} failed"))),
            Some(Ok(())) if self.stop.is_cancelled() => None,
            Some(Ok(())) => Some(anyhow!("{name} ended without being asked to")),
            None => Some(anyhow!("{name} panicked")),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let error = self.error();
        let mut ended = lock(&self.ended);
        if let Some(position) = ended.running.iter().position(|name| *name == self.name) {
            ended.running.remove(position);
        }
        match error {
            Some(error) if ended.first_error.is_none() => ended.first_error = Some(error),
            // Only the first becomes the error of the process.
            Some(error) => tracing::error!(
                task = self.name,
                error = format!("{error:#}"),
                "failed while stopping"
            ),
            None => {}
        }
    }
}

fn lock(ended: &Mutex<Ended>) -> MutexGuard<'_, Ended> {
    ended.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process, from a thread of its own, when a task has not beaten for a minute, so that a hung task never
/// leaves the service half alive. `beats` gives each task's name and a number that every beat changes.
///
/// Counts checks instead of reading a clock: neither a clock that jumps nor a machine that slept makes a task hung.
pub fn watchdog<B>(
    stop: CancellationToken,
    last_reports: impl Fn() -> B + Send + 'static,
) -> anyhow::Result<()>
where
    B: IntoIterator<Item = (&'static str, i64)>,
{
    let check = move || {
        let mut watched = Vec::new();
        while !stop.is_cancelled() {
            if let Some(name) = hung(&mut watched, last_reports()) {
                tracing::error!(
                    task = name,
                    unreported_seconds = HUNG_AFTER_CHECKS,
                    "a task hangs: ending the process"
                );
                exit(EXIT_HUNG);
            }
            thread::sleep(Duration::from_secs(1));
        }
    };
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(check)
        .context("thread watchdog cannot be started")?;
    Ok(())
}

/// A task as the watchdog saw it last.
struct Watched {
    name: &'static str,
    beat: i64,
    unchanged: u32,
}

/// The first task whose beat was the same in too many checks.
fn hung(
    watched: &mut Vec<Watched>,
    beats: impl IntoIterator<Item = (&'static str, i64)>,
) -> Option<&'static str> {
    for (name, beat) in beats {
        match watched.iter_mut().find(|task| task.name == name) {
            None => watched.push(Watched {
                name,
                beat,
                unchanged: 0,
            }),
            Some(task) if task.beat == beat => task.unchanged += 1,
            Some(task) => {
                *task = Watched {
                    name,
                    beat,
                    unchanged: 0,
                }
            }
        }
    }
    watched
        .iter()
        .find(|task| task.unchanged >= HUNG_AFTER_CHECKS)
        .map(|task| task.name)
}

#[expect(clippy::disallowed_methods, reason = "the one door to spawning")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

#[expect(
    clippy::exit,
    reason = "asked for a second time, or hung: nothing in the process can be waited for"
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
    async fn a_service_that_is_asked_to_stop_ends_well() {
        let (supervisor, stop) = supervisor();
        supervisor.spawn("waiting", until(stop.clone()));
        let (told, asked) = std::sync::mpsc::channel();
        supervisor
            .thread("blocking", move || asked.recv().context("not told"))
            .expect("starts");
        stop.cancel();
        told.send(()).expect("still there");
        supervisor.finish(SOON).await.expect("nothing failed");
    }

    #[tokio::test]
    async fn a_task_that_fails_stops_the_others_and_its_error_is_the_error() {
        let (supervisor, stop) = supervisor();
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
    async fn a_panic_in_a_task_or_a_thread_is_an_error_that_names_it() {
        let (supervisor, stop) = self::supervisor();
        supervisor.spawn("waiting", until(stop));
        supervisor.spawn("careless", async { panic!("a bug, on purpose") });
        assert_eq!(message(supervisor.finish(SOON).await), "careless panicked");

        let (supervisor, _) = self::supervisor();
        supervisor
            .thread("threaded", || panic!("a bug, on purpose"))
            .expect("starts");
        assert_eq!(message(supervisor.finish(SOON).await), "threaded panicked");
    }

    #[tokio::test]
    async fn a_task_that_returns_unasked_is_an_error() {
        let (supervisor, _) = supervisor();
        supervisor.spawn("lazy", async { Ok(()) });
        assert_eq!(
            message(supervisor.finish(SOON).await),
            "lazy ended without being asked to"
        );
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_named_after_the_deadline() {
        let (supervisor, stop) = supervisor();
        supervisor.spawn("stubborn", std::future::pending());
        stop.cancel();
        assert_eq!(
            message(supervisor.finish(Duration::ZERO).await),
            "still running 0ns after the stop: stubborn"
        );
    }

    #[test]
    fn a_task_is_hung_after_sixty_checks_without_a_beat() {
        let mut watched = Vec::new();
        for check in 0..60 {
            assert_eq!(
                hung(&mut watched, [("alive", check), ("stuck", 7)]),
                None,
                "check {check}"
            );
        }
        assert_eq!(
            hung(&mut watched, [("alive", 60), ("stuck", 7)]),
            Some("stuck")
        );
        assert_eq!(hung(&mut watched, [("alive", 61), ("stuck", 8)]), None);
    }
}
