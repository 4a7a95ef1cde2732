//! Compares what the API says and what the receiver got with the input, with a calm run, and with each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use anyhow::Result;
use rusqlite::{Connection, OpenFlags};
use tokio::time::Instant;

use crate::{
    facts::{Delivery, Facts, Subject},
    input::Counts,
    receiver::{Outcome, Receipt},
    report::Checks,
};

/// An injury this long before a message was accepted may have kept its sender from storing that.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Everything that does not depend on notifications.
pub(crate) fn check_facts(
    checks: &Checks,
    facts: &Facts,
    calm: &Facts,
    input: &Counts,
    accepted: &[String],
) {
    let counts: [Vec<_>; 2] = [&facts.counts, input].map(|counts| counts.iter().collect());
    checks.same("counts equal those of the input", &counts[0], &counts[1]);
    checks.same(
        "findings of both policies equal those of a calm run",
        &facts.findings,
        &calm.findings,
    );
    checks.same(
        "alerts equal those of a calm run",
        &facts.alerts,
        &calm.alerts,
    );
    checks.same(
        "incidents equal those of a calm run",
        &facts.incidents,
        &calm.incidents,
    );
    for id in accepted {
        checks.that(
            "accepted submissions are stored",
            facts.recorded.contains(id),
            || id.clone(),
        );
    }
    checks.that(
        "no offset gap where no record was lost",
        facts.gaps.is_empty(),
        || format!("{:?}", facts.gaps),
    );
    checks.that(
        "health is ok in the end",
        facts.health["status"] == "ok",
        || facts.health.to_string(),
    );
}

/// Every notification arrived, once or again with the same id, in its order.
pub(crate) fn check_notifications(checks: &Checks, facts: &Facts, receipts: &[Receipt]) {
    let mut received = BTreeMap::<Subject, Vec<&Receipt>>::new();
    for receipt in receipts {
        received
            .entry(Subject::of(&receipt.body))
            .or_default()
            .push(receipt);
    }
    let outcome =
        |receipts: &[&Receipt], outcome| receipts.iter().any(|receipt| receipt.outcome == outcome);
    for Delivery {
        subject,
        state,
        is_incident,
        ..
    } in &facts.deliveries
    {
        let receipts = received.get(subject).map_or(&[][..], Vec::as_slice);
        checks.that(
            "each notification arrived, or its incident was over before",
            {
                match state.as_str() {
                    "delivered" => outcome(receipts, Outcome::Accepted),
                    "superseded" | "summarized" => *is_incident,
                    _ => false,
                }
            },
            || format!("{subject:?} is {state} after {} attempts", receipts.len()),
        );
    }
    let known: BTreeSet<_> = facts
        .deliveries
        .iter()
        .map(|delivery| &delivery.subject)
        .collect();
    for (subject, receipts) in &received {
        let id = &receipts[0].webhook_id;
        let same = receipts
            .iter()
            .all(|receipt| !id.is_empty() && receipt.webhook_id == *id);
        checks.that(
            "each attempt is of a recorded notification, with its one id",
            same && known.contains(subject),
            || format!("{subject:?}"),
        );
    }
    let alerts = facts
        .deliveries
        .iter()
        .filter(|delivery| !delivery.is_incident);
    let delivered: Vec<_> = alerts
        .map(|delivery| delivery.subject.id.clone())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let notified: Vec<_> = facts.notified.iter().cloned().collect();
    checks.same(
        "each alert that is not suppressed has a notification",
        &delivered,
        &notified,
    );
    check_order(checks, facts, receipts);
}

/// The messages of each incident, in the order of their first arrival.
fn check_order(checks: &Checks, facts: &Facts, receipts: &[Receipt]) {
    let mut stories = BTreeMap::<String, Vec<(u64, &str)>>::new();
    // A refused message has not arrived.
    for receipt in receipts
        .iter()
        .filter(|receipt| receipt.outcome != Outcome::Refused)
    {
        if let Some(event) = receipt.body["event"].as_str() {
            let subject = Subject::of(&receipt.body);
            let story = stories.entry(subject.id).or_default();
            if !story.contains(&(subject.sequence, event)) {
                story.push((subject.sequence, event));
            }
        }
    }
    for (id, story) in stories {
        checks.that(
            "messages of an incident arrive in order",
            story.is_sorted(),
            || format!("{id}: {story:?}"),
        );
        let in_doubt: Vec<_> = facts
            .deliveries
            .iter()
            .filter(|delivery| delivery.subject.id == id && delivery.may_have_arrived)
            .map(|delivery| delivery.subject.sequence)
            .collect();
        checks.that(
            "resolved once for each opening",
            is_resolved_once(&story, &in_doubt, facts.ended.contains(&id)),
            || format!("{id}: {story:?}"),
        );
    }
}

/// True if each resolve ends an opening, and the last message says whether the incident is over. A message in doubt counts as an opening:
/// it may have arrived for the service, and yet have been refused, or never sent.
fn is_resolved_once(story: &[(u64, &str)], in_doubt: &[u64], is_over: bool) -> bool {
    let (mut open, mut ended_at) = (false, 0);
    for (sequence, event) in story {
        open |= *event == "opened"
            || in_doubt
                .iter()
                .any(|doubted| (ended_at + 1..*sequence).contains(doubted));
        if !open {
            return false;
        }
        if *event == "resolved" {
            (open, ended_at) = (false, *sequence);
        }
    }
    open != is_over
}

/// The file itself, after the service stopped: SQLite finds no fault, and the next offsets are those of the topic.
pub(crate) fn check_database(
    checks: &Checks,
    path: &Path,
    topic: &str,
    ends: &[i64],
) -> Result<()> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let verdict: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    checks.that("SQLite finds the database intact", verdict == "ok", || {
        verdict.clone()
    });
    let mut offsets =
        database.prepare("SELECT partition, last_offset + 1 FROM offsets WHERE topic = ?1")?;
    let offsets = offsets.query_map([topic], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let stored: BTreeMap<usize, i64> = offsets.collect::<Result<_, _>>()?;
    for (partition, end) in ends.iter().enumerate().filter(|(_, end)| **end > 0) {
        let next = stored.get(&partition).copied().unwrap_or(0);
        checks.that("every offset was read", next == *end, || {
            format!("partition {partition}: {next} of {end}")
        });
    }
    Ok(())
}

/// A notification that was accepted comes again only where an instance was injured meanwhile: one notifies at a time. `injured` has the
/// begin and the end of each injury.
pub(crate) fn check_repeats(checks: &Checks, receipts: &[Receipt], injured: &[Instant]) {
    let mut accepted = BTreeMap::<Subject, Vec<&Receipt>>::new();
    for receipt in receipts {
        if receipt.outcome == Outcome::Accepted {
            let subject = Subject::of(&receipt.body);
            accepted.entry(subject).or_default().push(receipt);
        }
    }
    for (subject, receipts) in accepted {
        let is_injured = |pair: &[&Receipt]| {
            let mut injured = injured.iter();
            injured.any(|at| *at + ANSWER_TIMEOUT >= pair[0].at && *at <= pair[1].at)
        };
        let repeated = receipts.windows(2).find(|pair| !is_injured(pair));
        checks.that(
            "a notification comes again only after an injury",
            repeated.is_none(),
            || {
                let senders: Vec<_> = receipts.iter().map(|of| &of.path).collect();
                format!("{subject:?} by {senders:?}")
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolve_ends_an_opening_that_may_be_known() {
        let (opened, escalated, resolved) = ((1, "opened"), (2, "escalated"), (3, "resolved"));
        for (story, in_doubt, is_over, right) in [
            (&[opened, resolved][..], &[][..], true, true),
            (&[opened, escalated, resolved], &[], true, true),
            (&[opened], &[], false, true),
            (&[opened], &[], true, false),
            (&[opened, resolved], &[], false, false),
            (&[opened, resolved, (4, "resolved")], &[], true, false),
            (&[opened, resolved, (4, "resolved")], &[1], true, false),
            (&[resolved], &[], true, false),
            (&[resolved], &[3], true, false),
            (&[resolved], &[1], true, true),
            (&[escalated, resolved], &[1], true, true),
        ] {
            let found = is_resolved_once(story, in_doubt, is_over);
            assert_eq!(found, right, "{story:?} {in_doubt:?} {is_over}");
        }
    }
}
