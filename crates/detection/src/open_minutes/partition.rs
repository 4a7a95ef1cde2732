//! One partition: its watermark, and the minutes in which it was alive. Knows no stream.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{MINUTE_MS, Settings};
use crate::minute::Minute;

/// The stored form of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// The newest event time read, milliseconds since 1970.
    pub watermark_ms: Option<i64>,
    /// Minutes with a message, from the newest one before the open minutes on.
    pub alive: BTreeSet<Minute>,
}

/// A partition, and how far its minutes may close.
#[derive(Debug, Default)]
pub(super) struct Partition {
    pub(super) state: PartitionState,
    /// True if the state differs from the stored one.
    pub(super) changed: bool,
    /// Minutes before this one are complete, as of the last [`Partition::advance`].
    pub(super) complete: Option<Minute>,
    /// The minutes before `complete` in which a stream without counts has zeros: alive, or in a short pause. In order.
    pub(super) zeros: Vec<Minute>,
    /// The watermark, and the clock when it was first seen.
    pub(super) seen: Option<(i64, i64)>,
}

impl Partition {
    /// Notes a message, and returns the horizon before it.
    pub(super) fn pass(&mut self, at_ms: i64, minute: Minute, close_after_ms: i64) -> Minute {
        let horizon = self.horizon(close_after_ms);
        self.changed = true;
        if self
            .state
            .watermark_ms
            .is_none_or(|watermark_ms| at_ms > watermark_ms)
        {
            self.state.watermark_ms = Some(at_ms);
        }
        if minute >= horizon && !self.state.alive.contains(&minute) {
            self.state.alive.insert(minute);
        }
        if self.complete.is_some_and(|complete| minute < complete) {
            // The clock was ahead of this message, so the minute is checked once more.
            self.complete = None;
        }
        horizon
    }

    /// Minutes before this one are closed by the watermark.
    pub(super) fn horizon(&self, close_after_ms: i64) -> Minute {
        closed_at(
            self.state.watermark_ms.unwrap_or(i64::MIN / 2),
            close_after_ms,
        )
    }

    /// The end of the newest minute with a message.
    pub(super) fn active_until(&self) -> Option<Minute> {
        Some(self.state.alive.last()?.plus(1))
    }

    /// Finds how far minutes may close, by the watermark and, at the end of the partition, by the clock. True if that changed.
    /// Each message is about the time up to `span_ms` after its event time.
    pub(super) fn advance(
        &mut self,
        now_ms: i64,
        at_end: bool,
        span_ms: i64,
        settings: &Settings,
    ) -> bool {
        let clock_ms = self.feed_clock_ms(now_ms, span_ms);
        let by_watermark = self.horizon(settings.close_after_ms);
        let by_clock = at_end.then(|| closed_at(clock_ms, settings.close_after_ms));
        let complete = by_clock.map_or(by_watermark, |by_clock| by_clock.max(by_watermark));
        if self.complete == Some(complete) {
            return false;
        }
        self.complete = Some(complete);
        self.zeros = self.alive_before(complete, settings.max_pause_minutes);
        true
    }

    /// The clock, less the delay of the feed: the messages of a replay are old when they come, and the next ones are as old.
    fn feed_clock_ms(&mut self, now_ms: i64, span_ms: i64) -> i64 {
        let Some(watermark_ms) = self.state.watermark_ms else {
            return now_ms;
        };
        let since_ms = match self.seen {
            Some((known_ms, since_ms)) if known_ms == watermark_ms => since_ms,
            _ => now_ms,
        };
        self.seen = Some((watermark_ms, since_ms));
        let passed_ms = now_ms.saturating_sub(since_ms).max(0);
        let newest_ms = watermark_ms.saturating_add(span_ms);
        newest_ms.saturating_add(passed_ms).min(now_ms)
    }

    fn alive_before(&self, end: Minute, max_pause_minutes: i64) -> Vec<Minute> {
        let mut minutes = Vec::new();
        let mut before: Option<Minute> = None;
        for &minute in &self.state.alive {
            if let Some(before) = before {
                let pause = minute.since(before) - 1;
                if pause < max_pause_minutes {
                    minutes.extend((1..=pause).map(|at| before.plus(at)));
                }
            }
            minutes.push(minute);
            before = Some(minute);
        }
        minutes.retain(|minute| *minute < end);
        minutes
    }

    /// Drops the minutes before `end`, but the newest of them: the next pause is measured from it.
    pub(super) fn prune(&mut self, end: Minute) {
        let newest = self.state.alive.range(..end).next_back().copied();
        if let Some(newest) = newest.filter(|newest| self.state.alive.first() != Some(newest)) {
            self.state.alive = self.state.alive.split_off(&newest);
            self.changed = true;
        }
    }
}

/// The first minute that is not closed at this time.
fn closed_at(time_ms: i64, close_after_ms: i64) -> Minute {
    Minute::from_epoch_minutes(time_ms.saturating_sub(close_after_ms).div_euclid(MINUTE_MS))
}
