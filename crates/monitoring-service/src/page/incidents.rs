//! Lists of incidents: the open ones with a button to take one over, and those that ended.

use std::{cmp::Reverse, collections::HashSet};

use detection::{Severity, State};
use maud::{Markup, html};
use uuid::Uuid;

use super::{
    frame::Here,
    parts::{at, class, lasting, severity, without_severity},
};
use crate::{
    alerts::{
        incident::{EndReason, IncidentKind, IncidentMessage, StatusEvidence},
        incident_record::{IncidentRecord, Verdict},
        incident_text::{loss, trouble},
        incident_update::EventSuppression,
    },
    store::{IncidentFilter, Store, StoreError},
};

/// Open incidents of the list, and incidents of the list of those that ended.
const MAX_OPEN: usize = 30;
const MAX_ENDED: usize = 8;

/// The path of the view of an incident.
pub(super) fn path(id: Uuid) -> String {
    format!("page/incidents/{id}")
}

/// The incidents of the overview.
pub(super) struct Newest {
    /// Those that are open, the worst first. A group stands for its members.
    pub(super) open: Vec<IncidentRecord>,
    /// True if there are more of them.
    pub(super) more: bool,
    /// The newest of those that ended.
    pub(super) ended: Vec<IncidentRecord>,
    /// The streams of the open ones, also of the members of groups.
    pub(super) streams: HashSet<String>,
}

pub(super) async fn newest(store: &Store) -> Result<Newest, StoreError> {
    let of = async |open, severity, limit: usize| {
        let filter = IncidentFilter {
            open: Some(open),
            severity,
            without_members: true,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            ..IncidentFilter::default()
        };
        store.incidents(filter).await
    };
    // A newer WARNING must not take the place of an open CRITICAL.
    let mut open = of(true, Some(Severity::Critical), MAX_OPEN + 1).await?;
    let rest = MAX_OPEN + 1 - open.len();
    open.extend(of(true, Some(Severity::Warning), rest).await?);
    let more = open.len() > MAX_OPEN;
    open.truncate(MAX_OPEN);
    let streams = store.streams_in_incidents().await?;
    Ok(Newest {
        open,
        more,
        ended: of(false, None, MAX_ENDED).await?,
        streams: streams.into_iter().collect(),
    })
}

pub(super) fn open(here: &Here, newest: &Newest) -> Markup {
    let incidents = &newest.open;
    html! {
        section id="incidents" data-live {
            h2 { "Open incidents" }
            @if incidents.is_empty() {
                p class="empty" { "None." }
            } @else {
                ol class="rows" { @for incident in incidents { (open_row(here, incident)) } }
                @if newest.more {
                    p class="dim" { "The newest of each severity; GET /incidents?state=open lists all." }
                }
            }
        }
    }
}

fn open_row(here: &Here, incident: &IncidentRecord) -> Markup {
    let message = &incident.message;
    html! {
        li class=(class(State::of(message.severity))) {
            div class="what" {
                (severity(message.severity)) " "
                a href=(here.link(&path(message.id))) { (message.title) }
                span class="when" { "since " (at(message.opened_at.0)) }
            }
            (how_bad_and_why(message))
            @match &message.acknowledged_by {
                Some(by) => p class="dim" { "Acknowledged by " (by) "." },
                None => (acknowledge(here, incident)),
            }
            @if let Some(reason) = incident.suppressed.filter(|reason| is_its_own(*reason)) {
                p class="dim" { "Not notified: " (suppression(reason)) "." }
            }
        }
    }
}

/// Whether the reason is one of this incident. A reason of all of them is said once, by the line of health or in the story.
const fn is_its_own(reason: EventSuppression) -> bool {
    !matches!(
        reason,
        EventSuppression::Alerts | EventSuppression::NoReceiver
    )
}

/// What it costs so far, then the finding of its worst status and the other ones in words. Its message where it has no findings.
fn how_bad_and_why(message: &IncidentMessage) -> Markup {
    let statuses = worst_first(message);
    let (IncidentKind::Anomaly, [worst, others @ ..]) = (message.kind, &*statuses) else {
        return html! { p { (message.message) } };
    };
    html! {
        @if let Some(loss) = so_far(message) { p class="lead" { (loss) } }
        p class="dim" {
            (without_severity(&worst.sentence).trim_end_matches('.')) "."
            @if !others.is_empty() { " Also " (trouble(message.kind, others)) "." }
        }
    }
}

/// The estimated loss of an open incident, as a sentence.
pub(super) fn so_far(message: &IncidentMessage) -> Option<String> {
    loss(message.missing_approvals, message.excess_problems).map(|loss| format!("{loss} so far."))
}

/// The statuses of an incident, those of the worst severity first.
pub(super) fn worst_first(message: &IncidentMessage) -> Vec<StatusEvidence> {
    let mut statuses = message.statuses.clone();
    statuses.sort_by_key(|status| Reverse(status.severity));
    statuses
}

/// A form of one button. The list is loaded again afterwards.
pub(super) fn acknowledge(here: &Here, incident: &IncidentRecord) -> Markup {
    let message = &incident.message;
    html! {
        form method="post" action=(here.link(&format!("{}/acknowledge", path(message.id)))) {
            button id=(format!("acknowledge-{}", message.id)) {
                "Acknowledge" span class="sr" { " " (message.title) }
            }
        }
    }
}

pub(super) fn ended(here: &Here, incidents: &[IncidentRecord]) -> Markup {
    html! {
        section id="ended" data-live {
            h2 { "Newest ended incidents" }
            @if incidents.is_empty() {
                p class="empty" { "None." }
            } @else {
                ol class="rows" { @for incident in incidents { (ended_row(here, incident)) } }
            }
        }
    }
}

fn ended_row(here: &Here, incident: &IncidentRecord) -> Markup {
    let message = &incident.message;
    html! {
        li class="none" {
            div class="what" {
                (severity(message.severity)) " "
                a href=(here.link(&path(message.id))) { (message.title) }
                @if let Some(feedback) = &incident.feedback { span class="dim" { (verdict(feedback.verdict)) } }
                span class="when" {
                    (at(message.opened_at.0))
                    @if let Some(ended_at) = message.ended_at {
                        ", lasted " (lasting(message.opened_at.0, ended_at.0))
                    }
                }
            }
            @if let Some(reason) = message.end_reason.filter(|reason| *reason != EndReason::Recovered) {
                p class="dim" { (end_reason(reason)) }
            }
        }
    }
}

pub(super) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Real => "real",
        Verdict::FalseAlarm => "false alarm",
    }
}

pub(super) const fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Recovered => "Its counts are usual again.",
        EndReason::NewLevel => "It lasted so long that its counts are usual from now on.",
        EndReason::ByHand => "A person resolved it.",
        EndReason::Retired => "Its stream was retired.",
        EndReason::PolicyOff => "Its policy no longer alerts.",
    }
}

/// Why nobody is notified, in words.
pub(super) const fn suppression(reason: EventSuppression) -> &'static str {
    match reason {
        EventSuppression::Waiting => "it waits for others with the same trouble (GROUP_WAIT)",
        EventSuppression::Alerts => "alerts are notified instead (NOTIFY)",
        EventSuppression::NoReceiver => "no receiver is configured",
        EventSuppression::BelowCritical => "it is only a WARNING",
        EventSuppression::TooOld => "its minutes were too old when they arrived",
        EventSuppression::Silence => "a silence covers it",
        EventSuppression::Group => "its group is notified",
        EventSuppression::NotOpened => "its opening was not notified either",
    }
}
