//! The incidents of a stream, and its harmless events (sales, feed gaps): their times and their effect on the means. It draws no counts.

use std::iter::repeat_n;

use super::{DAYS, MINUTES_PER_DAY, traffic::Means};
use crate::sample::{APPROVED, BACKEND_REVERSED, DENIED, FAILED, random::SplitMix64};

/// Days without an event at the start, for a detector to learn.
const FIRST_DAY: u32 = 3;

/// A kind of event, and how its instances differ.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// False for a harmless event, for which an alert is false.
    pub(super) alert: bool,
    /// Events of this kind per stream.
    times: usize,
    /// First and last minute of the day in which it may start.
    starts: (u32, u32),
    /// Minimum and maximum length in minutes.
    minutes: (u32, u32),
    /// Minimum and maximum size in percent; its meaning depends on the effect.
    size: (u32, u32),
    strength: fn(Progress) -> f64,
    /// Changes the means by size times strength; `None` if the feed sends no minutes.
    effect: Option<fn(&mut Means, f64)>,
}

/// Minutes since the start of an event, and its length.
#[derive(Clone, Copy)]
struct Progress {
    passed: u32,
    length: u32,
}

/// An instance of a kind: minutes `start..end` of the set.
pub(super) struct Event {
    pub(super) kind: &'static Kind,
    pub(super) start: u32,
    pub(super) end: u32,
    size: f64,
}

/// From 07:00 to 20:59, the opening hours of the stores.
const BY_DAY: (u32, u32) = (420, 1259);
const AT_NIGHT: (u32, u32) = (60, 200);

const fn incident(
    name: &'static str,
    times: usize,
    minutes: (u32, u32),
    size: (u32, u32),
    effect: fn(&mut Means, f64),
) -> Kind {
    Kind {
        name,
        alert: true,
        times,
        starts: BY_DAY,
        minutes,
        size,
        strength: at_once,
        effect: Some(effect),
    }
}

static KINDS: [Kind; 12] = [
    incident("decline_surge", 3, (10, 45), (120, 450), decline_more),
    incident("technical_failure", 3, (10, 45), (1, 6), fail),
    incident("backend_reversal", 2, (15, 50), (1, 4), reverse_in_backend),
    incident("approval_drop", 3, (10, 30), (35, 85), approve_less),
    incident("partial_outage", 2, (20, 60), (20, 45), lose_traffic),
    incident("total_outage", 1, (10, 45), (100, 100), lose_traffic),
    incident("retry_storm", 2, (15, 40), (400, 900), retry),
    Kind {
        strength: rising,
        ..incident("slow_ramp", 2, (60, 120), (40, 70), approve_less)
    },
    Kind {
        strength: rising,
        ..incident("slow_ramp", 1, (60, 120), (150, 400), decline_more)
    },
    Kind {
        starts: AT_NIGHT,
        ..incident("low_volume_night", 2, (40, 100), (35, 80), decline_instead)
    },
    Kind {
        alert: false,
        starts: (0, 1200),
        effect: None,
        ..incident("feed_gap", 2, (12, 190), (100, 100), lose_traffic)
    },
    Kind {
        alert: false,
        starts: (540, 600),
        strength: rising_and_fading,
        ..incident("sale", 1, (480, 720), (80, 180), gain_traffic)
    },
];

/// The events of one stream in time order. At most one per day, so that they do not affect each other's detection.
pub(super) fn plan(random: &mut SplitMix64) -> Vec<Event> {
    let mut days: Vec<u32> = (FIRST_DAY..DAYS).collect();
    random.shuffle(&mut days);
    let kinds = KINDS.iter().flat_map(|kind| repeat_n(kind, kind.times));
    let mut events: Vec<Event> = kinds
        .zip(days)
        .map(|(kind, day)| {
            let mut draw = |(low, high)| random.between(low, high);
            let start = day * MINUTES_PER_DAY + draw(kind.starts);
            Event {
                kind,
                start,
                end: start + draw(kind.minutes),
                size: f64::from(draw(kind.size)) / 100.0,
            }
        })
        .collect();
    events.sort_unstable_by_key(|event| event.start);
    events
}

impl Event {
    /// The means of one of its minutes, from the usual ones; `None` if the feed sends no minute.
    pub(super) fn means(&self, minute: u32, mut usual: Means) -> Option<Means> {
        let strength = (self.kind.strength)(Progress {
            passed: minute - self.start,
            length: self.end - self.start,
        });
        self.kind.effect?(&mut usual, self.size * strength);
        Some(usual)
    }
}

fn at_once(_: Progress) -> f64 {
    1.0
}

fn rising(Progress { passed, length }: Progress) -> f64 {
    f64::from(passed + 1) / f64::from(length)
}

/// Full after half an hour, then fading over the last two hours.
fn rising_and_fading(Progress { passed, length }: Progress) -> f64 {
    let (rise, fade) = (f64::from(passed) / 30.0, f64::from(length - passed) / 120.0);
    rise.min(fade).min(1.0)
}

/// Payments that end in `to` instead of being approved.
fn move_approved(means: &mut Means, to: usize, count: f64) {
    let moved = count.min(means[APPROVED]);
    means[APPROVED] -= moved;
    means[to] += moved;
}

/// An issuer or a rule declines more: a multiple of the usual declines, taken from the approved payments.
fn decline_more(means: &mut Means, times: f64) {
    move_approved(means, DENIED, means[DENIED] * times);
}

/// A part of the approved payments fails; half as many end as reversals by the backend.
fn fail(means: &mut Means, part: f64) {
    move_approved(means, FAILED, means[APPROVED] * part);
    move_approved(means, BACKEND_REVERSED, means[APPROVED] * part / 2.0);
}

/// The backend reverses a part of the approved payments, which stay counted as approved.
fn reverse_in_backend(means: &mut Means, part: f64) {
    means[BACKEND_REVERSED] += means[APPROVED] * part;
}

/// A part of the approvals is missing; no other status changes.
fn approve_less(means: &mut Means, part: f64) {
    means[APPROVED] *= 1.0 - part;
}

/// A part of the traffic does not arrive.
fn lose_traffic(means: &mut Means, part: f64) {
    *means = means.map(|mean| mean * (1.0 - part));
}

/// Clients send declined payments again: declines on top of the usual traffic.
fn retry(means: &mut Means, times: f64) {
    means[DENIED] *= 1.0 + times;
}

/// A part of the approved payments is declined instead.
fn decline_instead(means: &mut Means, part: f64) {
    move_approved(means, DENIED, means[APPROVED] * part);
}

/// More customers, who pay as usual.
fn gain_traffic(means: &mut Means, part: f64) {
    *means = means.map(|mean| mean * (1.0 + part));
}

#[cfg(test)]
#[expect(
    clippy::float_cmp,
    reason = "every expected value is exact in a double"
)]
mod tests {
    use super::*;

    const USUAL: Means = [180.0, 10.0, 1.0, 0.0, 0.5, 2.0];

    fn changed(effect: fn(&mut Means, f64), amount: f64) -> [f64; 6] {
        let mut means = USUAL;
        effect(&mut means, amount);
        means.map(|mean| (mean * 100.0).round() / 100.0)
    }

    #[test]
    fn declines_and_failures_come_from_approved_payments() {
        assert_eq!(
            changed(decline_more, 3.0),
            [150.0, 40.0, 1.0, 0.0, 0.5, 2.0]
        );
        assert_eq!(changed(fail, 0.1), [153.9, 10.0, 1.0, 8.1, 18.5, 2.0]);
        assert_eq!(
            changed(decline_instead, 0.5),
            [90.0, 100.0, 1.0, 0.0, 0.5, 2.0]
        );
        assert_eq!(changed(decline_more, 99.0)[APPROVED], 0.0);
    }

    #[test]
    fn other_effects_add_or_lose_payments() {
        assert_eq!(
            changed(reverse_in_backend, 0.05),
            [180.0, 10.0, 1.0, 9.0, 0.5, 2.0]
        );
        assert_eq!(changed(approve_less, 0.5), [90.0, 10.0, 1.0, 0.0, 0.5, 2.0]);
        assert_eq!(changed(lose_traffic, 1.0), [0.0; 6]);
        assert_eq!(changed(retry, 5.0), [180.0, 60.0, 1.0, 0.0, 0.5, 2.0]);
        assert_eq!(
            changed(gain_traffic, 1.0),
            [360.0, 20.0, 2.0, 0.0, 1.0, 4.0]
        );
    }

    #[test]
    fn a_ramp_rises_and_a_sale_fades() {
        let ramp = |passed| rising(Progress { passed, length: 60 });
        assert_eq!([ramp(0) * 60.0, ramp(29) * 2.0, ramp(59)], [1.0; 3]);
        let sale = |passed| {
            rising_and_fading(Progress {
                passed,
                length: 480,
            })
        };
        assert_eq!(
            [sale(0), sale(15), sale(30), sale(360), sale(420)],
            [0.0, 0.5, 1.0, 1.0, 0.5]
        );
    }

    #[test]
    fn events_are_on_different_days_for_any_seed() {
        for seed in 0..200 {
            let events = plan(&mut SplitMix64(seed));
            assert_eq!(events.len(), 24);
            assert!(events[0].start >= FIRST_DAY * MINUTES_PER_DAY);
            for pair in events.windows(2) {
                let [earlier, later] = [pair[0].start, pair[1].start].map(|at| at / 1440);
                assert!(earlier < later, "seed {seed}: two on day {later}");
            }
            for event in &events {
                assert_eq!(event.start / 1440, (event.end - 1) / 1440, "seed {seed}");
            }
        }
    }
}
