//! Which column of the file is which, by the header and the names that the user gives. It reads no row.

use std::fmt;
use std::str::FromStr;

use csv::StringRecord;
use detection::{MonitoredStatus, Status};

use crate::names::status_name;
use crate::{LoadError, LoadOptions, Remedy};

/// The columns that are read, by our names.
const ROLES: [&str; 4] = ["timestamp", "status", "count", "stream"];
const TIMESTAMP: usize = 0;
const STATUS: usize = 1;
const COUNT: usize = 2;
const STREAM: usize = 3;

/// Names that such columns often have; only for advice.
const OFTEN: [&[&str]; 3] = [
    &[
        "time",
        "datetime",
        "date_time",
        "ts",
        "minute",
        "date",
        "window_start",
        "event_time",
    ],
    &["state", "result", "outcome", "transaction_status"],
    &[
        "f0_",
        "n",
        "total",
        "transactions",
        "quantity",
        "qty",
        "cnt",
        "value",
        "count(*)",
    ],
];

/// The names of a file's columns where they differ from ours: `timestamp=time,count=f0_,stream=merchant`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnNames([Option<String>; 4]);

/// Names of columns that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} does not name a column; write timestamp=, status=, count= or stream= and the name in the file, each once, such as timestamp=time,count=f0_"
)]
pub struct ColumnNamesError(String);

impl FromStr for ColumnNames {
    type Err = ColumnNamesError;

    fn from_str(text: &str) -> Result<Self, ColumnNamesError> {
        let mut names = Self::default();
        for part in text.split(',') {
            let wrong = || ColumnNamesError(part.to_owned());
            let (ours, theirs) = part.split_once('=').ok_or_else(wrong)?;
            let role = role(ours.trim()).ok_or_else(wrong)?;
            let theirs = theirs.trim().to_owned();
            if theirs.is_empty() || names.0[role].replace(theirs).is_some() {
                return Err(wrong());
            }
        }
        Ok(names)
    }
}

fn role(name: &str) -> Option<usize> {
    ROLES
        .iter()
        .position(|role| role.eq_ignore_ascii_case(name))
}

/// The position of each column.
#[derive(Debug)]
pub(crate) struct Columns {
    pub(crate) width: usize,
    pub(crate) timestamp: usize,
    pub(crate) stream: Option<usize>,
    pub(crate) counts: CountColumns,
    /// Columns that are not read.
    pub(crate) ignored: Vec<String>,
}

/// Where the counts are.
#[derive(Debug)]
pub(crate) enum CountColumns {
    /// A row for each status.
    Long {
        /// The column of the status.
        status: usize,
        /// The column of its count.
        count: usize,
    },
    /// A column for each status, in a row for each minute.
    Wide(Vec<(usize, Status)>),
}

impl Columns {
    pub(crate) fn find(
        header: &StringRecord,
        line: u64,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let header = Header {
            names: header.iter().map(str::trim).collect(),
            line,
            given: &options.columns,
        };
        let found = header.positions()?;
        if found[STREAM].is_some() && options.stream.is_some() {
            let what =
                "the file has a column stream, which gives the streams; do not name another one";
            return Err(header.error(what, None));
        }
        let counts = match (options.wide, found) {
            (true, [Some(_), None, None, _]) => CountColumns::Wide(header.statuses(found)),
            (true, [Some(_), ..]) => {
                let what = "the file has a column status or count, so it is not a wide one";
                return Err(header.error(what, None));
            }
            (false, [Some(_), Some(status), Some(count), _]) => {
                CountColumns::Long { status, count }
            }
            _ => return Err(header.missing(found, options.wide)),
        };
        let is_read = |i: &usize| match &counts {
            CountColumns::Long { status, count } => i == status || i == count,
            CountColumns::Wide(statuses) => statuses.iter().any(|(column, _)| column == i),
        };
        let ignored = |(i, _): &(usize, &&str)| !found.contains(&Some(*i)) && !is_read(i);
        let names = header.names.iter().enumerate().filter(ignored);
        Ok(Self {
            width: header.names.len(),
            timestamp: found[TIMESTAMP].expect("checked above"),
            stream: found[STREAM],
            ignored: names.map(|(_, name)| (*name).to_owned()).collect(),
            counts,
        })
    }
}

struct Header<'a> {
    names: Vec<&'a str>,
    line: u64,
    given: &'a ColumnNames,
}

impl Header<'_> {
    /// The column of each role, as far as there is one.
    fn positions(&self) -> Result<[Option<usize>; 4], LoadError> {
        let mut found = [None; 4];
        for (role, column) in found.iter_mut().enumerate() {
            let given = self.given.0[role].as_deref();
            let wanted = given.unwrap_or(ROLES[role]);
            let mut same =
                (0..self.names.len()).filter(|i| self.names[*i].eq_ignore_ascii_case(wanted));
            *column = same.next();
            if same.next().is_some() {
                return Err(self.error(&format!("column {wanted} appears twice"), None));
            }
            if given.is_some() && column.is_none() {
                return Err(self.error(&format!("no column is called {wanted:?}"), None));
            }
        }
        Ok(found)
    }

    /// The statuses of a wide file. A name that no status can have is not read.
    fn statuses(&self, found: [Option<usize>; 4]) -> Vec<(usize, Status)> {
        let others = (0..self.names.len()).filter(|i| !found.contains(&Some(*i)));
        others
            .filter_map(|i| Some((i, Status::parse(&status_name(self.names[i])).ok()?)))
            .collect()
    }

    fn missing(&self, found: [Option<usize>; 4], wide: bool) -> LoadError {
        let needed = if wide { 1 } else { 3 };
        let missing: Vec<usize> = (0..needed).filter(|role| found[*role].is_none()).collect();
        let names: Vec<_> = missing.iter().map(|role| ROLES[*role]).collect();
        let what = match *names {
            [name] => format!("column {name} is missing"),
            _ => format!("columns {} are missing", names.join(", ")),
        };
        let unused = (0..self.names.len()).filter(|i| !found.contains(&Some(*i)));
        let monitored = |name: &str| status_name(name).parse::<MonitoredStatus>().is_ok();
        let has_statuses = unused.clone().any(|i| monitored(self.names[i]));
        let remedy = if found[STATUS].is_none() && found[COUNT].is_none() && has_statuses {
            Remedy::Wide
        } else {
            Remedy::Columns(self.guess(&missing, unused.collect()))
        };
        self.error(&what, Some(remedy))
    }

    /// Names for the missing columns: what they are often called, or the only one that is left.
    fn guess(&self, missing: &[usize], mut unused: Vec<usize>) -> String {
        let mut guesses: Vec<(usize, Option<usize>)> = Vec::new();
        for role in missing {
            let often = |i: &usize| {
                let name = self.names[*i].to_ascii_lowercase();
                OFTEN[*role].contains(&&*name)
            };
            let guess = unused.iter().position(often).map(|i| unused.remove(i));
            guesses.push((*role, guess));
        }
        let mut unknown = guesses.iter_mut().filter(|(_, guess)| guess.is_none());
        if let (Some((_, guess)), None, [only]) = (unknown.next(), unknown.next(), &*unused) {
            *guess = Some(*only);
        }
        let name = |guess: Option<usize>| guess.map_or("NAME", |i| self.names[i]);
        let pairs = guesses
            .iter()
            .map(|(role, guess)| format!("{}={}", ROLES[*role], name(*guess)));
        pairs.collect::<Vec<_>>().join(",")
    }

    fn error(&self, what: &str, remedy: Option<Remedy>) -> LoadError {
        let found = self.names.join(",");
        LoadError::Header {
            line: self.line,
            reason: format!(
                "{what}; expected timestamp,status,count and optionally stream, found {found:?}"
            ),
            remedy,
        }
    }
}

impl fmt::Display for ColumnNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = ROLES.iter().zip(&self.0);
        let pairs = pairs.filter_map(|(ours, theirs)| Some(format!("{ours}={}", theirs.as_ref()?)));
        f.write_str(&pairs.collect::<Vec<_>>().join(","))
    }
}
