//! Incidents from the fold to their deliveries: groups, one end, and the same after a restart anywhere.

use std::sync::Arc;

use detection::{
    Minute, MinuteCounts, Monitor, MonitorSettings, MonitoredStatus, PolicyName, Silence,
    StatusCount, Stream,
};

use uuid::Uuid;

use super::{address_of, open, wait};
use crate::{
    alerts::{
        IncidentSettings, NotifyPolicy,
        incident::{EndReason, IncidentEventKind, IncidentKind, IncidentMessage},
        incident_record::{Feedback, Verdict},
        incident_update::{EventSuppression, IncidentUpdate, Now, RecordedEvent},
        json::At,
        release,
    },
    store::{
        Content, DeliveryFilter, IncidentFilter, IngestCommit, Store, StoreError,
        labelled_incidents,
    },
};

const START: i64 = 29_200_000;

pub(super) fn at_ms(minute: i64) -> i64 {
    Minute::from_epoch_minutes(START + minute + 1)
        .start()
        .as_millisecond()
}

fn policy(group_wait_ms: i64) -> NotifyPolicy {
    NotifyPolicy {
        incidents: IncidentSettings {
            notified: true,
            warnings: false,
            group_wait_ms,
            escalate_after_ms: 30 * 60_000,
        },
        ..NotifyPolicy::with_default_receiver(None)
    }
}

/// A service without Kafka: the fold, the store, and what is notified.
pub(super) struct Service {
    pub(super) store: Store,
    monitor: Monitor,
    pub(super) policy: NotifyPolicy,
    pub(super) silences: Vec<Silence>,
    /// How long after its end a minute is recorded, milliseconds.
    pub(super) behind_ms: i64,
}

impl Service {
    pub(super) fn new(store: &Store, group_wait_ms: i64) -> Self {
        Self::judging(store, group_wait_ms, MonitorSettings::default())
    }

    pub(super) fn judging(store: &Store, group_wait_ms: i64, settings: MonitorSettings) -> Self {
        Self {
            store: store.clone(),
            monitor: Monitor::new(settings),
            policy: policy(group_wait_ms),
            silences: Vec::new(),
            behind_ms: 0,
        }
    }

    fn now(&self, ms: i64) -> Now<'_> {
        Now {
            policy: &self.policy,
            silences: &self.silences,
            ms,
        }
    }

    /// Forgets everything that is not stored.
    pub(super) fn restart(&mut self) {
        self.monitor.forget();
    }

    /// Commits one minute of these streams.
    pub(super) fn minute(
        &mut self,
        streams: &[String],
        minute: i64,
        denied: u32,
    ) -> Vec<RecordedEvent> {
        self.try_minute(streams, minute, denied).expect("committed")
    }

    pub(super) fn try_minute(
        &mut self,
        streams: &[String],
        minute: i64,
        denied: u32,
    ) -> Result<Vec<RecordedEvent>, StoreError> {
        let mut commit = IngestCommit {
            now_ms: at_ms(minute) + self.behind_ms,
            ..IngestCommit::default()
        };
        for name in streams {
            let stream: Stream = name.parse().expect("a name");
            if !self.monitor.knows(&stream) {
                let settings = self.monitor.settings();
                let stored = self.store.stored_stream(name, settings).expect("readable");
                self.monitor
                    .restore(stream.clone(), stored.unwrap_or_default().0);
            }
            let count = |status: MonitoredStatus, count| StatusCount {
                status: status.into(),
                count,
            };
            let wave = u32::try_from(minute.rem_euclid(3)).expect("small");
            let counts = vec![
                count(MonitoredStatus::Approved, 100 + wave),
                count(
                    MonitoredStatus::Denied,
                    if denied == 0 { 4 + wave } else { denied },
                ),
            ];
            let minute = Minute::from_epoch_minutes(START + minute);
            let counts = MinuteCounts::try_new(stream.clone(), minute, counts).expect("valid");
            let mut observed = self.monitor.observe(counts, &[]);
            let now = self.now(commit.now_ms);
            let step = observed.incident.take();
            let update = step.map(|step| IncidentUpdate::of_fold(&step, &stream, &now));
            commit.incidents.extend(update);
            observed.alerts.clear();
            commit.observed.push(observed);
        }
        self.store.begin_ingest(&Arc::new(commit)).wait()
    }

    /// Retires a stream, as `DELETE /streams/{id}` does.
    pub(super) fn retire(&self, stream: &str, minute: i64) -> Vec<RecordedEvent> {
        let (policy, now_ms) = (self.policy.clone(), at_ms(minute));
        let settings = *self.monitor.settings();
        let end = move |incident: &_| {
            Now::without_silences(&policy, now_ms).ended(incident, EndReason::Retired, None)
        };
        let retired = wait(self.store.retire_stream(stream, settings, now_ms, end));
        retired.expect("a stream")
    }

    /// A person resolves the open incident.
    pub(super) fn by_hand(&self, minute: i64) -> Uuid {
        let open = IncidentFilter {
            open: Some(true),
            limit: 1,
            ..IncidentFilter::default()
        };
        let id = wait(self.store.incidents(open))[0].message.id;
        let (policy, now_ms) = (self.policy.clone(), at_ms(minute));
        let end = move |incident: &_| {
            let now = Now::without_silences(&policy, now_ms);
            Some(now.ended(incident, EndReason::ByHand, None))
        };
        wait(self.store.update_incident(id, end)).expect("there");
        id
    }

    /// The pass of the scheduler.
    pub(super) fn release(&self, now_ms: i64) -> Vec<RecordedEvent> {
        let (policy, silences) = (self.policy.clone(), self.silences.clone());
        let plan = move |open: &release::Open| {
            let now = Now {
                policy: &policy,
                silences: &silences,
                ms: now_ms,
            };
            release::plan(open, PolicyName::ZScore, &now)
        };
        wait(self.store.release_incidents(now_ms, plan)).0
    }

    /// What the receiver is sent, oldest first.
    pub(super) fn sent(&self) -> Vec<IncidentMessage> {
        let filter = DeliveryFilter {
            limit: 500,
            ..DeliveryFilter::default()
        };
        let listed = wait(self.store.deliveries(filter)).into_iter().rev();
        listed
            .filter_map(|listed| match listed.content {
                Content::Incident(message) => Some(*message),
                Content::Alert(_) => None,
            })
            .collect()
    }
}

pub(super) fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("s{number:02}")).collect()
}

#[test]
fn sixty_streams_with_one_cause_are_two_notifications() {
    let (store, _folder) = open();
    let (mut service, streams) = (Service::new(&store, 10_000), names(60));
    for minute in 0..40 {
        service.minute(&streams, minute, 0);
    }
    let opened = service.minute(&streams, 40, 60);
    assert_eq!(opened.len(), 60);
    assert!(service.release(at_ms(40) + 1_000).is_empty(), "they wait");
    let group = service.release(at_ms(40) + 10_000);
    assert_eq!(group[0].message.title, "60 of 60 streams: denied up");
    for minute in 41..50 {
        let denied = if minute < 44 { 60 } else { 0 };
        service.minute(&streams, minute, denied);
        service.release(at_ms(minute) + 30_000);
    }
    let sent = service.sent();
    let kinds: Vec<_> = sent
        .iter()
        .map(|message| (message.kind, message.event))
        .collect();
    assert_eq!(
        kinds,
        [
            (IncidentKind::Group, IncidentEventKind::Opened),
            (IncidentKind::Group, IncidentEventKind::Resolved)
        ]
    );
    assert_eq!(sent[0].stream_count, 60);
    let without_members = wait(store.incidents(IncidentFilter {
        without_members: true,
        limit: 100,
        ..IncidentFilter::default()
    }));
    let kinds: Vec<_> = without_members.iter().map(|of| of.message.kind).collect();
    assert_eq!(kinds, [IncidentKind::Group], "it stands for its members");
    assert!(sent[1].excess_problems > Some(10_000), "{:?}", sent[1]);
    let open = IncidentFilter {
        open: Some(true),
        limit: 100,
        ..IncidentFilter::default()
    };
    assert!(wait(store.incidents(open)).is_empty());
}

#[test]
fn two_streams_are_notified_alone() {
    let (store, _folder) = open();
    let (mut service, streams) = (Service::new(&store, 10_000), names(2));
    for minute in 0..=40 {
        service.minute(&streams, minute, if minute == 40 { 60 } else { 0 });
    }
    service.release(at_ms(40) + 10_000);
    let sent = service.sent();
    let titles: Vec<_> = sent.iter().map(|message| message.title.as_str()).collect();
    assert_eq!(titles, ["s01: denied up", "s02: denied up"]);
    let others: Vec<_> = sent.iter().map(|message| &message.streams[..]).collect();
    assert_eq!(others, [["s02"], ["s01"]], "they waited for each other");
    let listed = wait(store.incidents(IncidentFilter {
        limit: 10,
        ..IncidentFilter::default()
    }));
    let listed: Vec<_> = listed.iter().map(|of| &of.message.streams[..]).collect();
    assert_eq!(listed, [["s01"], ["s02"]], "the newest first");
}

#[test]
fn messages_name_the_streams_with_the_same_trouble() {
    let (store, _folder) = open();
    let (mut service, streams) = (Service::new(&store, 0), names(2));
    for minute in 0..50 {
        let denied = if minute == 40 { 60 } else { 0 };
        service.minute(&streams, minute, denied);
    }
    let sent = service.sent();
    let named: Vec<_> = sent
        .iter()
        .map(|of| (of.sequence, &of.streams[..]))
        .collect();
    let (first, second) = (&["s01".to_owned()][..], &["s02".to_owned()][..]);
    // The opening of the first is sent at once, before the second opens.
    assert_eq!(named, [(1, &[][..]), (1, first), (2, second), (2, first)]);
    let (incident, events) = wait(store.incident(sent[0].id)).expect("stored");
    assert_eq!(
        (&incident.message.streams[..], incident.message.stream_count),
        (second, 2)
    );
    assert_eq!(events[0].event.message.streams, [""; 0], "as it was sent");
}

#[test]
fn nobody_acknowledged_escalates_once() {
    let (store, _folder) = open();
    let (mut service, streams) = (Service::new(&store, 0), names(1));
    for minute in 0..=40 {
        service.minute(&streams, minute, if minute == 40 { 60 } else { 0 });
    }
    let later = at_ms(40) + 30 * 60_000;
    assert!(service.release(later - 1).is_empty());
    let events = service.release(later);
    assert_eq!(events[0].message.event, IncidentEventKind::Escalated);
    assert!(service.release(later + 3_600_000).is_empty());
    assert_eq!(service.sent().len(), 2);
}

#[test]
fn an_end_before_the_opening_is_notified_is_not_notified() {
    let (store, _folder) = open();
    let (mut service, streams) = (Service::new(&store, 600_000), names(1));
    let mut events = Vec::new();
    for minute in 0..50 {
        events.extend(service.minute(&streams, minute, if minute == 40 { 60 } else { 0 }));
    }
    let last = events.last().expect("resolved");
    assert_eq!(last.message.event, IncidentEventKind::Resolved);
    assert_eq!(last.suppressed, Some(EventSuppression::NotOpened));
    service.release(at_ms(100));
    assert!(service.sent().is_empty());
}

/// Every event of an undisturbed run and of one that restarts before each of these minutes.
#[test]
fn a_restart_anywhere_gives_the_same_incidents() {
    let run = |restarts: &dyn Fn(i64) -> bool| {
        let (store, _folder) = open();
        let (mut service, streams) = (Service::new(&store, 0), names(1));
        for minute in 0..90 {
            if restarts(minute) {
                service.restart();
            }
            let denied = match minute {
                40 => 8,
                41..=43 => 60,
                55..=57 => 300,
                75 => 2000,
                _ => 0,
            };
            service.minute(&streams, minute, denied);
        }
        service.sent()
    };
    let undisturbed = run(&|_| false);
    let kinds: Vec<_> = undisturbed.iter().map(|message| message.event).collect();
    let once = [IncidentEventKind::Opened, IncidentEventKind::Resolved];
    assert_eq!(kinds, once.repeat(3));
    for seed in 0..40 {
        let restarts =
            |minute: i64| (minute * 7919 + seed * 104_729) % 5 == 0 || minute == 38 + seed;
        assert_eq!(run(&restarts), undisturbed, "seed {seed}");
    }
}

#[test]
fn feedback_is_a_label() {
    let (store, folder) = open();
    let (mut service, streams) = (Service::new(&store, 0), names(1));
    for minute in 0..60 {
        let denied = if minute == 40 { 60 } else { 0 };
        service.minute(&streams, minute, denied);
    }
    let database = address_of(&folder.path().join("test.db"));
    assert_eq!(labelled_incidents(&database).expect("readable"), []);
    let feedback = Feedback {
        verdict: Verdict::FalseAlarm,
        note: None,
        by: None,
        at: At(0),
    };
    let id = service.sent()[0].id;
    wait(store.label_incident(id, feedback)).expect("known");
    let labels = labelled_incidents(&database).expect("readable");
    let [label] = &labels[..] else {
        panic!("{labels:?}")
    };
    let minute = |minute| Minute::from_epoch_minutes(START + minute);
    assert_eq!((label.start, label.end), (minute(40), minute(46)));
    assert!(!label.alert && label.kind == "false_alarm");
}
