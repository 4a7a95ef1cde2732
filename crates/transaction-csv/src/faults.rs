//! The rows of a file that cannot be used: each kind counted, with the first of its rows as example.
//! One pass finds all kinds.

use std::fmt;

use crate::time_format::{DateForm, Order};
use crate::{Remedy, RowError};

/// Why a field cannot be used: the kind, and the reason with the value.
pub(crate) type Refusal = (FaultKind, String);

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// More or fewer values than the header has columns.
    Length,
    /// No date and time.
    Timestamp,
    /// A date and time in another form.
    DateForm(DateForm),
    /// A time without a date.
    NoDate,
    /// A local time that the zone skips, because the clock is set forward.
    NoSuchTime,
    /// No name of a status.
    Status,
    /// No name of a stream.
    Stream,
    /// No whole number.
    Count,
    /// The same in a column of a wide file, which may be none of a status.
    WideCount,
    /// A second row for a status of a minute, with another count.
    Duplicate,
    /// The same in an hour that occurs twice, because the clock was set back.
    RepeatedHour,
    /// More statuses in a minute than a message can name.
    TooManyStatuses,
}

impl FaultKind {
    /// The column that the kind is about; `None` for the row as a whole.
    const fn column(self) -> Option<&'static str> {
        match self {
            Self::Length => None,
            Self::Timestamp | Self::DateForm(_) | Self::NoDate | Self::NoSuchTime => {
                Some("timestamp")
            }
            Self::Status | Self::Duplicate | Self::RepeatedHour | Self::TooManyStatuses => {
                Some("status")
            }
            Self::Stream => Some("stream"),
            Self::Count | Self::WideCount => Some("count"),
        }
    }
}

/// The rows with one kind of fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong with them.
    pub kind: FaultKind,
    /// How many.
    pub rows: u64,
    /// The first of them in the file.
    pub first: RowError,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows {
            1 => self.first.fmt(f),
            rows => write!(f, "{} ({rows} such rows)", self.first),
        }
    }
}

/// All faults of a file, the first line first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Counts rows, of which the first is in `line`. The reason is built only for an example.
    pub(crate) fn add(
        &mut self,
        kind: FaultKind,
        line: u64,
        rows: u64,
        reason: impl FnOnce() -> String,
    ) {
        let error = |reason| RowError {
            line,
            column: kind.column(),
            reason,
        };
        match self.0.iter_mut().find(|fault| fault.kind == kind) {
            None => self.0.push(Fault {
                kind,
                rows,
                first: error(reason()),
            }),
            Some(fault) => {
                fault.rows += rows;
                if line < fault.first.line {
                    fault.first = error(reason());
                }
            }
        }
    }

    pub(crate) fn sort(&mut self) {
        self.0.sort_by_key(|fault| fault.first.line);
    }

    /// Each kind once.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// How many rows cannot be used.
    pub(crate) fn rows(&self) -> u64 {
        self.0.iter().map(|fault| fault.rows).sum()
    }

    /// The options that would read such rows.
    pub(crate) fn remedies(&self) -> Vec<Remedy> {
        // A later day shows the order of the ones before it.
        let is_known = self.0.iter().any(
            |fault| matches!(fault.kind, FaultKind::DateForm(form) if form.order != Order::Either),
        );
        let remedy = |fault: &Fault| match fault.kind {
            FaultKind::DateForm(form) if form.order != Order::Either => Some(Remedy::TimeFormat(
                form.format(form.order == Order::DayFirst),
            )),
            FaultKind::DateForm(form) if !is_known => Some(Remedy::DayOrMonthFirst {
                day: form.format(true),
                month: form.format(false),
            }),
            FaultKind::NoDate => Some(Remedy::Date),
            FaultKind::WideCount => Some(Remedy::OnlyStatuses),
            FaultKind::Duplicate => Some(Remedy::OnDuplicate),
            _ => None,
        };
        self.0.iter().filter_map(remedy).collect()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if i == 0 { "" } else { "\n  " })?;
        }
        Ok(())
    }
}
