//! The command `stream-processor`: parse, run, flush the telemetry, report an error. The rest is in the
//! library.

use std::io::{Write, stderr};
use std::process::ExitCode;

use common::probe;
use stream_processor::cli::{Action, Cli};
use stream_processor::execute;

fn main() -> ExitCode {
    start(&Cli::load()).unwrap_or_else(|error| {
        let _ = writeln!(stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

fn start(cli: &Cli) -> anyhow::Result<ExitCode> {
    if cli.action == Some(Action::Healthcheck) {
        return probe::probe(cli.health_address()?, "/health/live", probe::TIMEOUT)
            .map(|()| ExitCode::SUCCESS);
    }
    let telemetry = common::init(cli.telemetry())?;
    let outcome = tokio::runtime::Runtime::new()?.block_on(execute(cli));
    telemetry.shutdown();
    outcome
}
