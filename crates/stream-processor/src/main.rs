//! The command `stream-processor`: parse, run, flush the telemetry, say what went wrong. All else is in the library.

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

use common::probe;
use stream_processor::{Cli, cli::Instead, execute};

fn main() -> ExitCode {
    start(&Cli::load()).unwrap_or_else(|error| {
        let _ = writeln!(stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    if cli.instead == Some(Instead::Healthcheck) {
        return probe::probe(cli.health_address()?, "/health/live", probe::TIMEOUT)
            .map(|()| ExitCode::SUCCESS);
    }
    let metrics = common::init(cli.metrics())?;
    let outcome = tokio::runtime::Runtime::new()?.block_on(execute(cli));
    metrics.shutdown();
    outcome
}
