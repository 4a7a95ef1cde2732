//! The counts that skipped rows leave unknown. A message cannot say "unknown": a monitored status that
//! it does not name is 0. So a minute that may miss a count of a skipped row is left out as a whole,
//! and the service has no minute there instead of a false 0.

use std::collections::{HashMap, HashSet};

use detection::{MonitoredStatus, Status};

/// Monitored statuses, as bits of their indexes.
pub(crate) type StatusSet = u8;

/// The set with one status; empty if it is not monitored, because then nobody takes it for 0.
pub(crate) fn status_set(status: &Status) -> StatusSet {
    status
        .monitored()
        .map_or(0, |monitored: MonitoredStatus| 1 << monitored.index())
}

/// What skipped rows were about, as far as they can be read. A minute, stream or status that cannot
/// be read may be any.
#[derive(Debug, Default)]
pub(crate) struct Unknown {
    counts: HashMap<(Option<i32>, Option<u32>), Statuses>,
    /// Minutes of streams with two counts for one status, of which either may be right.
    clashes: HashSet<(i32, u32)>,
}

#[derive(Debug, Default)]
struct Statuses {
    named: StatusSet,
    any: bool,
}

impl Unknown {
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.clashes.is_empty()
    }

    pub(crate) fn add(
        &mut self,
        minute: Option<i32>,
        stream: Option<u32>,
        status: Option<&Status>,
    ) {
        let named = status.map_or(0, status_set);
        if status.is_some() && named == 0 {
            return;
        }
        let statuses = self.counts.entry((minute, stream)).or_default();
        statuses.named |= named;
        statuses.any |= status.is_none();
    }

    pub(crate) fn add_clash(&mut self, minute: i32, stream: u32) {
        self.clashes.insert((minute, stream));
    }

    /// True if the minute may miss a count. It has counts of `present`; its stream has, in some
    /// minute, counts of `of_stream`.
    pub(crate) fn has(
        &self,
        minute: i32,
        stream: u32,
        present: StatusSet,
        of_stream: StatusSet,
    ) -> bool {
        if self.is_empty() {
            return false;
        }
        let keys = [
            (Some(minute), Some(stream)),
            (Some(minute), None),
            (None, Some(stream)),
            (None, None),
        ];
        let misses = |key: (Option<i32>, Option<u32>)| {
            self.counts.get(&key).is_some_and(|statuses| {
                // A status that cannot be read, in this minute: nobody knows that it is not missing.
                let here = statuses.any && key.0.is_some();
                let any = if statuses.any { of_stream } else { 0 };
                here || (statuses.named | any) & !present != 0
            })
        };
        self.clashes.contains(&(minute, stream)) || keys.into_iter().any(misses)
    }
}
