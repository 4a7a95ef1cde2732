//! Folds a history with the same [`Monitor`] as live ingest, and scores the findings against labelled incidents: incidents found,
//! delays, and false alarms.
//!
//! It deliberately reads no file, prints nothing, tunes nothing, and applies no silence. Minutes are observed in the given order, so
//! lateness counts as it does live.

mod episode;
mod facts;
mod interval;
mod label;
mod report;
mod score;
mod sweep;

use std::collections::BTreeMap;

pub use episode::BacktestEpisode;
pub use interval::Interval;
pub use label::{AFTERMATH_MINUTES, LabelledIncident};
pub use report::{
    Closest, EpisodeScore, FoundWithin, KindScore, MissReason, Missed, Quantiles, Report, Score,
    Sent,
};
pub use sweep::{DEFAULT_THRESHOLDS, ThresholdError, recommended, sweep, with_critical};

use self::{
    episode::EpisodeTracker,
    facts::{Closeness, Facts, LabelFacts},
    label::Labels,
};
use crate::{
    Judgement, Minute, MinuteCounts, Monitor, MonitorSettings, Observed, RowChange, Severity,
    Stream, Timeliness,
};

/// Folds one history with one policy, the alerting one of its settings.
pub struct Backtest {
    monitor: Monitor,
    labels: Option<Labels>,
    streams: BTreeMap<Stream, EpisodeTracker>,
    facts: Facts,
}

impl Backtest {
    /// A backtest of these settings. Without labels it only reports what would have been sent; with an empty list every CRITICAL
    /// episode is a false alarm. Harmless events are no incidents.
    pub fn new(settings: MonitorSettings, labels: Option<Vec<LabelledIncident>>) -> Self {
        let labels = labels.map(Labels::new);
        let labelled = labels.as_ref().map_or(0, |labels| labels.all().len());
        Self {
            monitor: Monitor::new(settings.only(settings.detector.policy())),
            labels,
            streams: BTreeMap::new(),
            facts: Facts {
                labels: vec![LabelFacts::default(); labelled],
                ..Facts::default()
            },
        }
    }

    /// Minutes before this one are only learned: they, their alerts and their incidents are not scored.
    #[must_use]
    pub fn score_from(mut self, minute: Minute) -> Self {
        self.facts.score_from = Some(minute);
        self
    }

    /// Folds the next minute in order of arrival, and returns the result of the monitor.
    pub fn observe(&mut self, counts: MinuteCounts) -> Observed {
        let observed = self.monitor.observe(counts, &[]);
        let minute = observed.counts.minute();
        let stream = observed.counts.stream();
        if !self.streams.contains_key(stream) {
            self.streams
                .insert(stream.clone(), EpisodeTracker::default());
        }
        let policy = self.monitor.settings().detector.policy();
        if let Some(tracker) = self.streams.get_mut(stream) {
            tracker.observe(policy, &observed);
        }
        if self.facts.score_from.is_none_or(|from| minute >= from) {
            self.note(&observed);
        }
        observed
    }

    /// Scores the folded minutes. An episode that is still open counts with its severity so far.
    pub fn report(self) -> Report {
        let score_from = self.facts.score_from;
        let mut episodes: Vec<_> = self
            .streams
            .into_iter()
            .flat_map(|(stream, tracker)| tracker.finish(stream))
            .filter(|episode| score_from.is_none_or(|from| episode.opened >= from))
            .collect();
        episodes.sort_by_key(|episode| episode.opened);
        let settings = self.monitor.settings();
        Report::new(settings, &self.facts, self.labels.as_ref(), episodes)
    }

    fn note(&mut self, observed: &Observed) {
        let minute = observed.counts.minute();
        let facts = &mut self.facts;
        facts.first = Some(facts.first.map_or(minute, |first| first.min(minute)));
        facts.last = Some(facts.last.map_or(minute, |last| last.max(minute)));
        facts.observed_minutes += u64::from(observed.is_new);
        facts.too_late += u64::from(observed.timeliness == Timeliness::TooLate);
        for alert in &observed.alerts {
            let severity = alert.anomaly.key.severity;
            facts.alert(severity, alert.suppression.is_none());
            if severity == Severity::Critical
                && alert.suppression.is_none()
                && let Some(labels) = &self.labels
                && !labels.excuses(observed.counts.stream(), minute)
            {
                facts.false_notifications += 1;
            }
        }
        self.note_labels(observed);
    }

    /// Records for each incident that contains the minute whether it was found, and if not, how close its counts came.
    fn note_labels(&mut self, observed: &Observed) {
        let Some(labels) = &self.labels else { return };
        let (minute, detector) = (observed.counts.minute(), &self.monitor.settings().detector);
        for at in labels.during(observed.counts.stream(), minute) {
            let facts = &mut self.facts.labels[at];
            facts.observed = true;
            for row in &observed.rows {
                let RowChange::Judged {
                    judgement: Judgement::Finding(finding),
                    ..
                } = row.change
                else {
                    continue;
                };
                if let Some((score, bar)) = detector.pressure(row.status, row.count, &finding) {
                    facts.closest(&Closeness {
                        minute,
                        row: *row,
                        score,
                        bar,
                    });
                }
                facts.judged = true;
                if finding.severity == Severity::Critical {
                    facts.found(minute);
                }
            }
        }
    }
}
