//! The flags of the file: where it is, how it is read, and which part of it is sent. It opens nothing.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::ensure;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use detection::{Minute, Stream};
use strum::VariantNames;
use transaction_csv::{FileFlags, LoadOptions};

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

    /// How it is read.
    #[command(flatten)]
    pub how: FileFlags,

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
            ..args.how.load_options()
        })
    }
}

/// The values of an enum, which `--help` and errors list.
pub(super) fn named<T>() -> impl TypedValueParser<Value = T>
where
    T: VariantNames + FromStr<Err = strum::ParseError> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(T::VARIANTS.iter().copied()).try_map(|name| name.parse())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

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
            ("--limit", "0", "--limit"),
            ("--stream", "a b", "not a valid name"),
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
}
