//! What people said of a stream's incidents, and which of them a policy finds.

use detection::{Minute, backtest::BacktestEpisode};

use crate::{
    alerts::{incident_record::Verdict, json::At},
    store::{IncidentFilter, Store, StoreError},
};

/// Incidents that are searched for labels, the newest.
const MAX_INCIDENTS: u32 = 1000;

/// An incident that a person labelled, [start, end).
#[derive(Clone, Copy, Debug)]
struct Label {
    start: Minute,
    end: Minute,
    verdict: Verdict,
}

/// The labels of a stream in a range.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels(Vec<Label>);

impl Labels {
    pub(super) async fn of(
        store: &Store,
        stream: &str,
        from: Minute,
        to: Minute,
    ) -> Result<Self, StoreError> {
        let filter = IncidentFilter {
            stream: Some(stream.to_owned()),
            from: Some(from),
            to: Some(to),
            limit: MAX_INCIDENTS,
            ..IncidentFilter::default()
        };
        let minute = |at: At| Minute::from_epoch_minutes(at.0.div_euclid(60_000));
        let incidents = store.incidents(filter).await?.into_iter();
        let labels = incidents.filter_map(|incident| {
            Some(Label {
                start: minute(incident.message.opened_at),
                end: incident.message.ended_at.map_or(to, minute),
                verdict: incident.feedback?.verdict,
            })
        });
        Ok(Self(labels.collect()))
    }

    /// `2 of 3`: how many labels with this verdict have a CRITICAL episode.
    pub(super) fn found(&self, verdict: Verdict, episodes: &[BacktestEpisode]) -> String {
        let labels = || self.0.iter().filter(|label| label.verdict == verdict);
        let is_found = |label: &&Label| episodes.iter().any(|episode| label.meets(episode));
        format!(
            "{} of {}",
            labels().filter(is_found).count(),
            labels().count()
        )
    }
}

impl Label {
    fn meets(&self, episode: &BacktestEpisode) -> bool {
        let ends_before = episode.closed.is_some_and(|closed| closed <= self.start);
        episode.critical_at.is_some_and(|at| at < self.end) && !ends_before
    }
}

#[cfg(test)]
mod tests {
    use detection::Severity;

    use super::*;

    fn minute(minutes: i64) -> Minute {
        Minute::from_epoch_minutes(minutes)
    }

    #[test]
    fn a_label_is_found_by_an_episode_that_meets_it() {
        let label = |start, end, verdict| Label {
            start: minute(start),
            end: minute(end),
            verdict,
        };
        let labels = Labels(vec![
            label(10, 20, Verdict::Real),
            label(40, 50, Verdict::Real),
            label(60, 70, Verdict::FalseAlarm),
        ]);
        let episode = |critical_at: Option<i64>| BacktestEpisode {
            stream: "a".parse().unwrap(),
            opened: minute(8),
            closed: Some(minute(15)),
            severity: Severity::Critical,
            critical_at: critical_at.map(minute),
            statuses: vec!["denied"],
        };
        let found = |episode| labels.found(Verdict::Real, &[episode]);
        assert_eq!(found(episode(Some(12))), "1 of 2");
        assert_eq!(found(episode(None)), "0 of 2");
        assert_eq!(
            labels.found(Verdict::FalseAlarm, &[episode(Some(12))]),
            "0 of 1"
        );
    }
}
