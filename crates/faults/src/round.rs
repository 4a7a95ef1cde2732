//! One round: a calm run and an injured one of the same input, and their comparison.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use crate::{
    broker::Broker,
    checker::{check_database, check_facts, check_notifications},
    clients::Clients,
    disk::Disk,
    facts::Facts,
    injuries::World,
    input::{Input, Message, Shape},
    plan::{Kind, Plan, Size, deal},
    proxy::{Flow, Proxy},
    receiver::Receiver,
    report::{Checks, Report},
    service::{Process, Service},
};

/// Time limit until everything is read and delivered. A notification that was not answered waits for a minute or two.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(6);
/// Nothing more comes after this: longer than `CLOSE_AFTER`, for which the clock closes nothing after a lost connection.
const QUIET: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);
/// Minutes of data per minute of a replay.
const REPLAY_SPEED: &str = "3600";
/// Messages after the others, of which the first half is lost.
const LOST: usize = 40;
const GAP_STREAM: &str = "gap";

/// The programs and the broker of a campaign.
pub struct Campaign {
    /// `monitoring-service`.
    pub service: PathBuf,
    /// `stream-processor`; without it, the campaign sends the minutes itself.
    pub replay: Option<PathBuf>,
    /// The broker.
    pub broker: Broker,
    /// The seed of all rounds.
    pub seed: u64,
    /// The kinds of injuries to draw from.
    pub kinds: Vec<Kind>,
    /// The size of a round.
    pub size: Size,
    /// Where the logs are.
    pub folder: PathBuf,
}

/// What both runs of a round share.
struct Round<'a> {
    campaign: &'a Campaign,
    plan: Plan,
    input: Input,
    messages: Vec<Message>,
    checks: Arc<Checks>,
    folder: PathBuf,
}

impl Campaign {
    /// Runs one round. Its logs are deleted if every check held.
    pub async fn round(&self, number: u64) -> Report {
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(1_000_003).wrapping_add(number));
        let kinds = deal(self.seed, number, &self.kinds, self.size.injuries);
        let plan = Plan::draw(&mut rng, &kinds, self.size, self.broker.can_pace());
        let input = Input::draw(&mut rng, plan.streams, plan.minutes);
        let round = Round {
            campaign: self,
            messages: input.messages(plan.shape, &mut rng),
            input,
            checks: Arc::new(Checks::new(format!("seed {} round {number}", self.seed))),
            folder: self.folder.join(format!("round-{number}")),
            plan,
        };
        let result = round.run(&mut rng).await;
        let error = result
            .err()
            .map(|error| format!("{error:#}; {:?}", round.plan));
        round.checks.that("the round ends", error.is_none(), || {
            error.unwrap_or_default()
        });
        let report = round.checks.take();
        if report.is_clean() {
            // Only logs.
            let _ = fs::remove_dir_all(&round.folder);
        }
        report
    }
}

impl Round<'_> {
    async fn run(&self, rng: &mut Rng) -> Result<()> {
        let calm = self.calm().await.context("in the calm run")?;
        let topic = self.topic("injured");
        let mut world = self
            .world("injured", &topic, self.flow(), &self.checks)
            .await?;
        let clients = Clients::start(&world.service.site, &self.checks, self.plan.streams[0]);
        let result = self.injured(&mut world, &topic, &calm, clients, rng).await;
        self.campaign.broker.delete(&topic).await?;
        result
    }

    async fn calm(&self) -> Result<Facts> {
        let topic = self.topic("calm");
        // What is wrong without any injury is not a result of this round.
        let checks = Arc::new(Checks::new(String::new()));
        let mut world = self.world("calm", &topic, Flow::Free, &checks).await?;
        self.send(&topic)?;
        world.start().await?;
        self.drain(&world).await?;
        let facts = Facts::read(&world.service.site, self.plan.streams).await?;
        world.stop().await?;
        self.campaign.broker.delete(&topic).await?;
        let known = facts.counts == self.input.counts();
        ensure!(
            known && !facts.alerts.is_empty(),
            "the calm run did not store the input, or found nothing in it"
        );
        Ok(facts)
    }

    async fn injured(
        &self,
        world: &mut World,
        topic: &str,
        calm: &Facts,
        clients: Clients,
        rng: &mut Rng,
    ) -> Result<()> {
        let mut replay = self.feed(topic, &world.proxy.address)?;
        world.start().await?;
        // Without stream-processor, a part of the minutes before each injury.
        let parts = if self.plan.live && replay.is_none() {
            self.plan.injuries.len()
        } else {
            0
        };
        let mut parts = self
            .messages
            .chunks(self.messages.len().div_ceil(parts.max(1)).max(1))
            .take(parts);
        for injury in &self.plan.injuries {
            if let Some(part) = parts.next() {
                self.campaign.broker.send(topic, part)?;
            }
            world
                .injure(*injury, rng)
                .await
                .with_context(|| format!("at {injury:?}"))?;
        }
        if let Some(replay) = &mut replay {
            let status = replay
                .ended(DRAIN_TIMEOUT)
                .await
                .context("stream-processor")?;
            self.checks
                .that("stream-processor sent everything", status.success(), || {
                    status.to_string()
                });
        }
        world.proxy.set(Flow::Free);
        let accepted = clients.stop();
        self.drain(world).await?;
        let facts = Facts::read(&world.service.site, self.plan.streams).await?;
        world.stop().await?;
        check_facts(&self.checks, &facts, calm, &self.input.counts(), &accepted);
        check_notifications(&self.checks, &facts, &world.receiver.receipts());
        let ends: Result<Vec<_>> = (0..self.plan.partitions)
            .map(|at| self.campaign.broker.end(topic, at))
            .collect();
        check_database(&self.checks, &world.service.database(), topic, &ends?)?;
        if self.plan.has(Kind::OffsetGap) {
            self.lose(world, topic, rng).await?;
        }
        Ok(())
    }

    /// Deletes records before they are read: an offset gap must be recorded, and the rest must be read.
    async fn lose(&self, world: &mut World, topic: &str, rng: &mut Rng) -> Result<()> {
        let broker = &self.campaign.broker;
        let partitions = 0..self.plan.partitions;
        let ends = |broker: &Broker| {
            partitions
                .clone()
                .map(|at| broker.end(topic, at))
                .collect::<Result<Vec<_>>>()
        };
        let before = ends(broker)?;
        let input = Input::draw(rng, &[GAP_STREAM], LOST);
        let mut messages = input.messages(Shape::Minutes, rng);
        for message in &mut messages {
            // In a partition that was read before: of another one the service knows no offset.
            self.plan.streams[0].clone_into(&mut message.key);
        }
        broker.send(topic, &messages)?;
        let after = ends(broker)?;
        let partition = before
            .iter()
            .zip(&after)
            .position(|(before, after)| before < after);
        let partition = partition.context("the messages have a partition")?;
        let (from, to) = (
            before[partition],
            before[partition] + i64::try_from(LOST / 2)?,
        );
        broker
            .delete_records(topic, i32::try_from(partition)?, to)
            .await?;
        world.start().await?;
        self.drain(world).await?;
        let site = &world.service.site;
        let gaps = site.list("/offset-gaps", "offset_gaps").await?;
        let exact = matches!(&gaps[..], [gap] if gap["from_offset"] == from && gap["to_offset"] == to && gap["partition"] == partition);
        self.checks
            .that("an offset gap is recorded exactly", exact, || {
                format!("{from} to {to} of {partition}: {gaps:?}")
            });
        world.health("offset_gaps", "degraded", QUIET).await?;
        let summary = site
            .get(&format!("/transactions/summary?stream={GAP_STREAM}"))
            .await?;
        let read = summary["minutes_observed"] == LOST / 2;
        self.checks
            .that("what is left after an offset gap is read", read, || {
                summary.to_string()
            });
        world.stop().await?;
        self.checks.injured(Kind::OffsetGap);
        Ok(())
    }

    async fn world(
        &self,
        run: &str,
        topic: &str,
        flow: Flow,
        checks: &Arc<Checks>,
    ) -> Result<World> {
        let folder = self.folder.join(run);
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        self.campaign
            .broker
            .create(topic, self.plan.partitions)
            .await?;
        let proxy = Proxy::start(&self.campaign.broker.address(), flow).await?;
        let receiver = Receiver::start().await?;
        let disk = if self.plan.has(Kind::DiskFull) {
            Disk::mount(&data)
        } else {
            None
        };
        let variables = self.variables(&data, topic, &proxy.address, &receiver.url);
        let service = Service::new(self.campaign.service.clone(), variables, folder)?;
        Ok(World {
            service,
            proxy,
            receiver,
            disk,
            flow,
            checks: Arc::clone(checks),
        })
    }

    fn variables(
        &self,
        data: &Path,
        topic: &str,
        broker: &str,
        receiver: &str,
    ) -> BTreeMap<&'static str, String> {
        let shape: &str = self.plan.shape.into();
        let database = data.join("monitoring.db");
        BTreeMap::from(
            [
                ("HTTP_ADDR", "127.0.0.1:0"),
                ("DATABASE_PATH", &database.to_string_lossy()),
                ("KAFKA_BOOTSTRAP_SERVERS", broker),
                ("KAFKA_TOPIC", topic),
                ("KAFKA_INPUT", shape),
                // Little by little, so that it is injured in between.
                (
                    "KAFKA_PROPERTIES",
                    "fetch.message.max.bytes=8192,broker.address.family=v4",
                ),
                ("DETECTION_POLICY", self.plan.policy),
                ("NOTIFY", self.plan.notify),
                ("ALERT_WEBHOOK_URL", receiver),
                ("WEBHOOK_TIMEOUT", "2s"),
                // The minutes of the sample are old, and an hour of it lasts a second.
                ("PAGE_MAX_AGE", "36500d"),
                ("RETENTION", "36500d"),
                ("GROUP_WAIT", "0s"),
                ("LOG_FORMAT", "json"),
            ]
            .map(|(name, value)| (name, value.to_owned())),
        )
    }

    fn topic(&self, run: &str) -> String {
        let name = self
            .folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        format!(
            "faults-{}-{}-{name}-{run}",
            std::process::id(),
            self.campaign.seed
        )
    }

    /// Reads everything in the time of the plan; a live round has its own pace.
    fn flow(&self) -> Flow {
        if self.plan.live || !self.campaign.broker.can_pace() {
            return Flow::Free;
        }
        let bytes: usize = self
            .messages
            .iter()
            .map(|message| message.key.len() + message.payload.len() + 12)
            .sum();
        Flow::BytesPerSecond(u32::try_from(bytes).unwrap_or(u32::MAX) / self.campaign.size.seconds)
    }

    fn send(&self, topic: &str) -> Result<()> {
        self.campaign.broker.send(topic, &self.messages)
    }

    /// Sends everything before the round, or starts to send it.
    fn feed(&self, topic: &str, broker: &str) -> Result<Option<Process>> {
        if !self.plan.live {
            self.send(topic)?;
            return Ok(None);
        }
        let Some(program) = &self.campaign.replay else {
            return Ok(None);
        };
        let file = self.folder.join("input.csv");
        fs::write(&file, self.input.csv())?;
        let variables = [
            ("CSV_PATH", file.to_string_lossy().into_owned()),
            ("KAFKA_BOOTSTRAP_SERVERS", broker.to_owned()),
            ("KAFKA_TOPIC", topic.to_owned()),
            ("STREAM_SPEED", REPLAY_SPEED.to_owned()),
        ];
        let log = self.folder.join("stream-processor.log");
        Process::start(program, &BTreeMap::from(variables), &log).map(Some)
    }

    /// Waits until everything is read and delivered.
    async fn drain(&self, world: &World) -> Result<()> {
        let (start, mut idle_since) = (Instant::now(), None);
        let site = &world.service.site;
        while start.elapsed() < DRAIN_TIMEOUT {
            sleep(POLL).await;
            let parts = &site.get("/health").await?["parts"];
            let idle = parts["kafka"]["caught_up"] == true
                && parts["kafka"]["lag"] == 0
                && parts["deliveries"]["pending"] == 0;
            if !idle {
                idle_since = None;
                continue;
            }
            let since = *idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() > QUIET || self.all_minutes(world).await? {
                self.checks
                    .that("read and delivered in time", true, String::new);
                return Ok(());
            }
        }
        let health = site.get("/health").await?;
        self.checks
            .that("read and delivered in time", false, || health.to_string());
        Ok(())
    }

    async fn all_minutes(&self, world: &World) -> Result<bool> {
        for stream in self.plan.streams {
            let path = format!("/transactions/summary?stream={stream}");
            match world.service.site.get(&path).await {
                Ok(summary) if summary["minutes_observed"] == self.plan.minutes => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}
