//! The program `monitoring-service`: reads the settings, starts telemetry, and runs the service until a stop signal.

use std::io::{Write as _, stderr, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;

use common::metrics::MetricsRegistry;
use common::probe;
use monitoring_service::clock::Clock;
use monitoring_service::config::{self, Action, Config, SkipRecords};
use monitoring_service::{app, backtest, database_check, lifecycle, store};

fn main() -> anyhow::Result<ExitCode> {
    match Action::load() {
        Action::Serve(config) => run(*config),
        Action::CheckHealth(address) => Ok(check_health(address)),
        Action::SkipRecords(skip) => Ok(skip_records(&skip)),
        Action::CheckDatabase(database) => Ok(database_check::command(&database)),
        Action::Backtest(options, settings) => Ok(backtest::command(&options, &settings)),
    }
}

/// Prints the reason of a failure as one line, which the container runtime keeps.
fn check_health(address: SocketAddr) -> ExitCode {
    match probe::probe(address, "/health/ready", probe::TIMEOUT) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what is skipped, or why nothing is.
fn skip_records(skip: &SkipRecords) -> ExitCode {
    let SkipRecords {
        database,
        topic,
        partition,
        to_offset,
    } = skip;
    let now_ms = Clock::system().now_ms();
    match store::skip_records(database, topic, *partition, *to_offset, now_ms) {
        Ok(gap) => {
            let (from, to) = (gap.from_offset, gap.to_offset);
            let _ = writeln!(
                stdout(),
                "{topic}[{partition}]: the offsets from {from} to before {to} are an offset gap; start the service"
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<ExitCode> {
    let telemetry = common::init(config.telemetry())?;
    for variable in config::unknown_variables() {
        tracing::warn!(
            variable = variable.name,
            nearest = variable.nearest,
            "unknown variable has no effect; is the nearest meant?"
        );
    }
    let outcome = lifecycle::run(serve(config));
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "service failed");
    }
    telemetry.shutdown();
    Ok(if outcome.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = lifecycle::stop_on_signal()?;
    let listener = lifecycle::listen(config.http_addr).await?;
    let (clock, registry) = (Clock::system(), MetricsRegistry::new());
    app::run(config, listener, clock, registry, stop).await
}
