//! Many streams over many partitions: each has the same alerts as if it were alone.

use std::collections::BTreeMap;

use detection::{
    Minute, MinuteCounts, Monitor, MonitorSettings, MonitoredStatus, PolicyName, StatusCount,
};

use crate::harness::{Message, TOPIC, TestApp, broker, folder, send};

const STREAMS: i64 = 40;
const MINUTES: i64 = 80;

/// A usual count or a burst; different in each stream and the same in every run.
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

fn minute_counts(stream: i64, minute: i64, more: u32) -> MinuteCounts {
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

/// The minutes in the order of sending; some are late, some are corrected.
fn minutes(stream: i64) -> Vec<MinuteCounts> {
    let mut minutes: Vec<_> = (0..MINUTES)
        .map(|minute| minute_counts(stream, minute, 0))
        .collect();
    for late in (20..MINUTES - 6).step_by(13) {
        let at = usize::try_from(late).expect("small");
        let moved = minutes.remove(at);
        minutes.insert(at + 4, moved);
    }
    minutes.push(minute_counts(stream, MINUTES - 3, 90));
    minutes.push(minute_counts(stream, MINUTES - 30, 90));
    minutes
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_are_independent() {
    let (broker, folder) = (broker().await, folder());
    broker.add_partitions(TOPIC, 8).expect("more partitions");
    let app = TestApp::with_defaults(&broker, &folder).await;
    let all: Vec<Vec<_>> = (0..STREAMS).map(minutes).collect();
    let message = |counts: &MinuteCounts| Message {
        key: counts.stream().to_string(),
        ..Message::new(counts.to_json())
    };
    let interleaved = (0..all[0].len()).flat_map(|at| all.iter().map(move |stream| &stream[at]));
    send(&broker, interleaved.map(message));
    app.until_consumed(all.iter().map(Vec::len).sum::<usize>() as u64)
        .await;
    let mut found: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for alert in app.alerts().await {
        let anomaly = alert.anomaly().expect("of a stream").clone();
        if anomaly.key.policy == PolicyName::Adaptive {
            continue;
        }
        // Without a receiver, every alert that is not muted is suppressed for that reason.
        let muted = alert.suppression.filter(|_| alert.is_muted());
        found
            .entry(anomaly.key.stream.to_string())
            .or_default()
            .push((anomaly, muted));
    }
    for (number, minutes) in all.into_iter().enumerate() {
        let mut alone = Monitor::new(MonitorSettings::default());
        let alerts = minutes
            .into_iter()
            .flat_map(|counts| alone.observe(counts, &[]).alerts);
        let expected: Vec<_> = alerts
            .map(|raised| (raised.anomaly, raised.suppression))
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
