//! Sample data with labelled incidents, generated from a seed: three days at a constant level, and four weeks with daily and weekly patterns.
//!
//! A seed gives the same text with every compiler and machine: counts come from products and comparisons of `f64`, which IEEE 754 defines to the last
//! bit, and never from a library's `exp` or `ln`. This module generates text; `generate-sample-data` writes the files.

pub mod daily;
pub mod flat;
mod random;

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
    /// One row per minute, stream and status; rows with a count of 0 are included.
    pub transactions_csv: String,
    /// One row for each incident in time order, from `start` up to but not including `end`.
    pub incidents_csv: String,
}

/// The timestamps of `minutes` minutes from `start` and of the minute after, at which an incident may end.
fn timestamps(start: DateTime, minutes: u32) -> Vec<String> {
    let text = |minute| {
        (start + i64::from(minute).minutes())
            .strftime(TIMESTAMP)
            .to_string()
    };
    (0..=minutes).map(text).collect()
}

fn write_row(csv: &mut String, row: std::fmt::Arguments<'_>) {
    csv.push_str(&row.to_string());
    csv.push('\n');
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
