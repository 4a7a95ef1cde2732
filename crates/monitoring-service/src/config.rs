//! The settings of the service: each is one field, one variable and one flag. Nothing else reads the
//! environment.
//!
//! A wrong value is refused at the start, so the rest of the service never checks one. The settings are
//! applied elsewhere.

use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::FromArgMatches as _;
use common::command_line::SecretParser;
use common::logging::{LogFormat, LogWebhook};
use detection::{ApprovedDirection, PolicyName, Severity};
use tracing::Level;

use crate::store::{DatabaseAddress, PostgresUrl};

mod action;
mod check;
mod choices;
mod input;
mod monitor;
mod receivers;
mod unknown;
mod values;

pub use action::{Action, CopyDatabase, SkipRecords};
pub use choices::{Notify, Shadow};
pub(crate) use common::kafka::KafkaProperties;
pub(crate) use input::InputConfig;
pub(crate) use receivers::{ReceiverSettings, ReceiversFile};
pub use unknown::{UnknownVariable, unknown_variables};
pub use values::{ApiToken, RoutingKey, SecretUrl, WebhookFormat, WebhookHeaders, WebhookKeys};

use choices::{DIRECTIONS, LEVELS, NOTIFY, NOTIFY_SEVERITIES, POLICIES, SHADOWS};
use values::{choice, duration, http_url, whole_minutes};

/// Log targets that the log webhook skips: the receiver of alerts has them already, and must not get its own faults.
const ALERT_TARGETS: &[&str] = &["monitoring_service::alerts", "monitoring_service::notify"];

/// Prefixes of the librdkafka properties that the service sets itself: another value would lose or
/// repeat messages.
const OWNED_PROPERTIES: [&str; 7] = [
    "enable.auto.",
    "auto.commit.enable",
    "auto.offset.reset",
    "group.",
    "bootstrap.servers",
    "metadata.broker.list",
    "enable.partition.eof",
];

/// The settings of the service.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Address of the HTTP API
    #[arg(long, env, default_value = "127.0.0.1:8000")]
    pub http_addr: SocketAddr,

    /// How long an HTTP connection is kept open for its next request; longer than the idle time of a proxy in front (1s to 1h)
    #[arg(long, env, value_parser = duration("1s", "1h"), default_value = "75s")]
    pub keep_alive: Duration,

    /// SQLite database file; created if it is missing. Not together with DATABASE_URL
    #[arg(long, env, default_value = "monitoring.db")]
    pub database_path: PathBuf,

    /// PostgreSQL database in place of the file: postgres://user:password@host:port/database. Several instances with the same one share the partitions
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(PostgresUrl::parse))]
    pub database_url: Option<PostgresUrl>,

    /// Kafka brokers to connect to first, host:port,...; none: no Kafka, minutes come from POST /transactions
    #[arg(long, env, default_value = "localhost:9092")]
    pub kafka_bootstrap_servers: String,

    /// Kafka topic to read
    #[arg(long, env, value_parser = common::kafka::parse_topic, default_value = "transactions")]
    pub kafka_topic: String,

    /// What messages are, and how they are read.
    #[command(flatten)]
    pub input: InputConfig,

    /// Consumer group that shares the partitions on PostgreSQL; on a file it only shows offsets to lag tools. Reading resumes from the offsets in the database
    #[arg(long, env, default_value = "monitoring-service")]
    pub kafka_group_id: String,

    /// More librdkafka properties, such as credentials: key=value,... (write a comma within a value as `\,`)
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(|text| KafkaProperties::parse(text, &OWNED_PROPERTIES)), default_value = "", hide_default_value = true)]
    pub kafka_properties: KafkaProperties,

    /// Interval of the stale-stream, delivery and retention checks (1s to 10m)
    #[arg(long, env, value_parser = duration("1s", "10m"), default_value = "30s")]
    pub alert_check_interval: Duration,

    /// Suppress an alert if the same alert was sent for a minute less than this earlier (whole minutes, 0s to 24h)
    #[arg(long, env, value_parser = whole_minutes("0s", "24h"), default_value = "5m")]
    pub alert_cooldown: Duration,

    /// What is notified: each CRITICAL alert, or the opening, escalation and end of incidents; without it, incidents with the policy adaptive, else alerts
    #[arg(long, env, value_parser = choice(&NOTIFY))]
    pub notify: Option<Notify>,

    /// Lowest severity at which an incident is notified
    #[arg(long, env, value_parser = choice(&NOTIFY_SEVERITIES), default_value = "critical")]
    pub notify_severity: Severity,

    /// Notify again of an incident that nobody acknowledged for this long, once (1m to 7d)
    #[arg(long, env, value_parser = duration("1m", "7d"), default_value = "30m")]
    pub escalate_after: Duration,

    /// How long the opening of an incident waits for others, so that three or more with one cause are one notification; 0s: not at all (0s to 5m)
    #[arg(long, env, value_parser = duration("0s", "5m"), default_value = "10s")]
    pub group_wait: Duration,

    /// Policy zscore: an incident is over after this many observed minutes in a row without a finding (1 to 1440)
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(1..=1440), default_value = "5")]
    pub resolve_after: u32,

    /// A live stream without a new minute for this long is stale, or for twice its usual pause if that is longer (1m to 30d)
    #[arg(long, env, value_parser = duration("1m", "30d"), default_value = "3m")]
    pub stale_after: Duration,

    /// Evaluate minutes that are older than the newest one by at most this much (whole minutes, 0s to 24h)
    #[arg(long, env, value_parser = whole_minutes("0s", "24h"), default_value = "10m")]
    pub allowed_lateness: Duration,

    /// Webhook that receives CRITICAL alerts; without it, alerts are only logged and listed
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(SecretUrl::parse))]
    pub alert_webhook_url: Option<SecretUrl>,

    /// Format of webhooks
    #[arg(long, env, value_enum, default_value = "json")]
    pub webhook_format: WebhookFormat,

    /// Integration key of the PagerDuty service, for WEBHOOK_FORMAT=pagerduty
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(RoutingKey::parse))]
    pub webhook_routing_key: Option<RoutingKey>,

    /// Template of webhooks (minijinja, docs/receivers.md), for WEBHOOK_FORMAT=template
    #[arg(long, env)]
    pub webhook_template_file: Option<PathBuf>,

    /// More headers of webhooks, such as credentials: `Name: value`, one a line or with `;` between them
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(WebhookHeaders::parse), default_value = "", hide_default_value = true)]
    pub webhook_headers: WebhookHeaders,

    /// File of more receivers (TOML, docs/receivers.md): each has a name, an address, a format, and the severities and streams that it gets
    #[arg(long, env, value_parser = ReceiversFile::read)]
    pub receivers_file: Option<ReceiversFile>,

    /// Webhook that stands in for a receiver that fails: it gets what that one owes of what is new and open, in the format of WEBHOOK_FORMAT and without WEBHOOK_HEADERS
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(SecretUrl::parse))]
    pub fallback_webhook_url: Option<SecretUrl>,

    /// The fallback stands in for a receiver whose deliveries have failed for this long (1m to 24h)
    #[arg(long, env, value_parser = duration("1m", "24h"), default_value = "5m")]
    pub fallback_after: Duration,

    /// Proxy of webhooks, http or https; without it, they are sent directly
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(SecretUrl::parse))]
    pub webhook_proxy: Option<SecretUrl>,

    /// How long the receiver may take to answer a webhook (1s to 60s)
    #[arg(long, env, value_parser = duration("1s", "60s"), default_value = "10s")]
    pub webhook_timeout: Duration,

    /// Key that signs webhooks (Standard Webhooks): `whsec_BASE64`, or two keys with a comma between them during a key change; without it, webhooks are not signed
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(WebhookKeys::parse))]
    pub webhook_secret: Option<WebhookKeys>,

    /// Give up a delivery that has failed for this long (1m to 30d)
    #[arg(long, env, value_parser = duration("1m", "30d"), default_value = "24h")]
    pub webhook_give_up_after: Duration,

    /// Sum up alerts whose minute is older than this when it is recorded, or that a receiver which failed could not be sent for this long, in one notification (1m to 36500d)
    #[arg(long, env, value_parser = duration("1m", "36500d"), default_value = "30m")]
    pub page_max_age: Option<Duration>,

    /// Dead man's switch: pinged with GET every minute while all tasks are alive, so that a service such as healthchecks.io can alert when the pings stop
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(SecretUrl::parse))]
    pub heartbeat_url: Option<SecretUrl>,

    /// Webhook that receives severe log records, one POST each; it must differ from ALERT_WEBHOOK_URL
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(SecretUrl::parse))]
    pub log_webhook_url: Option<SecretUrl>,

    /// Lowest level of the log records sent to LOG_WEBHOOK_URL
    #[arg(long, env, value_parser = choice(&LEVELS), default_value = "error")]
    pub log_webhook_level: Level,

    /// Policy that judges the counts and alerts
    #[arg(long, env, value_parser = choice(&POLICIES), default_value = "zscore")]
    pub detection_policy: PolicyName,

    /// Policy that judges the same counts and notifies nobody, to compare the two; without it, the one that does not alert
    #[arg(long, env, value_parser = choice(&SHADOWS))]
    pub shadow_policy: Option<Shadow>,

    /// Policy adaptive: the false-alarm budget of CRITICAL in decades, 5 is a chance of 1 in 100,000; WARNING is one less (above 1, at most 100)
    #[arg(long, env, default_value = "5.0")]
    pub adaptive_critical: f64,

    /// A count with |z| above this is a WARNING
    #[arg(long, env, default_value = "2.5")]
    pub warning_threshold: f64,

    /// A count with |z| above this is CRITICAL; must be above WARNING_THRESHOLD
    #[arg(long, env, default_value = "4.0")]
    pub critical_threshold: f64,

    /// Observed minutes in a baseline (2 to 1440)
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(2..=1440), default_value = "60")]
    pub baseline_window: u32,

    /// Observed minutes that a baseline needs before counts are evaluated: at most BASELINE_WINDOW, and at most the 6 hours that a window reaches back (1 to 360)
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(1..=360), default_value = "30")]
    pub min_history: u32,

    /// A rise to fewer transactions a minute than this is a WARNING at most (1 to 1000)
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(1..=1000), default_value = "1")]
    pub min_count_for_critical: u32,

    /// Direction in which a deviation of `approved` is an anomaly
    #[arg(long, env, value_parser = choice(&DIRECTIONS), default_value = "both")]
    pub approved_direction: ApprovedDirection,

    /// Bearer token that the API requires, 16 characters or more; without it the API is open. The probes `/health/live` and `/health/ready` are always open
    #[arg(long, env, hide_env_values = true, value_parser = SecretParser(ApiToken::parse))]
    pub api_token: Option<ApiToken>,

    /// How long minutes (up to 4 hours more) and alerts are kept (1d to 36500d)
    #[arg(long, env, value_parser = duration("1d", "36500d"), default_value = "90d")]
    pub retention: Duration,

    /// Most streams to accept; messages of further streams are dead letters (1 to 20000)
    #[arg(long, env, value_parser = clap::value_parser!(u32).range(1..=20_000), default_value = "500")]
    pub max_streams: u32,

    /// Public address of the service, the base of the links in alerts
    #[arg(long, env, value_parser = http_url)]
    pub public_url: Option<String>,

    /// Address of a Grafana with the dashboard of this project, which incidents and streams on the page link to
    #[arg(long, env, value_parser = http_url)]
    pub grafana_url: Option<String>,

    /// Base address of an OTLP/HTTP collector, such as http://localhost:4318; without it, traces are not exported. The other standard `OTEL_*` variables apply, too
    #[arg(long, env)]
    pub otel_exporter_otlp_endpoint: Option<String>,

    /// Log filter, such as info or info,hyper=warn
    #[arg(
        long,
        alias = "rust-log",
        env = "RUST_LOG",
        value_name = "RUST_LOG",
        default_value = "info"
    )]
    pub log_filter: String,

    /// Log format; without it, text if stdout is a terminal, else json
    #[arg(long, env, value_enum)]
    pub log_format: Option<LogFormat>,
}

impl Config {
    /// The database to use.
    pub fn database(&self) -> DatabaseAddress {
        match &self.database_url {
            Some(url) => DatabaseAddress::Postgres(url.clone()),
            None => DatabaseAddress::File(self.database_path.clone()),
        }
    }

    /// The brokers; none runs without Kafka.
    pub(crate) fn kafka_brokers(&self) -> Option<&str> {
        let brokers = self.kafka_bootstrap_servers.as_str();
        (!brokers.eq_ignore_ascii_case("none")).then_some(brokers)
    }

    fn notify_or_default(&self) -> Notify {
        self.notify.unwrap_or(match self.detection_policy {
            PolicyName::ZScore => Notify::Alerts,
            PolicyName::Adaptive => Notify::Incidents,
        })
    }

    /// The telemetry settings.
    pub fn telemetry(&self) -> common::Settings {
        let default_format = || {
            if std::io::stdout().is_terminal() {
                LogFormat::Text
            } else {
                LogFormat::Json
            }
        };
        common::Settings {
            service_name: env!("CARGO_PKG_NAME"),
            service_version: env!("CARGO_PKG_VERSION"),
            log_filter: self.log_filter.clone(),
            log_format: self.log_format.unwrap_or_else(default_format),
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
    /// Every setting at its default; the environment is not read.
    fn default() -> Self {
        let matches =
            action::command_without_variables().get_matches_from([env!("CARGO_PKG_NAME")]);
        Self::from_arg_matches(&matches).expect("the defaults are allowed")
    }
}

#[cfg(test)]
mod tests;
