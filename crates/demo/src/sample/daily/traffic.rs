//! The usual traffic of a stream: payments a minute by hour, weekday and level, and the share of each status. It has no incidents.

use super::{DAYS, MINUTES_PER_DAY};
use crate::sample::{
    DENIED,
    random::{Drift, SplitMix64},
};

/// Mean counts of a minute, in the order of the statuses.
pub(super) type Means = [f64; 6];

/// A stream and the shape of its traffic.
pub(super) struct Profile {
    pub(super) name: &'static str,
    /// Payments a minute in the busiest hour of an average day.
    peak: f64,
    /// Traffic at the middle of each hour, in percent of the peak.
    hours: [f64; 24],
    /// Traffic from Monday to Sunday, in percent of an average day.
    weekdays: [f64; 7],
    /// Payments per 10,000 that end in each status in the busiest hour.
    shares: Means,
}

/// A web shop: open all night, busiest in the evening and on Sundays.
const WEB_SHOP: Profile = Profile {
    name: "web-shop",
    peak: 300.0,
    hours: [
        42.0, 27.0, 17.0, 11.0, 9.0, 10.0, 17.0, 30.0, 44.0, 56.0, 63.0, 67.0, //
        72.0, 70.0, 66.0, 66.0, 69.0, 74.0, 82.0, 92.0, 100.0, 98.0, 82.0, 60.0,
    ],
    weekdays: [104.0, 100.0, 98.0, 99.0, 95.0, 90.0, 114.0],
    shares: [9285.0, 520.0, 70.0, 3.0, 12.0, 110.0],
};

/// Shops in a town: a payment every few minutes at night, a noon and an evening peak, a strong Saturday and a weak Sunday.
const STORES: Profile = Profile {
    name: "stores",
    peak: 24.0,
    hours: [
        2.5, 1.5, 1.0, 1.0, 1.5, 4.0, 14.0, 32.0, 48.0, 58.0, 68.0, 82.0, //
        100.0, 88.0, 70.0, 72.0, 84.0, 98.0, 92.0, 66.0, 40.0, 20.0, 9.0, 4.0,
    ],
    weekdays: [92.0, 94.0, 97.0, 101.0, 118.0, 142.0, 56.0],
    shares: [9628.0, 260.0, 40.0, 2.0, 10.0, 60.0],
};

pub(super) const PROFILES: [Profile; 2] = [STORES, WEB_SHOP];

/// The usual means of a stream, minute by minute.
pub(super) struct Traffic<'a> {
    profile: &'a Profile,
    /// Levels at the noon of each day, from the day before the first to the day after the last.
    days: Vec<f64>,
    /// Drift of all traffic over an hour or two: weather, campaigns, a large customer.
    level: Drift,
    /// Drift of the share of declines over some hours: another mix of cards.
    declines: Drift,
}

impl<'a> Traffic<'a> {
    pub(super) fn new(profile: &'a Profile, random: &mut SplitMix64) -> Self {
        // The first day is a Monday; the entry before it is a Sunday.
        let weekdays = profile.weekdays.iter().cycle().skip(6);
        let days = weekdays
            .take(DAYS as usize + 2)
            .map(|percent| percent / 100.0 * (1.0 + 0.07 * random.normal()))
            .collect();
        Self {
            profile,
            days,
            level: Drift::new(0.99, 0.05),
            declines: Drift::new(0.996, 0.12),
        }
    }

    /// The means of the next minute, which is `minute` minutes after the start.
    pub(super) fn means(&mut self, minute: u32, random: &mut SplitMix64) -> Means {
        let hour = between_points(
            &self.profile.hours,
            minute % MINUTES_PER_DAY + MINUTES_PER_DAY - 30,
            60,
        ) / 100.0;
        let day = between_points(&self.days, minute + MINUTES_PER_DAY / 2, MINUTES_PER_DAY);
        let level = 1.0 + self.level.next(random);
        let payments = self.profile.peak * hour * day * level;
        let mut means = self.profile.shares.map(|share| payments * share / 10_000.0);
        // Fraud attempts go on at night, when few customers pay: declines are a larger share then.
        means[DENIED] *= (1.5 - 0.5 * hour) * (1.0 + self.declines.next(random));
        means
    }
}

/// Linear interpolation at `at` between points that are `distance` apart. The last point is followed by the first.
fn between_points(points: &[f64], at: u32, distance: u32) -> f64 {
    let index = (at / distance) as usize;
    let (before, after) = (
        points[index % points.len()],
        points[(index + 1) % points.len()],
    );
    before + (after - before) * f64::from(at % distance) / f64::from(distance)
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    reason = "every expected value is exact in a double"
)]
mod tests {
    use super::*;

    /// Mean payments a minute from `from` to `to` o'clock of a day, counted from the first Monday.
    fn payments(profile: &Profile, day: u32, from: u32, to: u32) -> f64 {
        let (mut random, mut sum) = (SplitMix64(7), 0.0);
        let mut traffic = Traffic::new(profile, &mut random);
        for minute in 0..DAYS * MINUTES_PER_DAY {
            let means = traffic.means(minute, &mut random);
            if minute / MINUTES_PER_DAY == day && (from * 60..to * 60).contains(&(minute % 1440)) {
                sum += means.iter().sum::<f64>();
            }
        }
        sum / f64::from((to - from) * 60)
    }

    #[test]
    fn days_and_nights_differ() {
        assert!(payments(&WEB_SHOP, 1, 20, 21) > 7.0 * payments(&WEB_SHOP, 1, 4, 5));
        assert!(payments(&STORES, 1, 12, 13) > 40.0 * payments(&STORES, 1, 2, 3));
    }

    #[test]
    fn weekdays_differ_between_streams() {
        let day = |profile, day| payments(profile, day, 8, 20);
        assert!(day(&STORES, 5) > 1.3 * day(&STORES, 1));
        assert!(day(&STORES, 6) < 0.8 * day(&STORES, 1));
        assert!(day(&WEB_SHOP, 6) > day(&WEB_SHOP, 5));
    }

    #[test]
    fn shares_are_parts_of_a_whole() {
        for profile in PROFILES {
            assert!((profile.shares.iter().sum::<f64>() - 10_000.0).abs() < 1e-9);
        }
    }

    #[test]
    fn interpolation_wraps_around_the_end() {
        let points = [10.0, 20.0, 40.0];
        let at = |at| between_points(&points, at, 60);
        assert_eq!([at(0), at(30), at(60)].map(f64::round), [10.0, 15.0, 20.0]);
        assert_eq!([at(90), at(150)].map(f64::round), [30.0, 25.0]);
    }
}
