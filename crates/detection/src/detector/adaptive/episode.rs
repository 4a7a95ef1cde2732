//! Episodes: an episode opens with the first finding of a stream and closes when the stream is calm or has a new level. It does not
//! create findings.

use super::{judge::bad, sentence};
use crate::{Evidence, Finding, Judgement, Minute, MonitoredStatus, Severity};

/// Calm minutes in a row that close an episode.
const CALM_MINUTES: u8 = 5;
/// An episode this old closes as the new level: 6 h.
const NEW_LEVEL_MINUTES: i64 = 360;
/// An episode with almost no approvals closes as the new level only when this old: 24 h.
const ZERO_LEVEL_MINUTES: i64 = 1440;

/// A set of monitored statuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusSet(pub(super) u8);

impl StatusSet {
    /// True if the status is in it.
    pub(crate) const fn contains(self, status: MonitoredStatus) -> bool {
        self.0 >> status.index() & 1 == 1
    }

    /// True if no status is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its statuses, in the order of [`MonitoredStatus::ALL`].
    pub fn iter(self) -> impl Iterator<Item = MonitoredStatus> {
        MonitoredStatus::ALL
            .into_iter()
            .filter(move |status| self.contains(*status))
    }

    pub(crate) const fn insert(&mut self, status: MonitoredStatus) {
        self.0 |= 1 << status.index();
    }

    const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// The usual level after an episode closed as the new level.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct NewLevel {
    /// Approvals per minute at this time of day.
    pub approved: f64,
    /// The share of all payments of each status, 0 to 1, in the order of [`MonitoredStatus::ALL`].
    pub shares: [f64; MonitoredStatus::COUNT],
}

/// The kind of an [`EpisodeEvent`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EpisodeChange {
    /// The first status left its usual range.
    Opened,
    /// A higher severity than before.
    Escalated,
    /// Approvals fell below half of the usual in an episode of other statuses.
    Collapsed,
    /// Five calm minutes in a row.
    ClosedCalm,
    /// It lasted so long that the present level counts as usual.
    ClosedNewLevel(NewLevel),
}

impl EpisodeChange {
    /// True for the two kinds that end an episode.
    pub const fn is_close(self) -> bool {
        matches!(self, Self::ClosedCalm | Self::ClosedNewLevel(_))
    }
}

/// One change of an episode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpisodeEvent {
    /// The number of the episode within its stream, from 1.
    pub number: u32,
    /// The minute it opened.
    pub since: Minute,
    /// The minute of this change.
    pub minute: Minute,
    /// The kind of change.
    pub change: EpisodeChange,
    /// The worst severity so far.
    pub severity: Severity,
    /// The largest score of this minute in the alerting direction, in decades, each divided by its status's heat; 0 for a close.
    pub score: f64,
    /// The statuses that had a finding so far.
    pub statuses: StatusSet,
}

impl EpisodeEvent {
    /// The status that an alert about this change is about, with its finding: `approved` where approvals collapsed, else the one
    /// that is furthest beyond its own limit. None for a close.
    pub(crate) fn subject(
        &self,
        judgements: &[Judgement; MonitoredStatus::COUNT],
    ) -> Option<(MonitoredStatus, Finding)> {
        let anomalies = MonitoredStatus::ALL.into_iter().zip(judgements);
        let anomalies = anomalies.filter_map(|(status, judgement)| {
            let finding = *judgement.finding()?;
            let Evidence::Adaptive(evidence) = finding.evidence else {
                return None;
            };
            let excess = bad(status, finding.score?) / evidence.heat;
            finding
                .severity
                .is_anomalous()
                .then_some((excess, status, finding))
        });
        let collapsed = self.change == EpisodeChange::Collapsed;
        anomalies
            .filter(|(_, status, _)| {
                !self.change.is_close() && (!collapsed || !status.is_problem())
            })
            .max_by(|(one, ..), (other, ..)| one.total_cmp(other))
            .map(|(_, status, finding)| (status, finding))
    }

    /// The new usual level in words; `None` unless the episode closed as the new level.
    pub fn new_level_reason(&self) -> Option<String> {
        sentence::new_level(self)
    }
}

/// The summary of one observed minute for the episode.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinuteSummary {
    pub(super) minute: Minute,
    /// Statuses with a finding.
    pub(super) hot: StatusSet,
    /// The worst severity.
    pub(super) severity: Severity,
    /// As [`EpisodeEvent::score`].
    pub(super) score: f64,
    /// No status of the episode, and none with a finding, scores high.
    pub(super) calm: bool,
    /// Approvals are CRITICAL and their window is below half of the expected.
    pub(super) collapsed: bool,
    /// In the last hour less than a tenth of the expected approvals came.
    pub(super) nothing_comes: bool,
    /// The level that would be usual if the episode closed now.
    pub(super) level: NewLevel,
}

/// The episode of a stream; at most one is open.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Episodes {
    pub(super) open: Option<OpenEpisode>,
    /// The number of the newest one.
    pub(super) number: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenEpisode {
    pub(super) since: Minute,
    pub(super) calm_minutes: u8,
    pub(super) severity: Severity,
    pub(super) statuses: StatusSet,
    /// The statuses as of the last event.
    pub(super) announced: StatusSet,
}

/// The result of one minute for the episode.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// Statuses that opened or joined the episode now.
    pub(super) joined: StatusSet,
    /// At most one change while open, then at most one close.
    pub(super) events: [Option<EpisodeEvent>; 2],
}

impl Episodes {
    /// The statuses of the open episode.
    pub(super) fn statuses(&self) -> StatusSet {
        self.open
            .as_ref()
            .map_or_else(StatusSet::default, |open| open.statuses)
    }

    /// Folds one minute: opens, extends, escalates or closes the episode.
    pub(super) fn step(&mut self, now: &MinuteSummary) -> Step {
        let Some(open) = &mut self.open else {
            return self.open(now);
        };
        let joined = now.hot.without(open.statuses);
        let change = open.join(now);
        let close = open.close(now);
        let event = |change: Option<EpisodeChange>, score| {
            change.map(|change| open.event(self.number, now.minute, change, score))
        };
        let events = [event(change, now.score), event(close, 0.0)];
        if close.is_some() {
            self.open = None;
        }
        Step { joined, events }
    }

    fn open(&mut self, now: &MinuteSummary) -> Step {
        if now.hot.is_empty() {
            return Step::default();
        }
        self.number = self.number.saturating_add(1);
        let open = self.open.insert(OpenEpisode {
            since: now.minute,
            calm_minutes: 0,
            severity: now.severity,
            statuses: now.hot,
            announced: now.hot,
        });
        let opened = open.event(self.number, now.minute, EpisodeChange::Opened, now.score);
        Step {
            joined: now.hot,
            events: [Some(opened), None],
        }
    }
}

impl OpenEpisode {
    fn join(&mut self, now: &MinuteSummary) -> Option<EpisodeChange> {
        self.calm_minutes = if now.calm { self.calm_minutes + 1 } else { 0 };
        self.statuses = self.statuses.union(now.hot);
        let change = if now.severity > self.severity {
            self.severity = now.severity;
            EpisodeChange::Escalated
        } else if now.collapsed && !self.announced.contains(MonitoredStatus::Approved) {
            EpisodeChange::Collapsed
        } else {
            return None;
        };
        self.announced = self.statuses;
        Some(change)
    }

    fn close(&self, now: &MinuteSummary) -> Option<EpisodeChange> {
        if self.calm_minutes >= CALM_MINUTES {
            return Some(EpisodeChange::ClosedCalm);
        }
        let age = now.minute.since(self.since);
        let outage = self.statuses.contains(MonitoredStatus::Approved)
            && age < ZERO_LEVEL_MINUTES
            && now.nothing_comes;
        (age >= NEW_LEVEL_MINUTES && self.calm_minutes == 0 && !outage)
            .then_some(EpisodeChange::ClosedNewLevel(now.level))
    }

    const fn event(
        &self,
        number: u32,
        minute: Minute,
        change: EpisodeChange,
        score: f64,
    ) -> EpisodeEvent {
        EpisodeEvent {
            number,
            since: self.since,
            minute,
            change,
            severity: self.severity,
            score,
            statuses: self.statuses,
        }
    }
}
