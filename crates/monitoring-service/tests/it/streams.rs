//! Many streams over many partitions: each is judged as if it were alone.

use std::collections::BTreeMap;

use detection::{
    Disposition, Minute, MinuteCounts, Monitor, MonitorSettings, MonitoredStatus, StatusCount,
};

use monitoring_service::store::SuppressedBy;

use crate::harness::{Message, Setup, TOPIC, TestApp, broker, folder, send};

const STREAMS: i64 = 40;
const MINUTES: i64 = 80;

/// A count that is usual but for a burst, different in each stream and the same at every run.
fn count(stream: i64, minute: i64, status: MonitoredStatus) -> u32 {
    let noise = (stream * 31 + minute * 17 + i64::from(status.is_problem()) * 7).rem_euclid(11);
    let burst = (minute - 40 - stream % 20).rem_euclid(MINUTES) < 3 && status.is_problem();
    u32::try_from(if burst {
        60 + noise
    } else if status.is_problem() {
        noise % 3
    } else {
        100 + noise
    })
    .expect("small")
}

fn batch(stream: i64, minute: i64, more: u32) -> MinuteCounts {
    let counts = MonitoredStatus::ALL.map(|status| StatusCount {
        status: status.into(),
        count: count(stream, minute, status) + more,
    });
    let name = format!("acquirer-{stream}").parse().expect("a name");
    MinuteCounts::try_new(
        name,
        Minute::from_epoch_minutes(29_000_000 + minute),
        counts.to_vec(),
    )
    .expect("valid")
}

/// In the order of sending: some minutes come late, some are corrected.
fn batches(stream: i64) -> Vec<MinuteCounts> {
    let mut minutes: Vec<_> = (0..MINUTES)
        .map(|minute| batch(stream, minute, 0))
        .collect();
    for late in (20..MINUTES - 6).step_by(13) {
        let at = usize::try_from(late).expect("small");
        let moved = minutes.remove(at);
        minutes.insert(at + 4, moved);
    }
    minutes.push(batch(stream, MINUTES - 3, 90));
    minutes.push(batch(stream, MINUTES - 30, 90));
    minutes
}

#[tokio::test(flavor = "multi_thread")]
async fn each_stream_of_many_is_judged_as_if_it_were_alone() {
    let (broker, folder) = (broker().await, folder());
    broker.add_partitions(TOPIC, 8).expect("more partitions");
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), Setup::default()).await;
    let all: Vec<Vec<_>> = (0..STREAMS).map(batches).collect();
    let message = |batch: &MinuteCounts| Message {
        key: batch.stream().to_string(),
        ..Message::new(batch.to_json())
    };
    let interleaved = (0..all[0].len()).flat_map(|at| all.iter().map(move |stream| &stream[at]));
    send(&broker, interleaved.map(message));
    app.until_consumed(all.iter().map(Vec::len).sum::<usize>() as u64)
        .await;
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for alert in app.alerts().await {
        let anomaly = alert.anomaly.clone().expect("of a stream");
        let held_back_by = alert.suppressed_by;
        found.entry(anomaly.stream.clone()).or_default().push((
            alert.id,
            anomaly.count,
            anomaly.late,
            held_back_by,
        ));
    }
    for (number, batches) in all.into_iter().enumerate() {
        let mut alone = Monitor::new(MonitorSettings::default());
        let alerts = batches
            .into_iter()
            .flat_map(|batch| alone.observe(batch, &[]).alerts);
        let expected: Vec<_> = alerts
            .map(|alert| {
                let held_back_by = match alert.disposition {
                    Disposition::Cooldown { by } => Some(SuppressedBy::Alert(by)),
                    Disposition::Dispatched { .. } => None,
                    Disposition::Silenced { .. } => unreachable!("nothing is silenced here"),
                };
                (alert.id, alert.count, alert.late, held_back_by)
            })
            .collect();
        assert!(!expected.is_empty(), "stream {number} has a burst");
        assert_eq!(
            found.remove(&format!("acquirer-{number}")),
            Some(expected),
            "stream {number}"
        );
    }
    app.stop().await.expect("a clean stop");
}
