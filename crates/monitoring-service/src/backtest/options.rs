//! The flags of `backtest`. They are checked here; no file is read.

use std::path::PathBuf;

use anyhow::ensure;
use clap::ArgGroup;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use common::command_line::SecretParser;
use detection::{Minute, PolicyName, Stream, mapping::StatusAliases};
use transaction_csv::FileFlags;

use super::requirement::Requirement;
use crate::store::DatabaseAddress;

/// The heading of the flags that say how the file is read.
pub(crate) const OF_THE_FILE: &str = "The file";

/// The help below the flags.
pub(crate) const AFTER_HELP: &str = "\
Settings of the policies are those of the service: the same variables and flags, at the same defaults.

Requirements: [POLICY.]METRIC OPERATOR NUMBER, such as recall>=0.95 or adaptive.false_per_day<=0.5; without a policy, each policy must meet it. Metrics: recall, precision, false_per_day, false_notifications_per_day, delay_median, delay_p90, delay_worst, notifications_per_day, episodes_per_day. Operators: >=, <=, > and <.

Exit code: 0 done, and every requirement is met; 1 a requirement is not met; 2 wrong usage, or input that cannot be used.

Example:
  monitoring-service backtest --file sample_data/daily/transactions.csv.gz --incidents sample_data/daily/incidents.csv --sweep --html report.html";

/// The form of the result on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// Everything, with each episode and each missed incident.
    Json,
    /// One row for each policy and threshold.
    Csv,
}

/// The flags of `backtest`.
#[derive(Clone, Debug, clap::Args)]
#[command(group = ArgGroup::new("history").required(true).args(["file", "database"]))]
pub struct Options {
    /// CSV file of the history: any file that stream-processor reads, with the same flags (columns timestamp, status, count and optionally stream)
    #[arg(long, value_name = "CSV")]
    pub file: Option<PathBuf>,

    /// Database of a service, also while it runs: it is only read, without its lock. A file, or postgres://user:password@host:port/database
    #[arg(long, value_name = "DB", value_parser = SecretParser(DatabaseAddress::parse))]
    pub database: Option<DatabaseAddress>,

    /// First minute, such as 2025-07-12T13:45:00Z (UTC if it has no zone)
    #[arg(long, value_name = "TIMESTAMP")]
    pub from: Option<Minute>,

    /// Minute after the last one
    #[arg(long, value_name = "TIMESTAMP")]
    pub to: Option<Minute>,

    /// Only this stream; of a file without a column stream, its name
    #[arg(long, value_name = "NAME")]
    pub stream: Option<Stream>,

    /// CSV file of labelled incidents: columns start, end (exclusive), kind and optionally stream and alert (yes; no for a harmless event such as a sale). Without it, the feedback in the database; without both, the result is what would have been sent
    #[arg(long, value_name = "CSV")]
    pub incidents: Option<PathBuf>,

    /// Policies to compare
    #[arg(long, value_name = "POLICY,...", value_delimiter = ',', default_value = "zscore,adaptive", value_parser = policy())]
    pub policy: Vec<PolicyName>,

    /// Also try other CRITICAL thresholds: those named (--sweep=4,5,6), else a usual range; the WARNING threshold follows
    #[arg(long, value_name = "THRESHOLD,...", num_args = 0.., require_equals = true, value_delimiter = ',')]
    pub sweep: Option<Vec<f64>>,

    /// Recommend the best threshold with at most this many false episodes a day (implies --sweep; 0.5 if not given)
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub false_per_day: Option<f64>,

    /// Form of the result on stdout
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,

    /// Also write a report with charts to this file: one page of HTML that loads nothing else
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Exit with 1 unless each of these is met, such as 'recall>=0.95,false_per_day<=0.5'
    #[arg(long, value_name = "REQUIREMENT,...", value_delimiter = ',')]
    pub require: Vec<Requirement>,

    /// How the file is read.
    #[command(flatten, next_help_heading = OF_THE_FILE)]
    pub how: FileFlags,

    /// Names of statuses of the file, from STATUS_ALIASES.
    #[arg(skip)]
    pub aliases: StatusAliases,
}

impl Options {
    /// Rules that involve more than one flag.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if let (Some(from), Some(to)) = (self.from, self.to) {
            ensure!(from < to, "--from {from} is not before --to {to}");
        }
        ensure!(
            self.incidents.is_some() || self.false_per_day.is_none(),
            "--false-per-day needs --incidents: without labels no alert is known to be false"
        );
        for requirement in &self.require {
            ensure!(
                self.incidents.is_some() || !requirement.metric.needs_labels,
                "--require {requirement} needs --incidents"
            );
            ensure!(
                requirement
                    .policy
                    .is_none_or(|policy| self.policy.contains(&policy)),
                "--require {requirement} names a policy that --policy leaves out"
            );
        }
        Ok(())
    }

    /// The thresholds to try: none without `--sweep`.
    pub(super) fn thresholds<'a>(&'a self, usual: &'a [f64]) -> &'a [f64] {
        match &self.sweep {
            Some(named) if !named.is_empty() => named,
            None if self.false_per_day.is_none() => &[],
            _ => usual,
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text
        .parse()
        .ok()
        .filter(|rate: &f64| rate.is_finite() && *rate >= 0.0);
    rate.ok_or_else(|| "give a number of episodes a day, such as 0.5".to_owned())
}

fn policy() -> impl clap::builder::TypedValueParser<Value = PolicyName> {
    PossibleValuesParser::new(PolicyName::ALL.map(PolicyName::name))
        .try_map(|name| name.parse::<PolicyName>())
}
