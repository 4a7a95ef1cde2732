//! Why a file or a row cannot be used. The texts name line, column and value, but no command line
//! flag: each program has its own.

use std::path::PathBuf;

/// A file that cannot be loaded: its path, and the reason as the source.
#[derive(Debug, thiserror::Error)]
#[error("{}", path.display())]
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
    /// A column is missing, unknown, or appears twice.
    #[error("line 1 (header): {0}")]
    Header(String),
    /// A bad row, with [`OnError::Stop`](crate::OnError::Stop).
    #[error("{0}; correct the row, or choose to skip bad rows")]
    Row(RowError),
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] csv::Error),
    /// No minute is left to load.
    #[error("nothing to load: {0}")]
    Empty(&'static str),
}

// Not by `#[from]`, which would make the row the source as well and show it twice.
impl From<RowError> for LoadError {
    fn from(error: RowError) -> Self {
        Self::Row(error)
    }
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
