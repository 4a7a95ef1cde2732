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
use stream_processor::Shape;
use tokio::time::{Instant, sleep};

use crate::{
    broker::Broker,
    checker::{check_database, check_facts, check_notifications},
    clients::Clients,
    disk::Disk,
    facts::Facts,
    injuries::World,
    input::Input,
    plan::{Kind, Plan, Size, deal},
    proxy::{Flow, Proxy},
    receiver::Receiver,
    report::{Checks, Report},
    service::Service,
};

/// Time limit until everything is read and delivered. A notification that was not answered waits for a minute or two.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(6);
/// Nothing more comes after this: longer than `CLOSE_AFTER`, for which the clock closes nothing after a lost connection.
const QUIET: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);
/// Messages after the others, of which the first half is lost.
const LOST: usize = 40;
const GAP_STREAM: &str = "gap";

/// The program and the broker of a campaign.
pub struct Campaign {
    /// `monitoring-service`.
    pub service: PathBuf,
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
    checks: Arc<Checks>,
    folder: PathBuf,
}

impl Campaign {
    /// Runs one round. Its logs are deleted if every check held.
    pub async fn round(&self, number: u64) -> Report {
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(1_000_003).wrapping_add(number));
        let kinds = deal(self.seed, number, &self.kinds, self.size.injuries);
        let plan = Plan::draw(&mut rng, &kinds, self.size, self.broker.can_pace());
        let round = Round {
            campaign: self,
            input: Input::draw(&mut rng, plan.streams, plan.minutes),
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
    /// Both runs at once, since they wait most of the time.
    async fn run(&self, rng: &mut Rng) -> Result<()> {
        let topic = self.topic("injured");
        let calm = async { self.calm().await.context("in the calm run") };
        let runs = tokio::try_join!(Box::pin(calm), Box::pin(self.injured(&topic, rng)));
        let (calm, (mut world, facts, accepted)) = runs?;
        check_facts(&self.checks, &facts, &calm, &self.input.counts, &accepted);
        check_notifications(&self.checks, &facts, &world.receiver.receipts());
        let ends = self.ends(&topic)?;
        check_database(&self.checks, &world.service.database(), &topic, &ends)?;
        if self.plan.has(Kind::OffsetGap) {
            self.lose(&mut world, &topic, rng).await?;
        }
        self.campaign.broker.delete(&topic).await
    }

    async fn calm(&self) -> Result<Facts> {
        let topic = self.topic("calm");
        // What is wrong without any injury is not a result of this round.
        let checks = Arc::new(Checks::new(String::new()));
        let mut world = self.world("calm", &topic, &checks).await?;
        self.send_all(&topic).await?;
        world.start().await?;
        self.drain(&world).await?;
        let facts = Facts::read(&world.service.site, self.plan.streams).await?;
        world.stop().await?;
        self.campaign.broker.delete(&topic).await?;
        ensure!(
            facts.counts == self.input.counts && !facts.alerts.is_empty(),
            "the calm run did not store the input, or found nothing in it"
        );
        Ok(facts)
    }

    /// The stopped service, what it said in the end, and the submissions that it accepted.
    async fn injured(&self, topic: &str, rng: &mut Rng) -> Result<(World, Facts, Vec<String>)> {
        let mut world = self.world("injured", topic, &self.checks).await?;
        if !self.plan.live {
            let messages = self.send_all(topic).await?;
            world.flow = self.flow(messages);
            world.proxy.set(world.flow);
        }
        let clients = Clients::start(&world.service.site, &self.checks, self.plan.streams[0]);
        world.start().await?;
        let broker = world.proxy.address.clone();
        let feed = async {
            if self.plan.live {
                let takes = Duration::from_secs(self.campaign.size.seconds.into());
                let sent = self.input.send(&broker, topic, self.plan.shape, takes);
                sent.await.context("stream-processor")?;
            }
            anyhow::Ok(())
        };
        let injuries = async {
            for injury in &self.plan.injuries {
                let injured = world.injure(*injury, rng).await;
                injured.with_context(|| format!("at {injury:?}"))?;
            }
            Ok(())
        };
        tokio::try_join!(feed, injuries)?;
        world.proxy.set(Flow::Free);
        let accepted = clients.stop();
        self.drain(&world).await?;
        let facts = Facts::read(&world.service.site, self.plan.streams).await?;
        world.stop().await?;
        Ok((world, facts, accepted))
    }

    /// Deletes records before they are read: an offset gap must be recorded, and the rest must be read.
    async fn lose(&self, world: &mut World, topic: &str, rng: &mut Rng) -> Result<()> {
        let broker = &self.campaign.broker;
        let before = self.ends(topic)?;
        let input = Input::draw(rng, &[GAP_STREAM], LOST);
        let address = broker.address();
        let sent = input.send(&address, topic, Shape::Minutes, Duration::ZERO);
        sent.await?;
        let after = self.ends(topic)?;
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

    async fn world(&self, run: &str, topic: &str, checks: &Arc<Checks>) -> Result<World> {
        let folder = self.folder.join(run);
        let data = folder.join("data");
        fs::create_dir_all(&data)?;
        self.campaign
            .broker
            .create(topic, self.plan.partitions)
            .await?;
        let proxy = Proxy::start(&self.campaign.broker.address()).await?;
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
            flow: Flow::Free,
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
        let shape = self.plan.shape.to_string();
        let database = data.join("monitoring.db");
        BTreeMap::from(
            [
                ("HTTP_ADDR", "127.0.0.1:0"),
                ("DATABASE_PATH", &database.to_string_lossy()),
                ("KAFKA_BOOTSTRAP_SERVERS", broker),
                ("KAFKA_TOPIC", topic),
                ("KAFKA_INPUT", &shape),
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

    /// Sends everything before the round; returns the number of messages.
    async fn send_all(&self, topic: &str) -> Result<u64> {
        let broker = self.campaign.broker.address();
        let sent = self
            .input
            .send(&broker, topic, self.plan.shape, Duration::ZERO);
        sent.await.context("stream-processor")
    }

    /// What is in the topic is read in the time of the plan.
    fn flow(&self, messages: u64) -> Flow {
        if !self.campaign.broker.can_pace() {
            return Flow::Free;
        }
        let bytes = messages
            * if self.plan.shape == Shape::Minutes {
                250
            } else {
                110
            };
        let speed = bytes / u64::from(self.campaign.size.seconds);
        Flow::BytesPerSecond(u32::try_from(speed).unwrap_or(u32::MAX))
    }

    /// The next offset of each partition.
    fn ends(&self, topic: &str) -> Result<Vec<i64>> {
        let end = |at| self.campaign.broker.end(topic, at);
        (0..self.plan.partitions).map(end).collect()
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
