//! The command line flags that say how a file is read, and the flags that would read a refused one: those of every program that
//! reads such files.

use anyhow::anyhow;
use clap::Args;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::{
    ColumnNames, FillMinutes, LoadError, LoadOptions, OnDuplicate, OnError, Remedy, TimeFormat,
    parse_timezone,
};

/// How the file is read.
#[derive(Args, Clone, Debug, Default)]
pub struct FileFlags {
    /// Names of the file's columns where they differ, such as timestamp=time,count=f0_,stream=merchant.
    /// With monitored statuses, such as approved=ok,denied=nok, the file is a wide one, and no other
    /// column is a status.
    #[arg(long, value_name = "OURS=THEIRS,...")]
    pub columns: Option<ColumnNames>,

    /// The file has a column for each status, instead of the columns status and count.
    #[arg(long)]
    pub wide: bool,

    /// Each row is one transaction: count the rows of each minute and status, instead of reading a
    /// column count.
    #[arg(long, conflicts_with_all = ["wide", "on_duplicate"])]
    pub count_rows: bool,

    /// Date of times that have none, such as 00h 01 or 00:01.
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub date: Option<Date>,

    /// How times are written, if not as 2025-07-12 13:45, RFC 3339 or epoch time: with the
    /// conversions of strptime, such as "%d/%m/%Y %H:%M".
    #[arg(long, value_name = "FORMAT", conflicts_with = "date")]
    pub time_format: Option<TimeFormat>,

    /// Zone of times that have none: an offset such as -03:00 or a name such as America/Sao_Paulo.
    /// Without it, UTC. Of an hour that occurs twice, the earlier is taken.
    #[arg(
        long,
        value_name = "ZONE",
        allow_hyphen_values = true,
        value_parser = parse_timezone
    )]
    pub timezone: Option<TimeZone>,

    /// What a minute without rows means: with zero, every status of it is 0, from the first minute of
    /// a stream to the last one of the file. Without it, such a minute is unknown, and left out.
    #[arg(long, value_name = "MEANING", hide_possible_values = true)]
    pub fill_minutes: Option<FillMinutes>,

    /// Two rows for one status of a minute: stop unless they are equal, sum (they are parts of the
    /// minute), or last (the later one is right).
    #[arg(
        long,
        value_name = "RULE",
        default_value = "stop",
        hide_possible_values = true
    )]
    pub on_duplicate: OnDuplicate,

    /// At a bad row: stop before any row is used, or skip the row and count it. A minute that may
    /// miss the count of a skipped row is left out, too.
    #[arg(
        long,
        value_name = "ACTION",
        default_value = "stop",
        hide_possible_values = true
    )]
    pub on_error: OnError,
}

impl FileFlags {
    /// The options of these flags, for all minutes.
    pub fn load_options(&self) -> LoadOptions {
        let flags = self.clone();
        LoadOptions {
            on_error: flags.on_error,
            columns: flags.columns.unwrap_or_default(),
            wide: flags.wide,
            count_rows: flags.count_rows,
            date: flags.date,
            time_format: flags.time_format,
            timezone: flags.timezone,
            fill_minutes: flags.fill_minutes,
            on_duplicate: flags.on_duplicate,
            ..LoadOptions::default()
        }
    }
}

fn date(text: &str) -> Result<Date, String> {
    text.parse()
        .map_err(|_| "give a date such as 2026-11-26".to_owned())
}

/// The error with the flags that may read the file, as far as it shows them.
pub fn with_advice(error: crate::FileError) -> anyhow::Error {
    let mut advice: Vec<String> = error.source.remedies().iter().map(flag).collect();
    if matches!(error.source, LoadError::Rows(_)) {
        advice.push(
            "--on-error skip, to leave out bad rows and the minutes that may miss them".into(),
        );
    }
    let error = anyhow::Error::from(error);
    if advice.is_empty() {
        return error;
    }
    anyhow!("{error:#}\ntry {}", advice.join("\nor  "))
}

fn flag(remedy: &Remedy) -> String {
    match remedy {
        Remedy::Columns(names) => columns(names),
        Remedy::Wide => "--wide, if there is a column for each status".into(),
        Remedy::CountRows(names) if names.is_empty() => {
            "--count-rows, if each row is one transaction".into()
        }
        Remedy::CountRows(names) => {
            format!(
                "--count-rows {}, if each row is one transaction",
                columns(names)
            )
        }
        Remedy::OnlyStatuses => {
            "--columns approved=NAME,denied=NAME, to read no other columns than these".into()
        }
        Remedy::Date => "--date 2026-11-26, with the date of these times".into(),
        Remedy::TimeFormat(format) => format!("--time-format \"{format}\""),
        Remedy::DayOrMonthFirst { day, month } => format!(
            "--time-format \"{day}\", if the day comes first; --time-format \"{month}\", if the month does"
        ),
        Remedy::OnDuplicate => {
            "--on-duplicate sum, if rows are parts of a minute; --on-duplicate last, if the later row is right".into()
        }
    }
}

fn columns(names: &str) -> String {
    if names.contains("=NAME") {
        format!("--columns {names}, with the names in the file for NAME")
    } else {
        format!("--columns {names}")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        flags: FileFlags,
    }

    fn parse(args: &[&str]) -> Result<FileFlags, String> {
        Cli::try_parse_from(["program"].iter().chain(args))
            .map(|cli| cli.flags)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn wrong_values_are_refused_with_the_right_ones() {
        for (flag, value, part) in [
            ("--on-error", "ignore", "[possible values: stop, skip]"),
            (
                "--on-duplicate",
                "first",
                "[possible values: stop, sum, last]",
            ),
            ("--fill-minutes", "null", "[possible values: zero]"),
            ("--columns", "time", "such as timestamp=time,count=f0_"),
            ("--date", "26/11/2026", "a date such as 2026-11-26"),
            ("--timezone", "UTC-3", "an offset such as -03:00"),
            ("--time-format", "dd/mm/yyyy", "such as %d/%m/%Y %H:%M"),
        ] {
            let error = parse(&[&format!("{flag}={value}")]).expect_err("refused");
            assert!(error.contains(part), "{part} in {error}");
        }
        let error = parse(&["--count-rows", "--wide"]).expect_err("refused");
        assert!(error.contains("cannot be used with"), "{error}");
    }

    #[test]
    fn an_offset_may_follow_its_flag() {
        let flags = parse(&["--timezone", "-03:00", "--on-duplicate", "sum"]).expect("flags");
        assert_eq!(flags.timezone, parse_timezone("-03:00").ok());
        assert_eq!(flags.on_duplicate, OnDuplicate::Sum);
    }
}
