//! CSV files of transaction counts per minute, as people have them: rows of a time, a status and a
//! count in any order, or a column for each status, become one
//! [`MinuteCounts`](detection::MinuteCounts) for each stream and minute. Files of labelled incidents are read in [`labels`].
//!
//! It evaluates no count and sends nothing.

use std::fs::File;
use std::io;
use std::path::Path;

use csv::{ByteRecord, StringRecord};
use detection::{Minute, Stream};
use jiff::civil::Date;
use jiff::tz::TimeZone;

mod collected;
mod columns;
mod counts;
mod dialect;
mod error;
mod faults;
mod flags;
mod gzip;
pub mod labels;
mod limit;
mod minutes;
mod names;
mod number;
mod rows;
mod series;
#[cfg(test)]
mod tests;
mod time;
mod time_format;
mod unknown;
mod zone;

pub use crate::columns::{ColumnNames, ColumnNamesError};
pub use crate::counts::Counts;
pub use crate::error::{FileError, LoadError, Remedy, RowError};
pub use crate::faults::{Fault, FaultKind, Faults};
pub use crate::flags::{FileFlags, with_advice};
pub use crate::minutes::Minutes;
pub use crate::time_format::TimeFormat;
pub use crate::zone::parse_timezone;

use crate::collected::Collected;
use crate::columns::Columns;
use crate::gzip::decompressed;
use crate::rows::RowReader;

/// Bytes read from the file at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// The path that is the standard input.
const STDIN: &str = "-";

/// What happens at a row that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnError {
    /// Loading fails, after the whole file is checked.
    #[default]
    Stop,
    /// The row is left out and counted, and so is each minute that may miss its count.
    Skip,
}

/// What two rows for one status of a minute and stream mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnDuplicate {
    /// If they are equal, nothing; else the second one is a bad row.
    #[default]
    Stop,
    /// They are parts of the minute: their counts are added.
    Sum,
    /// The second one replaces the first.
    Last,
}

/// What a minute without rows means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FillMinutes {
    /// There was no transaction: every status is 0.
    Zero,
}

/// Which minutes of the file to load, how to read it, and how strictly.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The stream of all rows, if the file has no column `stream`; without both it is `default`.
    pub stream: Option<Stream>,
    /// The first minute to load.
    pub from: Option<Minute>,
    /// The minute after the last one to load.
    pub to: Option<Minute>,
    /// The most minutes with data to load, from the first. Only they are held in memory.
    pub limit: Option<u64>,
    /// What happens at a bad row.
    pub on_error: OnError,
    /// Names of columns where they differ from ours.
    pub columns: ColumnNames,
    /// There is a column for each status instead of the columns `status` and `count`.
    pub wide: bool,
    /// Each row is one transaction; there is no column `count`.
    pub count_rows: bool,
    /// The date of times that have none.
    pub date: Option<Date>,
    /// How times are written, if not in one of the usual forms.
    pub time_format: Option<TimeFormat>,
    /// The zone of times that have none; without it, UTC. Of a time that occurs twice, the earlier is taken.
    pub timezone: Option<TimeZone>,
    /// What minutes without rows mean; without it, their counts are unknown.
    pub fill_minutes: Option<FillMinutes>,
    /// What two rows for one status of a minute mean.
    pub on_duplicate: OnDuplicate,
}

impl LoadOptions {
    /// True if the local time of this minute occurs again later, because the clock is set back.
    pub(crate) fn occurs_twice(&self, minute: i32) -> bool {
        self.timezone.as_ref().is_some_and(|zone| {
            let local = zone.to_datetime(Minute::from_epoch_minutes(minute.into()).start());
            zone.to_ambiguous_timestamp(local).is_ambiguous()
        })
    }

    /// What two rows for one status of a minute mean: rows that are transactions are counted.
    pub(crate) const fn merged(&self) -> OnDuplicate {
        if self.count_rows {
            OnDuplicate::Sum
        } else {
            self.on_duplicate
        }
    }
}

/// The minutes of a file.
#[derive(Debug)]
pub struct Loaded {
    /// Sorted by minute, then stream; never empty.
    pub counts: Counts,
    /// Number of bad rows that were left out.
    pub skipped: u64,
    /// Their kinds.
    pub faults: Faults,
    /// Minutes of streams that were left out, because they may miss the count of a bad row.
    pub left_out: u64,
    /// Rows that say the same as an earlier one.
    pub repeated: u64,
    /// Rows of local times that occur twice, because the clock was set back. The earlier is taken.
    pub occurs_twice: u64,
    /// Columns of the file that are not read.
    pub ignored_columns: Vec<String>,
}

/// Loads a file; the path `-` is the standard input.
pub fn load_file(path: &Path, options: &LoadOptions) -> Result<Loaded, FileError> {
    let loaded = if path == Path::new(STDIN) {
        load(io::stdin().lock(), options)
    } else {
        let file = File::open(path).map_err(LoadError::Open);
        file.and_then(|file| load(file, options))
    };
    loaded.map_err(|source| FileError {
        path: path.to_owned(),
        source,
    })
}

/// Loads rows from any reader, in one pass.
///
/// Memory: twelve bytes for each count while it reads, eight afterwards.
pub fn load(input: impl io::Read, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let input = decompressed(input).map_err(csv::Error::from)?;
    let (dialect, input) = dialect::detect(input).map_err(csv::Error::from)?;
    let mut csv = csv::ReaderBuilder::new()
        .delimiter(dialect.delimiter)
        .flexible(true)
        .buffer_capacity(BUFFER_BYTES)
        .from_reader(input);
    let header = StringRecord::from_byte_record_lossy(csv.byte_headers()?.clone());
    let columns = Columns::find(&header, dialect.lines_before + 1, options)?;
    let mut rows = RowReader::new(columns, dialect, options);
    let mut collected = Collected::new(options);
    let mut record = ByteRecord::new();
    while csv.read_byte_record(&mut record)? {
        rows.read(&record, &mut collected);
    }
    let ignored_columns = rows.ignored_columns();
    let loaded = collected.finish(&rows.streams, &rows.statuses)?;
    Ok(Loaded {
        ignored_columns,
        ..loaded
    })
}
