//! How long a stream usually pauses, learned from the distances between its minutes. It reads no clock and does not know what is live.

use std::{fmt, str::FromStr};

use crate::minute::Minute;

/// Pauses to remember: more than are needed, since the older ones expire.
const MAX_PAUSES: usize = 8;

/// A pause expires after this many minutes.
const LEARNED_MINUTES: i64 = 7 * 1440;

/// A longer distance teaches nothing: it is a closing hour or an outage.
const MAX_DISTANCE_MINUTES: i64 = 60;

/// The rank of the pause that counts as usual: two outages in a week change nothing.
const USUAL_RANK: usize = 3;

/// A stream is stale after this many times its usual pause.
const STALE_FACTOR: i64 = 2;

/// The 8 longest pauses of a stream in the last 7 days: the distance between two of its minutes that follow each other, where it is
/// more than one minute and at most an hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses(Vec<Pause>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pause {
    /// The minute that ended it.
    ended: Minute,
    distance: i64,
}

impl Pauses {
    /// Records the distance from the newest minute of a stream to the next one.
    pub fn observe(&mut self, minute: Minute, distance_minutes: i64) {
        if !(2..=MAX_DISTANCE_MINUTES).contains(&distance_minutes) {
            return;
        }
        self.0
            .retain(|pause| minute.since(pause.ended) < LEARNED_MINUTES);
        self.0.push(Pause {
            ended: minute,
            distance: distance_minutes,
        });
        if self.0.len() > MAX_PAUSES {
            let shortest = self.0.iter().enumerate();
            let shortest = shortest.min_by_key(|(_, pause)| pause.distance);
            let at = shortest.map_or(0, |(at, _)| at);
            self.0.remove(at);
        }
    }

    /// How long a stream with this newest minute may have no new minute before it is stale, minutes: twice the third longest pause of
    /// the last 7 days, and at least `floor_minutes`.
    pub fn stale_after(&self, newest: Minute, floor_minutes: i64) -> i64 {
        let recent = self
            .0
            .iter()
            .filter(|pause| newest.since(pause.ended) < LEARNED_MINUTES);
        let mut distances: Vec<_> = recent.map(|pause| pause.distance).collect();
        distances.sort_unstable_by(|a, b| b.cmp(a));
        let usual = distances.get(USUAL_RANK - 1).copied().unwrap_or(0);
        floor_minutes.max(STALE_FACTOR * usual)
    }
}

/// Text in which no pauses are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored pauses of a stream are damaged")]
pub struct PausesError;

impl fmt::Display for Pauses {
    /// The stored form: `MINUTE:DISTANCE,...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, pause) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let minute = pause.ended.epoch_minutes();
            write!(f, "{comma}{minute}:{}", pause.distance)?;
        }
        Ok(())
    }
}

impl FromStr for Pauses {
    type Err = PausesError;

    fn from_str(text: &str) -> Result<Self, PausesError> {
        let pause = |text: &str| {
            let (minute, distance) = text.split_once(':')?;
            Some(Pause {
                ended: Minute::from_epoch_minutes(minute.parse().ok()?),
                distance: distance.parse().ok()?,
            })
        };
        let parts = text.split(',').filter(|part| !part.is_empty());
        let pauses: Option<Vec<_>> = parts.map(pause).collect();
        pauses.map(Self).ok_or(PausesError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distances of a merchant's night, minutes.
    const NIGHT: [i64; 14] = [5, 7, 4, 12, 6, 9, 5, 15, 8, 6, 11, 4, 7, 10];

    const FLOOR: i64 = 3;

    /// How often a stream with these distances is stale, from the minute on.
    fn stale(pauses: &mut Pauses, mut minute: Minute, distances: &[i64]) -> usize {
        let mut stale = 0;
        for &distance in distances {
            stale += usize::from(distance > pauses.stale_after(minute, FLOOR));
            minute = minute.plus(distance);
            pauses.observe(minute, distance);
        }
        stale
    }

    #[test]
    fn the_usual_pauses_of_a_night_are_learned() {
        let mut pauses = Pauses::default();
        let night = |day: i64| Minute::from_epoch_minutes(day * 1440);
        assert_eq!(stale(&mut pauses, night(0), &NIGHT), 5, "14 before");
        for day in 1..10 {
            assert_eq!(stale(&mut pauses, night(day), &NIGHT), 0, "night {day}");
        }
    }

    #[test]
    fn two_outages_in_a_week_teach_nothing() {
        let mut pauses = Pauses::default();
        let minute = Minute::from_epoch_minutes(1000);
        for _ in 0..2 {
            pauses.observe(minute, 45);
        }
        assert_eq!(pauses.stale_after(minute, FLOOR), FLOOR);
        for _ in 0..9 {
            pauses.observe(minute, 61);
        }
        assert_eq!(pauses.stale_after(minute, FLOOR), FLOOR, "closing hours");
    }

    #[test]
    fn pauses_expire_after_a_week() {
        let mut pauses = Pauses::default();
        let minute = Minute::from_epoch_minutes(1000);
        for _ in 0..3 {
            pauses.observe(minute, 10);
        }
        assert_eq!(pauses.stale_after(minute, FLOOR), 20);
        assert_eq!(pauses.stale_after(minute.plus(7 * 1440), FLOOR), FLOOR);
    }

    #[test]
    fn the_state_is_small_and_survives_its_text() {
        let mut pauses = Pauses::default();
        for distance in (2..60).chain(2..60) {
            pauses.observe(Minute::from_epoch_minutes(distance), distance);
        }
        assert_eq!(pauses.0.len(), MAX_PAUSES);
        assert!(pauses.0.iter().all(|pause| pause.distance >= 56));
        assert_eq!(pauses.to_string().parse(), Ok(pauses));
        assert_eq!("".parse(), Ok(Pauses::default()));
        assert!("1:x".parse::<Pauses>().is_err());
    }
}
