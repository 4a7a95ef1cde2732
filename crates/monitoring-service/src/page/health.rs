//! The line of health: one quiet sentence, or each fault with what to do about it.

use maud::{Markup, html};

use super::parts::{ago, at, grouped, lasting};
use crate::{
    alerts::incident_text::capitalized,
    ingest::status::{IngestStatus, Source},
    routes::{
        AppState,
        health::{
            Condition, DeliveriesHealth, Health, KafkaHealth, Parts, STANDS_STILL_MS, kafka_health,
        },
    },
};

/// A first connection to Kafka may take this long before it is shown as a fault, milliseconds.
const CONNECTING_MS: i64 = 30_000;

/// What is wrong, and what to do about it.
struct Fault {
    what: String,
    fix: String,
}

impl Fault {
    fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            fix: fix.into(),
        }
    }
}

pub(super) fn line(state: &AppState, health: &Health) -> Markup {
    let now_ms = state.clock.now_ms();
    if health.status == Condition::Ok && health.parts.streams.notes.is_empty() {
        return quiet(state, health);
    }
    let faults = faults(&health.parts, &state.ingest.get(), now_ms);
    let class = match health.status {
        Condition::Degraded if !faults.is_empty() => "crit",
        _ => "warn",
    };
    html! {
        ul id="health" class={ "health " (class) } data-live {
            @for fault in &faults { li { b { (fault.what) } " " (fault.fix) } }
            @if faults.is_empty() && health.status == Condition::Degraded { li { b { "Connecting to Kafka." } } }
            @for note in &health.parts.streams.notes { li { (note) "." } }
        }
    }
}

/// What keeps counts from being read from Kafka now, for views that would look current without it.
pub(super) fn unread(state: &AppState) -> Option<Markup> {
    let (ingest, now_ms) = (state.ingest.get(), state.clock.now_ms());
    let is_read = ingest.source == Source::Requests;
    let fault = (!is_read)
        .then(|| kafka_health(ingest.clone(), now_ms))
        .filter(|health| health.status == Condition::Degraded)
        .and_then(|health| kafka(&health, &ingest, now_ms));
    fault.map(|fault| html! { p class="health crit" { b { (fault.what) } " " (fault.fix) } })
}

fn quiet(state: &AppState, health: &Health) -> Markup {
    let (kafka, deliveries) = (&health.parts.kafka, &health.parts.deliveries);
    let reading = match kafka {
        Some(KafkaHealth {
            lag: Some(lag @ 1..),
            caught_up: false,
            ..
        }) => format!(
            "Older counts are being read: {} messages are left.",
            grouped(*lag)
        ),
        Some(_) => "Counts are read as they arrive.".to_owned(),
        None => "Counts are read as they are sent to POST /transactions.".to_owned(),
    };
    let notifies = state.notify.has_receiver();
    html! {
        p id="health" class="health ok" data-live {
            span class={ "dot" @if !notifies { " warn" } } {} (reading) " "
            @match (deliveries.pending, deliveries.oldest_pending_at) {
                _ if !notifies => { "Nobody is notified: set ALERT_WEBHOOK_URL to the address of a receiver." }
                (Some(pending @ 1..), Some(oldest)) => {
                    (notifications(pending)) " pending, the oldest since " (at(oldest.0)) "."
                }
                _ => { "Every notification is delivered." }
            }
        }
    }
}

fn notifications(number: u64) -> String {
    match number {
        1 => "1 notification".to_owned(),
        _ => format!("{} notifications", grouped(number)),
    }
}

/// Everything that is wrong; the notes about streams follow the last one.
fn faults(parts: &Parts, ingest: &IngestStatus, now_ms: i64) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(error) = &parts.database.error {
        faults.push(Fault::new(
            format!("{}.", capitalized(error)),
            "Nothing new is stored or evaluated while this lasts. Check the disk of the database.",
        ));
    }
    let is_degraded = |kafka: &&KafkaHealth| kafka.status == Condition::Degraded;
    if let Some(of_kafka) = parts.kafka.as_ref().filter(is_degraded) {
        faults.extend(kafka(of_kafka, ingest, now_ms));
    }
    if let Some(fault) = ingest.notes.fault(now_ms) {
        faults.push(Fault::new(
            format!("{}.", capitalized(fault.what())),
            format!("{}.", capitalized(fault.fix())),
        ));
    }
    faults.extend(deliveries(&parts.deliveries, now_ms));
    if parts.offset_gaps.status == Condition::Degraded {
        faults.push(Fault::new(
            "Messages were lost before they were read, or the database lost commits.",
            "GET /offset-gaps lists them with the reason.",
        ));
    }
    if parts.tasks.status == Condition::Degraded {
        let (task, seconds) = (parts.tasks.oldest_report, parts.tasks.oldest_report_seconds);
        faults.push(Fault::new(
            format!("The task {task} has not reported for {seconds} s."),
            "The service ends itself if this lasts; read its log.",
        ));
    }
    if parts.streams.status == Condition::Degraded {
        faults.push(Fault::new(
            "Nobody can be notified about a stream.",
            "Its producer has to be changed:",
        ));
    }
    faults
}

/// What is wrong with reading from Kafka.
fn kafka(kafka: &KafkaHealth, ingest: &IngestStatus, now_ms: i64) -> Option<Fault> {
    if let Some(why) = &kafka.rejecting {
        let fix = "Their counts are unknown until the producer is fixed; GET /dead-letters lists them, and a replay reads them with other settings.";
        return Some(Fault::new(format!("{why}."), fix));
    }
    let standing = ingest.standing_longer_than(STANDS_STILL_MS, now_ms);
    let (is_partly_read, since_ms) = match standing {
        Some(standing) => (standing.read > 0, standing.partitions[0].since_ms),
        None => (kafka.consuming, ingest.consuming_since_ms),
    };
    if let (Some(error), true) = (&kafka.error, is_partly_read) {
        let fix = "Minutes are missing until it goes on; the log of the service and docs/operations.md say more.";
        return Some(Fault::new(
            format!("Not all counts are read: {error}."),
            fix,
        ));
    }
    let unread_ms = ingest.consuming_since_ms.max(ingest.since_ms);
    if kafka.error.is_none() && now_ms - unread_ms < CONNECTING_MS {
        return None;
    }
    let error = kafka.error.as_deref();
    let what = format!(
        "Counts have not been read for {}: {}.",
        lasting(since_ms, now_ms),
        error.unwrap_or("Kafka is not connected yet")
    );
    let fix = "Nothing is evaluated while this lasts. Check the brokers, KAFKA_BOOTSTRAP_SERVERS and KAFKA_TOPIC.";
    Some(Fault::new(what, fix))
}

/// Receivers that do not accept notifications, and notifications that nobody was sent.
fn deliveries(deliveries: &DeliveriesHealth, now_ms: i64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for receiver in &deliveries.receivers {
        if receiver.status != Condition::Degraded {
            continue;
        }
        let since = receiver
            .failing_since
            .map_or_else(|| "lately".to_owned(), |since| ago(since.0, now_ms));
        let what = format!(
            "The receiver {} does not accept notifications (first failure {since}): {}.",
            receiver.name,
            receiver.last_error.as_deref().unwrap_or("unknown reason")
        );
        let fix = match deliveries.pending {
            Some(0) => "Nothing is pending; POST /alerts/test shows whether it accepts notifications again.".to_owned(),
            Some(pending) => format!(
                "{} pending, to be sent as soon as it accepts them.",
                notifications(pending)
            ),
            None => "Its notifications are sent as soon as it accepts them.".to_owned(),
        };
        let fallback = deliveries.fallback.as_ref();
        let fix = match fallback.filter(|one| one.stands_in_for.contains(&receiver.name)) {
            Some(one) => format!("{fix} What is new and open goes to {}, too.", one.receiver),
            None => fix,
        };
        faults.push(Fault::new(what, fix));
    }
    if let Some(dead @ 1..) = deliveries.dead {
        let what = format!("{} given up.", notifications(dead));
        let fix = "Deliveries shows why: fix the receiver, then send them again.";
        faults.push(Fault::new(what, fix));
    }
    faults
}
