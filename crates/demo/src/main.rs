//! The demo as a program: `cargo run --release --bin demo`.

use std::{
    io::{Write as _, stderr},
    process::ExitCode,
};

use clap::Parser as _;
use demo::cli::Cli;
use monitoring_service::lifecycle;

fn main() -> ExitCode {
    start(&Cli::parse()).map_or_else(
        |error| {
            // A reader that went away cannot be told.
            drop(writeln!(stderr(), "error: {error:#}"));
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn start(cli: &Cli) -> anyhow::Result<()> {
    let telemetry = common::init(cli.observability())?;
    let outcome = lifecycle::run(async {
        let stop = lifecycle::signals()?;
        demo::run(cli, lifecycle::listen(cli.http_addr).await?, stop).await.map(drop)
    });
    telemetry.shutdown();
    outcome
}
