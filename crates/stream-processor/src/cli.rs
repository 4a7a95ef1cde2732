//! The command line: every variable is also a flag, and a wrong value is refused before anything
//! starts. It acts on no value.

use std::io::{IsTerminal, stderr};
use std::net::SocketAddr;

use anyhow::Context;
use clap::builder::NonEmptyStringValueParser;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use common::Settings;
use common::command_line::{SecretParser, ignore_empty_variables, secrets_from_files};
use common::kafka::KafkaProperties;
use common::logging::LogFormat;

use crate::producer::{Kafka, OWNED_PROPERTIES};
use crate::replay::Timeline;
use crate::run::Options;
use crate::shape::Shape;
use crate::speed::Speed;

mod input;

pub use input::InputArgs;

use self::input::named;

const AFTER_HELP: &str = "\
An empty variable counts as not set. KAFKA_PROPERTIES_FILE names a file with the value of KAFKA_PROPERTIES.

Keys on a terminal: space pause, + faster, - slower, q stop. Ctrl-C, SIGTERM and SIGHUP stop, too: nothing more is sent, and messages in flight have 10 s to be acknowledged.

Exit code: 0 every message was acknowledged; 130 stopped early, every message sent was acknowledged (0 with --loop); 2 wrong usage; 1 any other failure.";

/// Replay a CSV file of transaction counts per minute into Kafka.
///
/// The file has the columns timestamp, status, count and optionally stream, in any order; its rows
/// need not be sorted by time. Commas, semicolons or tabs separate the values; gzip is read, too. Each
/// stream and minute becomes one message. Kafka may start later: messages wait for it for up to 10
/// minutes (message.timeout.ms).
///
/// Memory: 12 bytes for each count while the file is read and 8 afterwards, which is less than the
/// file itself, and about 400 bytes for each stream. A year of one stream with six statuses (100 MB)
/// fits in 64 MiB. With --limit, only the minutes to send are held.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do instead of a replay.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// The file, and how it is read.
    #[command(flatten)]
    pub input: InputArgs,

    /// Kafka brokers to connect to first, host:port,...
    #[arg(
        long,
        alias = "brokers",
        env,
        default_value = "localhost:9092",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub kafka_bootstrap_servers: String,

    /// Kafka topic to write to.
    #[arg(
        long,
        alias = "topic",
        env,
        default_value = "transactions",
        value_parser = common::kafka::parse_topic
    )]
    pub kafka_topic: String,

    /// More librdkafka properties, key=value,... (write a comma within a value as \,). They may
    /// contain passwords: prefer the variable to the flag.
    #[arg(
        long,
        env,
        hide_env_values = true,
        value_parser = SecretParser(|text| KafkaProperties::parse(text, &OWNED_PROPERTIES)),
        default_value = "",
        hide_default_value = true
    )]
    kafka_properties: KafkaProperties,

    /// Multiple of real time (600: ten minutes of data per second), or max.
    #[arg(long, env = "STREAM_SPEED", value_name = "STREAM_SPEED", default_value_t = Speed::DEFAULT)]
    pub speed: Speed,

    /// What one message is: the counts of a closed minute (minutes); counts that grow until the
    /// minute ends (updates); or one transaction (transactions), up to 8 s out of order. The service
    /// reads it with KAFKA_INPUT of the same value.
    #[arg(
        long,
        value_name = "SHAPE",
        default_value = "minutes",
        value_parser = named::<Shape>()
    )]
    pub shape: Shape,

    /// Read and check the file and print its totals; needs no Kafka.
    #[arg(long)]
    pub dry_run: bool,

    /// Shift the data in time so that it ends with the last closed minute. It is shifted by
    /// multiples of its own length, so a minute of the clock always has the same counts.
    #[arg(long, value_name = "WHEN")]
    pub rebase_time: Option<RebaseTime>,

    /// Repeat the file forever: once up to the present, then each minute as it closes.
    #[arg(long = "loop", requires = "rebase_time")]
    pub forever: bool,

    /// Serve /metrics and /health/live on this address, such as 127.0.0.1:9101.
    #[arg(long, env)]
    pub metrics_addr: Option<SocketAddr>,

    /// Log filter, such as info or info,hyper=warn.
    #[arg(
        long,
        env = "RUST_LOG",
        value_name = "RUST_LOG",
        default_value = "info"
    )]
    log_filter: String,

    /// Log format. Without it: text if stderr is a terminal, else json.
    #[arg(long, env)]
    log_format: Option<LogFormat>,

    /// Base address of an OTLP/HTTP collector, such as http://localhost:4318. Without it, traces
    /// are not exported.
    #[arg(long, alias = "otlp-endpoint", env)]
    otel_exporter_otlp_endpoint: Option<String>,
}

/// What the program does instead of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Action {
    /// Check the replay that serves METRICS_ADDR with GET /health/live: exit code 0 if it is alive,
    /// else 1 and the reason, within 3 s
    Healthcheck,
}

/// Where rebased time ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RebaseTime {
    /// At the current minute
    Now,
}

impl Cli {
    /// Reads the flags of this process, then its environment, then the defaults. Exits with a message
    /// if a value is refused, and after `--help` and `--version`.
    pub fn load() -> Self {
        let command = secrets_from_files(Self::command()).unwrap_or_else(|error| error.exit());
        let matches = ignore_empty_variables(command).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The address of the replay that a health check asks.
    pub fn health_address(&self) -> anyhow::Result<SocketAddr> {
        self.metrics_addr.context(
            "METRICS_ADDR is not set; give the address that the replay serves, such as 127.0.0.1:9101",
        )
    }

    /// The telemetry settings.
    pub fn telemetry(&self) -> Settings {
        let default_format = if stderr().is_terminal() {
            LogFormat::Text
        } else {
            LogFormat::Json
        };
        Settings {
            service_name: env!("CARGO_PKG_NAME"),
            service_version: env!("CARGO_PKG_VERSION"),
            log_filter: self.log_filter.clone(),
            log_format: self.log_format.unwrap_or(default_format),
            log_webhook: None,
            otlp_endpoint: self.otel_exporter_otlp_endpoint.clone(),
        }
    }

    /// How to replay the file.
    pub(crate) fn options(&self) -> Options {
        let timeline = match (self.rebase_time, self.forever) {
            (None, _) => Timeline::AsInFile,
            (Some(RebaseTime::Now), false) => Timeline::Rebased,
            (Some(RebaseTime::Now), true) => Timeline::RebasedForEver,
        };
        Options {
            kafka: Kafka {
                bootstrap_servers: self.kafka_bootstrap_servers.clone(),
                topic: self.kafka_topic.clone(),
                properties: self.kafka_properties.clone(),
            },
            speed: self.speed,
            timeline,
            shape: self.shape,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, String> {
        Cli::try_parse_from(["stream-processor"].iter().chain(args))
            .map_err(|error| error.to_string())
    }

    fn refused(args: &[&str]) -> String {
        parse(args).err().expect("refused")
    }

    #[test]
    fn the_command_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn errors_name_variable_value_and_allowed_values() {
        let error = refused(&["--speed", "fast"]);
        for part in ["STREAM_SPEED", "'fast'", "0.001 to 1000000", "max"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(refused(&["--metrics-addr", "9101"]).contains("METRICS_ADDR"));
        assert!(refused(&["--log-format", "xml"]).contains("[possible values: json, text]"));
        for (flag, variable) in [
            ("--kafka-bootstrap-servers", "KAFKA_BOOTSTRAP_SERVERS"),
            ("--kafka-topic", "KAFKA_TOPIC"),
        ] {
            assert!(refused(&[flag, ""]).contains(variable));
        }
    }

    #[test]
    fn a_loop_needs_rebased_time() {
        assert!(refused(&["--loop"]).contains("--rebase-time"));
        let timeline = |args: &[&str]| parse(args).ok().unwrap().options().timeline;
        assert_eq!(timeline(&[]), Timeline::AsInFile);
        assert_eq!(timeline(&["--rebase-time", "now"]), Timeline::Rebased);
        assert_eq!(
            timeline(&["--rebase-time", "now", "--loop"]),
            Timeline::RebasedForEver
        );
    }

    #[test]
    fn flags_of_earlier_versions_still_work() {
        let args = ["--brokers=kafka:9", "--topic=t", "--otlp-endpoint=http://c"];
        let cli = parse(&args).ok().unwrap();
        assert_eq!(cli.kafka_bootstrap_servers, "kafka:9");
        assert_eq!(cli.kafka_topic, "t");
        assert_eq!(cli.telemetry().otlp_endpoint.as_deref(), Some("http://c"));
    }

    #[test]
    fn help_and_errors_show_no_secret() {
        let properties = Cli::command()
            .get_arguments()
            .find(|arg| arg.get_id() == "kafka_properties")
            .cloned()
            .unwrap();
        assert!(properties.is_hide_env_values_set());
        for key in OWNED_PROPERTIES {
            let error = refused(&["--kafka-properties", &format!("{key}=hunter2")]);
            assert!(
                error.contains("KAFKA_PROPERTIES") && error.contains(key),
                "{error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
