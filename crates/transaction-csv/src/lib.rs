//! CSV files of transaction counts per minute: rows `timestamp,status,count[,stream]` in any order
//! become one [`MinuteCounts`] for each stream and minute. Files of labelled incidents are read in [`labels`].
//!
//! It evaluates no count and sends nothing.

use std::fs::File;
use std::io;
use std::path::Path;

use csv::StringRecord;
use detection::{Minute, MinuteCounts, Stream};

mod error;
mod grouping;
mod gzip;
pub mod labels;
mod rows;
#[cfg(test)]
mod tests;

pub use crate::error::{FileError, LoadError, RowError};

use crate::grouping::group;
use crate::gzip::decompressed;
use crate::rows::RowParser;

/// Skipped rows that are kept as examples; all are counted.
const MAX_EXAMPLES: usize = 5;

/// Bytes read from the file at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// What happens at a row that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Loading fails.
    #[default]
    Stop,
    /// The row is left out and counted.
    Skip,
}

/// Which minutes of the file to load, and how strictly.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The stream of all rows, if the file has no column `stream`; without both it is `default`.
    pub stream: Option<Stream>,
    /// The first minute to load.
    pub from: Option<Minute>,
    /// The minute after the last one to load.
    pub to: Option<Minute>,
    /// The most minutes with data to load, from the first.
    pub limit: Option<u64>,
    /// What happens at a bad row.
    pub on_error: OnError,
}

/// The minutes of a file.
#[derive(Debug)]
pub struct Loaded {
    /// Sorted by minute, then stream; never empty.
    pub counts: Vec<MinuteCounts>,
    /// Number of bad rows that were left out.
    pub skipped: u64,
    /// The first few of them.
    pub examples: Vec<RowError>,
}

/// Loads a file.
pub fn load_file(path: &Path, options: &LoadOptions) -> Result<Loaded, FileError> {
    let file = File::open(path).map_err(LoadError::Open);
    file.and_then(|file| load(file, options))
        .map_err(|source| FileError {
            path: path.to_owned(),
            source,
        })
}

/// Loads rows from any reader.
pub fn load(input: impl io::Read, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let mut bad_rows = BadRows::new(options.on_error);
    let mut rows = read_rows(input, options, &mut bad_rows)?;
    if rows.is_empty() {
        return Err(LoadError::Empty("the file has no usable row"));
    }
    rows.retain(|row| {
        options.from.is_none_or(|from| row.minute >= from)
            && options.to.is_none_or(|to| row.minute < to)
    });
    let mut counts = group(rows, &mut bad_rows)?;
    counts.truncate(end_of(&counts, options.limit));
    if counts.is_empty() {
        return Err(LoadError::Empty("no row is in the chosen time range"));
    }
    Ok(Loaded {
        counts,
        skipped: bad_rows.skipped,
        examples: bad_rows.examples,
    })
}

fn read_rows(
    input: impl io::Read,
    options: &LoadOptions,
    bad_rows: &mut BadRows,
) -> Result<Vec<rows::Row>, LoadError> {
    let mut csv = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .buffer_capacity(BUFFER_BYTES)
        .from_reader(decompressed(input).map_err(csv::Error::from)?);
    let mut parser = RowParser::new(csv.headers()?, options)?;
    let (mut rows, mut record) = (Vec::new(), StringRecord::new());
    loop {
        match csv.read_record(&mut record) {
            Ok(false) => return Ok(rows),
            Ok(true) => match parser.parse(&record) {
                Ok(row) => rows.push(row),
                Err(error) => bad_rows.add(error)?,
            },
            Err(error) => bad_rows.add(rows::malformed(error)?)?,
        }
    }
}

/// The index after the counts of the first `limit` minutes.
fn end_of(counts: &[MinuteCounts], limit: Option<u64>) -> usize {
    let Some(minutes) = limit.and_then(|limit| usize::try_from(limit).ok()) else {
        return counts.len();
    };
    counts
        .chunk_by(|a, b| a.minute() == b.minute())
        .take(minutes)
        .map(<[_]>::len)
        .sum()
}

/// The bad rows of a file: the first fails the load, or each is counted.
struct BadRows {
    on_error: OnError,
    skipped: u64,
    examples: Vec<RowError>,
}

impl BadRows {
    const fn new(on_error: OnError) -> Self {
        Self {
            on_error,
            skipped: 0,
            examples: Vec::new(),
        }
    }

    fn add(&mut self, error: RowError) -> Result<(), RowError> {
        if self.on_error == OnError::Stop {
            return Err(error);
        }
        self.skipped += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(error);
        }
        Ok(())
    }
}
