//! The program `ha`: injures instances that share a database, and prints the tables.

use std::{
    io::{Write as _, stderr, stdout},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser;
use faults::{Harm, Replicas};
use stream_processor::Shape;

/// Run several instances of monitoring-service on one PostgreSQL database and one consumer group, injure them, and check that what they
/// store and notify is what one calm instance does.
///
/// Exit code: 0 every check held; 1 one did not.
#[derive(Parser)]
struct Cli {
    /// Repeats a run; without it, a random one.
    #[arg(long)]
    seed: Option<u64>,

    /// How many injuries, 20 seconds each.
    #[arg(long, default_value_t = 24)]
    injuries: usize,

    /// Instances at most.
    #[arg(long, default_value_t = 3)]
    instances: usize,

    /// A broker on this machine.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    kafka: String,

    /// The address of an empty database; `scripts/with-postgres` sets it.
    #[arg(long, env = "TEST_DATABASE_URL", hide_env_values = true)]
    database: String,

    /// The command that restarts its server; `scripts/with-postgres` sets it.
    #[arg(long, env = "TEST_DATABASE_RESTART")]
    restart: Option<String>,

    /// Only these injuries.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Harm>,

    /// What is sent: `minutes` may be stored twice without harm, `transactions` may not.
    #[arg(long, default_value = "transactions")]
    shape: Shape,

    /// The program.
    #[arg(long, default_value = "target/release/monitoring-service")]
    service: PathBuf,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let service = faults::program(&cli.service)?;
    let folder = tempfile::Builder::new().prefix("ha-").tempdir()?;
    let replicas = Replicas {
        service,
        kafka: cli.kafka,
        database: cli.database,
        restart: cli.restart,
        instances: cli.instances,
        injuries: cli.injuries,
        only: cli.only,
        shape: cli.shape,
        seed: cli.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)),
        folder: folder.path().to_owned(),
    };
    let (report, pauses) = replicas.run().await?;
    write!(stdout(), "{report}\n{pauses}")?;
    if report.is_clean() {
        return Ok(ExitCode::SUCCESS);
    }
    let folder = folder.keep();
    writeln!(
        stderr(),
        "repeat it with --seed {}; logs are in {}",
        replicas.seed,
        folder.display()
    )?;
    Ok(ExitCode::FAILURE)
}
