//! The line of health: one quiet sentence, or each fault with what to do about it.

use maud::{Markup, html};

use super::parts::{at, lasting};
use crate::routes::health::{Condition, Health, KafkaHealth};

/// A fault and what to do about it.
struct Fault {
    what: String,
    fix: &'static str,
}

pub(super) fn line(health: &Health, now_ms: i64) -> Markup {
    let faults = faults(health, now_ms);
    if health.status == Condition::Ok && faults.is_empty() {
        return html! {
            p id="health" class="health ok" data-live { span class="dot" {} (quiet(health)) }
        };
    }
    html! {
        ul id="health" class="health crit" data-live {
            @for fault in &faults { li { b { (fault.what) } " " (fault.fix) } }
            @if faults.is_empty() { li { b { "The service is degraded." } " GET /health names the part." } }
        }
    }
}

fn quiet(health: &Health) -> Markup {
    let (kafka, deliveries) = (&health.parts.kafka, &health.parts.deliveries);
    let reading = match kafka.lag {
        Some(lag @ 1..) if !kafka.caught_up => {
            format!("Older counts are being read: {lag} messages are left.")
        }
        _ => "Counts are read as they arrive.".to_owned(),
    };
    html! {
        (reading) " "
        @match (deliveries.pending, deliveries.oldest_pending_at) {
            (Some(pending @ 1..), Some(oldest)) => {
                (pending) " notification(s) pending, the oldest since " (at(oldest.0)) "."
            }
            _ => { "Every notification is delivered." }
        }
    }
}

fn faults(health: &Health, now_ms: i64) -> Vec<Fault> {
    let parts = &health.parts;
    let mut faults = Vec::new();
    let mut add = |condition, what: String, fix| {
        if condition == Condition::Degraded {
            faults.push(Fault { what, fix });
        }
    };
    let error = |error: &Option<String>, or: &str| error.clone().unwrap_or_else(|| or.to_owned());
    add(
        parts.database.status,
        format!(
            "The database does not answer: {}.",
            error(&parts.database.error, "unknown reason")
        ),
        "Check the disk of the service.",
    );
    let (what, fix) = kafka(&parts.kafka, now_ms);
    add(parts.kafka.status, what, fix);
    for note in &parts.streams.notes {
        add(
            parts.streams.status,
            note.clone(),
            "GET /streams shows the streams.",
        );
    }
    add(
        parts.deliveries.status,
        format!(
            "{} notification(s) were given up.",
            parts.deliveries.dead.unwrap_or_default()
        ),
        "See Deliveries: fix the receiver, then send them again.",
    );
    add(
        parts.offset_gaps.status,
        "Messages were deleted in Kafka before they were read.".to_owned(),
        "GET /offset-gaps lists them; their minutes are unknown.",
    );
    add(
        parts.tasks.status,
        format!(
            "The task {} has not reported for {} s.",
            parts.tasks.oldest_report, parts.tasks.oldest_report_seconds
        ),
        "The service restarts itself if it hangs; read its log.",
    );
    faults
}

/// What is wrong with reading from Kafka, and what to do.
fn kafka(kafka: &KafkaHealth, now_ms: i64) -> (String, &'static str) {
    if let Some(why) = &kafka.rejecting {
        let what = format!("Most of the newest messages cannot be used: {why}.");
        return (what, "GET /dead-letters lists them; fix the producer.");
    }
    let error = kafka.error.as_deref();
    let what = format!(
        "Counts have not been read for {}: {}.",
        lasting(kafka.since.0, now_ms),
        error.unwrap_or("Kafka is not connected yet")
    );
    (
        what,
        "Check the brokers and KAFKA_BOOTSTRAP_SERVERS; nothing is evaluated until then.",
    )
}
