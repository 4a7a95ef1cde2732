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
    store::{IncidentFilter, Store},
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
fn an_escalation_waits_for_the_end_of_a_silence() {
    for count in [1, 3] {
        let (store, _folder) = open();
        let (mut service, streams) = (Service::new(&store, 10_000), names(count));
        for minute in 0..=40 {
            service.minute(&streams, minute, if minute == 40 { 60 } else { 0 });
        }
        service.release(at_ms(40) + 10_000);
        assert_eq!(events(&service), [IncidentEventKind::Opened]);
        service.silences = vec![silence()];
        assert!(service.release(at_ms(80)).is_empty(), "it is silenced");
        service.silences.clear();
        let escalated = service.release(at_ms(100));
        assert_eq!(escalated[0].message.event, IncidentEventKind::Escalated);
        assert_eq!(escalated[0].suppressed, None);
        assert!(service.release(at_ms(200)).is_empty(), "once");
    }
}

#[test]
fn a_group_that_a_person_resolves_ends_its_members() {
    let (store, _folder) = open();
    let (mut service, streams) = (Service::new(&store, 10_000), names(3));
    for minute in 0..=40 {
        service.minute(&streams, minute, if minute == 40 { 60 } else { 0 });
    }
    service.release(at_ms(40) + 10_000);
    service.by_hand(41);
    let ended = service.release(at_ms(41));
    let reasons: Vec<_> = ended.iter().map(|of| of.message.end_reason).collect();
    assert_eq!(reasons, [Some(EndReason::ByHand); 3]);
    assert!(service.release(at_ms(42)).is_empty(), "once");
    let (opened, resolved) = (IncidentEventKind::Opened, IncidentEventKind::Resolved);
    assert_eq!(events(&service), [opened, resolved]);
}

#[test]
fn a_group_whose_last_stream_is_retired_says_so() {
    let (store, _folder) = open();
    let (mut service, streams) = (Service::new(&store, 10_000), names(3));
    for minute in 0..=40 {
        service.minute(&streams, minute, if minute == 40 { 60 } else { 0 });
    }
    service.release(at_ms(40) + 10_000);
    for minute in 41..50 {
        service.minute(&streams[1..], minute, 0);
    }
    assert!(service.release(at_ms(49)).is_empty(), "one is open");
    service.retire("s01", 50);
    let ended = service.release(at_ms(51));
    assert_eq!(ended[0].message.kind, IncidentKind::Group);
    assert_eq!(ended[0].message.end_reason, Some(EndReason::Retired));
    let message = &ended[0].message.message;
    assert!(
        message.starts_with("After 12 min its last open stream was retired."),
        "{message}"
    );
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
    let count = "1 incident (1 still open) between 2025-07-08T19:20:00Z and 2025-07-08T19:20:00Z";
    assert!(summed_up.message.contains(count), "{}", summed_up.message);
    assert_eq!(summary(recorded_ms + HOUR_MS), None, "once");

    service.behind_ms = 0;
    service.minute(&streams, 41 + 120, 60);
    let released = service.release(at_ms(41 + 120));
    assert_eq!(released[0].message.event, IncidentEventKind::Opened);
    assert_eq!(events(&service), [IncidentEventKind::Opened]);
}

#[test]
fn what_was_too_old_counts_also_after_it_opened_again_as_a_warning() {
    let (store, _folder) = open();
    let (mut service, streams) = learned(&store);
    service.policy.max_age_ms = Some(HOUR_MS / 2);
    service.behind_ms = 2 * HOUR_MS;
    for minute in 40..58 {
        let denied = match minute {
            40 => 60,
            48 => 35,
            _ => 0,
        };
        service.minute(&streams, minute, denied);
    }
    let now_ms = at_ms(58) + 2 * HOUR_MS;
    let policy = service.policy.clone();
    let decide = move |tally: &_, last| summary::of_ingest(tally, last, &policy, now_ms + 60_000);
    let summed_up = wait(store.sum_up_ingest(true, now_ms, decide)).expect("a summary");
    let count = "1 incident (over) between";
    assert!(summed_up.message.contains(count), "{}", summed_up.message);
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
    let groups = IncidentFilter {
        kind: Some(IncidentKind::Group),
        limit: 1,
        ..IncidentFilter::default()
    };
    let group = wait(store.incidents(groups)).remove(0).message;
    assert_eq!(group.title, "4 of 7 streams: denied up");
    assert_eq!((group.streams.len(), group.stream_count), (4, 4));
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
fn a_group_that_waits_when_receivers_are_taken_away_is_recorded() {
    let (store, _folder) = open();
    let (mut service, streams) = (Service::new(&store, 10_000), names(3));
    for minute in 0..=40 {
        service.minute(&streams, minute, if minute == 40 { 60 } else { 0 });
    }
    service.policy.routes = [].into();
    let events = service.release(at_ms(40) + 10_000);
    assert_eq!(events[0].message.kind, IncidentKind::Group);
    assert_eq!(events[0].suppressed, Some(EventSuppression::NoReceiver));
    assert_eq!(self::events(&service), []);
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
