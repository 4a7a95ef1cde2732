//! One record of the file: its fields by column, each checked. Counts, faults and what a bad row leaves
//! unknown go to [`Collected`]; rows are not compared with each other here.

use csv::ByteRecord;
use detection::{Status, Stream};

use crate::LoadOptions;
use crate::collected::{Cell, Collected};
use crate::columns::{Columns, CountColumns};
use crate::dialect::Dialect;
use crate::faults::{FaultKind, Refusal};
use crate::names::Names;
use crate::number::parse_count;
use crate::time::{Time, Times};

/// Reads records, and numbers the names in them.
pub(crate) struct RowReader {
    columns: Columns,
    dialect: Dialect,
    times: Times,
    pub(crate) streams: Names<Stream>,
    pub(crate) statuses: Names<Status>,
    /// Of rows without a stream.
    stream_of_file: Option<u32>,
}

impl RowReader {
    pub(crate) fn new(columns: Columns, dialect: Dialect, options: &LoadOptions) -> Self {
        let mut streams = Names::new();
        let own = || options.stream.clone().unwrap_or_default();
        let stream_of_file = columns.stream.is_none().then(|| streams.number(own()));
        Self {
            columns,
            dialect,
            times: Times::new(options),
            streams,
            statuses: Names::new(),
            stream_of_file,
        }
    }

    pub(crate) fn read(&mut self, record: &ByteRecord, into: &mut Collected) {
        // Spreadsheets write such rows below a table.
        if record.iter().all(|field| field.trim_ascii().is_empty()) {
            return;
        }
        let line = self.dialect.line(record);
        if let Some(reason) = self.wrong_length(record) {
            let time = field(record, self.columns.timestamp).map(|field| self.times.read(field));
            let minute = time.and_then(Result::ok).map(|time| time.minute);
            into.refuse((FaultKind::Length, reason), line);
            // Values may be in a wrong column, so that only a time is what it seems.
            into.miss(minute, self.stream_of_file, None);
            return;
        }
        let time = self.times.read(record[self.columns.timestamp].trim_ascii());
        match (time, self.stream(record)) {
            (Ok(time), Ok(stream)) => self.read_counts(record, time, stream, line, into),
            (Err(refusal), stream) => {
                into.refuse(refusal, line);
                if let Ok(stream) = stream {
                    let status = self.status(record).ok().flatten();
                    let status = status.map(|number| &self.statuses.all[number as usize]);
                    into.miss(None, Some(stream), status);
                }
            }
            // Its stream is none that is sent, so nothing is missing from one.
            (Ok(_), Err(refusal)) => into.refuse(refusal, line),
        }
    }

    fn wrong_length(&self, record: &ByteRecord) -> Option<String> {
        let (width, found) = (self.columns.width, record.len());
        let more = record.iter().skip(width);
        let more_is_empty = found > width && more.into_iter().all(<[u8]>::is_empty);
        (found != width && !more_is_empty)
            .then(|| format!("{found} values, but the header has {width} columns"))
    }

    fn stream(&mut self, record: &ByteRecord) -> Result<u32, Refusal> {
        match (self.columns.stream, self.stream_of_file) {
            (Some(column), _) => self.streams.read(record[column].trim_ascii()),
            (None, stream) => Ok(stream.expect("set without a column")),
        }
    }

    /// The status of a row with one status.
    fn status(&mut self, record: &ByteRecord) -> Result<Option<u32>, Refusal> {
        match self.columns.counts {
            CountColumns::Long { status, .. } | CountColumns::Rows { status } => {
                self.statuses.read(record[status].trim_ascii()).map(Some)
            }
            CountColumns::Wide(_) => Ok(None),
        }
    }

    fn read_counts(
        &mut self,
        record: &ByteRecord,
        time: Time,
        stream: u32,
        line: u64,
        into: &mut Collected,
    ) {
        into.occurs_twice += u64::from(time.occurs_twice);
        let status = self.status(record);
        let Self {
            columns,
            statuses,
            dialect,
            ..
        } = self;
        let mut add = |status: u32, field: &[u8], all: &[Status]| {
            let cell = Cell {
                stream,
                status,
                time,
                line,
            };
            match parse_count(field.trim_ascii(), dialect.delimiter) {
                Ok(count) => into.add(cell, count),
                Err(reason) => {
                    let status = Some(&all[status as usize]);
                    let refusal = match (&columns.counts, status) {
                        (CountColumns::Wide(_), Some(status)) => (
                            FaultKind::WideCount,
                            format!("{reason} (the column of {status})"),
                        ),
                        _ => (FaultKind::Count, reason),
                    };
                    into.refuse(refusal, line);
                    into.miss(Some(time.minute), Some(stream), status);
                }
            }
        };
        match (&columns.counts, status) {
            (CountColumns::Long { count, .. }, Ok(Some(status))) => {
                add(status, &record[*count], &statuses.all);
            }
            (CountColumns::Rows { .. }, Ok(Some(status))) => add(status, b"1", &statuses.all),
            (CountColumns::Wide(wide), _) => {
                // No value is no row.
                let given = wide
                    .iter()
                    .filter(|(i, _)| !record[*i].trim_ascii().is_empty());
                for (column, status) in given {
                    let number = statuses.number(status.clone());
                    add(number, &record[*column], &statuses.all);
                }
            }
            (_, Err(refusal)) => {
                into.refuse(refusal, line);
                into.miss(Some(time.minute), Some(stream), None);
            }
            (CountColumns::Long { .. } | CountColumns::Rows { .. }, Ok(None)) => {
                unreachable!("a long row has a status")
            }
        }
    }

    /// Columns of the file that are not read.
    pub(crate) fn ignored_columns(&mut self) -> Vec<String> {
        std::mem::take(&mut self.columns.ignored)
    }
}

fn field(record: &ByteRecord, column: usize) -> Option<&[u8]> {
    record.get(column).map(<[u8]>::trim_ascii)
}
