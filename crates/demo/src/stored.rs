//! The stored and the expected totals of the replayed file, and its stored alerts. It only reads.
//!
//! A kept database may contain more than the file: other minutes, other streams, submissions. They are excluded here.

use std::collections::{BTreeMap, BTreeSet};

use detection::{
    Minute, MinuteCounts, MonitoredStatus, PolicyName, Stream, backtest::LabelledIncident,
};
use monitoring_service::{
    alerts::{Alert, Subject},
    store::{AlertFilter, Store, StoreError},
};

use crate::scorecard::Scored;

/// Alerts per query.
const PAGE_LIMIT: u32 = 500;

/// The streams and the time range of a file.
pub(crate) struct Scope {
    streams: BTreeSet<Stream>,
    first: Minute,
    last: Minute,
    /// The newest minute with a transaction.
    busy: Minute,
}

/// Sums over the minutes of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows, one per stream, minute and status. Every minute has a row for each monitored status.
    pub rows: u64,
    /// Observed minutes, summed over the streams.
    pub minutes: u64,
    /// Transactions per status.
    pub statuses: BTreeMap<String, u64>,
}

impl Totals {
    /// The totals that a file must produce.
    pub(crate) fn of(minutes: &[MinuteCounts]) -> Self {
        let mut totals = Self {
            minutes: minutes.len() as u64,
            ..Self::default()
        };
        for counts in minutes {
            let implied = MonitoredStatus::ALL.map(|status| (status.name(), 0));
            let named = counts
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

impl Totals {
    /// True if both have the same transactions of each status.
    pub(crate) fn has_transactions_of(&self, other: &Self) -> bool {
        let some = |totals: &Self| {
            let mut statuses = totals.statuses.clone();
            statuses.retain(|_, count| *count > 0);
            statuses
        };
        some(self) == some(other)
    }
}

impl Scope {
    /// The scope of a file. Its minutes are sorted, and there is at least one.
    pub(crate) fn of(minutes: &[MinuteCounts]) -> Self {
        let streams = minutes
            .iter()
            .map(|counts| counts.stream().clone())
            .collect();
        let last = minutes[minutes.len() - 1].minute();
        let is_busy = |counts: &&MinuteCounts| counts.transactions().iter().any(|of| of.count > 0);
        let busy = minutes.iter().rev().find(is_busy);
        Self {
            streams,
            first: minutes[0].minute(),
            last,
            busy: busy.map_or(last, MinuteCounts::minute),
        }
    }

    pub(crate) const fn first(&self) -> Minute {
        self.first
    }

    pub(crate) const fn last(&self) -> Minute {
        self.last
    }

    /// Its length in minutes, including minutes without data.
    pub(crate) const fn length(&self) -> i64 {
        self.last.since(self.first) + 1
    }

    /// The incidents that start within the scope. Others cannot be found.
    pub(crate) fn incidents(&self, labelled: Vec<LabelledIncident>) -> Vec<LabelledIncident> {
        labelled
            .into_iter()
            .filter(|incident| (self.first..=self.last).contains(&incident.start))
            .filter(|incident| self.streams.iter().any(|stream| incident.is_of(stream)))
            .collect()
    }

    /// The stored totals within the scope.
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

    /// True if the newest minute with a transaction is stored.
    pub(crate) async fn newest_is_stored(&self, store: &Store) -> Result<bool, StoreError> {
        let (from, to) = (Some(self.busy), Some(self.busy.plus(1)));
        for stream in &self.streams {
            let summary = store.summary(stream.as_str(), from, to).await?;
            if summary.minutes_observed > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The stored alerts within the scope.
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
        let in_scope = (self.first..=self.last).contains(&anomaly.minute)
            && self.streams.contains(&anomaly.key.stream);
        in_scope.then(|| Scored {
            policy: anomaly.key.policy,
            stream: anomaly.key.stream.clone(),
            minute: anomaly.minute,
            severity: anomaly.key.severity,
            dispatched: !alert.is_muted(),
        })
    }
}

/// The alerts with a sequence number above `after`, oldest first.
pub(crate) async fn alerts_after(
    store: &Store,
    after: i64,
) -> Result<Vec<(i64, Alert)>, StoreError> {
    let (mut alerts, mut before) = (Vec::new(), None);
    loop {
        let page = store
            .alerts(AlertFilter {
                before,
                limit: PAGE_LIMIT,
                ..AlertFilter::default()
            })
            .await?;
        before = page.last().map(|(seq, _)| *seq);
        let more = page.len() == PAGE_LIMIT as usize && before.is_some_and(|seq| seq > after);
        alerts.extend(page.into_iter().filter(|(seq, _)| *seq > after));
        if !more {
            alerts.reverse();
            return Ok(alerts);
        }
    }
}

/// The demo runs with the default policy.
pub(crate) fn in_shadow(alert: &Alert) -> bool {
    let policy = alert.anomaly().map(|anomaly| anomaly.key.policy);
    policy == Some(PolicyName::Adaptive)
}

#[cfg(test)]
mod tests {
    use detection::{Status, StatusCount};

    use super::*;

    fn minute_counts(minute: i64, counts: &[(&str, u32)]) -> MinuteCounts {
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
    fn each_monitored_or_named_status_has_a_row() {
        let totals = Totals::of(&[
            minute_counts(1, &[("denied", 2), ("refunded", 3)]),
            minute_counts(2, &[("denied", 5)]),
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
    fn incidents_outside_the_scope_are_excluded() {
        let scope = Scope::of(&[minute_counts(10, &[]), minute_counts(19, &[])]);
        let incident = |start: i64| LabelledIncident {
            start: Minute::from_epoch_minutes(start),
            end: Minute::from_epoch_minutes(start + 5),
            kind: "backend_reversal".into(),
            stream: None,
            alert: true,
        };
        let of = |stream: &str| LabelledIncident {
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
