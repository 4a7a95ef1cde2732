//! The program `faults`: runs rounds for some minutes and prints the table.

use std::{
    io::{Write as _, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use clap::Parser;
use embedded_kafka::EmbeddedKafka;
use faults::{Broker, Campaign, Kind, Report, Size};
use strum::IntoEnumIterator as _;
use tokio::{task::JoinSet, time::Instant};

/// Injure monitoring-service and check from outside that nothing is lost, doubled or hidden.
///
/// Exit code: 0 every check held; 1 one did not, and its seed and round are printed.
#[derive(Parser)]
struct Cli {
    /// Repeats a campaign; without it, a random one.
    #[arg(long)]
    seed: Option<u64>,

    /// Start rounds for this long.
    #[arg(long, default_value_t = 20)]
    minutes: u64,

    /// Only this round.
    #[arg(long)]
    round: Option<u64>,

    /// Rounds at the same time; each runs two services.
    #[arg(long, default_value_t = 1)]
    parallel: usize,

    /// A broker on this machine that advertises this address, such as localhost:9092; without it, one inside this process.
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,

    /// Only these kinds of injuries.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Kind>,

    /// The program.
    #[arg(long, default_value = "target/release/monitoring-service")]
    service: PathBuf,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let service = faults::program(&cli.service)?;
    let folder = tempfile::Builder::new().prefix("faults-").tempdir()?;
    let campaign = Arc::new(Campaign {
        service,
        broker: match &cli.kafka {
            Some(address) => Broker::Server(address.clone()),
            None => Broker::Embedded(EmbeddedKafka::start().await?),
        },
        seed: cli.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        kinds: if cli.only.is_empty() {
            Kind::iter().collect()
        } else {
            cli.only.clone()
        },
        size: Size::FULL,
        folder: folder.path().to_owned(),
    });
    let report = run(&campaign, &cli).await?;
    write!(stdout(), "{report}")?;
    if report.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        stderr(),
        "repeat a round with --seed {} --round N; logs are in {}",
        campaign.seed,
        folder.keep().display()
    )?;
    Ok(ExitCode::FAILURE)
}

async fn run(campaign: &Arc<Campaign>, cli: &Cli) -> Result<Report> {
    let end = Instant::now() + Duration::from_secs(cli.minutes * 60);
    let mut numbers = cli.round.unwrap_or(0)..cli.round.map_or(u64::MAX, |round| round + 1);
    let (mut report, mut rounds) = (Report::default(), JoinSet::new());
    loop {
        while rounds.len() < cli.parallel
            && Instant::now() < end
            && let Some(number) = numbers.next()
        {
            let campaign = Arc::clone(campaign);
            rounds.spawn(async move { (number, campaign.round(number).await) });
        }
        let Some(ended) = rounds.join_next().await else {
            return Ok(report);
        };
        let (number, round) = ended?;
        let seed = campaign.seed;
        if round.is_clean() {
            writeln!(stderr(), "seed {seed} round {number}: ok")?;
        } else {
            writeln!(stderr(), "seed {seed} round {number}: FAILED\n\n{round}")?;
        }
        report.add(round);
    }
}
