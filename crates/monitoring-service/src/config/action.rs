//! What the process is asked to do: run the service, or one of its commands.

use std::ffi::OsString;
use std::net::SocketAddr;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args as _, Command, FromArgMatches as _};
use common::command_line::{SecretParser, ignore_empty_variables, secrets_from_files};
use detection::MonitorSettings;

use super::Config;
use crate::{backtest, store::DatabaseAddress};

/// The subcommand of the health check.
const HEALTHCHECK: &str = "healthcheck";

/// The subcommand that checks the database.
const CHECK: &str = "check";

/// The subcommand that steps over records.
const SKIP: &str = "skip";

/// The subcommand that copies the database.
const COPY: &str = "copy";

/// The subcommand that scores the policies on a history.
const BACKTEST: &str = "backtest";

/// The settings that `backtest` takes over from the service.
const POLICY_SETTINGS: [&str; 9] = [
    "adaptive_critical",
    "warning_threshold",
    "critical_threshold",
    "baseline_window",
    "min_history",
    "min_count_for_critical",
    "approved_direction",
    "alert_cooldown",
    "allowed_lateness",
];

/// What this process does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Run the service.
    Serve(Box<Config>),
    /// Check the health of the service that listens on this address.
    CheckHealth(SocketAddr),
    /// Check this database for damage.
    CheckDatabase(DatabaseAddress),
    /// Step over records of Kafka.
    SkipRecords(SkipRecords),
    /// Copy a database.
    CopyDatabase(CopyDatabase),
    /// Score the policies on a history, under these settings.
    Backtest(Box<backtest::Options>, MonitorSettings),
}

/// What the command `skip` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkipRecords {
    /// The database.
    pub database: DatabaseAddress,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset at which reading continues.
    pub to_offset: i64,
}

/// What the command `copy` needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyDatabase {
    /// The database to read.
    pub from: DatabaseAddress,
    /// The empty database that gets its rows.
    pub to: DatabaseAddress,
}

impl Action {
    /// Reads the flags of this process, then its environment, then the defaults. Exits with a message
    /// if a setting is refused, and after `--help` and `--version`.
    pub fn load() -> Self {
        let command = ignore_empty_variables(
            secrets_from_files(command()).unwrap_or_else(|error| error.exit()),
        )
        .mut_subcommand(BACKTEST, ignore_empty_variables);
        Self::from_command(command, std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    pub(super) fn from_command(
        mut command: Command,
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let matches = command.try_get_matches_from_mut(args)?;
        let config = Config::from_arg_matches(&matches)?;
        if config.database_url.is_some() && is_given(&matches, "database_path") {
            let reason = "DATABASE_URL and DATABASE_PATH are both set; set one of them: the address of a PostgreSQL database, or the file of SQLite";
            return Err(command.error(ErrorKind::ArgumentConflict, reason));
        }
        if matches.subcommand_name() == Some(HEALTHCHECK) {
            return Ok(Self::CheckHealth(config.http_addr));
        }
        if matches.subcommand_name() == Some(CHECK) {
            return Ok(Self::CheckDatabase(config.database()));
        }
        if let Some(skip) = matches.subcommand_matches(SKIP) {
            return Ok(Self::SkipRecords(SkipRecords {
                database: config.database(),
                topic: config.kafka_topic,
                partition: *skip.get_one("partition").expect("it is required"),
                to_offset: *skip.get_one("to_offset").expect("it is required"),
            }));
        }
        if let Some(copy) = matches.subcommand_matches(COPY) {
            let address = |id| {
                copy.get_one(id)
                    .cloned()
                    .unwrap_or_else(|| config.database())
            };
            let (from, to) = (address("from"), address("to"));
            return Ok(Self::CopyDatabase(CopyDatabase { from, to }));
        }
        if let Some(backtest) = matches.subcommand_matches(BACKTEST) {
            refuse_flags_before(&mut command, &matches)?;
            return Self::backtest(&mut command, backtest);
        }
        config
            .check()
            .map_err(|reason| command.error(ErrorKind::ValueValidation, reason))?;
        Ok(Self::Serve(Box::new(config)))
    }

    fn backtest(command: &mut Command, matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut options = backtest::Options::from_arg_matches(matches)?;
        let config = Config::from_arg_matches(matches)?;
        config
            .check()
            .map_err(|reason| command.error(ErrorKind::ValueValidation, reason))?;
        options.aliases = config.input.status_aliases.clone();
        Ok(Self::Backtest(Box::new(options), config.monitor_settings()))
    }
}

/// True if the setting is not at its default.
fn is_given(matches: &ArgMatches, id: &str) -> bool {
    !matches!(
        matches.value_source(id),
        None | Some(ValueSource::DefaultValue)
    )
}

/// A setting before the subcommand would not reach it.
fn refuse_flags_before(command: &mut Command, matches: &ArgMatches) -> Result<(), clap::Error> {
    let before = matches
        .ids()
        .map(clap::Id::as_str)
        .find(|id| matches.value_source(id) == Some(ValueSource::CommandLine));
    before.map_or(Ok(()), |id| {
        let flag = id.replace('_', "-");
        let reason = format!("give --{flag} after {BACKTEST}");
        Err(command.error(ErrorKind::ArgumentConflict, reason))
    })
}

pub(super) fn command() -> Command {
    Config::augment_args(Command::new(env!("CARGO_PKG_NAME")))
        .version(env!("CARGO_PKG_VERSION"))
        .about("Consume minute counts from Kafka, evaluate them, send alerts, and serve the HTTP API")
        .disable_help_subcommand(true)
        .subcommand(Command::new(HEALTHCHECK).about(
            "Check the service on HTTP_ADDR with GET /health/ready: exit code 0 if it is ready, else 1 and the reason, within 3 s",
        ))
        .subcommand(Command::new(CHECK).about(
            "Check the database file at DATABASE_PATH for damage, also while the service runs: exit code 0 if there is none, else 1 and what was found",
        ))
        .subcommand(skip_command())
        .subcommand(copy_command())
        .subcommand(backtest_command())
        .after_help("Durations have a unit: 30s, 5m, 24h, 90d. An empty variable counts as not set.")
}

fn skip_command() -> Command {
    let number = |id: &'static str, flag: &'static str| Arg::new(id).long(flag).required(true);
    Command::new(SKIP)
        .about("Step over records of KAFKA_TOPIC that cannot be read, while the service is stopped: they become an offset gap in the database at DATABASE_PATH or DATABASE_URL")
        .arg(
            number("partition", "partition")
                .value_parser(clap::value_parser!(i32).range(0..))
                .help("Partition of the records"),
        )
        .arg(
            number("to_offset", "to-offset")
                .value_parser(clap::value_parser!(i64).range(1..))
                .help("Offset at which reading continues"),
        )
}

fn copy_command() -> Command {
    let address = |id: &'static str| {
        Arg::new(id)
            .long(id)
            .value_name("DATABASE")
            .value_parser(SecretParser(DatabaseAddress::parse))
    };
    Command::new(COPY)
        .about("Copy the whole database into an empty one, a file or PostgreSQL, while no service uses them. One of the two may be left out: it is the database at DATABASE_PATH or DATABASE_URL")
        .arg_required_else_help(true)
        .arg(address("from").help("Database to read: a file, or postgres://user:password@host:port/database"))
        .arg(address("to").help("Database to fill, in the same way; a file is created"))
}

/// The command `backtest` has its own flags and the policy settings of the service; the others are hidden at their defaults.
fn backtest_command() -> Command {
    let shared = |arg: Arg| {
        if arg.get_id() == "status_aliases" {
            arg.help_heading(backtest::OF_THE_FILE)
        } else if POLICY_SETTINGS.contains(&arg.get_id().as_str()) {
            arg.help_heading("Settings of the policies")
        } else {
            arg.hide(true).env(None::<&'static str>)
        }
    };
    let settings = Config::augment_args(Command::new(BACKTEST)).mut_args(shared);
    backtest::Options::augment_args(Command::new(BACKTEST))
        .args(settings.get_arguments())
        .about("Score the policies on a history, from a CSV file or a database: incidents found and missed, delays, false alarms, and what would have been sent")
        .after_help(backtest::AFTER_HELP)
}

/// The command without its variables, so that the environment is not read.
pub(super) fn command_without_variables() -> Command {
    let without = |arg: Arg| arg.env(None::<&'static str>);
    command()
        .mut_args(without)
        .mut_subcommands(|command| command.mut_args(without))
}
