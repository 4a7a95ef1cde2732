//! Incidents: the findings of one stream from the first alert until its counts are usual again. A state machine over the findings
//! of the alerting policy, folded with the minutes.
//!
//! It sends nothing, and it ignores silences and suppression: an incident and its id are the same in every replay.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    detector::adaptive::{EpisodeChange, EpisodeEvent},
    finding::{Direction, Evidence, PolicyName, Severity},
    judgement::Judgement,
    minute::Minute,
    number::{about, grouped},
    status::MonitoredStatus,
    stream::Stream,
};

/// An incident opens again instead of a new one, if an alert about one of its statuses follows at most this many minutes after its end.
pub(crate) const REOPEN_MINUTES: i64 = 15;

/// An incident of the policy `zscore` that is older than this fills the window that its counts are compared with.
pub const SWALLOWED_MINUTES: i64 = 360;

/// The namespace of incident ids: a name-based UUID (RFC 9562, version 5).
const NAMESPACE: Uuid = Uuid::from_u128(0x9d52_6f0c_3b7e_5f41_8c6a_2e94_d017_b35f);

/// A status that had a finding in an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinedStatus {
    /// The status.
    pub status: MonitoredStatus,
    /// The direction of its newest finding.
    pub direction: Direction,
    /// Its worst severity in the incident.
    pub severity: Severity,
    /// The minute of its newest finding.
    pub minute: Minute,
    /// The count of that minute.
    pub count: u32,
    /// The count that was expected.
    pub expected: Option<f64>,
    /// Its share of the monitored payments of that minute, 0 to 1.
    pub share: Option<f64>,
    /// That finding in one sentence.
    pub sentence: String,
}

/// An incident of one stream and policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// The same in every replay.
    pub id: Uuid,
    /// The policy whose findings it consists of.
    pub policy: PolicyName,
    /// Its first minute.
    pub opened: Minute,
    /// Its newest minute.
    pub newest: Minute,
    /// The minute in which it was resolved.
    pub ended: Option<Minute>,
    /// The worst severity.
    pub severity: Severity,
    /// The worst severity since it was opened, the last time if more than once.
    pub present: Severity,
    /// Its statuses, those that joined first first.
    pub statuses: Vec<JoinedStatus>,
    /// Observed minutes in a row without a finding.
    calm_minutes: u32,
    /// The counts minus the expected ones while open, in the order of [`MonitoredStatus::ALL`].
    excess: [f64; MonitoredStatus::COUNT],
}

/// Why an incident is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The counts are usual again.
    Calm,
    /// The policy `adaptive` takes the present level as usual, in one sentence.
    NewLevel(String),
}

/// A change of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IncidentChange {
    /// It opened.
    Opened,
    /// It opened again, at most `REOPEN_MINUTES` after its end.
    Reopened,
    /// Its severity rose, or approvals collapsed.
    Escalated,
    /// It is over.
    Resolved(Resolution),
}

/// What one minute changed of an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentStep {
    /// The incident after the minute, to be stored with it.
    pub incident: Incident,
    /// What happened, in order; mostly nothing but the figures.
    pub changes: Vec<IncidentChange>,
    /// The first alert of the minute.
    pub alert: Option<Uuid>,
}

/// One minute as the incident sees it.
pub(crate) struct MinuteFindings<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) policy: PolicyName,
    /// The minute.
    pub(crate) minute: Minute,
    /// The newest minute of the stream, this one included.
    pub(crate) newest: Minute,
    /// False where the minute was observed before.
    pub(crate) is_new: bool,
    pub(crate) counts: [u32; MonitoredStatus::COUNT],
    /// What the alerting policy says of the counts that were judged now.
    pub(crate) judgements: &'a [Option<Judgement>; MonitoredStatus::COUNT],
    /// The first alert of the alerting policy.
    pub(crate) alert: Option<Uuid>,
    /// The changes of the episode of the alerting policy.
    pub(crate) episode_events: &'a [EpisodeEvent],
    /// What the policy says about the end: none where calm minutes are counted.
    pub(crate) in_episode: Option<bool>,
}

impl MinuteFindings<'_> {
    /// True for a new newest minute.
    fn is_fresh(&self) -> bool {
        self.is_new && self.minute == self.newest
    }

    /// The anomalous counts.
    fn joined(&self) -> impl Iterator<Item = JoinedStatus> {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let judged = MonitoredStatus::ALL.into_iter().zip(self.judgements);
        judged.filter_map(move |(status, judgement)| {
            let finding = judgement.as_ref()?.finding()?;
            let count = self.counts[status.index()];
            #[expect(clippy::cast_precision_loss, reason = "a share")]
            let share = (total > 0).then(|| f64::from(count) / total as f64);
            Some(JoinedStatus {
                status,
                direction: finding.direction?,
                severity: finding.severity,
                minute: self.minute,
                count,
                expected: expected(&finding.evidence),
                share,
                sentence: finding.sentence(status.name(), count),
            })
        })
    }

    fn resolution(&self) -> Option<Resolution> {
        let close = self
            .episode_events
            .iter()
            .find(|event| event.change.is_close())?;
        Some(
            close
                .new_level_reason()
                .map_or(Resolution::Calm, Resolution::NewLevel),
        )
    }

    fn collapsed(&self) -> bool {
        self.episode_events
            .iter()
            .any(|event| event.change == EpisodeChange::Collapsed)
    }
}

/// The expected count; 0 where the whole window had none.
fn expected(evidence: &Evidence) -> Option<f64> {
    let observed = evidence
        .baseline()
        .is_some_and(|baseline| baseline.minutes() > 0);
    evidence.expected().or(observed.then_some(0.0))
}

/// The open incident of one stream, or the last one, which may open again.
#[derive(Debug, Default)]
pub(crate) struct Incidents {
    last: Option<Box<Incident>>,
}

impl Incidents {
    /// With the stored last incident.
    pub(crate) fn restored(last: Option<Incident>) -> Self {
        Self {
            last: last.map(Box::new),
        }
    }

    /// True if a minute without an alert changes nothing, so that it need not be passed to [`Self::step`].
    pub(crate) fn is_idle(&self) -> bool {
        self.last
            .as_ref()
            .is_none_or(|incident| incident.ended.is_some())
    }

    /// Folds one minute.
    pub(crate) fn step(
        &mut self,
        now: &MinuteFindings<'_>,
        resolve_after: u32,
    ) -> Option<IncidentStep> {
        let mut changes = Vec::new();
        let open = match self.last.as_deref_mut() {
            Some(open) if open.ended.is_none() => {
                if open.join(now) || now.collapsed() {
                    changes.push(IncidentChange::Escalated);
                }
                open
            }
            last => {
                now.alert?;
                let reopened = last.is_some_and(|last| last.reopen(now));
                changes.push(if reopened {
                    IncidentChange::Reopened
                } else {
                    self.last = Some(Box::new(Incident::open(now)?));
                    IncidentChange::Opened
                });
                self.last.as_deref_mut()?
            }
        };
        open.count(now);
        if let Some(resolution) = open.end(now, resolve_after) {
            open.ended = Some(now.newest);
            changes.push(IncidentChange::Resolved(resolution));
        }
        Some(IncidentStep {
            incident: open.clone(),
            changes,
            alert: now.alert,
        })
    }
}

impl Incident {
    fn open(now: &MinuteFindings<'_>) -> Option<Self> {
        let statuses: Vec<_> = now.joined().collect();
        let severity = statuses.iter().map(|joined| joined.severity).max()?;
        // A late minute opens an incident now: its counts were usual since.
        Some(Self {
            id: incident_id(now.stream, now.policy, now.newest),
            policy: now.policy,
            opened: now.newest,
            newest: now.newest,
            ended: None,
            severity,
            present: severity,
            statuses,
            calm_minutes: 0,
            excess: [0.0; MonitoredStatus::COUNT],
        })
    }

    /// Opens again, if the minute is near enough and about one of its statuses.
    fn reopen(&mut self, now: &MinuteFindings<'_>) -> bool {
        let near = self
            .ended
            .is_some_and(|ended| now.newest.since(ended) <= REOPEN_MINUTES);
        if !near || !now.joined().any(|joined| self.has(joined.status)) {
            return false;
        }
        (self.ended, self.calm_minutes) = (None, 0);
        self.present = Severity::Normal;
        self.join(now);
        true
    }

    fn has(&self, status: MonitoredStatus) -> bool {
        self.statuses.iter().any(|joined| joined.status == status)
    }

    /// Adds the findings of a minute; true if the severity rises.
    fn join(&mut self, now: &MinuteFindings<'_>) -> bool {
        let before = self.present;
        for mut joined in now.joined() {
            self.present = self.present.max(joined.severity);
            let known = self
                .statuses
                .iter_mut()
                .find(|known| known.status == joined.status);
            match known {
                Some(known) if known.minute <= joined.minute => {
                    joined.severity = joined.severity.max(known.severity);
                    *known = joined;
                }
                Some(known) => known.severity = known.severity.max(joined.severity),
                None => self.statuses.push(joined),
            }
        }
        self.severity = self.severity.max(self.present);
        self.present > before
    }

    /// Counts what is missing or too much, and the calm minutes.
    fn count(&mut self, now: &MinuteFindings<'_>) {
        self.newest = now.newest;
        if now.is_new {
            let judged = now.judgements.iter().zip(now.counts);
            for (excess, (judgement, count)) in self.excess.iter_mut().zip(judged) {
                let evidence = judgement.as_ref().and_then(Judgement::evidence);
                if let Some(expected) = evidence.and_then(expected) {
                    *excess += f64::from(count) - expected;
                }
            }
        }
        if now.joined().next().is_some() {
            self.calm_minutes = 0;
        } else if now.is_fresh() {
            self.calm_minutes += 1;
        }
    }

    /// The reason why the minute ends the incident.
    fn end(&self, now: &MinuteFindings<'_>, resolve_after: u32) -> Option<Resolution> {
        match now.in_episode {
            Some(true) => None,
            // Without a close, the memory of the policy was folded again and has no episode.
            Some(false) => now.resolution().or(Some(Resolution::Calm)),
            None => (self.calm_minutes >= resolve_after).then_some(Resolution::Calm),
        }
    }

    /// Approvals fewer than expected while it was open, where approvals fell.
    pub fn missing_approvals(&self) -> Option<u64> {
        let fell = self
            .statuses
            .iter()
            .any(|joined| !joined.status.is_problem() && joined.direction == Direction::Down);
        fell.then(|| whole(-self.excess[MonitoredStatus::Approved.index()]))
    }

    /// Payments of its problem statuses above the expected while it was open, where they rose.
    pub fn excess_problems(&self) -> Option<u64> {
        let rose = self
            .statuses
            .iter()
            .filter(|joined| joined.status.is_problem() && joined.direction == Direction::Up);
        let excess = rose.map(|joined| self.excess[joined.status.index()]);
        excess.reduce(|sum, excess| sum + excess).map(whole)
    }

    /// Its length in minutes so far.
    pub fn age_minutes(&self) -> i64 {
        self.newest.since(self.opened)
    }
}

/// The id of the incident that opened in this minute.
pub(crate) fn incident_id(stream: &Stream, policy: PolicyName, opened: Minute) -> Uuid {
    Uuid::new_v5(
        &NAMESPACE,
        format!("{stream}\n{policy}\n{opened}").as_bytes(),
    )
}

/// A loss for people, rounded: `about 1,240`; small ones are exact.
pub fn about_count(number: u64) -> String {
    if number < 100 {
        return grouped(number);
    }
    #[expect(clippy::cast_precision_loss, reason = "rounded to three digits")]
    let number = number as f64;
    format!("about {}", about(number))
}

/// A number as a count of payments; what lies below 0 counts as 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates at the ends of u64"
)]
fn whole(number: f64) -> u64 {
    number.max(0.0).round() as u64
}

#[cfg(test)]
mod tests;
