//! The order in which partitions are read. In a backlog the message with the oldest minute is next, so that no minute is too late
//! only because another partition was read first. Pure: messages are opaque, and time is an argument.
//!
//! A message waits while another partition may still have an older one: its next message is older, or it is not read to its end. It
//! never waits for a partition that brought nothing for [`MAX_DRY`], and for older messages at most for [`MAX_HELD`]. While no partition is known
//! to have a backlog, the order is kept within `slack_minutes` only, so that producers with a delay do not delay others.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use detection::Minute;

/// A partition that brings nothing for this long is not waited for.
const MAX_DRY: Duration = Duration::from_secs(2);

/// A message waits for older ones of another partition for at most this long, and for those of one with a backlog for at most this long.
const MAX_HELD: Duration = Duration::from_secs(30);
const MAX_HELD_BY_BACKLOG: Duration = Duration::from_mins(10);

/// Messages that may wait, over all partitions, and the fewest of each.
const MAX_WAITING: (usize, usize) = (20_000, 100);

/// Messages that are fetched at once before the first is read, to find those of partitions that had been read to their end.
const MAX_AHEAD: usize = 5000;

/// Before every minute.
const NEVER: Minute = Minute::from_epoch_minutes(i64::MIN);

/// The partitions, and the messages that were fetched and not read.
pub(super) struct Lanes<M> {
    partitions: BTreeMap<i32, Lane<M>>,
    /// A partition without a known backlog may fall this many minutes behind before others wait for it.
    slack_minutes: i64,
    /// The lane that is read now, and the newest minute that may be read from it.
    run: Option<(i32, Option<Minute>)>,
    /// Messages of one partition that may wait.
    max_waiting: usize,
    /// Messages that were fetched since a lane had become empty, and true if no more had been fetched then, or too many.
    ahead: usize,
    is_ahead: bool,
    /// True if nothing more is fetched.
    is_released: bool,
}

/// One partition.
struct Lane<M> {
    waiting: VecDeque<M>,
    /// The minute of the first waiting message, once known, and since when it must wait.
    head: Option<(Minute, Duration)>,
    /// The minute of the last message read.
    floor: Option<Minute>,
    /// The next offset to fetch, and the end of the log as last seen.
    next_offset: i64,
    end_offset: i64,
    /// True if it was fetched to its end.
    is_ended: bool,
    /// Since when nothing waits.
    dry_since: Duration,
    /// True if it held others back for too long: it is read after them until its end, or until it has caught up with them.
    is_slow: bool,
    is_paused: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Read the first message of this partition, unless its minute is after the limit: then put it back.
    Take(i32, Option<Minute>),
    /// Fetch more.
    Fetch,
}

impl<M> Lanes<M> {
    /// Without any message; `partitions` have the next offset and the end of each log.
    pub(super) fn new(
        partitions: impl IntoIterator<Item = (i32, i64, i64)>,
        slack_minutes: i64,
    ) -> Self {
        let lane = |(partition, next_offset, end_offset)| {
            let lane = Lane {
                waiting: VecDeque::new(),
                head: None,
                floor: None,
                next_offset,
                end_offset,
                is_ended: false,
                dry_since: Duration::ZERO,
                is_slow: false,
                is_paused: false,
            };
            (partition, lane)
        };
        let lanes: BTreeMap<_, _> = partitions.into_iter().map(lane).collect();
        let (all, fewest) = MAX_WAITING;
        Self {
            max_waiting: (all / lanes.len().max(1)).max(fewest),
            partitions: lanes,
            slack_minutes,
            run: None,
            ahead: 0,
            is_ahead: false,
            is_released: false,
        }
    }

    /// Notes the end of a log.
    pub(super) fn set_end(&mut self, partition: i32, end_offset: i64) {
        if let Some(lane) = self.partitions.get_mut(&partition) {
            lane.end_offset = end_offset;
        }
    }

    /// Keeps a fetched message; true if the partition is to be paused, since enough of its messages wait. Messages that were fetched
    /// before are dropped.
    pub(super) fn push(&mut self, partition: i32, offset: i64, message: M) -> bool {
        if self.run.is_some_and(|(run, _)| run != partition) {
            self.run = None;
        }
        let Some(lane) = self.partitions.get_mut(&partition) else {
            return false;
        };
        if offset < lane.next_offset {
            return false;
        }
        if self.is_ahead && lane.waiting.is_empty() {
            (self.ahead, self.is_ahead) = (0, false);
        }
        self.ahead += 1;
        self.is_ahead |= self.ahead >= MAX_AHEAD;
        (lane.next_offset, lane.is_ended) = (offset + 1, false);
        lane.waiting.push_back(message);
        let pauses = !lane.is_paused && lane.waiting.len() >= self.max_waiting;
        lane.is_paused |= pauses;
        pauses
    }

    /// Notes that a partition was fetched to its end.
    pub(super) fn end(&mut self, partition: i32) {
        self.run = None;
        if let Some(lane) = self.partitions.get_mut(&partition) {
            (lane.is_ended, lane.is_slow) = (true, false);
        }
    }

    /// Notes that nothing more was fetched.
    pub(super) fn note_dry(&mut self) {
        self.is_ahead = true;
    }

    /// Notes that the connection was lost: more may have been written to each partition.
    pub(super) fn reopen(&mut self, now: Duration) {
        for lane in self.partitions.values_mut() {
            (lane.is_ended, lane.dry_since) = (false, now);
        }
    }

    /// Notes that nothing more will be fetched: what waits waits for nobody.
    pub(super) fn release(&mut self) {
        (self.run, self.is_released) = (None, true);
    }

    /// True if the partition was read to its end.
    pub(super) fn is_at_end(&self, partition: i32) -> bool {
        let lane = self.partitions.get(&partition);
        lane.is_some_and(|lane| lane.is_ended && lane.waiting.is_empty())
    }

    /// True if a fetched message of the partition waits.
    pub(super) fn is_waiting(&self, partition: i32) -> bool {
        let lane = self.partitions.get(&partition);
        lane.is_some_and(|lane| !lane.waiting.is_empty())
    }

    /// True if any fetched message waits.
    pub(super) fn is_any_waiting(&self) -> bool {
        self.partitions
            .values()
            .any(|lane| !lane.waiting.is_empty())
    }

    /// The paused partitions.
    pub(super) fn paused(&self) -> impl Iterator<Item = i32> {
        let paused = self.partitions.iter().filter(|(_, lane)| lane.is_paused);
        paused.map(|(partition, _)| *partition)
    }

    /// What to do next.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        let run = self.run.filter(|(partition, _)| {
            let lane = self.partitions.get(partition);
            lane.is_some_and(|lane| !lane.waiting.is_empty())
        });
        self.run = run.or_else(|| self.choose(now));
        self.run.map_or(Next::Fetch, |(partition, limit)| {
            Next::Take(partition, limit)
        })
    }

    /// The lane with the oldest message, and the oldest minute that the others may still have.
    fn choose(&mut self, now: Duration) -> Option<(i32, Option<Minute>)> {
        let waiting = self
            .partitions
            .iter()
            .filter(|(_, lane)| !lane.waiting.is_empty());
        let oldest = |is_slow: bool| {
            let lanes = waiting.clone().filter(|(_, lane)| lane.is_slow == is_slow);
            lanes.min_by_key(|(_, lane)| lane.head.map(|(minute, _)| minute))
        };
        if let Some((&partition, lane)) = oldest(false) {
            let others = self
                .partitions
                .iter()
                .filter(|(other, _)| **other != partition);
            let slack_minutes = if self.is_ahead { self.slack_minutes } else { 0 };
            let limits =
                others.filter_map(|(_, lane)| lane.limit(now, self.is_ahead, slack_minutes));
            let limit = limits.min().filter(|_| !self.is_released);
            let is_allowed = lane
                .head
                .is_none_or(|(head, _)| limit.is_none_or(|limit| head <= limit));
            if is_allowed {
                return Some((partition, limit));
            }
        }
        oldest(true).map(|(&partition, _)| (partition, None))
    }

    /// Finds the partitions that others have waited for too long, and those that have caught up again.
    pub(super) fn find_slow(&mut self, now: Duration) {
        let others = self.partitions.values().filter(|lane| !lane.is_slow);
        let held = |limit| {
            let heads = others.clone().filter_map(|lane| lane.head);
            let held = heads.filter(|(_, since)| now.saturating_sub(*since) >= limit);
            held.map(|(minute, _)| minute).min()
        };
        let (held, held_by_backlog) = (held(MAX_HELD), held(MAX_HELD_BY_BACKLOG));
        let slowest = others.filter_map(Lane::at).min();
        for lane in self.partitions.values_mut() {
            let at = lane.at();
            let is_behind = |minute| at.is_none_or(|at| at < minute);
            lane.is_slow = if lane.is_slow {
                slowest.is_none_or(is_behind)
            } else {
                let held = if lane.has_backlog() {
                    held_by_backlog
                } else {
                    held
                };
                held.is_some_and(is_behind) && !lane.is_ended
            };
        }
    }

    /// Takes the first message of a partition.
    pub(super) fn take(&mut self, partition: i32) -> Option<M> {
        self.partitions.get_mut(&partition)?.waiting.pop_front()
    }

    /// Puts a message back whose minute is after the limit.
    pub(super) fn put_back(&mut self, partition: i32, message: M, minute: Minute, now: Duration) {
        self.run = None;
        if let Some(lane) = self.partitions.get_mut(&partition) {
            lane.waiting.push_front(message);
            lane.head = Some((minute, now));
        }
    }

    /// Notes that the message taken last was read; true if the partition is to be resumed.
    pub(super) fn note_read(
        &mut self,
        partition: i32,
        minute: Option<Minute>,
        now: Duration,
    ) -> bool {
        let Some(lane) = self.partitions.get_mut(&partition) else {
            return false;
        };
        lane.head = None;
        lane.floor = minute.or(lane.floor);
        if lane.waiting.is_empty() {
            lane.dry_since = now;
        }
        let resumes = lane.is_paused && lane.waiting.len() <= self.max_waiting / 2;
        lane.is_paused &= !resumes;
        resumes
    }
}

impl<M> Lane<M> {
    /// True if messages are known that were not read.
    fn has_backlog(&self) -> bool {
        !self.waiting.is_empty() || self.next_offset < self.end_offset
    }

    /// How far it is.
    fn at(&self) -> Option<Minute> {
        self.head.map(|(minute, _)| minute).or(self.floor)
    }

    /// The oldest minute that it may still bring; none if nobody waits for it. `is_ahead`: nothing more was fetched from it.
    fn limit(&self, now: Duration, is_ahead: bool, slack_minutes: i64) -> Option<Minute> {
        if self.is_slow {
            return None;
        }
        if !self.waiting.is_empty() {
            return Some(self.head.map_or(NEVER, |(minute, _)| minute));
        }
        let is_over = self.is_ended && is_ahead || now.saturating_sub(self.dry_since) >= MAX_DRY;
        let slack_minutes = if self.has_backlog() { 0 } else { slack_minutes };
        (!is_over).then(|| self.floor.map_or(NEVER, |floor| floor.plus(slack_minutes)))
    }
}

#[cfg(test)]
mod tests;
