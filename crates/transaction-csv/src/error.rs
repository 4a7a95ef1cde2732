//! Why a file or a row cannot be used. The texts name line, column and value; a [`Remedy`] is what
//! would read it.

use std::path::{Path, PathBuf};

use crate::faults::Faults;

/// A file that cannot be loaded: its path, and the reason as the source.
#[derive(Debug, thiserror::Error)]
#[error("{}", if path == Path::new(crate::STDIN) { "standard input".into() } else { path.display().to_string() })]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// Why it cannot be loaded.
    pub source: LoadError,
}

/// Rows that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be opened.
    #[error("cannot open the CSV file; check the path, relative to the working directory")]
    Open(#[source] std::io::Error),
    /// A column is missing, or appears twice.
    #[error("line {line} (header): {reason}")]
    Header {
        /// Where the header is.
        line: u64,
        /// What is wrong with it.
        reason: String,
        /// The options that would read it.
        remedies: Vec<Remedy>,
    },
    /// Bad rows, with [`OnError::Stop`](crate::OnError::Stop).
    #[error("{0}; correct the file")]
    Rows(Faults),
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] csv::Error),
    /// No minute is left to load.
    #[error("nothing to load: {0}")]
    Empty(&'static str),
}

impl LoadError {
    /// The options that would read the file, as far as its errors show.
    pub fn remedies(&self) -> Vec<Remedy> {
        match self {
            Self::Header { remedies, .. } => remedies.clone(),
            Self::Rows(faults) => faults.remedies(),
            Self::Open(_) | Self::Read(_) | Self::Empty(_) => Vec::new(),
        }
    }
}

/// An option of [`LoadOptions`](crate::LoadOptions) that would read what was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Name the columns, such as `timestamp=time,count=f0_`. `NAME` is a name that cannot be guessed.
    Columns(String),
    /// Read a column for each status.
    Wide,
    /// Name the columns of statuses, so that no other one is read.
    OnlyStatuses,
    /// Count rows, each of which is one transaction, with these names of columns, if any.
    CountRows(String),
    /// Give the date of times that have none.
    Date,
    /// Give the form in which times are written.
    TimeFormat(String),
    /// The same; the first times do not show which of two it is.
    DayOrMonthFirst {
        /// The form with the day first.
        day: String,
        /// The form with the month first.
        month: String,
    },
    /// Say what two rows for one status of a minute mean.
    OnDuplicate,
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
