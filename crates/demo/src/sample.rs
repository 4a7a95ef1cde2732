//! The sample data: three flat days and four weeks with the shape of days and weeks, with labelled incidents, made from a seed.
//!
//! A seed gives the same text with every compiler and on every machine: counts follow from products and comparisons of `f64`, which IEEE 754 fixes to the
//! last bit, never from a library's `exp` or `ln`. This module makes text; `generate-sample-data` writes the files.

pub mod daily;
pub mod flat;
mod random;

use std::fmt::Write;

use jiff::{ToSpan, civil::DateTime};

/// The seed of the files in `sample_data/`.
pub const SEED: u64 = 20_250_712;

const TIMESTAMP: &str = "%Y-%m-%d %H:%M:%S";

const STATUSES: [&str; 6] = [
    "approved",
    "denied",
    "reversed",
    "backend_reversed",
    "failed",
    "refunded",
];
/// Indexes into [`STATUSES`].
const APPROVED: usize = 0;
const DENIED: usize = 1;
const BACKEND_REVERSED: usize = 3;
const FAILED: usize = 4;

/// The two files of a set, as text with `\n` line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleData {
    /// One row for each minute and status, and stream where there are several; zeros are written.
    pub transactions_csv: String,
    /// One row for each incident in time order, from `start` up to but not including `end`.
    pub incidents_csv: String,
}

/// The timestamps of `minutes` minutes from `start`, and of the minute after the last, which is where an incident may end.
fn timestamps(start: DateTime, minutes: u32) -> Vec<String> {
    let text = |minute| {
        (start + i64::from(minute).minutes())
            .strftime(TIMESTAMP)
            .to_string()
    };
    (0..=minutes).map(text).collect()
}

fn write_row(csv: &mut String, row: std::fmt::Arguments<'_>) {
    writeln!(csv, "{row}").expect("a String takes all text");
}

#[cfg(test)]
fn committed(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sample_data");
    std::fs::read(std::path::Path::new(folder).join(name)).unwrap()
}

#[cfg(test)]
fn mean(counts: impl Iterator<Item = u32>) -> f64 {
    let (sum, number) = counts.fold((0.0, 0.0), |(sum, number), count| {
        (sum + f64::from(count), number + 1.0)
    });
    sum / number
}
