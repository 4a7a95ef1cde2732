//! The command `stream-processor`: parse, run, flush the telemetry, say what went wrong. All else is in the library.

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

use clap::Parser;
use stream_processor::{Cli, execute};

fn main() -> ExitCode {
    start(&Cli::parse()).unwrap_or_else(|error| {
        let _ = writeln!(stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    let telemetry = common::init(cli.telemetry())?;
    let outcome = tokio::runtime::Runtime::new()?.block_on(execute(cli));
    telemetry.shutdown();
    outcome
}
