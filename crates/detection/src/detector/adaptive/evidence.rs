//! The evidence of a finding of the policy `adaptive`. The evaluation is in `judge`.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::tail;
use crate::{Direction, Evidence, Finding, MonitoredStatus, Severity};

/// The test that produced a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// The minute only.
    Minute,
    /// The sum of the newest ten observed minutes.
    Window,
}

/// The evidence of one count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AdaptiveEvidence {
    /// The expected count of this minute.
    pub expected: f64,
    /// Relative extra variance of counts: the variance is `expected + spread * expected^2`.
    pub spread: f64,
    /// The score that CRITICAL needs, in decades: the setting times the heat. WARNING needs `bar - heat`.
    pub bar: f64,
    /// 1, or more if the status opened or joined more than two episodes in about a day.
    pub heat: f64,
    /// The test that produced the score.
    pub test: Test,
    /// The count over the newest observed minutes, at most ten, this one included.
    pub window_count: u64,
    /// The expected count over them.
    pub window_expected: f64,
    /// The payments of all five statuses in the minutes of the test.
    pub payments: u64,
    /// The expected payments in them, given the approvals.
    pub expected_payments: f64,
    /// Of a problem status: its count in about the last day before this minute. 0 for `approved`.
    pub day_count: f64,
    /// All payments in that day. 0 for `approved`.
    pub day_payments: f64,
}

impl AdaptiveEvidence {
    /// The finding of this severity and score: direction and limit follow from them.
    pub fn finding(self, status: MonitoredStatus, severity: Severity, score: f64) -> Finding {
        let threshold = match severity {
            Severity::Critical => Some(self.bar),
            Severity::Warning => Some(self.bar - self.heat),
            Severity::Normal => None,
        };
        let direction = if status.is_problem() {
            Direction::Up
        } else {
            Direction::Down
        };
        Finding {
            severity,
            direction: severity.is_anomalous().then_some(direction),
            score: Some(score),
            threshold,
            evidence: Evidence::Adaptive(self),
        }
    }

    /// The score of this count by the minute test, in decades.
    pub fn minute_score(&self, count: u32) -> f64 {
        tail::score(f64::from(count), self.expected, self.spread)
    }

    /// The counts with a score below the bar on both sides. Uses bisection, so do not call it for every minute.
    pub fn usual_range(&self) -> RangeInclusive<u32> {
        tail::usual_range(self.expected, self.spread, self.bar)
    }
}
