//! The CSV file: rows `timestamp,status,count[,stream]` in any order, grouped into one batch per stream and minute. Sends nothing.

use std::{collections::HashSet, fs::File, io, path::Path};

use anyhow::Context;
use clap::ValueEnum;
use csv::{ErrorKind, StringRecord};
use detection::{
    Minute, MinuteCounts, Status, StatusCount, Stream,
    batch::{MAX_STATUSES, StreamError},
};

/// Skipped rows that are kept to be shown; all are counted.
const MAX_EXAMPLES: usize = 5;

/// What a bad row does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnError {
    /// Ends the program before anything is sent.
    #[default]
    Stop,
    /// Is left out and counted.
    Skip,
}

/// Which part of the file is wanted, and how strictly it is read.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The stream of the whole file; `default` if the file has no column for it either.
    pub stream: Option<Stream>,
    /// The first minute wanted.
    pub from: Option<Minute>,
    /// The first minute no longer wanted.
    pub to: Option<Minute>,
    /// How many minutes with data are wanted, from the first.
    pub limit: Option<u64>,
    /// What a bad row does.
    pub on_error: OnError,
}

/// A file that was read.
#[derive(Debug)]
pub struct Loaded {
    /// Sorted by minute, then stream; never empty.
    pub batches: Vec<MinuteCounts>,
    /// Bad rows that were left out.
    pub skipped: u64,
    /// The first few of them.
    pub examples: Vec<RowError>,
}

/// A row that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {reason}", .column.map(|name| format!(", column {name}")).unwrap_or_default())]
pub struct RowError {
    /// Counted from 1, the header included.
    pub line: u64,
    /// `None` if the row as a whole is wrong.
    pub column: Option<&'static str>,
    /// What is wrong, with the value.
    pub reason: String,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A column is missing, unknown, or stands twice.
    #[error("line 1 (header): {0}")]
    Header(String),
    /// A bad row, with [`OnError::Stop`].
    #[error("{0} (with --on-error skip the stream-processor leaves bad rows out)")]
    Row(RowError),
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] csv::Error),
    /// Nothing would be sent.
    #[error("no row to send: {0}")]
    Empty(&'static str),
}

impl From<RowError> for LoadError {
    fn from(error: RowError) -> Self {
        Self::Row(error)
    }
}

/// Reads a file; errors name it.
pub fn load_file(path: &Path, options: &LoadOptions) -> anyhow::Result<Loaded> {
    let file = File::open(path).with_context(|| {
        format!(
            "give --file a file that is there, seen from where the program starts: cannot open the CSV file {}",
            path.display()
        )
    })?;
    load(file, options).with_context(|| path.display().to_string())
}

/// Reads rows from anything.
pub fn load(input: impl io::Read, options: &LoadOptions) -> Result<Loaded, LoadError> {
    let mut csv = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .buffer_capacity(1 << 16)
        .from_reader(input);
    let mut faults = Faults {
        on_error: options.on_error,
        skipped: 0,
        examples: Vec::new(),
    };
    let mut parser = Parser::new(csv.headers()?, options)?;
    let (mut rows, mut record) = (Vec::new(), StringRecord::new());
    loop {
        match csv.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => match parser.row(&record) {
                Ok(row) => rows.push(row),
                Err(error) => faults.add(error)?,
            },
            Err(error) => faults.add(malformed(error)?)?,
        }
    }
    let any = !rows.is_empty();
    rows.retain(|row| {
        options.from.is_none_or(|from| row.minute >= from)
            && options.to.is_none_or(|to| row.minute < to)
    });
    let mut batches = group(rows, &mut faults)?;
    batches.truncate(end_of(&batches, options.limit));
    match batches.is_empty() {
        false => Ok(Loaded {
            batches,
            skipped: faults.skipped,
            examples: faults.examples,
        }),
        true if any => Err(LoadError::Empty("none lies between --from and --to")),
        true => Err(LoadError::Empty("the file has no usable row")),
    }
}

/// Bad rows: the first is an error, or each is counted.
struct Faults {
    on_error: OnError,
    skipped: u64,
    examples: Vec<RowError>,
}

impl Faults {
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

struct Row {
    minute: Minute,
    stream: Stream,
    counted: StatusCount,
    line: u64,
}

/// Where the columns are, and the stream names met so far (so that rows share them).
struct Parser {
    timestamp: usize,
    status: usize,
    count: usize,
    stream: Option<usize>,
    whole_file: Stream,
    names: HashSet<Stream>,
}

impl Parser {
    fn new(header: &StringRecord, options: &LoadOptions) -> Result<Self, LoadError> {
        let wrong = |what: String| {
            let found = header.iter().collect::<Vec<_>>().join(",");
            LoadError::Header(format!(
                "{what}; expected timestamp,status,count and maybe stream, found {found:?}"
            ))
        };
        for (i, name) in header.iter().enumerate() {
            if !["timestamp", "status", "count", "stream"].contains(&name) {
                return Err(wrong(format!("unknown column {name:?}")));
            }
            if header.iter().take(i).any(|earlier| earlier == name) {
                return Err(wrong(format!("column {name} stands twice")));
            }
        }
        let find = |name: &str| header.iter().position(|column| column == name);
        let need =
            |name: &str| find(name).ok_or_else(|| wrong(format!("column {name} is missing")));
        let stream = find("stream");
        if stream.is_some() && options.stream.is_some() {
            return Err(LoadError::Header(
                "the file has a column stream: leave out --stream".into(),
            ));
        }
        Ok(Self {
            timestamp: need("timestamp")?,
            status: need("status")?,
            count: need("count")?,
            stream,
            whole_file: options.stream.clone().unwrap_or_default(),
            names: HashSet::new(),
        })
    }

    fn row(&mut self, record: &StringRecord) -> Result<Row, RowError> {
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
        let text = &record[self.count];
        let count = text.parse().map_err(|_| {
            wrong(
                "count",
                format!("{text:?} is not a whole number from 0 to {}", u32::MAX),
            )
        })?;
        let stream = match self.stream {
            Some(column) => self
                .stream(&record[column])
                .map_err(|e| wrong("stream", e.to_string()))?,
            None => self.whole_file.clone(),
        };
        Ok(Row {
            minute,
            stream,
            counted: StatusCount { status, count },
            line,
        })
    }

    fn stream(&mut self, name: &str) -> Result<Stream, StreamError> {
        if let Some(known) = self.names.get(name) {
            return Ok(known.clone());
        }
        let stream: Stream = name.parse()?;
        self.names.insert(stream.clone());
        Ok(stream)
    }
}

/// A record that is no row; errors of reading go on as they are.
fn malformed(error: csv::Error) -> Result<RowError, csv::Error> {
    let (position, reason) = match error.kind() {
        ErrorKind::UnequalLengths {
            pos,
            expected_len,
            len,
        } => (
            pos,
            format!("{len} values where the header has {expected_len} columns"),
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

fn group(mut rows: Vec<Row>, faults: &mut Faults) -> Result<Vec<MinuteCounts>, RowError> {
    rows.sort_by(|a, b| (a.minute, &a.stream).cmp(&(b.minute, &b.stream)));
    rows.chunk_by(|a, b| (a.minute, &a.stream) == (b.minute, &b.stream))
        .map(|rows| batch(rows, faults))
        .collect()
}

/// The batch of the rows of one stream and minute, in the order of the file.
fn batch(rows: &[Row], faults: &mut Faults) -> Result<MinuteCounts, RowError> {
    let mut taken: Vec<&Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match reason_against(row, &taken) {
            None => taken.push(row),
            Some(reason) => faults.add(RowError {
                line: row.line,
                column: Some("status"),
                reason,
            })?,
        }
    }
    let transactions = taken.into_iter().map(|row| row.counted.clone()).collect();
    let batch = MinuteCounts::try_new(rows[0].stream.clone(), rows[0].minute, transactions);
    Ok(batch.expect("no status twice, and not too many"))
}

fn reason_against(row: &Row, taken: &[&Row]) -> Option<String> {
    let (status, minute, stream) = (&row.counted.status, row.minute, &row.stream);
    if let Some(first) = taken.iter().find(|other| other.counted.status == *status) {
        return Some(format!(
            "{status} stands twice in minute {minute} of stream {stream}, first in line {}",
            first.line
        ));
    }
    let full = taken.len() == MAX_STATUSES;
    full.then(|| {
        format!("{status} is one status too many: minute {minute} of stream {stream} has {MAX_STATUSES} already")
    })
}

/// The index after the batches of the first `limit` minutes.
fn end_of(batches: &[MinuteCounts], limit: Option<u64>) -> usize {
    let Some(minutes) = limit.and_then(|limit| usize::try_from(limit).ok()) else {
        return batches.len();
    };
    batches
        .chunk_by(|a, b| a.minute() == b.minute())
        .take(minutes)
        .map(<[_]>::len)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(on_error: OnError) -> LoadOptions {
        LoadOptions {
            on_error,
            ..LoadOptions::default()
        }
    }

    fn read(rows: &str, options: &LoadOptions) -> Result<Loaded, LoadError> {
        load(
            format!("timestamp,status,count\n{rows}").as_bytes(),
            options,
        )
    }

    fn refused(file: &str) -> String {
        load(file.as_bytes(), &LoadOptions::default())
            .unwrap_err()
            .to_string()
    }

    fn json(loaded: &Loaded) -> Vec<String> {
        loaded
            .batches
            .iter()
            .map(|batch| String::from_utf8(batch.to_json()).unwrap())
            .collect()
    }

    /// The minutes past 13:00 that are sent.
    fn minutes(loaded: &Loaded) -> Vec<i64> {
        let start: Minute = "2025-07-12 13:00".parse().unwrap();
        loaded
            .batches
            .iter()
            .map(|batch| batch.minute().since(start))
            .collect()
    }

    #[test]
    fn status_blocks_become_one_batch_per_minute_in_order_of_time() {
        let file = "\
2025-07-12 13:46:00,approved,118
2025-07-12 13:45:00,approved,116
2025-07-12 13:45:00,denied,6
2025-07-12T13:46:30Z,denied,0
";
        let loaded = read(file, &LoadOptions::default()).unwrap();
        let expected = [
            r#"{"timestamp":"2025-07-12T13:45:00Z","transactions":[{"status":"approved","count":116},{"status":"denied","count":6}]}"#,
            r#"{"timestamp":"2025-07-12T13:46:00Z","transactions":[{"status":"approved","count":118},{"status":"denied","count":0}]}"#,
        ];
        assert_eq!(json(&loaded), expected);
    }

    #[test]
    fn columns_are_found_by_name_and_streams_are_kept_apart() {
        let file = "\u{feff}stream, count ,status,timestamp\r\nb,1,denied,2025-07-12 13:45\r\na,2,denied,2025-07-12 13:45\r\nb,3,failed,2025-07-12 13:45\r\n";
        let loaded = load(file.as_bytes(), &LoadOptions::default()).unwrap();
        let found: Vec<_> = loaded
            .batches
            .iter()
            .map(|b| (b.stream().as_str(), b.transactions().len()))
            .collect();
        assert_eq!(found, [("a", 1), ("b", 2)]);
        let whole = LoadOptions {
            stream: Some("acquirer-7".parse().unwrap()),
            ..LoadOptions::default()
        };
        let loaded = read("2025-07-12 13:45,denied,1", &whole).unwrap();
        assert_eq!(loaded.batches[0].stream().as_str(), "acquirer-7");
        assert!(
            load(file.as_bytes(), &whole)
                .unwrap_err()
                .to_string()
                .contains("leave out --stream")
        );
    }

    #[test]
    fn the_header_is_required_and_checked() {
        assert!(
            refused("2025-07-12 13:45,approved,116\n")
                .contains("unknown column \"2025-07-12 13:45\"")
        );
        assert!(refused("timestamp,status\n").contains("column count is missing"));
        assert!(refused("timestamp,status,count,count\n").contains("column count stands twice"));
        assert!(refused("timestamp,status,count,Stream\n").contains("unknown column \"Stream\""));
        assert!(refused("").contains("column timestamp is missing"));
        assert!(refused("timestamp,status,count\n").contains("no usable row"));
    }

    #[test]
    fn a_bad_row_names_its_line_its_column_and_the_reason() {
        let good = "2025-07-12 13:45,denied,1\n";
        for (row, parts) in [
            (
                "2025-13-12 13:45,denied,1",
                ["line 3", "timestamp", "2025-13-12 13:45"],
            ),
            (
                "2025-07-12 13:46,Denied,1",
                ["line 3", "status", "\"Denied\" is not a valid name"],
            ),
            (
                "2025-07-12 13:46,denied,-1",
                [
                    "line 3",
                    "count",
                    "\"-1\" is not a whole number from 0 to 4294967295",
                ],
            ),
            (
                "2025-07-12 13:46,denied,4294967296",
                ["line 3", "count", "4294967296"],
            ),
            (
                "2025-07-12 13:46,denied",
                ["line 3", "2 values", "3 columns"],
            ),
            (
                "2025-07-12 13:45:59,denied,2",
                ["line 3", "denied stands twice", "first in line 2"],
            ),
        ] {
            let error = read(&format!("{good}{row}\n"), &LoadOptions::default())
                .unwrap_err()
                .to_string();
            assert!(
                parts.iter().all(|part| error.contains(part)),
                "{row}: {error}"
            );
        }
        let bytes = [b"timestamp,status,count\n2025-07-12 13:45,\xff,1\n".as_slice()].concat();
        assert!(
            load(&*bytes, &LoadOptions::default())
                .unwrap_err()
                .to_string()
                .contains("line 2: not UTF-8")
        );
    }

    #[test]
    fn skipped_rows_are_counted_and_their_neighbours_kept() {
        let rows = "x,denied,1\n2025-07-12 13:45,denied,1\n2025-07-12 13:45,denied,2\n2025-07-12 13:46\n2025-07-12 13:45,failed,3\n";
        let loaded = read(rows, &options(OnError::Skip)).unwrap();
        assert_eq!(
            (
                loaded.skipped,
                loaded.batches.len(),
                loaded.batches[0].transactions().len()
            ),
            (3, 1, 2)
        );
        assert_eq!(
            loaded.batches[0].transactions()[0].count,
            1,
            "the first of two counts stays"
        );
        assert_eq!(
            loaded
                .examples
                .iter()
                .map(|row| row.line)
                .collect::<Vec<_>>(),
            [2, 5, 4]
        );
        let bad = "x,denied,1\n".repeat(99);
        assert!(
            read(&bad, &options(OnError::Skip))
                .unwrap_err()
                .to_string()
                .contains("no usable row")
        );
    }

    #[test]
    fn the_65th_status_of_a_minute_is_a_bad_row() {
        let rows = (0..65)
            .map(|i| format!("2025-07-12 13:45,s{i},1\n"))
            .collect::<Vec<_>>()
            .concat();
        let error = read(&rows, &LoadOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 66") && error.contains("s64 is one status too many"),
            "{error}"
        );
        assert_eq!(
            read(&rows, &options(OnError::Skip)).unwrap().batches[0]
                .transactions()
                .len(),
            64
        );
    }

    #[test]
    fn from_to_and_limit_choose_minutes() {
        let rows: String = [9, 3, 5, 7, 1]
            .map(|m| format!("2025-07-12 13:0{m},denied,1\n2025-07-12 13:0{m},failed,1\n"))
            .concat();
        let choose = |from: Option<&str>, to: Option<&str>, limit| {
            let minute = |text: &str| text.parse().unwrap();
            let options = LoadOptions {
                from: from.map(minute),
                to: to.map(minute),
                limit,
                ..LoadOptions::default()
            };
            read(&rows, &options).map(|loaded| minutes(&loaded))
        };
        assert_eq!(choose(None, None, None).unwrap(), [1, 3, 5, 7, 9]);
        assert_eq!(
            choose(Some("2025-07-12 13:03"), Some("2025-07-12 13:09"), None).unwrap(),
            [3, 5, 7]
        );
        assert_eq!(
            choose(Some("2025-07-12 13:02"), None, Some(2)).unwrap(),
            [3, 5]
        );
        assert!(
            choose(Some("2026-01-01 00:00"), None, None)
                .unwrap_err()
                .to_string()
                .contains("between --from and --to")
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load_file(Path::new("/no/such.csv"), &LoadOptions::default()).unwrap_err();
        assert!(
            format!("{error:#}").contains("cannot open the CSV file /no/such.csv: No such file"),
            "{error:#}"
        );
    }
}
