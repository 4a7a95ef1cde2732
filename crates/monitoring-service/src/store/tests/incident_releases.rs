//! Openings that are notified later, groups that grow, and the texts of incidents that last.

use detection::{Detector, MonitorSettings, Silence, detector::adaptive::AdaptiveSettings};
use uuid::Uuid;

use super::{
    incidents::{Service, at_ms, names},
    open, wait,
};
use crate::{
    alerts::{
        incident::{EndReason, IncidentEventKind, IncidentKind},
        incident_update::EventSuppression,
        summary,
    },
    store::Store,
};

const HOUR_MS: i64 = 3_600_000;

/// A service with one stream after 40 usual minutes; incidents are not grouped.
fn learned(store: &Store) -> (Service, Vec<String>) {
    let (mut service, streams) = (Service::new(store, 0), names(1));
    for minute in 0..40 {
        service.minute(&streams, minute, 0);
    }
    (service, streams)
}

fn silence() -> Silence {
    Silence {
        id: Uuid::from_u128(1),
        streams: None,
        status: None,
    }
}

fn events(service: &Service) -> Vec<IncidentEventKind> {
    service.sent().iter().map(|message| message.event).collect()
}

#[test]
fn what_lasts_longer_than_its_silence_is_notified() {
    let (store, _folder) = open();
    let (mut service, streams) = learned(&store);
    service.silences = vec![silence()];
    let opened = service.minute(&streams, 40, 60);
    assert_eq!(opened[0].suppressed, Some(EventSuppression::Silence));
    service.minute(&streams, 41, 60);
    assert!(service.release(at_ms(41)).is_empty(), "it is silenced");
    service.silences.clear();
    let later = service.release(at_ms(42));
    assert_eq!(later[0].message.event, IncidentEventKind::Opened);
    assert!(service.release(at_ms(42)).is_empty(), "once");
    for minute in 42..48 {
        service.minute(&streams, minute, 0);
    }
    let (opened, resolved) = (IncidentEventKind::Opened, IncidentEventKind::Resolved);
    assert_eq!(events(&service), [opened, resolved]);
}

#[test]
fn what_ends_within_its_silence_is_not_notified() {
    let (store, _folder) = open();
    let (mut service, streams) = learned(&store);
    service.silences = vec![silence()];
    for minute in 40..48 {
        service.minute(&streams, minute, if minute == 40 { 60 } else { 0 });
    }
    service.silences.clear();
    assert!(service.release(at_ms(48)).is_empty());
    assert_eq!(events(&service), []);
}

#[test]
fn an_old_opening_is_summed_up_and_notified_once_its_minutes_are_new() {
    let (store, _folder) = open();
    let (mut service, streams) = learned(&store);
    service.policy.max_age_ms = Some(HOUR_MS / 2);
    service.behind_ms = 2 * HOUR_MS;
    let opened = service.minute(&streams, 40, 60);
    assert_eq!(opened[0].suppressed, Some(EventSuppression::TooOld));
    let recorded_ms = at_ms(40) + 2 * HOUR_MS;
    assert!(service.release(recorded_ms).is_empty(), "still too old");

    let summary = |now_ms: i64| {
        let policy = service.policy.clone();
        let decide = move |tally: &_, last| summary::of_ingest(tally, last, &policy, now_ms);
        wait(store.sum_up_ingest(true, now_ms, decide))
    };
    assert_eq!(summary(recorded_ms + 59_999), None, "more may follow");
    let summed_up = summary(recorded_ms + 60_000).expect("a summary");
    let count = "1 incident between 2025-07-08T19:20:00Z and 2025-07-08T19:20:00Z, 1 still open";
    assert!(summed_up.message.contains(count), "{}", summed_up.message);
    assert_eq!(summary(recorded_ms + HOUR_MS), None, "once");

    service.behind_ms = 0;
    service.minute(&streams, 41 + 120, 60);
    let released = service.release(at_ms(41 + 120));
    assert_eq!(released[0].message.event, IncidentEventKind::Opened);
    assert_eq!(events(&service), [IncidentEventKind::Opened]);
}

#[test]
fn a_group_takes_in_what_joins_later_and_escalates_when_it_doubles() {
    let (store, _folder) = open();
    let (mut service, streams) = (Service::new(&store, 10_000), names(7));
    let (first, later) = streams.split_at(3);
    for minute in 0..40 {
        service.minute(&streams, minute, 0);
    }
    service.minute(first, 40, 60);
    service.minute(later, 40, 0);
    service.release(at_ms(40) + 10_000);
    // One more is the same trouble, and no message.
    service.minute(&streams[..4], 41, 60);
    service.minute(&streams[4..], 41, 0);
    service.release(at_ms(41));
    service.release(at_ms(41) + 10_000);
    assert_eq!(events(&service), [IncidentEventKind::Opened]);
    service.minute(&streams, 42, 60);
    for after in [0, 10_000, 20_000] {
        service.release(at_ms(42) + after);
    }
    for minute in 43..50 {
        service.minute(&streams, minute, 0);
        service.release(at_ms(minute));
    }
    let sent = service.sent();
    assert!(sent.iter().all(|one| one.kind == IncidentKind::Group));
    let (opened, escalated) = (IncidentEventKind::Opened, IncidentEventKind::Escalated);
    let resolved = IncidentEventKind::Resolved;
    assert_eq!(events(&service), [opened, escalated, resolved]);
    assert!(sent[1].message.starts_with("It has grown from 3 streams."));
    assert_eq!((sent[1].stream_count, sent[2].stream_count), (7, 7));
}

#[test]
fn the_policy_zscore_says_that_its_window_swallowed_an_incident() {
    let (store, _folder) = open();
    let settings = MonitorSettings {
        resolve_after_minutes: 400,
        ..MonitorSettings::default()
    };
    let (mut service, streams) = (Service::judging(&store, 0, settings), names(1));
    for minute in 0..=440 {
        service.minute(&streams, minute, if minute == 40 { 60 } else { 0 });
    }
    let sent = service.sent();
    let swallowed = "It is older than 6 h: the window of zscore has only its minutes";
    assert!(!sent[0].message.contains(swallowed));
    assert_eq!(sent[1].event, IncidentEventKind::Resolved);
    assert!(sent[1].message.contains(swallowed), "{}", sent[1].message);
    assert!(sent[1].message.starts_with("Usual again after 6 h 40 min."));
}

#[test]
fn the_policy_adaptive_says_what_is_usual_from_now_on() {
    let (store, _folder) = open();
    let settings = MonitorSettings {
        detector: Detector::Adaptive(AdaptiveSettings::default()),
        shadow: None,
        ..MonitorSettings::default()
    };
    let (mut service, streams) = (Service::judging(&store, 0, settings), names(1));
    for minute in 0..700 {
        service.minute(&streams, minute, if minute < 240 { 0 } else { 60 });
    }
    let sent = service.sent();
    let end = sent.last().expect("it ended");
    assert_eq!(end.event, IncidentEventKind::Resolved);
    assert_eq!(end.end_reason, Some(EndReason::NewLevel));
    let message = &end.message;
    assert!(
        message.starts_with("Different for 6 h: from now on "),
        "{message}"
    );
    assert!(message.contains("% denied counts as usual."), "{message}");
}
