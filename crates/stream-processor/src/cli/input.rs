//! The flags of the file: where it is, how it is read, and which part of it is sent. It opens nothing.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::ensure;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use detection::{Minute, Stream};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use strum::VariantNames;
use transaction_csv::{
    ColumnNames, FillMinutes, LoadOptions, OnDuplicate, OnError, parse_timezone,
};

/// The file and how it is read.
#[derive(Args, Clone, Debug)]
pub struct InputArgs {
    /// CSV file to replay; - is the standard input.
    #[arg(
        long,
        env = "CSV_PATH",
        value_name = "CSV_PATH",
        default_value = "sample_data/transactions.csv"
    )]
    pub file: PathBuf,

    /// Names of the file's columns where they differ, such as timestamp=time,count=f0_,stream=merchant.
    #[arg(long, value_name = "OURS=THEIRS,...")]
    pub columns: Option<ColumnNames>,

    /// The file has a column for each status, instead of the columns status and count.
    #[arg(long)]
    pub wide: bool,

    /// Date of times that have none, such as 00h 01 or 00:01.
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub date: Option<Date>,

    /// Zone of times that have none: an offset such as -03:00 or a name such as America/Sao_Paulo.
    /// Without it, UTC. Of an hour that occurs twice, the earlier is taken.
    #[arg(
        long,
        value_name = "ZONE",
        allow_hyphen_values = true,
        value_parser = parse_timezone
    )]
    pub timezone: Option<TimeZone>,

    /// Stream of all rows, if the file has no column stream. Without both it is "default".
    #[arg(long, value_name = "NAME")]
    pub stream: Option<Stream>,

    /// First minute to send, such as 2025-07-12T13:45:00Z (UTC if it has no zone).
    #[arg(long, value_name = "TIMESTAMP")]
    pub from: Option<Minute>,

    /// Minute after the last one to send.
    #[arg(long, value_name = "TIMESTAMP")]
    pub to: Option<Minute>,

    /// Send at most this many minutes.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,

    /// What a minute without rows means: with zero, every status of it is 0, from the first minute of
    /// a stream to the last one of the file. Without it, such a minute is unknown, and not sent.
    #[arg(long, value_name = "MEANING", value_parser = named::<FillMinutes>())]
    pub fill_minutes: Option<FillMinutes>,

    /// Two rows for one status of a minute: stop unless they are equal, sum (they are parts of the
    /// minute), or last (the later one is right).
    #[arg(
        long,
        value_name = "RULE",
        default_value = "stop",
        value_parser = named::<OnDuplicate>()
    )]
    pub on_duplicate: OnDuplicate,

    /// At a bad row: stop before anything is sent, or skip the row and count it. A minute that may
    /// miss the count of a skipped row is not sent either.
    #[arg(long, value_name = "ACTION", default_value = "stop", value_parser = on_error())]
    pub on_error: OnError,
}

impl InputArgs {
    /// How to load the file.
    ///
    /// # Errors
    /// `--to` is not after `--from`.
    pub(crate) fn load_options(&self) -> anyhow::Result<LoadOptions> {
        let args = self.clone();
        if let (Some(from), Some(to)) = (args.from, args.to) {
            ensure!(
                from < to,
                "--from {from} --to {to}: --to must be later; the range is [from, to)"
            );
        }
        Ok(LoadOptions {
            stream: args.stream,
            from: args.from,
            to: args.to,
            limit: args.limit,
            on_error: args.on_error,
            columns: args.columns.unwrap_or_default(),
            wide: args.wide,
            date: args.date,
            timezone: args.timezone,
            fill_minutes: args.fill_minutes,
            on_duplicate: args.on_duplicate,
        })
    }
}

fn date(text: &str) -> Result<Date, String> {
    text.parse()
        .map_err(|_| "give a date such as 2026-11-26".to_owned())
}

/// The values of an enum, which `--help` and errors list.
pub(super) fn named<T>() -> impl TypedValueParser<Value = T>
where
    T: VariantNames + FromStr<Err = strum::ParseError> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(T::VARIANTS.iter().copied()).try_map(|name| name.parse())
}

fn on_error() -> impl TypedValueParser<Value = OnError> {
    PossibleValuesParser::new(["stop", "skip"]).map(|name| match &*name {
        "skip" => OnError::Skip,
        _ => OnError::Stop,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::Cli;

    fn parse(args: &[&str]) -> Result<Cli, String> {
        Cli::try_parse_from(["stream-processor"].iter().chain(args))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn wrong_values_are_refused_with_the_right_ones() {
        for (flag, value, part) in [
            (
                "--from",
                "yesterday",
                "\"yesterday\" is not a date and time such as",
            ),
            ("--on-error", "ignore", "[possible values: stop, skip]"),
            (
                "--on-duplicate",
                "first",
                "[possible values: stop, sum, last]",
            ),
            ("--fill-minutes", "null", "[possible values: zero]"),
            ("--limit", "0", "--limit"),
            ("--stream", "a b", "not a valid name"),
            ("--columns", "time", "such as timestamp=time,count=f0_"),
            ("--date", "26/11/2026", "a date such as 2026-11-26"),
            ("--timezone", "UTC-3", "an offset such as -03:00"),
        ] {
            let error = parse(&[&format!("{flag}={value}")]).err().expect("refused");
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn an_empty_range_is_refused() {
        let args = ["--from", "2025-07-12T14:00", "--to", "2025-07-12T14:00"];
        let cli = parse(&args).ok().unwrap();
        let error = cli.input.load_options().unwrap_err().to_string();
        assert!(error.contains("--to must be later"), "{error}");
    }

    #[test]
    fn an_offset_may_follow_its_flag() {
        let cli = parse(&["--timezone", "-03:00", "--on-duplicate", "sum"])
            .ok()
            .unwrap();
        assert_eq!(cli.input.timezone, parse_timezone("-03:00").ok());
        assert_eq!(cli.input.on_duplicate, OnDuplicate::Sum);
    }
}
