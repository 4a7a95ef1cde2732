//! The demo as a program: `cargo run --release --bin demo`.

use std::process::ExitCode;

use clap::Parser as _;
use demo::cli::Cli;
use monitoring_service::lifecycle;

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let telemetry = common::init(cli.observability())?;
    let outcome = lifecycle::run(async {
        let stop = lifecycle::signals()?;
        demo::run(&cli, lifecycle::listen(cli.http_addr).await?, stop).await.map(drop)
    });
    telemetry.shutdown();
    outcome.map(|()| ExitCode::SUCCESS)
}
