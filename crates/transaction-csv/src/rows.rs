//! One record of the file as a row: columns by name, and each value checked. Rows are not compared
//! with each other here.

use std::collections::HashSet;
use std::str::FromStr;

use csv::{ErrorKind, StringRecord};
use detection::{Minute, Status, StatusCount, Stream};

use crate::{LoadError, LoadOptions, RowError};

/// The columns that a file may have; all but the last are required.
const COLUMNS: [&str; 4] = ["timestamp", "status", "count", "stream"];

/// One count of one stream, minute and status.
pub(crate) struct Row {
    pub(crate) minute: Minute,
    pub(crate) stream: Stream,
    pub(crate) counted: StatusCount,
    pub(crate) line: u64,
}

/// The position of each column, and the stream names so far (rows of a stream share its name).
pub(crate) struct RowParser {
    timestamp: usize,
    status: usize,
    count: usize,
    stream: Option<usize>,
    stream_of_file: Stream,
    streams: HashSet<Stream>,
}

impl RowParser {
    pub(crate) fn new(header: &StringRecord, options: &LoadOptions) -> Result<Self, LoadError> {
        check_names(header)?;
        let find = |name: &str| header.iter().position(|column| column == name);
        let require = |name: &str| {
            find(name).ok_or_else(|| header_error(header, &format!("column {name} is missing")))
        };
        let stream = find("stream");
        if stream.is_some() && options.stream.is_some() {
            return Err(LoadError::Header(
                "the file has a column stream, which gives the streams; do not name another one"
                    .into(),
            ));
        }
        Ok(Self {
            timestamp: require("timestamp")?,
            status: require("status")?,
            count: require("count")?,
            stream,
            stream_of_file: options.stream.clone().unwrap_or_default(),
            streams: HashSet::new(),
        })
    }

    pub(crate) fn parse(&mut self, record: &StringRecord) -> Result<Row, RowError> {
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |column, reason: String| RowError {
            line,
            column: Some(column),
            reason,
        };
        let minute = record[self.timestamp]
            .parse()
            .map_err(|e| wrong("timestamp", format!("{e}")))?;
        let status =
            Status::parse(&record[self.status]).map_err(|e| wrong("status", e.to_string()))?;
        let count = parse_count(&record[self.count]).map_err(|e| wrong("count", e))?;
        let stream = match self.stream {
            Some(column) => self
                .stream(&record[column])
                .map_err(|e| wrong("stream", e.to_string()))?,
            None => self.stream_of_file.clone(),
        };
        Ok(Row {
            minute,
            stream,
            counted: StatusCount { status, count },
            line,
        })
    }

    fn stream(&mut self, name: &str) -> Result<Stream, <Stream as FromStr>::Err> {
        if let Some(known) = self.streams.get(name) {
            return Ok(known.clone());
        }
        let stream: Stream = name.parse()?;
        self.streams.insert(stream.clone());
        Ok(stream)
    }
}

fn check_names(header: &StringRecord) -> Result<(), LoadError> {
    for (i, name) in header.iter().enumerate() {
        if !COLUMNS.contains(&name) {
            return Err(header_error(header, &format!("unknown column {name:?}")));
        }
        if header.iter().take(i).any(|earlier| earlier == name) {
            let what = format!("column {name} appears twice");
            return Err(header_error(header, &what));
        }
    }
    Ok(())
}

fn header_error(header: &StringRecord, what: &str) -> LoadError {
    let found = header.iter().collect::<Vec<_>>().join(",");
    LoadError::Header(format!(
        "{what}; expected timestamp,status,count and optionally stream, found {found:?}"
    ))
}

fn parse_count(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a whole number from 0 to {}", u32::MAX))
}

/// A record that is not a row. Errors of reading are returned as they are.
pub(crate) fn malformed(error: csv::Error) -> Result<RowError, csv::Error> {
    let (position, reason) = match error.kind() {
        ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => (
            pos,
            format!("{len} values, but the header has {expected_len} columns"),
        ),
        ErrorKind::Utf8 { pos, .. } => (pos, "not UTF-8".to_owned()),
        _ => return Err(error),
    };
    Ok(RowError {
        line: position.as_ref().map_or(0, csv::Position::line),
        column: None,
        reason,
    })
}
