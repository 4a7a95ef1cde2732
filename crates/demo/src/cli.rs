//! The flags of the demo.

use std::{net::SocketAddr, path::PathBuf};

use common::logging::LogFormat;
use stream_processor::Speed;

/// A broker, the monitoring service and a replay of sample data in one process: watch real incidents caught
#[derive(Clone, Debug, clap::Parser)]
#[command(version)]
pub struct Cli {
    /// How fast the file is replayed: a multiple of real time (600: ten minutes per second), or max
    #[arg(long, default_value = "600")]
    pub speed: Speed,

    /// Address that the service's HTTP API listens on
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub http_addr: SocketAddr,

    /// CSV of transaction minutes
    #[arg(long, default_value = "sample_data/transactions.csv")]
    pub file: PathBuf,

    /// CSV of the incidents in it, for the scorecard
    #[arg(long, default_value = "sample_data/incidents.csv")]
    pub incidents: PathBuf,

    /// SQLite file to keep; without it a temporary one is used and removed
    #[arg(long)]
    pub database: Option<PathBuf>,

    /// End when the file is through, instead of serving on
    #[arg(long)]
    pub once: bool,

    /// Receiver of CRITICAL alerts, POSTed to it as in production
    #[arg(long)]
    pub webhook_url: Option<String>,

    /// Log filter, for the log on stderr; alerts are shown anyway
    #[arg(
        long,
        alias = "rust-log",
        env = "RUST_LOG",
        default_value = "warn,monitoring_service::alerts=off"
    )]
    pub log_filter: String,
}

impl Cli {
    /// The telemetry settings.
    pub fn telemetry(&self) -> common::Settings {
        common::Settings {
            service_name: env!("CARGO_PKG_NAME"),
            service_version: env!("CARGO_PKG_VERSION"),
            log_filter: self.log_filter.clone(),
            log_format: LogFormat::Text,
            log_webhook: None,
            otlp_endpoint: None,
        }
    }
}
