//! The probability of a count: a bound of the negative binomial tail, in decades, and the range of counts below a limit.
//! It has no state and does not know statuses.

use std::{f64::consts::LN_10, ops::RangeInclusive};

/// Below this overdispersion the Poisson formula is used: it is the limit, and the negative binomial formula loses its digits.
const POISSON_LIMIT: f64 = 1e-7;

/// The score of `count` against a negative binomial with mean `expected` and variance `expected + spread * expected^2`:
/// a count at least as extreme has a chance of at most `10^-|score|`. Positive above the mean, else negative or 0.
/// `expected` must be above 0.
///
/// Source: Chernoff's bound (1952, Ann. Math. Statist. 23, 493-507), which needs only logarithms.
pub(super) fn score(count: f64, expected: f64, spread: f64) -> f64 {
    let own = if count > 0.0 {
        count * (count / expected).ln()
    } else {
        0.0
    };
    let shared = if spread * expected.max(count) < POISSON_LIMIT {
        count - expected
    } else {
        let size = 1.0 / spread;
        (count + size) * ((count + size) / (expected + size)).ln()
    };
    let decades = (own - shared).max(0.0) / LN_10;
    if count > expected { decades } else { -decades }
}

/// The counts with a score below `limit` decades on both sides of `expected`. Bisection takes 32 steps per side, so this is
/// called to show a range and never in the fold.
pub(super) fn usual_range(expected: f64, spread: f64, limit: f64) -> RangeInclusive<u32> {
    let usual = |count: u32| score(f64::from(count), expected, spread).abs() < limit;
    let middle = nearest_count(expected);
    last_usual(middle, 0, usual)..=last_usual(middle, u32::MAX, usual)
}

/// The last usual count between `middle` and `end`, as the score grows with the distance from the mean.
fn last_usual(middle: u32, end: u32, usual: impl Fn(u32) -> bool) -> u32 {
    if usual(end) {
        return end;
    }
    let (mut inside, mut outside) = (middle, end);
    while inside.abs_diff(outside) > 1 {
        let between = inside.midpoint(outside);
        if usual(between) {
            inside = between;
        } else {
            outside = between;
        }
    }
    inside
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates at the ends of u32"
)]
fn nearest_count(expected: f64) -> u32 {
    expected.round() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ln of the negative binomial mass, by a product of ratios: the bound is checked against the sum of the mass itself.
    fn tail_decades(count: u32, expected: f64, spread: f64) -> f64 {
        let size = 1.0 / spread;
        let p = expected / (expected + size);
        let mut mass = (size * (1.0 - p).ln()).exp();
        let (mut below, mut at) = (0.0, 0_u32);
        while at < count {
            below += mass;
            mass *= p * (f64::from(at) + size) / f64::from(at + 1);
            at += 1;
        }
        if f64::from(count) > expected {
            let mut above = 0.0;
            for _ in 0..20_000 {
                above += mass;
                mass *= p * (f64::from(at) + size) / f64::from(at + 1);
                at += 1;
            }
            -above.log10()
        } else {
            -(below + mass).log10()
        }
    }

    #[test]
    fn score_is_zero_at_the_mean_and_signed() {
        assert!(score(5.0, 5.0, 0.1).abs() < 1e-12);
        assert!(score(9.0, 5.0, 0.1) > 0.0);
        assert!(score(1.0, 5.0, 0.1) < 0.0);
        assert!(score(0.0, 1e-9, 2.0).abs() < 1e-9);
    }

    #[test]
    fn poisson_tail_of_ten_against_one() {
        // 10 ln 10 - 9 nats, by hand.
        let decades = (10.0 * 10.0_f64.ln() - 9.0) / LN_10;
        assert!((score(10.0, 1.0, 0.0) - decades).abs() < 1e-12);
        assert!((score(10.0, 1.0, 1e-6) - decades).abs() < 1e-4);
    }

    #[test]
    fn usual_range_ends_where_the_score_passes() {
        let range = usual_range(118.0, 0.01, 5.0);
        let at = |count: u32| score(f64::from(count), 118.0, 0.01).abs();
        assert!(at(*range.start()) < 5.0 && at(range.start() - 1) >= 5.0);
        assert!(at(*range.end()) < 5.0 && at(range.end() + 1) >= 5.0);
        assert_eq!(*usual_range(0.02, 0.1, 5.0).start(), 0);
    }

    proptest! {
        #[test]
        fn score_never_exceeds_the_exact_tail(count in 0..400_u32, expected in 0.05..200.0_f64, spread in 0.01..2.0_f64) {
            let exact = tail_decades(count, expected, spread);
            prop_assume!(exact < 250.0);
            prop_assert!(score(f64::from(count), expected, spread).abs() <= exact + 1e-6);
        }

        #[test]
        fn score_is_finite_and_grows_with_distance(count in any::<u32>(), expected in 1e-9..1e15_f64, spread in 0.0..3.0_f64) {
            let here = score(f64::from(count), expected, spread);
            prop_assert!(here.is_finite());
            let next = score(f64::from(count) + 1.0 + f64::from(count) * 0.1, expected, spread);
            prop_assert!(next >= here - here.abs() * 1e-6 - 1e-6);
        }
    }
}
