//! Broker, producer and service in one process. Only the broker differs from production: it is embedded.
//!
//! [`execute`] is the command and [`run`] the demo; `scorecard` compares the alerts with the labelled incidents. The service
//! evaluates all counts.

pub mod cli;
mod console;
mod desktop;
pub mod sample;
mod scorecard;
mod stored;
mod watcher;

use std::{
    io::{Write as _, stderr},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, ensure};
use common::{clock::Clock, kafka::KafkaProperties, metrics::MetricsRegistry};
use detection::PolicyName;
use embedded_kafka::EmbeddedKafka;
use monitoring_service::{
    app::App,
    config::{Config, SecretUrl},
    lifecycle,
};
use stream_processor::{Kafka, Options, ProcessorMetrics, Timeline};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use transaction_csv::{LoadOptions, labels::load_incidents, load_file};

pub use crate::stored::Totals;
use crate::{
    cli::Cli,
    console::Console,
    scorecard::Scorecard,
    stored::Scope,
    watcher::{ReplayProgress, Watcher},
};

const TOPIC: &str = "transactions";

/// The result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Stored totals of the file's streams and time.
    pub totals: Totals,
    /// True if they equal the totals of the file; for other shapes than minutes, those of each status.
    pub as_in_file: bool,
    /// The stored alerts of each policy compared with the labelled incidents: of the one that alerts, then of the one in shadow.
    pub scorecards: [(PolicyName, Scorecard); 2],
}

/// Runs the command and writes an error to stderr.
pub fn execute(cli: &Cli) -> ExitCode {
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr cannot be reported anywhere.
            drop(writeln!(stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> anyhow::Result<()> {
    let telemetry = common::init(cli.telemetry())?;
    let outcome = lifecycle::run(async {
        let stop = lifecycle::stop_on_signal()?;
        let outcome = run(cli, lifecycle::listen(cli.http_addr).await?, stop).await?;
        ensure!(
            outcome.is_some() || !cli.once,
            "stopped before the end of the file"
        );
        ensure!(
            outcome.is_none_or(|outcome| outcome.as_in_file),
            "the stored totals differ from the file (see above)"
        );
        Ok(())
    });
    telemetry.shutdown();
    outcome
}

/// Runs the demo until the end of the file (`--once`) or a stop; `None` if it stops before the end of the file.
pub async fn run(
    cli: &Cli,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<Option<Outcome>> {
    let loaded = load_file(cli.file(), &LoadOptions::default())?;
    let minutes: Vec<_> = loaded.counts.iter().collect();
    let scope = Scope::of(&minutes);
    let incidents = scope.incidents(load_incidents(cli.incidents())?);
    let broker = EmbeddedKafka::start().await?;
    broker.create_topic(TOPIC, 1)?;
    let temporary =
        tempfile::tempdir().context("cannot create a temporary folder; use --database")?;
    let database = cli
        .database
        .clone()
        .unwrap_or_else(|| temporary.path().join("demo.db"));
    let registry = MetricsRegistry::new();
    let app = App::open(
        config(cli, database, &broker)?,
        Clock::system(),
        registry.clone(),
    )
    .context("cannot open the database (--database)")?;
    let console = Console::new(listener.local_addr()?, minutes.len() as u64)?;
    if cli.open {
        desktop::open(listener.local_addr()?, &console);
    }
    let watcher = Watcher::new(app.store().clone(), console, scope, incidents, &minutes).await?;
    let follow = async {
        // Stops the service however this block ends.
        let guard = stop.clone().drop_guard();
        let producer = ProcessorMetrics::new(&registry);
        let (remote, handle) = stream_processor::remote();
        let progress = ReplayProgress {
            handle,
            rows: producer.rows_produced.clone(),
        };
        let (options, clock) = (replay_options(cli, &broker), Clock::system());
        let replay = stream_processor::run(&loaded, &options, &producer, remote, clock, &stop);
        // Its future is large.
        let replay = Box::pin(replay);
        let outcome = watcher.follow(cli, replay, &progress, &broker, &stop).await;
        if outcome.is_ok() && !cli.once {
            stop.cancelled().await;
        }
        drop(guard);
        outcome
    };
    let (served, outcome) = tokio::join!(app.run(listener, stop.clone()), follow);
    served?;
    let outcome = outcome?;
    broker.shutdown().await?;
    Ok(outcome)
}

/// The service's defaults. The environment is ignored, so that variables of production cannot send demo alerts to people.
fn config(cli: &Cli, database_path: PathBuf, broker: &EmbeddedKafka) -> anyhow::Result<Config> {
    let webhook = cli.webhook_url.as_deref().map(SecretUrl::parse).transpose();
    let mut config = Config {
        database_path,
        kafka_bootstrap_servers: broker.bootstrap_servers(),
        kafka_topic: TOPIC.to_owned(),
        // The replayed minutes are old.
        page_max_age: None,
        alert_webhook_url: webhook
            .map_err(|reason| anyhow!("--webhook-url is not valid: {reason}"))?,
        ..Config::default()
    };
    config.input.kafka_input = cli.kafka_input();
    Ok(config)
}

fn replay_options(cli: &Cli, broker: &EmbeddedKafka) -> Options {
    let kafka = Kafka {
        bootstrap_servers: broker.bootstrap_servers(),
        topic: TOPIC.to_owned(),
        properties: KafkaProperties::default(),
    };
    Options {
        kafka,
        speed: cli.speed,
        timeline: Timeline::AsInFile,
        shape: cli.shape,
    }
}
