//! The evidence of a finding of the policy `adaptive`. Judges nothing.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::tail;

/// The test that gave a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// The minute alone.
    Minute,
    /// The sum of the newest ten observed minutes.
    Window,
}

/// The evidence of one count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AdaptiveEvidence {
    /// The count that was expected of this minute.
    pub expected: f64,
    /// How widely counts vary: the variance is `expected + spread * expected^2`.
    pub spread: f64,
    /// The score that CRITICAL needs, in decades: the setting times the heat. WARNING needs `bar - heat`.
    pub bar: f64,
    /// 1, and more where the status opened or joined more than two episodes in about a day.
    pub heat: f64,
    /// The test that gave the score.
    pub test: Test,
    /// The count over the newest observed minutes, at most ten, this one included.
    pub window_count: u64,
    /// The count that was expected over them.
    pub window_expected: f64,
    /// The payments of all five statuses in the minutes of the test.
    pub payments: u64,
    /// The payments that were expected in them, given the approvals.
    pub expected_payments: f64,
    /// Of a problem status: its count in about the last day before this minute. 0 for `approved`.
    pub day_count: f64,
    /// The payments that it was seen among. 0 for `approved`.
    pub day_payments: f64,
}

impl AdaptiveEvidence {
    /// The score that this count of the minute alone has, in decades.
    pub(crate) fn minute_score(&self, count: u32) -> f64 {
        tail::score(f64::from(count), self.expected, self.spread)
    }

    /// The counts whose score stays under the bar on both sides. By bisection: compute it to show it, not for every minute.
    pub fn usual_range(&self) -> RangeInclusive<u32> {
        tail::usual_range(self.expected, self.spread, self.bar)
    }
}
