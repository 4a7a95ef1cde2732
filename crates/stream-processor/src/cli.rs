//! The command line: every variable is also a flag, and a bad value is refused before anything starts. Does nothing with the values.

use std::{
    ffi::{OsStr, OsString},
    io::{IsTerminal, stderr},
    net::SocketAddr,
    path::PathBuf,
};

use anyhow::{Context, ensure};
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use common::{Settings, logging::LogFormat};
use detection::{Minute, Stream};

use crate::{
    loader::{LoadOptions, OnError},
    producer::Kafka,
    properties::Properties,
    replay::{Speed, Timeline},
    run::Options,
};

const AFTER_HELP: &str = "\
A variable that is set to nothing counts as not set.
Keys on a terminal: space pause, + faster, - slower, q stop. Ctrl-C and SIGTERM stop too: what is in flight is flushed, for 10 s at most.
Exit code: 0 all acknowledged; 130 stopped before the end, all that was sent acknowledged (0 with --loop); 2 bad usage; 1 anything else.";

/// Replays a CSV file of transaction counts per minute into Kafka.
///
/// The file has the columns timestamp, status, count and maybe stream, in any order and not necessarily sorted by time. Each stream and minute becomes one
/// message. Nothing depends on which side starts first: while Kafka is away, messages wait for it (message.timeout.ms, 10 minutes).
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do instead of a replay.
    #[command(subcommand)]
    pub instead: Option<Instead>,

    /// The CSV file.
    #[arg(
        long,
        env = "CSV_PATH",
        value_name = "CSV_PATH",
        default_value = "sample_data/transactions.csv"
    )]
    pub file: PathBuf,

    /// Kafka brokers to start from, host:port,...
    #[arg(
        long,
        env = "KAFKA_BOOTSTRAP_SERVERS",
        value_name = "KAFKA_BOOTSTRAP_SERVERS",
        default_value = "localhost:9092"
    )]
    pub brokers: String,

    /// Kafka topic.
    #[arg(
        long,
        env = "KAFKA_TOPIC",
        value_name = "KAFKA_TOPIC",
        default_value = "transactions"
    )]
    pub topic: String,

    /// More librdkafka settings, key=value,... (a comma in a value as \,). May hold passwords: better set as a variable than as a flag.
    #[arg(
        long,
        env = "KAFKA_PROPERTIES",
        value_name = "KAFKA_PROPERTIES",
        hide_env_values = true,
        default_value = "",
        hide_default_value = true
    )]
    kafka_properties: String,

    /// Multiple of real time (600: ten event minutes per second), or max.
    #[arg(long, env = "STREAM_SPEED", value_name = "STREAM_SPEED", default_value_t = Speed::DEFAULT)]
    pub speed: Speed,

    /// First minute to send, such as 2025-07-12T13:45:00Z (UTC without a zone).
    #[arg(long, value_name = "TIMESTAMP")]
    pub from: Option<Minute>,

    /// First minute not to send any more.
    #[arg(long, value_name = "TIMESTAMP")]
    pub to: Option<Minute>,

    /// At most this many minutes, from the first.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// Read and check the file and print what would be sent; needs no Kafka.
    #[arg(long)]
    pub dry_run: bool,

    /// Lay the file end to end over real time: one span of it up to now at --speed, then each minute as it closes. Shifted by whole spans, so a clock minute
    /// always has the same counts.
    #[arg(long, value_name = "WHEN")]
    pub rebase_time: Option<RebaseTime>,

    /// Go on for ever, file after file.
    #[arg(long = "loop", requires = "rebase_time")]
    pub forever: bool,

    /// Stream of the whole file, where it has no column stream. Without both it is "default".
    #[arg(long, value_name = "NAME")]
    pub stream: Option<Stream>,

    /// What a bad row does: stop before anything is sent, or be left out and counted.
    #[arg(long, value_name = "ACTION", default_value = "stop")]
    pub on_error: OnError,

    /// Serve /metrics and /health/live on this address, such as 127.0.0.1:9101.
    #[arg(long, env = "METRICS_ADDR", value_name = "METRICS_ADDR")]
    pub metrics_addr: Option<SocketAddr>,

    /// Which log records are written.
    #[arg(
        long,
        env = "RUST_LOG",
        value_name = "RUST_LOG",
        default_value = "info"
    )]
    log_filter: String,

    /// json (to stdout) or text (to stderr). Without it: text if stderr is a terminal, else json.
    #[arg(long, env = "LOG_FORMAT", value_name = "LOG_FORMAT")]
    log_format: Option<LogFormat>,

    /// Base address of an OTLP/HTTP collector, such as http://localhost:4318. Without it traces have ids and go nowhere.
    #[arg(
        long,
        env = "OTEL_EXPORTER_OTLP_ENDPOINT",
        value_name = "OTEL_EXPORTER_OTLP_ENDPOINT"
    )]
    otlp_endpoint: Option<String>,
}

/// What the program does instead of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Instead {
    /// Ask the replay that serves METRICS_ADDR for /health/live: exit code 0 if it is alive, else 1 and the reason, within 3 s
    Healthcheck,
}

/// Where rebased time ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RebaseTime {
    /// At the present minute.
    Now,
}

impl Cli {
    /// What the flags of this process, then its environment, then the defaults say. Ends the process with a message if a
    /// value is refused, and after `--help` and `--version`.
    pub fn load() -> Self {
        let command = Self::command()
            .mut_args(|arg| without_empty_variable(arg, |name| std::env::var_os(name)));
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Where a health check asks.
    pub fn health_address(&self) -> anyhow::Result<SocketAddr> {
        self.metrics_addr
            .context("METRICS_ADDR is not set: set it as for the replay that is to be asked, such as 127.0.0.1:9101")
    }

    /// What the telemetry is told.
    pub fn metrics(&self) -> Settings {
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
            otlp_endpoint: self.otlp_endpoint.clone(),
        }
    }

    /// What is read of the file.
    pub fn load_options(&self) -> anyhow::Result<LoadOptions> {
        let Self {
            from,
            to,
            limit,
            on_error,
            ..
        } = *self;
        if let (Some(from), Some(to)) = (from, to) {
            ensure!(
                from < to,
                "--from {from} --to {to}: --to must be later; the range is [from, to)"
            );
        }
        Ok(LoadOptions {
            stream: self.stream.clone(),
            from,
            to,
            limit,
            on_error,
        })
    }

    /// What is done with the file.
    pub fn options(&self) -> anyhow::Result<Options> {
        ensure!(
            !self.brokers.trim().is_empty(),
            "KAFKA_BOOTSTRAP_SERVERS is empty; allowed is host:port,..."
        );
        ensure!(
            !self.topic.trim().is_empty(),
            "KAFKA_TOPIC is empty; allowed is the name of a topic"
        );
        let timeline = match (self.rebase_time, self.forever) {
            (None, _) => Timeline::AsInFile,
            (Some(RebaseTime::Now), false) => Timeline::Rebased,
            (Some(RebaseTime::Now), true) => Timeline::RebasedForEver,
        };
        let properties = Properties::parse(&self.kafka_properties)?;
        let kafka = Kafka {
            brokers: self.brokers.clone(),
            topic: self.topic.clone(),
            properties,
        };
        Ok(Options {
            kafka,
            speed: self.speed,
            timeline,
        })
    }
}

/// `VAR=` in a compose file or an `.env` file means "not set"; to clap it is a value.
fn without_empty_variable(arg: Arg, value_of: impl Fn(&OsStr) -> Option<OsString>) -> Arg {
    let empty = arg
        .get_env()
        .and_then(value_of)
        .is_some_and(|value| value.is_empty());
    if empty {
        arg.env(None::<&'static str>)
    } else {
        arg
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
    fn a_bad_value_names_the_variable_the_value_and_what_is_allowed() {
        let error = refused(&["--speed", "fast"]);
        for part in ["STREAM_SPEED", "'fast'", "0.001 to 1000000", "max"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(
            refused(&["--from", "yesterday"])
                .contains("\"yesterday\" is not a date and time such as")
        );
        assert!(refused(&["--metrics-addr", "9101"]).contains("METRICS_ADDR"));
        assert!(refused(&["--on-error", "ignore"]).contains("[possible values: stop, skip]"));
        assert!(refused(&["--limit", "0"]).contains("--limit"));
        assert!(refused(&["--log-format", "xml"]).contains("\"json\" or \"text\""));
        assert!(refused(&["--stream", "a b"]).contains("not a valid name"));
    }

    #[test]
    fn a_loop_needs_rebased_time() {
        assert!(refused(&["--loop"]).contains("--rebase-time"));
        let timeline = |args: &[&str]| parse(args).ok().unwrap().options().unwrap().timeline;
        assert_eq!(timeline(&[]), Timeline::AsInFile);
        assert_eq!(timeline(&["--rebase-time", "now"]), Timeline::Rebased);
        assert_eq!(
            timeline(&["--rebase-time", "now", "--loop"]),
            Timeline::RebasedForEver
        );
    }

    #[test]
    fn an_empty_range_and_empty_names_are_refused() {
        let cli = parse(&["--from", "2025-07-12T14:00", "--to", "2025-07-12T14:00"])
            .ok()
            .unwrap();
        assert!(
            cli.load_options()
                .unwrap_err()
                .to_string()
                .contains("--to must be later")
        );
        for (flag, variable) in [
            ("--brokers", "KAFKA_BOOTSTRAP_SERVERS"),
            ("--topic", "KAFKA_TOPIC"),
        ] {
            assert!(
                parse(&[flag, ""])
                    .ok()
                    .unwrap()
                    .options()
                    .unwrap_err()
                    .to_string()
                    .contains(variable)
            );
        }
    }

    #[test]
    fn secrets_do_not_show_in_help_or_errors() {
        let properties = Cli::command()
            .get_arguments()
            .find(|arg| arg.get_id() == "kafka_properties")
            .cloned()
            .unwrap();
        assert!(properties.is_hide_env_values_set());
        let error = parse(&["--kafka-properties", "acks=hunter2"])
            .ok()
            .unwrap()
            .options()
            .unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}
