//! Instances of the program that share one PostgreSQL database and one consumer group, killed, frozen, stopped and added while messages come.
//! What they store and notify must equal what one calm instance does.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{Write as _, stderr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use stream_processor::Shape;
use strum::IntoEnumIterator as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    broker::Broker,
    checker::{check_facts, check_notifications, check_repeats},
    facts::Facts,
    harms::{Group, Harm},
    input::Input,
    ledger::Ledger,
    receiver::Receiver,
    report::{Checks, Report},
    service::Service,
    site::Site,
};

const PARTITIONS: i32 = 6;
/// Streams of minutes, and of single transactions, of which a minute has more than a hundred.
const STREAMS: (usize, usize) = (24, 8);
/// The stream of requests.
const POSTED: &str = "posted";
/// Minutes of each stream for one injury: several messages a second for each partition.
const MINUTES: usize = 60;
/// Limits of the minutes of each stream; the sample has three days.
const MAX_MINUTES: (usize, usize) = (240, 3600);
/// Time for one injury and what follows from it.
const INJURY: Duration = Duration::from_secs(20);
/// Time limit until everything is read and delivered.
const DRAIN_TIMEOUT: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(100);
/// A run with several instances.
pub struct Replicas {
    /// `monitoring-service`.
    pub service: PathBuf,
    /// The address of a broker.
    pub kafka: String,
    /// The address of an empty database.
    pub database: String,
    /// The command that restarts its server, if there is one.
    pub restart: Option<String>,
    /// Instances at most.
    pub instances: usize,
    /// How many injuries.
    pub injuries: usize,
    /// Only these.
    pub only: Vec<Harm>,
    /// What is sent: totals of minutes, which may be stored twice without harm, or single transactions, which may not.
    pub shape: Shape,
    /// The seed.
    pub seed: u64,
    /// Where the logs are.
    pub folder: PathBuf,
}

/// How long partitions stood still after injuries of each kind, longest of each injury.
type Pauses = BTreeMap<Harm, Vec<Duration>>;

impl Replicas {
    /// Runs it, and returns the report and a table of pauses.
    pub async fn run(&self) -> Result<(Report, String)> {
        let mut rng = Rng::with_seed(self.seed);
        let streams = if self.shape == Shape::Transactions {
            STREAMS.1
        } else {
            STREAMS.0
        };
        let names: Vec<_> = (0..streams).map(|at| format!("s{at:02}")).collect();
        let streams: Vec<_> = names.iter().map(String::as_str).collect();
        let minutes = (MINUTES * self.injuries).clamp(MAX_MINUTES.0, MAX_MINUTES.1);
        let input = Input::draw(&mut rng, &streams, minutes);
        let checks = Arc::new(Checks::new(format!("seed {}", self.seed)));
        let broker = Broker::Server(self.kafka.clone());
        let run = Run {
            replicas: self,
            checks: Arc::clone(&checks),
            input,
            streams: &streams,
            minutes,
        };
        let topic = |name: &str| format!("replicas-{}-{name}", std::process::id());
        let (calm, injured) = (topic("calm"), topic("injured"));
        for topic in [&calm, &injured] {
            broker.create(topic, PARTITIONS).await?;
        }
        let expected = run.calm(&calm).await.context("in the calm run")?;
        let mut pauses = Pauses::new();
        let ended = run.injured(&injured, &expected, &mut pauses, &mut rng);
        let error = Box::pin(ended).await.err();
        checks.that("the run ends", error.is_none(), || {
            error.map_or_else(String::new, |error| format!("{error:#}"))
        });
        for topic in [&calm, &injured] {
            broker.delete(topic).await?;
        }
        Ok((checks.take(), table(&pauses)))
    }

    fn instance(
        &self,
        name: &str,
        topic: &str,
        receiver: &Receiver,
        database: (&'static str, String),
    ) -> Result<Service> {
        let (shape, receiver) = (self.shape.to_string(), format!("{}{name}", receiver.url));
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        let variables = [
            ("HTTP_ADDR", "127.0.0.1:0"),
            ("KAFKA_BOOTSTRAP_SERVERS", &self.kafka),
            ("KAFKA_TOPIC", topic),
            ("KAFKA_GROUP_ID", topic),
            ("KAFKA_PROPERTIES", "broker.address.family=v4"),
            ("KAFKA_INPUT", &shape),
            ("ALERT_WEBHOOK_URL", &receiver),
            ("NOTIFY", "incidents"),
            ("PAGE_MAX_AGE", "36500d"),
            ("RETENTION", "36500d"),
            // A group of incidents depends on the time of day.
            ("GROUP_WAIT", "0s"),
            ("LOG_FORMAT", "json"),
        ];
        let variables = variables.map(|(name, value)| (name, value.to_owned()));
        let variables = variables.into_iter().chain([database]).collect();
        Service::new(self.service.clone(), variables, folder)
    }
}

/// What the calm and the injured part share.
struct Run<'a> {
    replicas: &'a Replicas,
    checks: Arc<Checks>,
    input: Input,
    streams: &'a [&'a str],
    minutes: usize,
}

impl Run<'_> {
    /// What one instance on a file finds.
    async fn calm(&self, topic: &str) -> Result<Facts> {
        let receiver = Receiver::start().await?;
        let database = self.replicas.folder.join("calm.db");
        let database = ("DATABASE_PATH", database.to_string_lossy().into_owned());
        let mut service = self.replicas.instance("calm", topic, &receiver, database)?;
        let kafka = &self.replicas.kafka;
        let sent = self
            .input
            .send(kafka, topic, self.replicas.shape, Duration::ZERO);
        sent.await?;
        service.start().await?;
        self.drain(&[&service]).await?;
        let facts = Facts::read(&service.site, self.streams).await?;
        service.terminate().await?;
        ensure!(
            facts.counts == self.input.counts && !facts.incidents.is_empty(),
            "it did not store the input, or found nothing in it"
        );
        Ok(facts)
    }

    async fn injured(
        &self,
        topic: &str,
        expected: &Facts,
        pauses: &mut Pauses,
        rng: &mut Rng,
    ) -> Result<()> {
        let mut group = self.group(topic).await?;
        let posted = Arc::new(Mutex::new(0));
        let sites = group
            .services
            .iter()
            .map(|service| Arc::clone(&service.site));
        let mut beside = JoinSet::new();
        let rng_of_posts = Rng::with_seed(self.replicas.seed);
        beside.spawn(post(sites.collect(), Arc::clone(&posted), rng_of_posts));
        // Also after the last injury messages come, so that its pause is known.
        let takes = INJURY * u32::try_from(self.replicas.injuries + 1)?;
        let (kafka, shape) = (&self.replicas.kafka, self.replicas.shape);
        let feed = self.input.send(kafka, topic, shape, takes);
        let feed = async { feed.await.context("stream-processor").map(drop) };
        let injuries = self.injure_all(&mut group, pauses, rng);
        tokio::try_join!(Box::pin(feed), Box::pin(injuries))?;
        beside.shutdown().await;
        let posted = *posted.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(&group, expected, posted).await?;
        for service in &mut group.services {
            service.terminate().await?;
        }
        Ok(())
    }

    /// The instances, started.
    async fn group(&self, topic: &str) -> Result<Group> {
        let (replicas, receiver) = (self.replicas, Receiver::start().await?);
        let mut services = Vec::new();
        for at in 0..replicas.instances {
            let name = Group::name(at);
            // By this name of a session, its commits are known.
            let separator = if replicas.database.contains('?') {
                '&'
            } else {
                '?'
            };
            let url = format!("{}{separator}application_name={name}", replicas.database);
            let mut service = replicas.instance(&name, topic, &receiver, ("DATABASE_URL", url))?;
            service.start().await?;
            services.push(service);
        }
        Ok(Group {
            services,
            receiver,
            ledger: Ledger::install(replicas.database.clone()).await?,
            restart: replicas.restart.clone(),
            injured: Vec::new(),
        })
    }

    /// Waits until everything is read and delivered, and compares it. `posted`: minutes of answered requests.
    async fn check(&self, group: &Group, expected: &Facts, posted: u64) -> Result<()> {
        let all: Vec<_> = group.services.iter().collect();
        let drained = self.drain(&all).await;
        self.checks
            .that("read and delivered in time", drained.is_ok(), || {
                format!("{drained:?}")
            });
        let site = &group.services[0].site;
        let facts = Facts::read(site, self.streams).await?;
        check_facts(&self.checks, &facts, expected, &self.input.counts, &[]);
        let receipts = group.receiver.receipts();
        check_notifications(&self.checks, &facts, &receipts);
        check_repeats(&self.checks, &receipts, &group.injured);
        group.ledger.check(&self.checks).await?;
        for service in &group.services[1..] {
            let other = Facts::read(&service.site, self.streams).await?;
            self.checks.that(
                "each instance answers the same",
                other.counts == facts.counts && other.incidents == facts.incidents,
                || format!("{} counts", other.counts.len()),
            );
        }
        let summary = format!("/transactions/summary?stream={POSTED}");
        let stored = site.get(&summary).await?["minutes_observed"].as_u64();
        self.checks.that(
            "each minute of an answered request is stored",
            posted > 0 && stored.is_some_and(|stored| stored >= posted),
            || format!("{stored:?} of {posted}"),
        );
        Ok(())
    }

    async fn injure_all(
        &self,
        group: &mut Group,
        pauses: &mut Pauses,
        rng: &mut Rng,
    ) -> Result<()> {
        let kinds: Vec<_> = if self.replicas.only.is_empty() {
            Harm::iter().collect()
        } else {
            self.replicas.only.clone()
        };
        for number in 0..self.replicas.injuries {
            let since = Instant::now();
            let harm = kinds[number % kinds.len()];
            let injured = group.injure(harm, rng).await;
            let since_s = injured.with_context(|| format!("at injury {number}, {harm}"))?;
            sleep(INJURY.saturating_sub(since.elapsed())).await;
            let pause = group.ledger.pause_since(since_s).await?;
            writeln!(stderr(), "{number}: {harm}, {pause:?}")?;
            pauses.entry(harm).or_default().push(pause);
        }
        group.start_all().await
    }

    /// Waits until everything is read and delivered.
    async fn drain(&self, services: &[&Service]) -> Result<()> {
        let (start, site) = (Instant::now(), &services[0].site);
        loop {
            ensure!(
                start.elapsed() < DRAIN_TIMEOUT,
                "{}",
                site.get("/health").await?
            );
            sleep(POLL).await;
            if site.get("/health").await?["parts"]["deliveries"]["pending"] == 0
                && self.all_minutes(site).await?
            {
                return Ok(());
            }
        }
    }

    async fn all_minutes(&self, site: &Site) -> Result<bool> {
        for stream in self.streams {
            let summary = format!("/transactions/summary?stream={stream}");
            match site.get(&summary).await {
                Ok(summary) if summary["minutes_observed"] == self.minutes => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Posts one minute after the other, each to any instance, again until one accepts it.
async fn post(sites: Vec<Arc<Site>>, posted: Arc<Mutex<u64>>, mut rng: Rng) {
    for number in 0.. {
        let (hour, minute) = (number / 60 % 24, number % 60);
        let day = 1 + number / 1440;
        let body = serde_json::json!({
            "timestamp": format!("2025-07-{day:02}T{hour:02}:{minute:02}:00Z"),
            "stream": POSTED,
            "transactions": [{"status": "approved", "count": 100 + number % 7}],
        });
        loop {
            let site = &sites[rng.usize(..sites.len())];
            if let Ok(200) = site.post_json("/transactions", &body).await {
                break;
            }
            sleep(POLL).await;
        }
        *posted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        sleep(POLL).await;
    }
}

fn table(pauses: &Pauses) -> String {
    let mut text =
        "| injury | times | longest pause of a partition: median | p95 | worst |\n|---|---|---|---|---|\n"
            .to_owned();
    for (harm, pauses) in pauses {
        let mut pauses = pauses.clone();
        pauses.sort_unstable();
        let at = |percent: usize| {
            let place = (pauses.len() * percent).div_ceil(100).max(1) - 1;
            pauses[place].as_secs_f64()
        };
        let _ = writeln!(
            text,
            "| {harm} | {} | {:.1} s | {:.1} s | {:.1} s |",
            pauses.len(),
            at(50),
            at(95),
            at(100)
        );
    }
    text
}
