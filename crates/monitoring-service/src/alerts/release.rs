//! Which openings that wait are notified now, alone or as a group, and which incidents escalate because nobody acknowledged them. Pure.

use std::collections::BTreeMap;

use detection::{PolicyName, Severity};
use uuid::Uuid;

use super::{
    Recipients,
    alike::TOGETHER_MS,
    incident::{EndReason, IncidentEventKind, IncidentKind, IncidentMessage, StatusEvidence},
    incident_record::IncidentRecord,
    incident_text as text,
    incident_update::{EventSuppression, IncidentUpdate, Now, opening},
    json::At,
    subject::MAX_NAMED,
};

/// The fewest members of a group.
const MIN_MEMBERS: usize = 3;

/// What is stored of incidents that are not over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    /// The open incidents and, of each open group, all members; in the order of recording.
    pub(crate) incidents: Vec<IncidentRecord>,
    /// How many streams are monitored.
    pub(crate) streams: usize,
    /// How many streams each open group had when it opened.
    pub(crate) opened_with: BTreeMap<Uuid, u32>,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Openings to notify now, and whom.
    pub(crate) releases: Vec<(Uuid, Recipients)>,
    /// Openings that a silence covers by now.
    pub(crate) silenced: Vec<Uuid>,
    /// Incidents that a group is notified instead of.
    pub(crate) joins: Vec<(Uuid, Uuid)>,
    /// Events to record, those of new groups among them.
    pub(crate) updates: Vec<IncidentUpdate>,
}

impl Plan {
    /// True if there is nothing to do.
    pub(crate) const fn is_empty(&self) -> bool {
        self.releases.is_empty()
            && self.silenced.is_empty()
            && self.joins.is_empty()
            && self.updates.is_empty()
    }
}

/// The plan at this time. `alerting`: the policy that alerts.
pub(crate) fn plan(open: &Open, alerting: PolicyName, now: &Now<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut waiting = Vec::new();
    for incident in open.incidents.iter().filter(|incident| incident.is_open()) {
        let is_waiting = incident.suppressed == Some(EventSuppression::Waiting);
        if incident
            .message
            .policy
            .is_some_and(|policy| policy != alerting)
            && incident.message.kind == IncidentKind::Anomaly
        {
            plan.updates
                .push(now.ended(incident, EndReason::PolicyOff, None));
        } else if incident.group.is_some_and(|group| !is_open(open, group)) {
            // A person resolved the group, and so its members.
            plan.updates
                .push(now.ended(incident, EndReason::ByHand, None));
        } else if is_waiting && now.covers(&incident.message) {
            plan.silenced.push(incident.message.id);
        } else if is_waiting {
            waiting.push(incident);
        } else if lasts(incident, now) {
            plan.updates.push(reopened(incident, now));
        } else if is_unacknowledged(incident, now) && !is_silenced(open, incident, now) {
            plan.updates
                .push(escalated(incident, now, &unacknowledged(now)));
        }
    }
    let waiting = join_groups(&mut plan, open, waiting);
    release(&mut plan, open, waiting, now);
    follow_groups(&mut plan, open, now);
    plan
}

/// True if an opening that was silenced or too old is worth a notification now.
fn lasts(incident: &IncidentRecord, now: &Now<'_>) -> bool {
    match incident.suppressed {
        Some(EventSuppression::Silence) => !now.covers(&incident.message),
        Some(EventSuppression::TooOld) => {
            let stream = incident.message.stream.as_deref();
            let refused = now.policy.opening_suppression(
                incident.message.severity,
                stream,
                incident.minute,
                now.ms,
            );
            refused.is_none() && !now.covers(&incident.message)
        }
        _ => false,
    }
}

fn reopened(incident: &IncidentRecord, now: &Now<'_>) -> IncidentUpdate {
    now.update(IncidentMessage {
        event: IncidentEventKind::Opened,
        recorded_at: At(now.ms),
        ..incident.message.clone()
    })
}

fn is_unacknowledged(incident: &IncidentRecord, now: &Now<'_>) -> bool {
    let limit_ms = now.policy.incidents.escalate_after_ms;
    incident
        .notified_at_ms
        .is_some_and(|since| now.ms - since >= limit_ms)
        && incident.acknowledged_at_ms.is_none()
        && incident.escalated_at_ms.is_none()
}

fn unacknowledged(now: &Now<'_>) -> String {
    let length = text::length(now.policy.incidents.escalate_after_ms / 60_000);
    format!("Nobody acknowledged it for {length}.")
}

/// True if silences cover an incident, or every open member of a group: its escalation waits for their end.
fn is_silenced(open: &Open, incident: &IncidentRecord, now: &Now<'_>) -> bool {
    if incident.message.kind != IncidentKind::Group {
        return now.covers(&incident.message);
    }
    let open_members = || members(open, incident.message.id).filter(|member| member.is_open());
    open_members().next().is_some() && open_members().all(|member| now.covers(&member.message))
}

/// The escalation that happens once.
fn escalated(incident: &IncidentRecord, now: &Now<'_>, why: &str) -> IncidentUpdate {
    let current = incident.message.clone();
    let mut update = now.update(IncidentMessage {
        event: IncidentEventKind::Escalated,
        message: format!("{why} {}", current.message),
        recorded_at: At(now.ms),
        ..current.clone()
    });
    for event in &mut update.events {
        event.once = true;
    }
    update.message.message = current.message;
    update
}

fn is_open(open: &Open, id: Uuid) -> bool {
    open.incidents
        .iter()
        .any(|incident| incident.message.id == id && incident.is_open())
}

fn signature(incident: &IncidentRecord) -> String {
    text::signature(incident.message.kind, &incident.message.statuses)
}

fn members(open: &Open, group: Uuid) -> impl Iterator<Item = &IncidentRecord> {
    open.incidents
        .iter()
        .filter(move |incident| incident.group == Some(group))
}

/// Adds waiting incidents to the open groups of their trouble; returns the others.
fn join_groups<'a>(
    plan: &mut Plan,
    open: &'a Open,
    waiting: Vec<&'a IncidentRecord>,
) -> Vec<&'a IncidentRecord> {
    let groups = open
        .incidents
        .iter()
        .filter(|incident| incident.message.kind == IncidentKind::Group && incident.is_open());
    let groups: Vec<_> = groups.map(|group| group.message.id).collect();
    let joins = |incident: &IncidentRecord| {
        let opened_ms = incident.message.opened_at.0;
        let fits = |group: &&Uuid| {
            members(open, **group).any(|member| {
                signature(member) == signature(incident)
                    && (member.message.opened_at.0 - opened_ms).abs() <= TOGETHER_MS
            })
        };
        groups.iter().find(fits).copied()
    };
    let mut others = Vec::new();
    for incident in waiting {
        match joins(incident) {
            Some(group) => plan.joins.push((incident.message.id, group)),
            None => others.push(incident),
        }
    }
    others
}

/// Notifies of the openings that have waited long enough: as a group where enough others have the same trouble.
fn release(plan: &mut Plan, open: &Open, waiting: Vec<&IncidentRecord>, now: &Now<'_>) {
    let mut by_trouble: BTreeMap<String, Vec<&IncidentRecord>> = BTreeMap::new();
    for incident in waiting {
        by_trouble
            .entry(signature(incident))
            .or_default()
            .push(incident);
    }
    for mut alike in by_trouble.into_values() {
        alike.sort_by_key(|incident| (incident.message.opened_at.0, incident.seq));
        for together in clusters(&alike) {
            let is_due =
                |incident: &&IncidentRecord| incident.release_at_ms.is_none_or(|due| due <= now.ms);
            if together.len() >= MIN_MEMBERS && together.iter().any(is_due) {
                let group = group_of(together, open.streams, now);
                let id = group.message.id;
                plan.updates.push(group);
                plan.joins
                    .extend(together.iter().map(|member| (member.message.id, id)));
                continue;
            }
            for incident in together.iter().filter(|incident| is_due(incident)) {
                let message = &incident.message;
                let recipients = now.policy.event_recipients(
                    message.severity,
                    message.stream.as_deref(),
                    IncidentEventKind::Opened,
                );
                plan.releases.push((message.id, recipients));
            }
        }
    }
}

/// Incidents in order of their opening, cut where the next one opened too late for a group.
fn clusters<'a, 'b>(
    alike: &'b [&'a IncidentRecord],
) -> impl Iterator<Item = &'b [&'a IncidentRecord]> {
    alike.chunk_by(|one, next| next.message.opened_at.0 - one.message.opened_at.0 <= TOGETHER_MS)
}

fn group_of(members: &[&IncidentRecord], streams: usize, now: &Now<'_>) -> IncidentUpdate {
    let first = &members[0].message;
    let mut group = opening(
        IncidentKind::Group,
        Some(&first.id.to_string()),
        first.opened_at.0,
        now.ms,
    );
    (group.stream, group.policy) = (None, first.policy);
    describe(&mut group, first.kind, members, streams);
    group.message = text::group_so_far(&group);
    now.update(group)
}

/// Sums up the members of a group.
fn describe(
    group: &mut IncidentMessage,
    kind: IncidentKind,
    members: &[&IncidentRecord],
    streams: usize,
) {
    let messages = || members.iter().map(|member| &member.message);
    let sum = |number: fn(&IncidentMessage) -> Option<u64>| {
        messages().filter_map(number).reduce(u64::saturating_add)
    };
    group.severity = messages()
        .map(|member| member.severity)
        .max()
        .unwrap_or(Severity::Critical);
    group.missing_approvals = sum(|member| member.missing_approvals);
    group.excess_problems = sum(|member| member.excess_problems);
    group.statuses = worst(messages());
    let mut names: Vec<_> = messages()
        .filter_map(|member| member.stream.clone())
        .collect();
    names.sort_unstable();
    names.dedup();
    group.stream_count = u32::try_from(names.len()).unwrap_or(u32::MAX);
    let trouble = text::trouble(kind, &group.statuses);
    group.title = text::group_title(names.len(), streams, &trouble);
    names.truncate(MAX_NAMED);
    group.streams = names;
}

/// Of each status the finding with the largest count.
fn worst<'a>(members: impl Iterator<Item = &'a IncidentMessage>) -> Vec<StatusEvidence> {
    let mut statuses: Vec<StatusEvidence> = Vec::new();
    for found in members.flat_map(|member| &member.statuses) {
        match statuses
            .iter_mut()
            .find(|known| known.status == found.status)
        {
            Some(known) if known.count < found.count => *known = found.clone(),
            Some(_) => {}
            None => statuses.push(found.clone()),
        }
    }
    statuses
}

/// Ends groups whose last member ended, escalates those that doubled, and keeps what is known of the others.
fn follow_groups(plan: &mut Plan, open: &Open, now: &Now<'_>) {
    let groups = open
        .incidents
        .iter()
        .filter(|incident| incident.message.kind == IncidentKind::Group && incident.is_open());
    for group in groups {
        let id = group.message.id;
        let all: Vec<_> = members(open, id).collect();
        let Some(first) = all.first() else { continue };
        let mut current = group.clone();
        describe(&mut current.message, first.message.kind, &all, open.streams);
        current.message.message = text::group_so_far(&current.message);
        let joining = plan.joins.iter().any(|(_, joined)| *joined == id);
        let before = open.opened_with.get(&id).copied().unwrap_or(u32::MAX);
        if !joining && all.iter().all(|member| !member.is_open()) {
            plan.updates.push(end_of_group(&current, &all, now));
        } else if plan.updates.iter().any(|update| update.message.id == id) {
            // It escalates already.
        } else if current.message.stream_count >= before.saturating_mul(2)
            && group.escalated_at_ms.is_none()
            && !is_silenced(open, group, now)
        {
            let why = format!("It has grown from {before} streams.");
            plan.updates.push(escalated(&current, now, &why));
        } else if current.message != group.message {
            plan.updates.push(IncidentUpdate {
                message: current.message,
                memory: None,
                events: Vec::new(),
            });
        }
    }
}

fn end_of_group(
    group: &IncidentRecord,
    members: &[&IncidentRecord],
    now: &Now<'_>,
) -> IncidentUpdate {
    let last = members
        .iter()
        .max_by_key(|member| member.message.ended_at.map_or(i64::MIN, |ended| ended.0));
    let reason = last.and_then(|member| member.message.end_reason);
    now.ended(group, reason.unwrap_or(EndReason::Recovered), None)
}
