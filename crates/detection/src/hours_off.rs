//! Whether the minutes of a live producer come whole hours behind the clock: local times that were sent without their zone are read as
//! UTC. It reads no clock; times of arrival are arguments.

use crate::minute::Minute;

/// The largest offset of a time zone, hours.
const MAX_HOURS: i64 = 14;

/// A live producer sends a minute at most this many minutes after its start.
const MAX_AGE_MINUTES: i64 = 4;

/// Minutes that arrive sooner after each other belong to a file that is sent at once.
const MIN_INTERVAL_MS: i64 = 30_000;

/// Arrivals with the same offset until it is known.
const MIN_TIMES: i64 = 5;

/// The offset of the newest arrivals, and how many had the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoursOff {
    /// Whole hours behind the clock; 0 if there is no such offset.
    pub hours: i64,
    /// Arrivals in a row with this offset.
    pub times: i64,
}

impl HoursOff {
    /// The offset, once enough minutes arrived with it.
    pub fn known(self) -> Option<i64> {
        (self.hours > 0 && self.times >= MIN_TIMES).then_some(self.hours)
    }

    /// Records the arrival of a stream's new newest minute.
    pub fn observe(&mut self, minute: Minute, arrived_at_ms: i64, previous_arrived_at_ms: i64) {
        if arrived_at_ms - previous_arrived_at_ms < MIN_INTERVAL_MS {
            return;
        }
        let age = arrived_at_ms.div_euclid(60_000) - minute.epoch_minutes();
        let (hours, rest) = (age.div_euclid(60), age.rem_euclid(60));
        if !(1..=MAX_HOURS).contains(&hours) || rest > MAX_AGE_MINUTES {
            *self = Self::default();
        } else if self.hours == hours {
            self.times += 1;
        } else {
            *self = Self { hours, times: 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The offset after 10 minutes that arrive each `interval_s`, the first `behind` minutes after its start.
    fn after(behind: i64, interval_s: i64) -> Option<i64> {
        let mut off = HoursOff::default();
        for at in 0..10 {
            let arrived_ms = (behind * 60 + at * interval_s) * 1000;
            let minute = Minute::from_epoch_minutes(at);
            off.observe(minute, arrived_ms, arrived_ms - interval_s * 1000);
        }
        off.known()
    }

    #[test]
    fn local_times_without_a_zone_are_noticed() {
        for (behind, hours) in [
            (1, None),
            (4, None),
            (3 * 60 + 1, Some(3)),
            (3 * 60 + 30, None),
            (60, Some(1)),
            (15 * 60, None),
            (-3 * 60, None),
        ] {
            assert_eq!(after(behind, 60), hours, "{behind} minutes behind");
        }
    }

    #[test]
    fn a_file_sent_faster_than_time_is_not_off() {
        assert_eq!(after(3 * 60, 1), None, "60 times as fast");
        assert_eq!(after(3 * 60 + 4, 30), None, "twice as fast");
    }

    #[test]
    fn one_right_arrival_ends_it() {
        let mut off = HoursOff { hours: 3, times: 9 };
        off.observe(Minute::from_epoch_minutes(100), 101 * 60_000, 0);
        assert_eq!(off.known(), None);
    }
}
