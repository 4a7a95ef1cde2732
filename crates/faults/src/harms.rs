//! What happens to instances that share a database, at the moments that harm most.

use std::{process::Command, time::Duration};

use anyhow::{Result, ensure};
use fastrand::Rng;
use rustix::process::Signal;
use strum::{Display, EnumIter, EnumString};
use tokio::time::{Instant, sleep};

use crate::{
    ledger::Ledger,
    receiver::{Manner, Outcome, Receipt, Receiver},
    service::Service,
};

/// Longer than every time limit of a session.
const FREEZE: Duration = Duration::from_secs(14);
/// All are frozen for this long, shorter than every time limit, so that each has a backlog.
const BACKLOG: Duration = Duration::from_secs(3);
/// Time limit for the moment of an injury to come.
const MOMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The receiver refuses for this long after a kill: an incident is over meanwhile.
const REFUSAL: Duration = Duration::from_secs(12);
const POLL: Duration = Duration::from_millis(5);
/// Time in which a group assigns partitions to those that have just started, and some more.
const ASSIGNING_MS: u64 = 6_000;
/// As a server does that is stopped.
const END_SESSIONS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'instance-%'";

/// What happens to the instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Display, EnumIter, EnumString)]
#[strum(serialize_all = "kebab-case")]
pub enum Harm {
    /// SIGKILL; a new one is started later.
    Kill,
    /// SIGSTOP in the middle of a backlog, for longer than every time limit, then SIGCONT.
    Freeze,
    /// SIGTERM; a new one is started later.
    Stop,
    /// SIGKILL of the one that notifies, when the receiver has read an opening and not answered.
    KillNotifying,
    /// One more.
    Add,
    /// The server of the database ends all sessions.
    EndSessions,
    /// The server of the database is restarted.
    RestartDatabase,
}

/// The instances and the world around them.
pub(crate) struct Group {
    pub(crate) services: Vec<Service>,
    pub(crate) receiver: Receiver,
    pub(crate) ledger: Ledger,
    /// The command that restarts the server of the database, if there is one.
    pub(crate) restart: Option<String>,
    /// When each injury began and ended.
    pub(crate) injured: Vec<Instant>,
}

impl Group {
    /// The name of an instance: its path at the receiver, and its sessions at the database.
    pub(crate) fn name(number: usize) -> String {
        format!("instance-{number}")
    }

    /// Does it to an instance, and returns since when it is injured, seconds since 1970. Where one is gone after that, the next injury that
    /// adds one starts it again; one always stays.
    pub(crate) async fn injure(&mut self, harm: Harm, rng: &mut Rng) -> Result<f64> {
        // The last one of them must not go.
        if self.running().len() < 2 {
            self.start_all().await?;
            // Some are injured while the group assigns, some later.
            sleep(Duration::from_millis(rng.u64(..ASSIGNING_MS))).await;
        }
        let running = self.running();
        let mut one = running[rng.usize(..running.len())];
        match harm {
            Harm::Freeze => one = self.in_backlog(one).await?,
            Harm::KillNotifying => one = self.notifying(one).await?,
            _ => {}
        }
        let since_s = self.ledger.now_s().await?;
        self.injured.push(Instant::now());
        let service = &mut self.services[one];
        match harm {
            Harm::Kill => service.kill(),
            Harm::Stop => drop(service.terminate().await?),
            Harm::Freeze => service.freeze(FREEZE).await?,
            Harm::KillNotifying => {
                service.kill();
                self.receiver.set(Manner::Refuse);
                sleep(REFUSAL).await;
                self.receiver.set(Manner::Accept);
            }
            Harm::Add => {
                let mut services = self.services.iter_mut();
                if let Some(gone) = services.find(|service| !service.is_running()) {
                    gone.start().await?;
                }
            }
            Harm::EndSessions => {
                let client = self.ledger.client().await?;
                client.batch_execute(END_SESSIONS).await?;
            }
            Harm::RestartDatabase => {
                if let Some(command) = &self.restart {
                    let status = Command::new("sh").args(["-c", command]).status()?;
                    ensure!(status.success(), "{command}: {status}");
                }
            }
        }
        self.injured.push(Instant::now());
        Ok(since_s)
    }

    pub(crate) async fn start_all(&mut self) -> Result<()> {
        for service in &mut self.services {
            if !service.is_running() {
                service.start().await?;
            }
        }
        Ok(())
    }

    fn running(&self) -> Vec<usize> {
        let all = self.services.iter().enumerate();
        let running = all.filter(|(_, service)| service.is_running());
        running.map(|(at, _)| at).collect()
    }

    /// The instance of this name, or else this one.
    fn named(&self, name: Option<&str>, or: usize) -> usize {
        let named = |at: &usize| Some(Self::name(*at).as_str()) == name;
        self.running().into_iter().find(named).unwrap_or(or)
    }

    /// Makes a backlog, and returns an instance that has begun to read it and is not at its end.
    async fn in_backlog(&mut self, or: usize) -> Result<usize> {
        self.signal_all(Signal::STOP)?;
        sleep(BACKLOG).await;
        let watch = self.ledger.watch().await?;
        self.signal_all(Signal::CONT)?;
        let first = watch.first(MOMENT_TIMEOUT).await?;
        Ok(self.named(first.as_deref(), or))
    }

    fn signal_all(&mut self, signal: Signal) -> Result<()> {
        for at in self.running() {
            self.services[at].signal(signal)?;
        }
        Ok(())
    }

    /// The instance whose opening the receiver has read and not answered.
    async fn notifying(&self, or: usize) -> Result<usize> {
        let since = Instant::now();
        self.receiver.set(Manner::Hang);
        while since.elapsed() < MOMENT_TIMEOUT {
            sleep(POLL).await;
            let is_opening = |receipt: &Receipt| {
                receipt.outcome == Outcome::Unanswered && receipt.body["event"] == "opened"
            };
            let newest = self.receiver.newest().filter(is_opening);
            if let Some(opening) = newest {
                return Ok(self.named(Some(&opening.path), or));
            }
        }
        Ok(or)
    }
}
