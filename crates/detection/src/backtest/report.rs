//! The result of a backtest as plain data. Computes and formats nothing.

use serde::Serialize;

use super::{episode::BacktestEpisode, interval::Interval, label::LabelledIncident};
use crate::{Minute, PolicyName};

/// The result of one policy on one history.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The policy.
    pub policy: PolicyName,
    /// Its WARNING threshold, in the unit of its score.
    pub warning: f64,
    /// Its CRITICAL threshold.
    pub critical: f64,
    /// The first scored minute.
    pub first: Option<Minute>,
    /// The last one.
    pub last: Option<Minute>,
    /// Days from the first to the last.
    pub days: f64,
    /// Observed minutes, of all streams.
    pub observed_minutes: u64,
    /// Messages that were too late to be evaluated.
    pub too_late: u64,
    /// What would have been sent.
    pub sent: Sent,
    /// The score against the labels; `None` without labels.
    pub score: Option<Score>,
    /// All episodes, in order of their opening.
    pub episodes: Vec<BacktestEpisode>,
}

/// What would have been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// WARNING alerts, recorded and logged.
    pub warning_alerts: u32,
    /// CRITICAL alerts.
    pub critical_alerts: u32,
    /// CRITICAL alerts that the cooldown does not suppress: with `NOTIFY=alerts` each is a notification.
    pub notifications: u32,
    /// Episodes of any severity.
    pub episodes: u32,
    /// Episodes with a CRITICAL finding: with `NOTIFY=incidents` each is a notification.
    pub critical_episodes: u32,
}

/// Incidents found and missed, and false alarms. An incident is found if a CRITICAL finding comes before its end. An alarm is false if
/// it is in no incident and in no 60 minutes after one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Labelled incidents.
    pub incidents: u32,
    /// Those that were found.
    pub found: u32,
    /// found / incidents; `None` without incidents.
    pub recall: Option<f64>,
    /// Those that were found in their first minutes.
    pub found_within: FoundWithin,
    /// Minutes from the start of a found incident to its first CRITICAL minute.
    pub delay: Option<Quantiles>,
    /// Minutes from the end of a found incident to the close of the episode that found it.
    pub close_delay: Option<Quantiles>,
    /// Those that were missed, and why.
    pub missed: Vec<Missed>,
    /// CRITICAL episodes, right and false.
    pub episodes: EpisodeScore,
    /// The false ones among [`Sent::notifications`].
    pub false_notifications: u32,
    /// False notifications per day.
    pub false_notifications_per_day: Option<Interval>,
    /// The score of each kind of incident.
    pub kinds: Vec<KindScore>,
}

/// CRITICAL episodes, each judged by its first CRITICAL minute.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EpisodeScore {
    /// Those outside every incident and its aftermath.
    pub false_alarms: u32,
    /// False episodes per day with the exact 95 % interval.
    pub false_per_day: Option<Interval>,
    /// The share of episodes that are not false; `None` without episodes.
    pub precision: Option<f64>,
}

/// Incidents with a CRITICAL finding in their first minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FoundWithin {
    /// Number of those minutes.
    pub minutes: i64,
    /// Number of incidents found in them.
    pub found: u32,
}

/// Percentiles in minutes, by nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// The median.
    pub median: i64,
    /// The 90th percentile.
    pub p90: i64,
    /// The largest.
    pub worst: i64,
}

/// The score of one kind of incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindScore {
    /// The kind, as labelled.
    pub kind: String,
    /// Labelled incidents of this kind.
    pub incidents: u32,
    /// Those that were found.
    pub found: u32,
    /// As [`Score::delay`].
    pub delay: Option<Quantiles>,
}

/// An incident without a CRITICAL finding.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Missed {
    /// The incident.
    pub incident: LabelledIncident,
    /// Why it was missed.
    pub reason: MissReason,
}

/// Why an incident was missed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MissReason {
    /// The history has no minute in the incident.
    NotObserved,
    /// Its minutes were not evaluated: still learning, or too late.
    NotJudged,
    /// No count reached CRITICAL; this one came closest.
    BelowBar(Closest),
}

/// The count of a missed incident that came closest to CRITICAL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Closest {
    /// Its minute.
    pub minute: Minute,
    /// Its status.
    pub status: &'static str,
    /// The count.
    pub count: u32,
    /// Its score in the direction that alerts, in the unit of the policy.
    pub score: f64,
    /// The score that CRITICAL needs.
    pub bar: f64,
}
