//! The settings of the service: one field, one variable, one flag each. Nothing else reads the environment.
//!
//! A value that cannot be used is refused at the start, so the rest of the service never checks one. Nothing here acts
//! on a setting.

use std::{
    ffi::{OsStr, OsString},
    io::IsTerminal as _,
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use clap::{Arg, Args as _, Command, FromArgMatches as _, error::ErrorKind};
use common::logging::{LogFormat, LogWebhook};
use detection::{ApprovedDirection, MonitorSettings, Thresholds, ZScoreDetector};
use tracing::Level;

use crate::store::Paging;

mod values;

pub use values::{ApiToken, KafkaProperties, SecretUrl, WebhookFormat, WebhookKeys};

use values::{SecretParser, choice, duration, http_url, whole_minutes};

/// Targets of the log that tell of alerts: their receiver has them already, and must not hear of its own faults.
const ALERT_TARGETS: &[&str] = &[
    "monitoring_service::alerting",
    "monitoring_service::webhook",
];

/// The settings of the service.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Address that the HTTP API listens on
    #[arg(long, env, default_value = "127.0.0.1:8000")]
    pub http_addr: SocketAddr,

    /// SQLite file that keeps minutes, verdicts, alerts and Kafka offsets; made if it is not there
    #[arg(long, env, default_value = "monitoring.db")]
    pub database_path: PathBuf,

    /// Kafka brokers to start from, comma-separated
    #[arg(long, env, default_value = "localhost:9092")]
    pub kafka_bootstrap_servers: String,

    /// Topic of transaction minutes
    #[arg(long, env, default_value = "transactions")]
    pub kafka_topic: String,

    /// Group that offsets are committed under, for lag tools only: the database has the true ones
    #[arg(long, env, default_value = "monitoring-service")]
    pub kafka_group_id: String,

    /// More librdkafka properties, such as credentials: key=value,key=value (`\,` is a comma within a value)
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(KafkaProperties::parse), default_value = "", hide_default_value = true)]
    pub kafka_properties: KafkaProperties,

    /// How often silence, stuck deliveries and retention are looked after (1s to 10m)
    #[arg(long, env, value_parser = duration("1s", "10m"), default_value = "30s")]
    pub alert_check_interval: Duration,

    /// An alert is held back if the same one went out for a minute less than this before (whole minutes, 0s to 24h)
    #[arg(long, env, value_parser = whole_minutes("0s", "24h"), default_value = "5m")]
    pub alert_cooldown: Duration,

    /// A live stream without a new minute for this long is stale (1m to 30d)
    #[arg(long, env, value_parser = duration("1m", "30d"), default_value = "3m")]
    pub stale_after: Duration,

    /// A minute older than the newest one by at most this much is still judged (whole minutes, 0s to 24h)
    #[arg(long, env, value_parser = whole_minutes("0s", "24h"), default_value = "10m")]
    pub allowed_lateness: Duration,

    /// Receiver of CRITICAL alerts; without it they are only logged and listed
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(SecretUrl::parse))]
    pub alert_webhook_url: Option<SecretUrl>,

    /// What the receiver of alerts gets: JSON for programs, or a message for a Slack incoming webhook
    #[arg(long, env, value_parser = choice(&WEBHOOK_FORMATS), default_value = "json")]
    pub webhook_format: WebhookFormat,

    /// Key that signs webhooks (Standard Webhooks): `whsec_BASE64`, or two while receivers change from one to the other; without it they are not signed
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(WebhookKeys::parse))]
    pub webhook_secret: Option<WebhookKeys>,

    /// A delivery that failed for this long is given up (1m to 30d)
    #[arg(long, env, value_parser = duration("1m", "30d"), default_value = "24h")]
    pub webhook_give_up_after: Duration,

    /// An alert whose minute is older than this when recorded is not paged (1m to 365d); 30m is advised in production
    #[arg(long, env, value_parser = duration("1m", "365d"))]
    pub page_max_age: Option<Duration>,

    /// Called with GET each minute while all tasks show signs of life, for somebody outside (healthchecks.io and the like) who tells when it stays away
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(SecretUrl::parse))]
    pub heartbeat_url: Option<SecretUrl>,

    /// Receiver of log records, one POST each; never the receiver of alerts
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(SecretUrl::parse))]
    pub log_webhook_url: Option<SecretUrl>,

    /// The least severe level that is sent to the log receiver
    #[arg(long, env, value_parser = choice(&LEVELS), default_value = "error")]
    pub log_webhook_level: Level,

    /// Above this |z| a count is a WARNING
    #[arg(long, env, default_value = "2.5")]
    pub warning_threshold: f64,

    /// Above this |z| a count is CRITICAL; more than the warning threshold
    #[arg(long, env, default_value = "4.0")]
    pub critical_threshold: f64,

    /// Observed minutes in a baseline (2 to 1440)
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(2..=1440), default_value = "60")]
    pub baseline_window: u32,

    /// Observed minutes that a baseline needs before it judges; at most the window, and no more than the 6 hours that a window reaches back (1 to 360)
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(1..=360), default_value = "30")]
    pub min_history: u32,

    /// Which ways `approved` is judged
    #[arg(long, env, value_parser = choice(&DIRECTIONS), default_value = "both")]
    pub approved_direction: ApprovedDirection,

    /// Bearer token that the API asks for, 16 characters or more; without it the API is open. The probes `/health/live` and `/health/ready` always are
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(ApiToken::parse))]
    pub api_token: Option<ApiToken>,

    /// How long minutes and alerts are kept (1d to 36500d)
    #[arg(long, env, value_parser = duration("1d", "36500d"), default_value = "90d")]
    pub retention: Duration,

    /// Streams that are accepted; messages of more are dead letters (1 to 10000)
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(1..=10_000), default_value = "500")]
    pub max_streams: u32,

    /// Address that people reach this service at: the base of the links in alerts
    #[arg(long, env, value_parser = http_url)]
    pub public_url: Option<String>,

    /// OTLP/HTTP collector of traces; without it ids are made and nothing is sent. The other standard `OTEL_*` variables apply
    #[arg(long, env)]
    pub otel_exporter_otlp_endpoint: Option<String>,

    /// Which log records are written, in the syntax of RUST_LOG
    #[arg(long, env, default_value = "info")]
    pub rust_log: String,

    /// How log records are written; without it json, and text on a terminal
    #[arg(long, env, value_parser = choice(&FORMATS))]
    pub log_format: Option<LogFormat>,
}

const WEBHOOK_FORMATS: [(&str, WebhookFormat); 2] = [
    ("json", WebhookFormat::Json),
    ("slack", WebhookFormat::Slack),
];

const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

const DIRECTIONS: [(&str, ApprovedDirection); 3] = [
    ("both", ApprovedDirection::Both),
    ("down", ApprovedDirection::Down),
    ("up", ApprovedDirection::Up),
];

const FORMATS: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("text", LogFormat::Text)];

/// The subcommand that only asks.
const HEALTHCHECK: &str = "healthcheck";

/// What this process is started for.
#[derive(Clone, Debug)]
pub enum Order {
    /// Be the service.
    Serve(Box<Config>),
    /// Ask the service that listens on this address whether it is ready.
    CheckHealth(SocketAddr),
}

impl Order {
    /// What the flags of this process, then its environment, then the defaults say. Ends the process with a message if
    /// a setting is refused, and after `--help` and `--version`.
    pub fn load() -> Self {
        let command =
            command().mut_args(|arg| without_empty_variable(arg, |name| std::env::var_os(name)));
        Self::from_command(command, std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn from_command(
        mut command: Command,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let matches = command.try_get_matches_from_mut(args)?;
        let config = Config::from_arg_matches(&matches)?;
        if matches.subcommand_name() == Some(HEALTHCHECK) {
            return Ok(Self::CheckHealth(config.http_addr));
        }
        config
            .check()
            .map_err(|reason| command.error(ErrorKind::ValueValidation, reason))?;
        Ok(Self::Serve(Box::new(config)))
    }
}

impl Config {
    /// What no single value shows.
    fn check(&self) -> Result<(), String> {
        let Self {
            warning_threshold: warning,
            critical_threshold: critical,
            min_history,
            baseline_window,
            ..
        } = self;
        if Thresholds::try_new(*warning, *critical).is_err() {
            return Err(format!(
                "WARNING_THRESHOLD is {warning} and CRITICAL_THRESHOLD is {critical}: give 0 < warning < critical"
            ));
        }
        if min_history > baseline_window {
            return Err(format!(
                "MIN_HISTORY is {min_history} and BASELINE_WINDOW is {baseline_window}: a baseline that needs more minutes than its window holds judges nothing; give 1 to {baseline_window}"
            ));
        }
        if self.log_webhook_url.is_some() && self.log_webhook_url == self.alert_webhook_url {
            return Err("LOG_WEBHOOK_URL is ALERT_WEBHOOK_URL: log records would page people; give it another address"
                .to_owned());
        }
        Ok(())
    }

    /// The settings of the fold.
    ///
    /// # Panics
    /// If the thresholds were set past the check of [`Order::load`] and are out of order.
    pub fn policy(&self) -> MonitorSettings {
        let thresholds = Thresholds::try_new(self.warning_threshold, self.critical_threshold)
            .expect("thresholds are in order, `load` checks them");
        MonitorSettings {
            detector: ZScoreDetector {
                thresholds,
                min_history: self.min_history,
                approved_direction: self.approved_direction,
            },
            window: self.baseline_window as usize,
            allowed_lateness_minutes: minutes(self.allowed_lateness),
            cooldown_minutes: minutes(self.alert_cooldown),
        }
    }

    /// Who gets a page.
    pub fn paging(&self) -> Paging {
        Paging {
            webhook: self.alert_webhook_url.is_some(),
            max_age_ms: self
                .page_max_age
                .map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
        }
    }

    /// What the logs and traces of this process are to be.
    pub fn observability(&self) -> common::Settings {
        let terminal_format = || {
            if std::io::stdout().is_terminal() {
                LogFormat::Text
            } else {
                LogFormat::Json
            }
        };
        common::Settings {
            service_name: env!("CARGO_PKG_NAME"),
            service_version: env!("CARGO_PKG_VERSION"),
            log_filter: self.rust_log.clone(),
            log_format: self.log_format.unwrap_or_else(terminal_format),
            log_webhook: self.log_webhook_url.as_ref().map(|url| LogWebhook {
                url: url.expose().to_string(),
                level: self.log_webhook_level,
                excluded_targets: ALERT_TARGETS,
            }),
            otlp_endpoint: self.otel_exporter_otlp_endpoint.clone(),
        }
    }
}

impl Default for Config {
    /// Every variable at its default, whatever the environment says.
    fn default() -> Self {
        let matches = blind_command().get_matches_from([env!("CARGO_PKG_NAME")]);
        Self::from_arg_matches(&matches).expect("the defaults are allowed")
    }
}

fn minutes(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs() / 60).unwrap_or(u32::MAX)
}

fn command() -> Command {
    Config::augment_args(Command::new(env!("CARGO_PKG_NAME")))
        .version(env!("CARGO_PKG_VERSION"))
        .about("Consumes transaction minutes from Kafka, judges them, alerts, and serves the HTTP API")
        .disable_help_subcommand(true)
        .subcommand(Command::new(HEALTHCHECK).about(
            "Asks the service on HTTP_ADDR for /health/ready: exit code 0 if it is ready, else 1 and the reason, within 3 s",
        ))
        .after_help("Durations carry a unit: 30s, 5m, 24h, 90d. A variable that is set to nothing counts as not set.")
}

/// The command that does not see the environment.
fn blind_command() -> Command {
    command().mut_args(|arg| arg.env(None::<&'static str>))
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
mod tests;
