//! Retired streams: their incidents end in the same transaction, and what ingest still remembers of them is refused.

use std::sync::Arc;

use detection::{
    MonitorSettings, PolicyName, StatusCount,
    open_minutes::{Counts, Merge, OpenMinutes, Settings, StoredOpenMinutes},
};

use super::{
    incidents::{Service, at_ms, names},
    open, row, wait,
};
use crate::{
    alerts::{
        incident::{EndReason, IncidentEventKind},
        incident_record::IncidentRecord,
    },
    store::{IncidentFilter, IngestCommit, OpenCommit, StoreError},
};

/// A service whose only stream has an open incident since minute 40.
fn in_trouble(mut service: Service) -> Service {
    for minute in 0..=40 {
        let denied = if minute == 40 { 60 } else { 0 };
        service.minute(&names(1), minute, denied);
    }
    service
}

#[test]
fn a_retirement_ends_the_incident_at_once() {
    let (store, _folder) = open();
    let service = in_trouble(Service::new(&store, 0));
    let events = service.retire("s01", 43);
    let [ended] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(ended.message.event, IncidentEventKind::Resolved);
    assert_eq!(ended.message.end_reason, Some(EndReason::Retired));
    let message =
        "The stream was retired after 4 min. 55 problem payments more than expected in all.";
    assert_eq!(ended.message.message, message);
    assert_eq!(ended.suppressed, None, "its opening was notified");
    assert!(service.retire("s01", 44).is_empty(), "once");
}

#[test]
fn a_stream_that_comes_back_starts_again() {
    let adaptive = MonitorSettings::default().only(PolicyName::Adaptive);
    for settings in [MonitorSettings::default(), adaptive] {
        let (store, _folder) = open();
        let mut service = in_trouble(Service::judging(&store, 0, settings));
        let before = service.retire("s01", 40)[0].message.id;
        let refused = service.try_minute(&names(1), 41, 60);
        assert!(
            matches!(&refused, Err(StoreError::StreamRetired(stream)) if stream == "s01"),
            "{refused:?}"
        );
        service.restart();
        let events = service.minute(&names(1), 41, 60);
        let [opened] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(opened.message.event, IncidentEventKind::Opened);
        assert_ne!(opened.message.id, before);
        let all = IncidentFilter {
            limit: 10,
            ..IncidentFilter::default()
        };
        let incidents = wait(store.incidents(all));
        let open: Vec<_> = incidents.iter().map(IncidentRecord::is_open).collect();
        assert_eq!(open, [true, false]);
    }
}

#[test]
fn a_resolved_incident_is_forgotten_with_its_stream() {
    let (store, _folder) = open();
    let mut service = in_trouble(Service::new(&store, 0));
    let id = service.by_hand(40);
    assert!(service.minute(&names(1), 41, 60).is_empty(), "it goes on");
    assert!(service.retire("s01", 41).is_empty());
    service.restart();
    let events = service.minute(&names(1), 42, 300);
    assert_eq!(events[0].message.event, IncidentEventKind::Opened);
    assert_ne!(events[0].message.id, id);
}

/// The open minutes of the stream `s01` after one transaction.
fn with_open_minute() -> OpenMinutes {
    let settings = Settings {
        close_after_ms: 10_000,
        max_pause_minutes: 3,
    };
    let mut open = OpenMinutes::restore(settings, Merge::Add, StoredOpenMinutes::default());
    add(&mut open, at_ms(60));
    open
}

fn add(open: &mut OpenMinutes, at_ms: i64) {
    let approved = detection::Status::parse("approved").expect("a name");
    let stream = "s01".parse().expect("a name");
    open.add(0, at_ms, &stream, &approved, 1)
        .expect("one status");
}

#[test]
fn open_minutes_of_a_retired_stream_are_refused() {
    let closes = |open: &mut OpenMinutes| {
        add(open, at_ms(62));
        assert_eq!(open.close(0, |_| false).len(), 1);
    };
    let grows = |open: &mut OpenMinutes| add(open, at_ms(60));
    let changes: [&dyn Fn(&mut OpenMinutes); 2] = [&closes, &grows];
    for change in changes {
        let (store, _folder) = open();
        let service = in_trouble(Service::new(&store, 0));
        let mut open = with_open_minute();
        let commit = |open: &mut OpenMinutes| {
            let open = OpenCommit {
                cluster_id: "c".to_owned(),
                topic: "t".to_owned(),
                changes: open.take_changes(),
            };
            let commit = IngestCommit {
                open: Some(open),
                ..IngestCommit::default()
            };
            store.begin_ingest(&Arc::new(commit)).wait()
        };
        commit(&mut open).expect("committed");
        let rows = || {
            let count =
                "SELECT (SELECT count(*) FROM open_streams) + (SELECT count(*) FROM open_minutes)";
            row(&store, count, |row| row.get::<_, i64>(0))
        };
        assert_eq!(rows(), 2);
        service.retire("s01", 60);
        assert_eq!(rows(), 0);
        change(&mut open);
        let refused = commit(&mut open);
        assert!(
            matches!(refused, Err(StoreError::StreamRetired(_))),
            "{refused:?}"
        );
        let mut loaded = with_open_minute();
        commit(&mut loaded).expect("it starts again");
        let stored = store.open_minutes("c", "t").expect("readable").minutes;
        let counts: Vec<&Counts> = stored.iter().map(|(.., counts)| counts).collect();
        assert!(matches!(&counts[..], [one] if matches!(one[..], [StatusCount { count: 1, .. }])));
    }
}
