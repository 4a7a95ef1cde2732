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
        "created_at",
        "created",
        "occurred_at",
        "transaction_time",
        "data",
        "hora",
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

/// Names of columns of single transactions that are no counts.
const OF_TRANSACTIONS: [&str; 10] = [
    "amount",
    "amount_cents",
    "currency",
    "id",
    "merchant",
    "merchant_id",
    "order_id",
    "payment_id",
    "price",
    "transaction_id",
];

/// The names of a file's columns where they differ from ours: `timestamp=time,count=f0_,stream=merchant`. Those of monitored statuses
/// make it a wide file in which no other column is a status: `approved=ok,denied=nok`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnNames {
    roles: [Option<String>; 4],
    statuses: Vec<(MonitoredStatus, String)>,
}

/// Names of columns that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} does not name a column; write timestamp=, status=, count=, stream= or a monitored status, and the name in the file, each once, such as timestamp=time,count=f0_ or timestamp=time,approved=ok,denied=nok"
)]
pub struct ColumnNamesError(String);

impl FromStr for ColumnNames {
    type Err = ColumnNamesError;

    fn from_str(text: &str) -> Result<Self, ColumnNamesError> {
        let mut names = Self::default();
        for part in text.split(',') {
            let wrong = || ColumnNamesError(part.to_owned());
            let (ours, theirs) = part.split_once('=').ok_or_else(wrong)?;
            let (ours, theirs) = (ours.trim(), theirs.trim().to_owned());
            let is_new = if let Some(role) = role(ours) {
                names.roles[role].replace(theirs.clone()).is_none()
            } else {
                let status = status_name(ours).parse().map_err(|_| wrong())?;
                let is_new = names.statuses.iter().all(|(known, _)| *known != status);
                names.statuses.push((status, theirs.clone()));
                is_new
            };
            if theirs.is_empty() || !is_new {
                return Err(wrong());
            }
        }
        Ok(names)
    }
}

impl ColumnNames {
    /// True if they name statuses, so that the file is a wide one.
    fn is_wide(&self) -> bool {
        !self.statuses.is_empty()
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
    /// A row for each transaction.
    Rows {
        /// The column of its status.
        status: usize,
    },
}

impl Columns {
    pub(crate) fn find(
        header: &StringRecord,
        line: u64,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let wide = options.wide || options.columns.is_wide();
        let header = Header {
            names: header.iter().map(str::trim).collect(),
            line,
            given: &options.columns,
            needed: match (wide, options.count_rows) {
                (true, _) => &ROLES[..1],
                (_, true) => &ROLES[..2],
                _ => &ROLES[..3],
            },
        };
        let mut found = header.positions()?;
        if options.count_rows {
            found[COUNT] = None;
        }
        if found[STREAM].is_some() && options.stream.is_some() {
            let what =
                "the file has a column stream, which gives the streams; do not name another one";
            return Err(header.error(what, Vec::new()));
        }
        let counts = match (wide, found) {
            (true, [Some(_), None, None, _]) => CountColumns::Wide(header.statuses(found)?),
            (true, [Some(_), ..]) => {
                let what = "the file has a column status or count, so it is not a wide one";
                return Err(header.error(what, Vec::new()));
            }
            (false, [Some(_), Some(status), Some(count), _]) => {
                CountColumns::Long { status, count }
            }
            (false, [Some(_), Some(status), None, _]) if options.count_rows => {
                CountColumns::Rows { status }
            }
            _ => return Err(header.missing(found)),
        };
        let is_read = |i: &usize| match &counts {
            CountColumns::Long { status, count } => i == status || i == count,
            CountColumns::Rows { status } => i == status,
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
    /// The columns that it must have.
    needed: &'static [&'static str],
}

impl Header<'_> {
    /// The column of each role, as far as there is one.
    fn positions(&self) -> Result<[Option<usize>; 4], LoadError> {
        let mut found = [None; 4];
        for (role, column) in found.iter_mut().enumerate() {
            let given = self.given.roles[role].as_deref();
            let wanted = given.unwrap_or(ROLES[role]);
            let mut same =
                (0..self.names.len()).filter(|i| self.names[*i].eq_ignore_ascii_case(wanted));
            *column = same.next();
            if same.next().is_some() {
                return Err(self.error(&format!("column {wanted} appears twice"), Vec::new()));
            }
            if given.is_some() && column.is_none() {
                return Err(self.unknown(wanted));
            }
        }
        Ok(found)
    }

    /// The statuses of a wide file: those that are named, or else every name that a status can have.
    fn statuses(&self, found: [Option<usize>; 4]) -> Result<Vec<(usize, Status)>, LoadError> {
        if self.given.is_wide() {
            let named = self.given.statuses.iter().map(|(status, name)| {
                let is_named = |column: &&str| column.eq_ignore_ascii_case(name);
                let column = self.names.iter().position(is_named);
                let column = column.ok_or_else(|| self.unknown(name))?;
                Ok((column, Status::Monitored(*status)))
            });
            return named.collect();
        }
        let others = (0..self.names.len()).filter(|i| !found.contains(&Some(*i)));
        let status = |i: usize| Some((i, Status::parse(&status_name(self.names[i])).ok()?));
        Ok(others.filter_map(status).collect())
    }

    fn unknown(&self, name: &str) -> LoadError {
        self.error(&format!("no column is called {name:?}"), Vec::new())
    }

    fn missing(&self, found: [Option<usize>; 4]) -> LoadError {
        let missing: Vec<usize> = (0..self.needed.len())
            .filter(|role| found[*role].is_none())
            .collect();
        let names: Vec<_> = missing.iter().map(|role| ROLES[*role]).collect();
        let what = match *names {
            [name] => format!("column {name} is missing"),
            _ => format!("columns {} are missing", names.join(", ")),
        };
        let unused = (0..self.names.len()).filter(|i| !found.contains(&Some(*i)));
        let monitored = |name: &str| status_name(name).parse::<MonitoredStatus>().is_ok();
        let has_statuses = unused.clone().any(|i| monitored(self.names[i]));
        let remedies = if missing.contains(&STATUS) && missing.contains(&COUNT) && has_statuses {
            vec![Remedy::Wide]
        } else {
            self.columns(&missing, unused.collect())
        };
        self.error(&what, remedies)
    }

    /// Names for the missing columns; where none is known to be a count, each row may be a transaction.
    fn columns(&self, missing: &[usize], mut unused: Vec<usize>) -> Vec<Remedy> {
        let often = |role: &usize| {
            let position = unused.iter().position(|i| {
                let name = self.names[*i].to_ascii_lowercase();
                OFTEN[*role].contains(&&*name)
            });
            (*role, position.map(|at| unused.remove(at)))
        };
        let mut guesses: Vec<(usize, Option<usize>)> = missing.iter().map(often).collect();
        let counts = guesses.iter().find(|(role, _)| *role == COUNT).copied();
        unused.retain(|i| !OF_TRANSACTIONS.contains(&&*self.names[*i].to_ascii_lowercase()));
        let mut remedies = Vec::new();
        if let Some((_, None)) = counts {
            guesses.retain(|(role, _)| *role != COUNT);
            remedies.push(Remedy::CountRows(self.pairs(&guesses)));
            if unused.is_empty() {
                return remedies;
            }
            guesses.push((COUNT, None));
        }
        // The only column that is left.
        let mut unknown = guesses.iter_mut().filter(|(_, guess)| guess.is_none());
        if let (Some((_, guess)), None, [only]) = (unknown.next(), unknown.next(), &*unused) {
            *guess = Some(*only);
        }
        remedies.insert(0, Remedy::Columns(self.pairs(&guesses)));
        remedies
    }

    fn pairs(&self, guesses: &[(usize, Option<usize>)]) -> String {
        let name = |guess: Option<usize>| guess.map_or("NAME", |i| self.names[i]);
        let pairs = guesses
            .iter()
            .map(|(role, guess)| format!("{}={}", ROLES[*role], name(*guess)));
        pairs.collect::<Vec<_>>().join(",")
    }

    fn error(&self, what: &str, remedies: Vec<Remedy>) -> LoadError {
        let (found, needed) = (self.names.join(","), self.needed.join(","));
        LoadError::Header {
            line: self.line,
            reason: format!("{what}; expected {needed} and optionally stream, found {found:?}"),
            remedies,
        }
    }
}

impl fmt::Display for ColumnNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let roles = ROLES.iter().zip(&self.roles);
        let roles = roles.filter_map(|(ours, theirs)| Some((*ours, theirs.as_ref()?)));
        let statuses = self.statuses.iter();
        let statuses = statuses.map(|(status, theirs)| (status.name(), theirs));
        let pairs = roles.chain(statuses);
        let pairs = pairs.map(|(ours, theirs)| format!("{ours}={theirs}"));
        f.write_str(&pairs.collect::<Vec<_>>().join(","))
    }
}
