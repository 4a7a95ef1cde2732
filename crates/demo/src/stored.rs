//! What the database holds of the file that is replayed, and what it should hold. Looks, and judges nothing.
//!
//! A database that is kept may hold more than the file: other minutes, other streams, submissions. Those are left out here.

use std::collections::{BTreeMap, BTreeSet};

use detection::{Minute, MinuteCounts, MonitoredStatus, Stream};
use monitoring_service::{
    alerts::{Alert, Subject},
    store::{AlertFilter, Store, StoreError},
};

use crate::{labels::Incident, scorecard::Scored};

/// Alerts asked for at a time.
const PAGE: u32 = 500;

/// The streams of a file, and its time.
pub(crate) struct Scope {
    streams: BTreeSet<Stream>,
    first: Minute,
    last: Minute,
}

/// Sums over the minutes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows: one a stream, minute and status. Every minute has one for each monitored status.
    pub rows: u64,
    /// Minutes, of each stream.
    pub minutes: u64,
    /// Transactions per status.
    pub statuses: BTreeMap<String, u64>,
}

impl Totals {
    /// What must be stored of a file.
    pub(crate) fn of(batches: &[MinuteCounts]) -> Self {
        let mut totals = Self {
            minutes: batches.len() as u64,
            ..Self::default()
        };
        for batch in batches {
            let implied = MonitoredStatus::ALL.map(|status| (status.name(), 0));
            let named = batch
                .transactions()
                .iter()
                .map(|counted| (counted.status.name(), counted.count));
            let rows: BTreeMap<_, _> = implied.into_iter().chain(named).collect();
            totals.rows += rows.len() as u64;
            for (status, count) in rows {
                *totals.statuses.entry(status.to_owned()).or_default() += u64::from(count);
            }
        }
        totals
    }
}

impl Scope {
    /// The scope of a file: its batches are sorted by minute and not empty.
    pub(crate) fn of(batches: &[MinuteCounts]) -> Self {
        let streams = batches.iter().map(|batch| batch.stream().clone()).collect();
        Self {
            streams,
            first: batches[0].minute(),
            last: batches[batches.len() - 1].minute(),
        }
    }

    pub(crate) const fn first(&self) -> Minute {
        self.first
    }

    pub(crate) const fn last(&self) -> Minute {
        self.last
    }

    /// How many minutes long it is, those without data included.
    pub(crate) const fn length(&self) -> i64 {
        self.last.since(self.first) + 1
    }

    /// Those that begin in it, of its streams: no other could be found.
    pub(crate) fn incidents(&self, labelled: Vec<Incident>) -> Vec<Incident> {
        labelled
            .into_iter()
            .filter(|incident| (self.first..=self.last).contains(&incident.start))
            .filter(|incident| {
                let stream = incident.stream.as_ref();
                stream.is_none_or(|stream| self.streams.contains(stream))
            })
            .collect()
    }

    /// What is stored of it.
    pub(crate) async fn totals(&self, store: &Store) -> Result<Totals, StoreError> {
        let mut totals = Totals::default();
        for stream in &self.streams {
            let summary = store
                .summary(stream.as_str(), Some(self.first), Some(self.last.plus(1)))
                .await?;
            totals.minutes += summary.minutes_observed;
            for total in summary.statuses {
                totals.rows += total.minutes;
                *totals.statuses.entry(total.status).or_default() += total.count;
            }
        }
        Ok(totals)
    }

    /// The alerts for its minutes.
    pub(crate) async fn alerts(&self, store: &Store) -> Result<Vec<Scored>, StoreError> {
        let stored = alerts_after(store, 0).await?;
        Ok(stored
            .iter()
            .filter_map(|(_, alert)| self.scored(alert))
            .collect())
    }

    fn scored(&self, alert: &Alert) -> Option<Scored> {
        let Subject::Anomaly(anomaly) = &alert.subject else {
            return None;
        };
        let of_the_file = (self.first..=self.last).contains(&anomaly.minute)
            && self.streams.contains(&anomaly.key.stream);
        of_the_file.then(|| Scored {
            stream: anomaly.key.stream.to_string(),
            minute: anomaly.minute,
            severity: anomaly.key.severity,
            dispatched: !alert.is_muted(),
        })
    }
}

/// The alerts with a number above `after`, oldest first.
pub(crate) async fn alerts_after(
    store: &Store,
    after: i64,
) -> Result<Vec<(i64, Alert)>, StoreError> {
    let (mut alerts, mut before) = (Vec::new(), None);
    loop {
        let page = store
            .alerts(AlertFilter {
                before,
                limit: PAGE,
                ..AlertFilter::default()
            })
            .await?;
        before = page.last().map(|(seq, _)| *seq);
        let more = page.len() == PAGE as usize && before.is_some_and(|seq| seq > after);
        alerts.extend(page.into_iter().filter(|(seq, _)| *seq > after));
        if !more {
            alerts.reverse();
            return Ok(alerts);
        }
    }
}

#[cfg(test)]
mod tests {
    use detection::{Status, StatusCount};

    use super::*;

    fn batch(minute: i64, counts: &[(&str, u32)]) -> MinuteCounts {
        let counts = counts.iter().map(|(name, count)| StatusCount {
            status: Status::parse(name).unwrap(),
            count: *count,
        });
        MinuteCounts::try_new(
            Stream::default(),
            Minute::from_epoch_minutes(minute),
            counts.collect(),
        )
        .unwrap()
    }

    #[test]
    fn each_minute_has_a_row_of_every_monitored_status_and_of_the_others_it_names() {
        let totals = Totals::of(&[
            batch(1, &[("denied", 2), ("refunded", 3)]),
            batch(2, &[("denied", 5)]),
        ]);
        assert_eq!((totals.rows, totals.minutes), (6 + 5, 2));
        assert_eq!(
            (
                totals.statuses["denied"],
                totals.statuses["refunded"],
                totals.statuses["approved"]
            ),
            (7, 3, 0)
        );
    }

    #[test]
    fn incidents_outside_the_time_of_the_file_are_left_out() {
        let scope = Scope::of(&[batch(10, &[]), batch(19, &[])]);
        let incident = |start: i64| Incident {
            start: Minute::from_epoch_minutes(start),
            end: Minute::from_epoch_minutes(start + 5),
            kind: "backend_reversal".into(),
            stream: None,
            alert: true,
        };
        let of = |stream: &str| Incident {
            stream: Some(stream.parse().unwrap()),
            ..incident(12)
        };
        assert_eq!(
            scope.incidents(vec![of("other"), of("default")]),
            [of("default")]
        );
        let kept = scope.incidents(vec![incident(9), incident(10), incident(19), incident(20)]);
        assert_eq!(kept, [incident(10), incident(19)]);
        assert_eq!(scope.length(), 10);
    }
}
