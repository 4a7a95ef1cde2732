//! The counts of a file, by stream and status, as they are read: twelve bytes for each. Two rows for
//! one status of a minute are merged by the rule of the user. It knows no names.

use crate::OnDuplicate;
use crate::time::Time;

/// Set in the line of a time with seconds, which is a part of a minute.
const PART: u32 = 1 << 31;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) minute: i32,
    pub(crate) count: u32,
    /// Lines beyond 2^31 - 1 are given as that.
    line: u32,
}

impl Point {
    pub(crate) fn new(time: Time, count: u32, line: u64) -> Self {
        let line = u32::try_from(line).map_or(!PART, |line| line.min(!PART));
        Self {
            minute: time.minute,
            count,
            line: if time.has_seconds { line | PART } else { line },
        }
    }

    fn line(self) -> u64 {
        (self.line & !PART).into()
    }

    /// Two parts of a minute can have the same count, so only whole minutes are the same row again.
    const fn repeats(self, first: Self) -> bool {
        self.count == first.count && (self.line | first.line) & PART == 0
    }
}

/// The counts of one stream and status.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) status: u32,
    pub(crate) points: Vec<Point>,
    sorted: bool,
}

/// A row that cannot join the first one for its minute, stream and status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clash {
    pub(crate) minute: i32,
    pub(crate) stream: u32,
    pub(crate) status: u32,
    pub(crate) first_line: u64,
    pub(crate) line: u64,
}

/// Streams by number, each with its statuses in the order of their first rows.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) streams: Vec<Vec<Series>>,
    on_duplicate: OnDuplicate,
    /// Rows that say the same as an earlier one.
    pub(crate) repeated: u64,
    stored: usize,
}

impl Table {
    pub(crate) const fn new(on_duplicate: OnDuplicate) -> Self {
        Self {
            streams: Vec::new(),
            on_duplicate,
            repeated: 0,
            stored: 0,
        }
    }

    /// How many counts it has.
    pub(crate) const fn stored(&self) -> usize {
        self.stored
    }

    pub(crate) fn push(&mut self, stream: u32, status: u32, point: Point) -> Result<(), Clash> {
        let index = stream as usize;
        if self.streams.len() <= index {
            self.streams.resize_with(index + 1, Vec::new);
        }
        let all = &mut self.streams[index];
        let position = all.iter().position(|series| series.status == status);
        let position = position.unwrap_or_else(|| {
            // Exactly one, because many files have streams with few rows.
            all.reserve_exact(usize::from(all.is_empty()));
            all.push(Series {
                status,
                points: Vec::with_capacity(1),
                sorted: true,
            });
            all.len() - 1
        });
        let series = &mut all[position];
        if let Some(newest) = series.points.last_mut() {
            if newest.minute == point.minute {
                let merged = merge(self.on_duplicate, newest, point, &mut self.repeated);
                return merged.map_err(|first| clash(stream, status, first, point));
            }
            series.sorted &= newest.minute < point.minute;
        }
        series.points.push(point);
        self.stored += 1;
        Ok(())
    }

    /// Sorts all counts by minute and merges the rows that were not neighbours.
    pub(crate) fn settle(&mut self, mut clashed: impl FnMut(Clash)) {
        for (stream, all) in (0_u32..).zip(&mut self.streams) {
            for series in all.iter_mut().filter(|series| !series.sorted) {
                // Stable, so that rows of a minute stay in the order of the file.
                series.points.sort_by_key(|point| point.minute);
                series.points.dedup_by(|next, first| {
                    let same = next.minute == first.minute;
                    if same
                        && let Err(first) =
                            merge(self.on_duplicate, first, *next, &mut self.repeated)
                    {
                        clashed(clash(stream, series.status, first, *next));
                    }
                    same
                });
                series.sorted = true;
            }
        }
    }

    /// Removes the counts of other minutes.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(i32) -> bool) {
        self.stored = 0;
        for series in self.streams.iter_mut().flatten() {
            series.points.retain(|point| keep(point.minute));
            self.stored += series.points.len();
        }
    }

    /// Removes the counts of statuses beyond the first `max` of a minute.
    pub(crate) fn limit_statuses(&mut self, max: usize, mut removed: impl FnMut(Clash)) {
        for (stream, all) in (0_u32..).zip(&mut self.streams) {
            if all.len() <= max {
                continue;
            }
            let mut named = std::collections::HashMap::<i32, usize>::new();
            for series in all {
                series.points.retain(|point| {
                    let count = named.entry(point.minute).or_default();
                    *count += 1;
                    if *count > max {
                        removed(clash(stream, series.status, *point, *point));
                    }
                    *count <= max
                });
            }
        }
    }
}

/// Merges a row into the first one of its minute; an error with that one if they contradict each other.
fn merge(
    rule: OnDuplicate,
    first: &mut Point,
    next: Point,
    repeated: &mut u64,
) -> Result<(), Point> {
    match rule {
        OnDuplicate::Sum => {
            first.count = first.count.checked_add(next.count).ok_or(*first)?;
        }
        OnDuplicate::Stop if !next.repeats(*first) => return Err(*first),
        OnDuplicate::Stop => *repeated += 1,
        OnDuplicate::Last => {
            *repeated += u64::from(next.repeats(*first));
            *first = next;
        }
    }
    Ok(())
}

fn clash(stream: u32, status: u32, first: Point, next: Point) -> Clash {
    Clash {
        minute: next.minute,
        stream,
        status,
        first_line: first.line(),
        line: next.line(),
    }
}
