//! The episodes of one stream as a backtest counts them. A policy with episodes defines them itself; for others an episode lasts from
//! the first finding until five observed minutes in a row without one.

use serde::Serialize;

use crate::{
    Minute, Observed, PolicyName, RowChange, Severity, Stream, Timeliness,
    detector::adaptive::{EpisodeEvent, StatusSet},
};

/// Observed minutes in a row without a finding of the episode's statuses that close it, where the policy has no rule of its own.
const CALM_MINUTES: u32 = 5;

/// One episode of one stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BacktestEpisode {
    /// The stream.
    pub stream: Stream,
    /// The minute of its first finding.
    pub opened: Minute,
    /// The minute that closed it; `None` if it was open at the end of the history.
    pub closed: Option<Minute>,
    /// Its worst severity.
    pub severity: Severity,
    /// Its first CRITICAL minute, in which it was notified.
    pub critical_at: Option<Minute>,
    /// The names of its statuses.
    pub statuses: Vec<&'static str>,
}

/// Follows the findings of one stream.
#[derive(Debug, Default)]
pub(super) struct EpisodeTracker {
    closed: Vec<Episode>,
    open: Option<Episode>,
}

#[derive(Clone, Debug)]
struct Episode {
    opened: Minute,
    closed: Option<Minute>,
    severity: Severity,
    critical_at: Option<Minute>,
    statuses: StatusSet,
    calm_minutes: u32,
}

impl Episode {
    fn new(opened: Minute) -> Self {
        Self {
            opened,
            closed: None,
            severity: Severity::Normal,
            critical_at: None,
            statuses: StatusSet::default(),
            calm_minutes: 0,
        }
    }

    fn rise(&mut self, minute: Minute, severity: Severity) {
        self.severity = self.severity.max(severity);
        if severity == Severity::Critical {
            self.critical_at.get_or_insert(minute);
        }
    }
}

impl EpisodeTracker {
    pub(super) fn observe(&mut self, policy: PolicyName, observed: &Observed) {
        match policy {
            PolicyName::Adaptive => {
                for event in &observed.episode_events {
                    self.follow(event);
                }
            }
            PolicyName::ZScore if observed.timeliness == Timeliness::Fresh => self.fold(observed),
            PolicyName::ZScore => {}
        }
    }

    /// All episodes in order of time.
    pub(super) fn finish(mut self, stream: Stream) -> impl Iterator<Item = BacktestEpisode> {
        self.closed.extend(self.open.take());
        self.closed.into_iter().map(move |episode| BacktestEpisode {
            stream: stream.clone(),
            opened: episode.opened,
            closed: episode.closed,
            severity: episode.severity,
            critical_at: episode.critical_at,
            statuses: episode.statuses.iter().map(Into::into).collect(),
        })
    }

    /// Applies an event of the policy's own episode.
    fn follow(&mut self, event: &EpisodeEvent) {
        let mut episode = self
            .open
            .take()
            .unwrap_or_else(|| Episode::new(event.since));
        episode.rise(event.minute, event.severity);
        episode.statuses = event.statuses;
        if event.change.is_close() {
            episode.closed = Some(event.minute);
            self.closed.push(episode);
        } else {
            self.open = Some(episode);
        }
    }

    /// Opens, extends or closes the episode by the findings of a new minute.
    fn fold(&mut self, observed: &Observed) {
        let minute = observed.counts.minute();
        let mut calm = true;
        for row in &observed.rows {
            let RowChange::Judged { judgement, .. } = row.change else {
                continue;
            };
            let Some(severity) = judgement.severity().filter(|s| s.is_anomalous()) else {
                continue;
            };
            let episode = self.open.get_or_insert_with(|| Episode::new(minute));
            episode.rise(minute, severity);
            episode.statuses.insert(row.status);
            calm = false;
        }
        let Some(episode) = &mut self.open else {
            return;
        };
        episode.calm_minutes = if calm { episode.calm_minutes + 1 } else { 0 };
        if episode.calm_minutes >= CALM_MINUTES {
            episode.closed = Some(minute);
            self.closed.extend(self.open.take());
        }
    }
}
