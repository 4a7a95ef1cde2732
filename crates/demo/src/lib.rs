//! Broker, producer and service in one process, over the same code paths as production: only the broker is embedded.
//!
//! [`execute`] is the command, [`run`] the demo itself; [`scorecard`] says how good the alerts were. Nothing here judges a count.

pub mod cli;
mod console;
pub mod labels;
pub mod sample;
pub mod scorecard;
mod stored;
mod watcher;

use std::{
    io::{Write as _, stderr},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, anyhow, ensure};
use common::{clock::Clock, kafka::KafkaProperties, metrics::MetricsRegistry};
use embedded_kafka::EmbeddedKafka;
use monitoring_service::{
    app::App,
    config::{Config, SecretUrl},
    lifecycle,
};
use stream_processor::{Kafka, Options, ProcessorMetrics, Timeline};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use transaction_csv::{LoadOptions, load_file};

pub use crate::stored::Totals;
use crate::{
    cli::Cli,
    console::Console,
    labels::load_incidents,
    scorecard::Scorecard,
    stored::Scope,
    watcher::{Told, Watcher},
};

const TOPIC: &str = "transactions";

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What is stored of the file.
    pub totals: Totals,
    /// True if that is exactly what the file says.
    pub as_in_file: bool,
    /// How the policy did.
    pub scorecard: Scorecard,
}

/// The whole command after parsing. What goes wrong is said in words, on standard error.
pub fn execute(cli: &Cli) -> ExitCode {
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A reader that went away cannot be told.
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
            "what is stored differs from the file (see above)"
        );
        Ok(())
    });
    telemetry.shutdown();
    outcome
}

/// Runs the demo until it is through (`--once`) or stopped; none if it was stopped before the end of the file.
pub async fn run(
    cli: &Cli,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<Option<Outcome>> {
    let loaded = load_file(cli.file(), &LoadOptions::default())?;
    let scope = Scope::of(&loaded.counts);
    let incidents = scope.incidents(load_incidents(cli.incidents())?);
    let broker = EmbeddedKafka::start().await?;
    broker.create_topic(TOPIC, 1)?;
    let temporary =
        tempfile::tempdir().context("no temporary folder can be made: use --database")?;
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
    .context("opening the database (--database)")?;
    let console = Console::new(listener.local_addr()?, loaded.counts.len() as u64);
    let watcher = Watcher::new(
        app.store().clone(),
        console,
        scope,
        incidents,
        &loaded.counts,
    )
    .await?;
    let account = async {
        // Whatever happens here, the service is not left running alone.
        let guard = stop.clone().drop_guard();
        let producer = ProcessorMetrics::new(&registry);
        let (remote, handle) = stream_processor::remote();
        let told = Told {
            handle,
            rows: producer.rows_produced.clone(),
        };
        let (options, clock) = (replay_options(cli, &broker), Clock::system());
        let replay = stream_processor::run(&loaded, &options, &producer, remote, clock, &stop);
        let outcome = watcher.account(cli, replay, &told, &broker, &stop).await;
        if outcome.is_ok() && !cli.once {
            stop.cancelled().await;
        }
        drop(guard);
        outcome
    };
    let (served, outcome) = tokio::join!(app.run(listener, stop.clone()), account);
    served?;
    let outcome = outcome?;
    broker.shutdown().await?;
    Ok(outcome)
}

/// The service's defaults, whatever the environment says: a variable of production must not make the demo page people.
fn config(cli: &Cli, database_path: PathBuf, broker: &EmbeddedKafka) -> anyhow::Result<Config> {
    let webhook = cli.webhook_url.as_deref().map(SecretUrl::parse).transpose();
    Ok(Config {
        database_path,
        kafka_bootstrap_servers: broker.bootstrap_servers(),
        kafka_topic: TOPIC.to_owned(),
        alert_webhook_url: webhook
            .map_err(|reason| anyhow!("the value of --webhook-url is refused: {reason}"))?,
        ..Config::default()
    })
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
    }
}
