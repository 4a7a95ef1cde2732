//! Does the injuries of a plan to a running service, and checks what health says meanwhile.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use fastrand::Rng;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    disk::Disk,
    plan::{Injury, Kind},
    proxy::{Flow, Proxy},
    receiver::{Manner, Outcome, Receiver},
    report::Checks,
    service::Service,
    site::Site,
};

/// Also on a busy machine, with a debug build.
const MAX_START: Duration = Duration::from_secs(10);
const MAX_STOP: Duration = Duration::from_secs(10);
/// Until health must show a fault, longer than `WEBHOOK_TIMEOUT`, and until it must be over.
const NOTICED: Duration = Duration::from_secs(5);
const HEALED: Duration = Duration::from_secs(15);
/// A shorter cut need not show in health.
const LONG_CUT: Duration = Duration::from_secs(2);
/// Answers of a probe in a row that differ from what writes say.
const MAX_WRONG: u32 = 3;
const DRIBBLERS: usize = 300;
const FLOOD: usize = 60;

/// A service and the world around it.
pub(crate) struct World {
    pub(crate) service: Service,
    pub(crate) proxy: Proxy,
    pub(crate) receiver: Receiver,
    pub(crate) disk: Option<Disk>,
    /// What the proxy lets through where it is not injured.
    pub(crate) flow: Flow,
    pub(crate) checks: Arc<Checks>,
}

impl World {
    pub(crate) async fn injure(&mut self, injury: Injury, rng: &mut Rng) -> Result<()> {
        sleep(injury.after).await;
        let lasts = injury.lasts;
        match injury.kind {
            Kind::Kill => self.kill(0, rng).await?,
            Kind::KillInRecovery => self.kill(rng.u32(1..=3), rng).await?,
            Kind::Freeze => self.service.freeze(lasts).await?,
            Kind::Terminate => {
                self.stop().await?;
                self.start().await?;
            }
            Kind::BrokerCut => self.cut(lasts).await?,
            Kind::BrokerStall => self.pass(Flow::Stalled, lasts).await,
            Kind::BrokerSlow => self.pass(self.slow(), lasts).await,
            Kind::ReceiverRefuse => self.receive(Manner::Refuse, lasts).await?,
            Kind::ReceiverSlow => self.receive(Manner::Slow, lasts).await?,
            Kind::ReceiverHang => self.receive(Manner::Hang, lasts).await?,
            Kind::ReceiverClose => self.receive(Manner::Close, lasts).await?,
            Kind::DiskFull => {
                let Some(disk) = self.disk.take() else {
                    self.checks.skipped("disk-full, for a tmpfs cannot be mounted: run as root or under `unshare -rm`");
                    return Ok(());
                };
                let full = self.fill(&disk, lasts).await;
                self.disk = Some(disk);
                full?;
            }
            Kind::Dribble => self.dribble(lasts).await?,
            Kind::Flood => self.flood(lasts).await?,
            Kind::OffsetGap => return Ok(()),
        }
        self.checks.injured(injury.kind);
        Ok(())
    }

    pub(crate) async fn start(&mut self) -> Result<()> {
        let took = self.service.start().await?;
        self.checks
            .that("ready within 10 s of a start", took <= MAX_START, || {
                format!("{took:?}")
            });
        Ok(())
    }

    pub(crate) async fn stop(&mut self) -> Result<()> {
        let took = self.service.terminate().await?;
        self.checks.that(
            "exit code 0 within 10 s of SIGTERM",
            took <= MAX_STOP,
            || format!("{took:?}"),
        );
        Ok(())
    }

    async fn kill(&mut self, again: u32, rng: &mut Rng) -> Result<()> {
        self.service.kill();
        for _ in 0..again {
            self.service.spawn()?;
            sleep(Duration::from_millis(rng.u64(..150))).await;
            self.service.kill();
        }
        self.start().await
    }

    async fn pass(&self, flow: Flow, lasts: Duration) {
        self.proxy.set(flow);
        sleep(lasts).await;
        self.proxy.set(self.flow);
    }

    fn slow(&self) -> Flow {
        match self.flow {
            Flow::BytesPerSecond(speed) => Flow::BytesPerSecond((speed / 10).max(1)),
            _ => Flow::BytesPerSecond(2_000),
        }
    }

    async fn cut(&self, lasts: Duration) -> Result<()> {
        self.proxy.set(Flow::Cut);
        sleep(lasts).await;
        if lasts >= LONG_CUT {
            self.health("kafka", "degraded", NOTICED).await?;
        }
        self.proxy.set(self.flow);
        self.health("kafka", "ok", HEALED).await
    }

    /// Sends test notifications to a receiver that behaves like this.
    async fn receive(&self, manner: Manner, lasts: Duration) -> Result<()> {
        let before = self.receiver.receipts().len();
        self.receiver.set(manner);
        // After a message without an answer the service waits for a minute or more.
        let messages = if manner == Manner::Hang { 1 } else { 3 };
        for _ in 0..messages {
            self.service.site.post("/alerts/test").await?;
        }
        sleep(lasts).await;
        let failed = |outcome| outcome != Outcome::Accepted;
        let attempts = self.receiver.receipts().split_off(before);
        if attempts.last().is_some_and(|last| failed(last.outcome)) {
            self.health("deliveries", "degraded", NOTICED).await?;
        }
        self.receiver.set(Manner::Accept);
        Ok(())
    }

    async fn fill(&self, disk: &Disk, lasts: Duration) -> Result<()> {
        let site = &self.service.site;
        site.change(|expected| expected.may_be_unready = true);
        disk.fill()?;
        let (end, mut wrong) = (Instant::now() + lasts, 0);
        while Instant::now() < end {
            // The write-ahead log may have space of its own, so what a write says decides.
            let before = site.post("/alerts/test").await?;
            let ready = site.status("/health/ready").await?;
            let after = site.post("/alerts/test").await?;
            let expected = if after == 202 { 200 } else { 503 };
            // A smaller write of the service may have succeeded in between.
            let agrees = before != after || ready == expected;
            wrong = if agrees { 0 } else { wrong + 1 };
            self.checks
                .that("not ready while it cannot write", wrong < MAX_WRONG, || {
                    format!("ready is {ready} while a write is {after}")
                });
        }
        disk.free()?;
        self.health("database", "ok", HEALED).await?;
        let ready = site.status("/health/ready").await?;
        self.checks
            .that("ready with space again", ready == 200, || ready.to_string());
        site.change(|expected| expected.may_be_unready = false);
        Ok(())
    }

    async fn dribble(&self, lasts: Duration) -> Result<()> {
        let address = self.service.site.url("")?.replace("http://", "");
        let mut clients = JoinSet::new();
        for _ in 0..DRIBBLERS {
            let head = format!(
                "POST /alerts/evaluate HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
            );
            let address = address.clone();
            clients.spawn(async move {
                let mut client = TcpStream::connect(address).await?;
                client.write_all(head.as_bytes()).await?;
                loop {
                    client.write_all(b" ").await?;
                    sleep(Duration::from_millis(200)).await;
                }
                #[expect(unreachable_code, reason = "names the type of the error")]
                std::io::Result::Ok(())
            });
        }
        let end = Instant::now() + lasts;
        while Instant::now() < end {
            let status = self.service.site.post("/alerts/test").await?;
            self.checks.that(
                "requests are served beside 300 slow clients",
                status == 202,
                || status.to_string(),
            );
            sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn flood(&self, lasts: Duration) -> Result<()> {
        let mut clients = JoinSet::new();
        for _ in 0..FLOOD {
            let site = Arc::clone(&self.service.site);
            clients.spawn(async move {
                loop {
                    // A full service refuses some of them.
                    let _ = site.status("/alerts?limit=500").await;
                }
            });
        }
        sleep(lasts).await;
        Ok(())
    }

    /// Checks that a part of health becomes this in time.
    pub(crate) async fn health(
        &self,
        part: &'static str,
        expected: &str,
        limit: Duration,
    ) -> Result<()> {
        let site: &Site = &self.service.site;
        let mut found = site.get("/health").await?["parts"][part].clone();
        let becomes = async {
            while found["status"] != expected {
                sleep(Duration::from_millis(50)).await;
                found = site.get("/health").await?["parts"][part].clone();
            }
            anyhow::Ok(())
        };
        let in_time = match timeout(limit, becomes).await {
            Ok(result) => result.context("reading health").is_ok(),
            Err(_) => false,
        };
        self.checks.that(
            "health says what is wrong, and when it is over",
            in_time,
            || format!("{part} is not {expected}: {found}"),
        );
        Ok(())
    }
}
