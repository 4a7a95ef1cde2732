//! What is read so far: counts of the chosen minutes, faults, and what skipped rows leave unknown. At
//! the end it becomes what is loaded, or all faults in one error.

use detection::message::MAX_STATUSES;
use detection::{Minute, Status, Stream};

use crate::counts::Counts;
use crate::faults::{FaultKind, Faults, Refusal};
use crate::limit::FirstMinutes;
use crate::names::Names;
use crate::series::{Clash, Point, Table};
use crate::time::Time;
use crate::unknown::Unknown;
use crate::{FillMinutes, LoadError, LoadOptions, Loaded, OnDuplicate, OnError};

/// Counts of later minutes than the limit that may wait for their removal.
const MAX_EXTRA: usize = 4096;

/// Where a count belongs, and where it is in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) stream: u32,
    pub(crate) status: u32,
    pub(crate) time: Time,
    pub(crate) line: u64,
}

pub(crate) struct Collected<'a> {
    options: &'a LoadOptions,
    table: Table,
    faults: Faults,
    first_minutes: Option<FirstMinutes>,
    /// At this size, counts after the first minutes are removed.
    remove_at: usize,
    clashes: Clashes,
    has_counts: bool,
    unknown: Unknown,
    pub(crate) occurs_twice: u64,
}

/// Rows that clash with an earlier one: how many, and the first of them.
#[derive(Debug, Default)]
struct Clashes {
    rows: u64,
    first: Option<Clash>,
    /// Some are not in an hour that occurs twice.
    in_other_hours: bool,
}

impl Clashes {
    fn add(&mut self, clash: Clash, options: &LoadOptions) {
        self.rows += 1;
        self.in_other_hours |= !options.occurs_twice(clash.minute);
        if self.first.is_none_or(|first| clash.line < first.line) {
            self.first = Some(clash);
        }
    }
}

impl<'a> Collected<'a> {
    pub(crate) fn new(options: &'a LoadOptions) -> Self {
        Self {
            options,
            table: Table::new(options.merged()),
            faults: Faults::default(),
            first_minutes: options.limit.map(FirstMinutes::new),
            remove_at: MAX_EXTRA,
            clashes: Clashes::default(),
            has_counts: false,
            unknown: Unknown::default(),
            occurs_twice: 0,
        }
    }

    pub(crate) fn refuse(&mut self, (kind, reason): Refusal, line: u64) {
        self.faults.add(kind, line, 1, || reason);
    }

    /// A refused row may have been a count of this minute, stream and status; `None` may be any.
    pub(crate) fn miss(
        &mut self,
        minute: Option<i32>,
        stream: Option<u32>,
        status: Option<&Status>,
    ) {
        if self.options.on_error == OnError::Skip {
            self.unknown.add(minute, stream, status);
        }
    }

    pub(crate) fn add(&mut self, cell: Cell, count: u32) {
        self.has_counts = true;
        let minute = cell.time.minute;
        let at = Minute::from_epoch_minutes(minute.into());
        let is_chosen = self.options.from.is_none_or(|from| at >= from)
            && self.options.to.is_none_or(|to| at < to)
            && self
                .first_minutes
                .as_mut()
                .is_none_or(|first| first.admit(minute));
        if !is_chosen {
            return;
        }
        let point = Point::new(cell.time, count, cell.line);
        if let Err(clash) = self.table.push(cell.stream, cell.status, point) {
            self.clash(clash);
        } else if self.first_minutes.is_some() && self.table.stored() > self.remove_at {
            self.remove_later();
            self.remove_at = 2 * self.table.stored() + MAX_EXTRA;
        }
    }

    fn remove_later(&mut self) {
        if let Some(last) = self.first_minutes.as_ref().and_then(FirstMinutes::last) {
            self.table.retain(|minute| minute <= last);
        }
    }

    fn clash(&mut self, clash: Clash) {
        self.clashes.add(clash, self.options);
        if self.options.on_error == OnError::Skip {
            self.unknown.add_clash(clash.minute, clash.stream);
        }
    }

    pub(crate) fn finish(
        mut self,
        streams: &Names<Stream>,
        statuses: &Names<Status>,
    ) -> Result<Loaded, LoadError> {
        self.remove_later();
        self.find_faults(&streams.all, &statuses.all);
        let skipped = self.faults.rows();
        if self.options.on_error == OnError::Stop && skipped > 0 {
            return Err(LoadError::Rows(self.faults));
        }
        if !self.has_counts {
            return Err(LoadError::Empty("the file has no usable row"));
        }
        let repeated = self.table.repeated;
        let mut counts = Counts::new(self.table.streams, &streams.all, &statuses.all)
            .ok_or(LoadError::Empty("no row is in the chosen time range"))?;
        let left_out = counts.leave_out(&self.unknown).ok_or(LoadError::Empty(
            "every minute may miss the count of a skipped row",
        ))?;
        if self.options.fill_minutes == Some(FillMinutes::Zero) {
            counts.fill(self.unknown, self.options.limit);
        }
        Ok(Loaded {
            counts,
            skipped,
            faults: self.faults,
            left_out,
            repeated,
            occurs_twice: self.occurs_twice,
            ignored_columns: Vec::new(),
        })
    }

    fn find_faults(&mut self, streams: &[Stream], statuses: &[Status]) {
        let (clashes, unknown) = (&mut self.clashes, &mut self.unknown);
        self.table.settle(|clash| {
            clashes.add(clash, self.options);
            if self.options.on_error == OnError::Skip {
                unknown.add_clash(clash.minute, clash.stream);
            }
        });
        let name = |clash: &Clash| {
            let minute = Minute::from_epoch_minutes(clash.minute.into());
            let stream = &streams[clash.stream as usize];
            (
                &statuses[clash.status as usize],
                format!("minute {minute} of stream {stream}"),
            )
        };
        if let Some(first) = self.clashes.first {
            let (status, minute) = name(&first);
            let what = match self.options.merged() {
                OnDuplicate::Sum => "adds up to more than 4294967295",
                OnDuplicate::Stop | OnDuplicate::Last => "appears twice",
            };
            let mut reason = format!(
                "{status} {what} in {minute}, first in line {}",
                first.first_line
            );
            let mut kind = FaultKind::Duplicate;
            if !self.clashes.in_other_hours {
                kind = FaultKind::RepeatedHour;
                reason.push_str(": the clock was set back, so two hours have these times; write them with their offset from UTC");
            }
            self.faults
                .add(kind, first.line, self.clashes.rows, || reason);
        }
        let faults = &mut self.faults;
        self.table.limit_statuses(MAX_STATUSES, |clash| {
            faults.add(FaultKind::TooManyStatuses, clash.line, 1, || {
                let (status, minute) = name(&clash);
                format!("{status} is one status too many; {minute} already has {MAX_STATUSES}")
            });
        });
        faults.sort();
    }
}
