//! The facts that a backtest collects minute by minute: first and last minute, alerts, and for each incident when it was found or how
//! close its counts came. The score is computed in `score`.

use super::{
    label::LabelledIncident,
    report::{Closest, MissReason, Sent},
};
use crate::{Minute, Row, Severity};

/// A judged count of an incident, and how close it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closeness {
    pub(super) minute: Minute,
    pub(super) row: Row,
    pub(super) score: f64,
    pub(super) bar: f64,
}

/// The facts about one incident.
#[derive(Clone, Debug, Default)]
pub(super) struct LabelFacts {
    pub(super) observed: bool,
    pub(super) judged: bool,
    pub(super) found_at: Option<Minute>,
    closest: Option<Closeness>,
}

impl LabelFacts {
    pub(super) fn found(&mut self, minute: Minute) {
        self.found_at = Some(self.found_at.map_or(minute, |found| found.min(minute)));
    }

    pub(super) fn closest(&mut self, count: &Closeness) {
        let part = |count: &Closeness| count.score / count.bar;
        if self
            .closest
            .is_none_or(|closest| part(&closest) < part(count))
        {
            self.closest = Some(*count);
        }
    }

    pub(super) fn miss_reason(&self) -> MissReason {
        match self.closest {
            Some(closest) => MissReason::BelowBar(Closest {
                minute: closest.minute,
                status: closest.row.status.name(),
                count: closest.row.count,
                score: closest.score,
                bar: closest.bar,
            }),
            None if self.observed => MissReason::NotJudged,
            None => MissReason::NotObserved,
        }
    }
}

/// The facts that a fold collects.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) first: Option<Minute>,
    pub(super) last: Option<Minute>,
    pub(super) observed_minutes: u64,
    pub(super) too_late: u64,
    pub(super) score_from: Option<Minute>,
    pub(super) sent: Sent,
    pub(super) false_notifications: u32,
    /// In the order of the labels.
    pub(super) labels: Vec<LabelFacts>,
}

impl Facts {
    pub(super) fn alert(&mut self, severity: Severity, notified: bool) {
        match severity {
            Severity::Critical => {
                self.sent.critical_alerts += 1;
                self.sent.notifications += u32::from(notified);
            }
            Severity::Warning => self.sent.warning_alerts += 1,
            Severity::Normal => {}
        }
    }

    /// True if the incident starts within the scored history.
    pub(super) fn covers(&self, label: &LabelledIncident) -> bool {
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return false;
        };
        let learned = self.score_from.is_some_and(|from| label.start < from);
        label.start <= last && first < label.end && !learned
    }

    #[expect(clippy::cast_precision_loss, reason = "minutes of a history")]
    pub(super) fn days(&self) -> f64 {
        match (self.first, self.last) {
            (Some(first), Some(last)) => (last.since(first) + 1) as f64 / 1440.0,
            _ => 0.0,
        }
    }
}
