//! The flags of the demo.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use common::logging::LogFormat;
use monitoring_service::ingest::KafkaInput;
use stream_processor::{Shape, Speed};
use strum::VariantNames as _;

/// A set of sample data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Data {
    /// Three days of one stream at a constant level
    #[default]
    Flat,
    /// Four weeks of two streams with daily and weekly patterns
    Daily,
}

/// Runs a broker, the monitoring service and a replay of sample data in one process, and shows the incidents it catches
#[derive(Clone, Debug, clap::Parser)]
#[command(version)]
pub struct Cli {
    /// Replay speed: a multiple of real time (600: ten minutes per second), or max
    #[arg(long, default_value = "600")]
    pub speed: Speed,

    /// What one Kafka message is: the counts of a closed minute, counts that grow until it ends, or one transaction
    #[arg(long, default_value = "minutes", value_parser = shape())]
    pub shape: Shape,

    /// Address that the service's HTTP API listens on
    #[arg(long, default_value = "127.0.0.1:8000")]
    pub http_addr: SocketAddr,

    /// Sample data to replay
    #[arg(long, value_enum, default_value_t)]
    pub data: Data,

    /// CSV of minute counts to replay instead of the sample data
    #[arg(long)]
    pub file: Option<PathBuf>,

    /// CSV of labelled incidents for the scorecard, instead of those of the sample data
    #[arg(long)]
    pub incidents: Option<PathBuf>,

    /// SQLite file to use and keep; the default is a temporary file
    #[arg(long)]
    pub database: Option<PathBuf>,

    /// Exit at the end of the file instead of serving on
    #[arg(long)]
    pub once: bool,

    /// Open the page in the browser of the desktop
    #[arg(long)]
    pub open: bool,

    /// URL that CRITICAL alerts are POSTed to, as in production
    #[arg(long)]
    pub webhook_url: Option<String>,

    /// Filter of the log on stderr; alerts are always shown
    #[arg(
        long,
        alias = "rust-log",
        env = "RUST_LOG",
        default_value = "warn,monitoring_service::alerts=off"
    )]
    pub log_filter: String,
}

impl Cli {
    /// How the service reads the messages.
    pub(crate) const fn kafka_input(&self) -> KafkaInput {
        match self.shape {
            Shape::Minutes => KafkaInput::Minutes,
            Shape::Updates => KafkaInput::Updates,
            Shape::Transactions => KafkaInput::Transactions,
        }
    }

    /// The file to replay.
    pub fn file(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(match self.data {
            Data::Flat => "sample_data/transactions.csv",
            Data::Daily => "sample_data/daily/transactions.csv.gz",
        }))
    }

    /// The labels to score the alerts against.
    pub fn incidents(&self) -> &Path {
        self.incidents
            .as_deref()
            .unwrap_or(Path::new(match self.data {
                Data::Flat => "sample_data/incidents.csv",
                Data::Daily => "sample_data/daily/incidents.csv",
            }))
    }

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

fn shape() -> impl TypedValueParser<Value = Shape> {
    PossibleValuesParser::new(Shape::VARIANTS).try_map(|name| name.parse())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn both_sets_of_sample_data_exist() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        for set in ["flat", "daily"] {
            let cli = Cli::parse_from(["demo", "--data", set]);
            for path in [cli.file(), cli.incidents()] {
                assert!(root.join(path).is_file(), "{}", path.display());
            }
        }
        assert_eq!(Cli::parse_from(["demo"]).data, Data::Flat);
    }

    #[test]
    fn the_service_reads_what_is_sent() {
        for (shape, input) in [
            ("minutes", KafkaInput::Minutes),
            ("updates", KafkaInput::Updates),
            ("transactions", KafkaInput::Transactions),
        ] {
            let cli = Cli::parse_from(["demo", "--shape", shape]);
            assert_eq!(cli.kafka_input(), input);
        }
    }

    #[test]
    fn own_files_replace_the_sample_data() {
        let cli = Cli::parse_from(["demo", "--file", "mine.csv", "--incidents", "labels.csv"]);
        assert_eq!(
            (cli.file(), cli.incidents()),
            (Path::new("mine.csv"), Path::new("labels.csv"))
        );
    }
}
