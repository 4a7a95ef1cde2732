//! The real program, started, stopped and injured.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use crate::site::Site;

const POLL: Duration = Duration::from_millis(10);
/// Time limit of a start that is given up.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Time limit of a clean stop that is given up.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A child process. Killed when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program with these variables and no others.
    pub(crate) fn start(
        program: &Path,
        variables: &BTreeMap<&str, String>,
        log: &Path,
    ) -> Result<Self> {
        let file = File::create(log)?;
        let child = Command::new(program)
            .env_clear()
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn();
        Ok(Self(child.with_context(|| {
            format!("starting {}", program.display())
        })?))
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.context("a process id")?, signal)?)
    }

    /// Waits until it ends.
    pub(crate) async fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = async {
            loop {
                if let Some(status) = self.0.try_wait()? {
                    return Ok(status);
                }
                sleep(POLL).await;
            }
        };
        timeout(limit, ended).await.context("it does not end")?
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that has ended is left alone.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// `monitoring-service` on one database.
pub(crate) struct Service {
    pub(crate) site: Arc<Site>,
    program: PathBuf,
    variables: BTreeMap<&'static str, String>,
    folder: PathBuf,
    process: Option<Process>,
    starts: u32,
}

impl Service {
    pub(crate) fn new(
        program: PathBuf,
        variables: BTreeMap<&'static str, String>,
        folder: PathBuf,
    ) -> Result<Self> {
        let site = Arc::new(Site::new()?);
        Ok(Self {
            site,
            program,
            variables,
            folder,
            process: None,
            starts: 0,
        })
    }

    /// Starts it without waiting.
    pub(crate) fn spawn(&mut self) -> Result<()> {
        self.starts += 1;
        self.process = Some(Process::start(&self.program, &self.variables, &self.log())?);
        Ok(())
    }

    /// Starts it and waits until it is ready; how long that took.
    pub(crate) async fn start(&mut self) -> Result<Duration> {
        let since = Instant::now();
        self.spawn()?;
        let ready = async {
            loop {
                if let Some(status) = self.running()?.0.try_wait()? {
                    bail!(
                        "the service ended at its start: {status}; see {}",
                        self.log().display()
                    );
                }
                if let Some(url) = self.served_at() {
                    self.site.change(|expected| expected.url = Some(url));
                    if matches!(self.site.status("/health/ready").await, Ok(200)) {
                        return Ok(());
                    }
                }
                sleep(POLL).await;
            }
        };
        let ready = timeout(START_TIMEOUT, ready).await;
        ready
            .with_context(|| format!("the service is not ready; see {}", self.log().display()))??;
        Ok(since.elapsed())
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn kill(&mut self) {
        self.site.change(|expected| expected.url = None);
        self.process = None;
    }

    /// Sends SIGTERM and waits; how long the stop took.
    pub(crate) async fn terminate(&mut self) -> Result<Duration> {
        self.site.change(|expected| expected.url = None);
        let mut process = self.process.take().context("it is running")?;
        let since = Instant::now();
        process.signal(Signal::TERM)?;
        let status = process.ended(STOP_TIMEOUT).await?;
        ensure!(
            status.success(),
            "{status} after SIGTERM; see {}",
            self.log().display()
        );
        Ok(since.elapsed())
    }

    /// Freezes it for some time.
    pub(crate) async fn freeze(&mut self, lasts: Duration) -> Result<()> {
        let url = self.site.expected().url;
        self.site.change(|expected| expected.url = None);
        self.signal(Signal::STOP)?;
        sleep(lasts).await;
        self.signal(Signal::CONT)?;
        self.site.change(|expected| expected.url = url);
        Ok(())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        self.running()?.signal(signal)
    }

    pub(crate) fn database(&self) -> PathBuf {
        PathBuf::from(&self.variables["DATABASE_PATH"])
    }

    fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the service is not running")
    }

    /// The log of this start.
    fn log(&self) -> PathBuf {
        self.folder.join(format!("service-{}.log", self.starts))
    }

    fn served_at(&self) -> Option<String> {
        let log = fs::read_to_string(self.log()).ok()?;
        let address = |line: &str| {
            Some(
                serde_json::from_str::<Value>(line).ok()?["address"]
                    .as_str()?
                    .to_owned(),
            )
        };
        log.lines()
            .find_map(address)
            .map(|address| format!("http://{address}"))
    }
}
