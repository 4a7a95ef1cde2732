//! The program `monitoring-service`: reads the settings, starts telemetry, and runs the service until a stop signal.

use std::io::{Write as _, stderr, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;

use common::metrics::MetricsRegistry;
use common::probe;
use monitoring_service::clock::Clock;
use monitoring_service::config::{self, Action, Config, CopyDatabase, SkipRecords};
use monitoring_service::{
    app, backtest, database_check, lifecycle,
    store::{self, CopiedTable},
};

fn main() -> anyhow::Result<ExitCode> {
    match Action::load() {
        Action::Serve(config) => run(*config),
        Action::CheckHealth(address) => Ok(check_health(address)),
        Action::SkipRecords(skip) => Ok(skip_records(&skip)),
        Action::CopyDatabase(copy) => Ok(copy_database(&copy)),
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

/// Prints the tables as they are copied, or why nothing was.
fn copy_database(CopyDatabase { from, to }: &CopyDatabase) -> ExitCode {
    let report = |copied: CopiedTable| {
        let CopiedTable {
            table,
            rows,
            is_complete,
        } = copied;
        let end = if is_complete { "" } else { "..." };
        if rows > 0 {
            let _ = writeln!(stdout(), "{table}: {rows} rows{end}");
        }
    };
    match store::copy_database(from, to, report) {
        Ok(()) => {
            let _ = writeln!(
                stdout(),
                "{from} is copied to {to}; start the service with {to}"
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
