//! What the instances on one PostgreSQL database tell each other through it: how far each partition is read. The leader decides by what all say, and a
//! partition that nobody reads is a fault.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    ingest::status::{Acceptance, Group, IngestStatus, StandStill},
    store::{PartitionRecord, StoreError},
};

/// Interval of the reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// Without a report for this long nobody reads a partition, milliseconds. Another instance has it after about ten seconds.
const UNREAD_AFTER_MS: i64 = 15_000;

/// Partitions that one sentence names.
const MAX_NAMED: usize = 10;

/// What an instance says of one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Report {
    caught_up: bool,
    standing_still: Option<StandStill>,
    /// Of all partitions of the instance.
    acceptance: Acceptance,
}

/// Reports the partitions of this instance, and reads what others changed, until the stop. A failure is one of the database, which others
/// show.
pub(crate) async fn run(context: Context, stop: CancellationToken) -> anyhow::Result<()> {
    while tokio::time::timeout(REPORT_INTERVAL, stop.cancelled())
        .await
        .is_err()
    {
        let shared = async {
            report(&context).await?;
            context.refresh_silences().await
        };
        if let Err(error) = shared.await {
            tracing::debug!(%error, "nothing exchanged with other instances");
        }
    }
    Ok(())
}

async fn report(context: &Context) -> Result<(), StoreError> {
    let status = context.ingest.get();
    let Some(group) = status.group.as_ref().filter(|group| !group.held.is_empty()) else {
        return Ok(());
    };
    if !status.consuming {
        return Ok(());
    }
    let report = |&(partition, caught_up): &(i32, bool)| {
        let still = status.standing_still.iter();
        let report = Report {
            caught_up,
            standing_still: still.copied().find(|still| still.partition == partition),
            acceptance: status.acceptance.clone(),
        };
        let text = serde_json::to_string(&report).unwrap_or_default();
        (partition, text)
    };
    let reports = group.held.iter().map(report).collect();
    context
        .store
        .report_partitions(group.topic.clone(), group.instance.clone(), reports)
        .await
}

/// The status of reading from Kafka over all instances.
pub(crate) async fn status_of_all(context: &Context) -> Result<IngestStatus, StoreError> {
    let own = context.ingest.get();
    let now_ms = context.clock.now_ms();
    let Some(group) = own.group.clone() else {
        context.whole.replace(now_ms, own.clone(), true);
        return Ok(own);
    };
    let records = if own.consuming && group.has_all() {
        Vec::new()
    } else {
        context.store.partition_records(group.topic.clone()).await?
    };
    let all = merged(&own, &group, &records);
    let is_own = all.is_none();
    context.whole.replace(now_ms, all.unwrap_or(own), is_own);
    Ok(context.whole.get())
}

/// What this instance knows itself, and what others say of the other partitions; none if it is alone.
fn merged(own: &IngestStatus, group: &Group, records: &[PartitionRecord]) -> Option<IngestStatus> {
    let held = if own.consuming { &group.held[..] } else { &[] };
    let is_own = |partition: i32| held.iter().any(|(held, _)| *held == partition);
    let exists =
        |partition: i32| group.partitions.is_empty() || group.partitions.contains(&partition);
    let of_others = records.iter().filter(|record| {
        let is_fresh = record.age_ms < UNREAD_AFTER_MS && record.instance != group.instance;
        is_fresh && exists(record.partition) && !is_own(record.partition)
    });
    let others: BTreeMap<i32, Report> = of_others
        .filter_map(|record| Some((record.partition, serde_json::from_str(&record.state).ok()?)))
        .collect();
    if others.is_empty() && (group.has_all() || !own.consuming) {
        return None;
    }
    let is_unread = |partition: &i32| !others.contains_key(partition) && !is_own(*partition);
    let unread: Vec<_> = group.partitions.iter().copied().filter(is_unread).collect();
    let is_read = unread.is_empty();
    let mut standing_still = own.standing_still.clone();
    standing_still.retain(|still| is_own(still.partition));
    standing_still.extend(others.values().filter_map(|report| report.standing_still));
    standing_still.sort_by_key(|still| still.since_ms);
    let acceptance = others.values().map(|report| &report.acceptance);
    let acceptance = acceptance
        .chain([&own.acceptance])
        .max_by_key(|of| match of {
            Acceptance::Unknown => 0,
            Acceptance::Accepting => 1,
            Acceptance::Rejecting(_) => 2,
        });
    Some(IngestStatus {
        connected: true,
        consuming: is_read,
        caught_up: is_read
            && held.iter().all(|(_, at_end)| *at_end)
            && others.values().all(|report| report.caught_up),
        partitions: others.len() + held.len(),
        standing_still,
        acceptance: acceptance.cloned().unwrap_or_default(),
        error: own.error.clone().or_else(|| unread_error(&unread)),
        group: Some(Group {
            unread,
            ..group.clone()
        }),
        ..own.clone()
    })
}

fn unread_error(unread: &[i32]) -> Option<String> {
    let named: Vec<_> = unread.iter().take(MAX_NAMED).map(i32::to_string).collect();
    let more = unread.len().saturating_sub(MAX_NAMED);
    let named = named.join(", ");
    match (unread.len(), more) {
        (0, _) => None,
        (1, _) => Some(format!("no instance reads partition {named}")),
        (_, 0) => Some(format!("no instance reads the partitions {named}")),
        (_, more) => Some(format!(
            "no instance reads the partitions {named} and {more} more"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::status::SharedStatus;

    fn own(partitions: &[i32], held: &[(i32, bool)]) -> IngestStatus {
        let status = SharedStatus::new(0);
        status.update(0, |status| {
            (status.connected, status.consuming) = (true, true);
            status.caught_up = held.iter().all(|(_, at_end)| *at_end);
            status.group = Some(Group {
                instance: "this".to_owned(),
                topic: "t".to_owned(),
                partitions: partitions.to_vec(),
                held: held.to_vec(),
                unread: Vec::new(),
            });
        });
        status.get()
    }

    fn record(partition: i32, age_ms: i64, report: &Report) -> PartitionRecord {
        let state = serde_json::to_string(report).expect("JSON");
        PartitionRecord {
            partition,
            instance: "other".to_owned(),
            age_ms,
            state,
        }
    }

    fn reading(caught_up: bool) -> Report {
        Report {
            caught_up,
            standing_still: None,
            acceptance: Acceptance::Unknown,
        }
    }

    fn all(own: &IngestStatus, records: &[PartitionRecord]) -> IngestStatus {
        merged(own, own.group.as_ref().expect("a group"), records).expect("others")
    }

    #[test]
    fn everything_is_read_if_each_partition_has_a_reader() {
        let own = own(&[0, 1, 2], &[(0, true)]);
        let records = [record(1, 10, &reading(true)), record(2, 10, &reading(true))];
        let status = all(&own, &records);
        assert_eq!(
            (status.consuming, status.caught_up, status.partitions),
            (true, true, 3)
        );
        let behind = [record(1, 10, &reading(false)), records[1].clone()];
        assert!(!all(&own, &behind).caught_up);
    }

    #[test]
    fn a_partition_that_nobody_reads_is_a_fault() {
        let own = own(&[0, 1, 2], &[(0, true)]);
        let records = [
            record(1, UNREAD_AFTER_MS, &reading(true)),
            record(2, 10, &reading(true)),
        ];
        let status = all(&own, &records);
        assert_eq!((status.consuming, status.caught_up), (false, false));
        assert!(status.is_partly_read());
        assert_eq!(
            status.error.as_deref(),
            Some("no instance reads partition 1")
        );
        assert_eq!(
            all(&own, &[]).error.as_deref(),
            Some("no instance reads the partitions 1, 2")
        );
    }

    #[test]
    fn an_instance_that_is_alone_knows_all_itself() {
        let own = own(&[0, 1], &[(0, true), (1, false)]);
        let group = own.group.clone().expect("a group");
        let mine = PartitionRecord {
            instance: "this".to_owned(),
            ..record(0, 10, &reading(true))
        };
        assert_eq!(merged(&own, &group, std::slice::from_ref(&mine)), None);
        let mut away = own;
        away.consuming = false;
        assert_eq!(merged(&away, &group, &[mine]), None);
        let other = record(0, 10, &reading(true));
        let status = merged(&away, &group, &[other]).expect("another reads");
        assert_eq!((status.consuming, status.partitions), (false, 1));
    }

    #[test]
    fn an_instance_without_partitions_knows_of_the_others() {
        let own = own(&[0, 1], &[]);
        let still = StandStill {
            partition: 1,
            offset: 7,
            waiting: 3,
            since_ms: 5,
        };
        let stands = Report {
            caught_up: false,
            standing_still: Some(still),
            acceptance: Acceptance::Rejecting("why".to_owned()),
        };
        let status = all(
            &own,
            &[record(0, 10, &reading(true)), record(1, 10, &stands)],
        );
        assert!(status.consuming);
        assert_eq!(status.standing_still, [still]);
        assert_eq!(status.acceptance, Acceptance::Rejecting("why".to_owned()));
    }
}
