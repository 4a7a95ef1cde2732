//! The monitoring service as a program: settings, telemetry, a socket, and the service until it is asked to stop.

use std::{
    io::{Write as _, stderr},
    net::SocketAddr,
    process::ExitCode,
};

use common::{metrics::MetricsRegistry, probe};
use monitoring_service::{
    app,
    clock::Clock,
    config::{Config, Order},
    lifecycle,
};

fn main() -> anyhow::Result<ExitCode> {
    match Order::load() {
        Order::Serve(config) => run(*config),
        Order::CheckHealth(address) => Ok(check_health(address)),
    }
}

/// The reason is one line, which the container's runtime keeps.
fn check_health(address: SocketAddr) -> ExitCode {
    match probe::probe(address, "/health/ready", probe::TIMEOUT) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: Config) -> anyhow::Result<ExitCode> {
    let metrics = common::init(config.observability())?;
    let outcome = lifecycle::run(serve(config));
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "the service has failed");
    }
    metrics.shutdown();
    Ok(if outcome.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = lifecycle::signals()?;
    let listener = lifecycle::listen(config.http_addr).await?;
    app::run(
        config,
        listener,
        Clock::system(),
        MetricsRegistry::new(),
        stop,
    )
    .await
}
