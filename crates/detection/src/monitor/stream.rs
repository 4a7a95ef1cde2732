//! One stream of the fold: which minutes are fresh, late or corrected, what each policy says of them, the alerts they raise, and the incident.
//! Knows no other stream.

use super::{Observed, Row, RowChange, Timeliness};
use crate::{
    detector::{
        Detector, Judged,
        adaptive::{AdaptiveState, EpisodeChange},
    },
    finding::{Finding, PolicyName},
    gate::{AlertKey, Anomaly, Gate, Suppression, alerts},
    history::{History, ObservedMinute},
    incident::{Incidents, MinuteFindings},
    judgement::Judgement,
    message::MinuteCounts,
    minute::Minute,
    settings::MonitorSettings,
    silence::Silence,
    status::MonitoredStatus,
};

/// Settings and silences of one observation.
pub(super) struct Rules<'a> {
    pub(super) settings: &'a MonitorSettings,
    pub(super) silences: &'a [Silence],
}

/// The counts that a message names, by status.
type Named = [Option<u32>; MonitoredStatus::COUNT];

fn named_counts(counts: &MinuteCounts) -> Named {
    let mut named = [None; MonitoredStatus::COUNT];
    for transaction in counts.transactions() {
        if let Some(status) = transaction.status.monitored() {
            named[status.index()] = Some(transaction.count);
        }
    }
    named
}

/// Fresh minutes between two stored states of a stream: at most this many are folded again after a restart.
const STATE_INTERVAL_MINUTES: usize = 60;

/// The memory of one stream: its minutes, the gate of its alerts, and its incident.
pub(super) struct StreamMonitor {
    pub(super) history: History,
    pub(super) adaptive: AdaptiveState,
    /// Fresh minutes since the state was stored.
    pub(super) unstored: usize,
    pub(super) gate: Gate,
    pub(super) incidents: Incidents,
}

impl StreamMonitor {
    pub(super) fn observe(&mut self, rules: &Rules<'_>, counts: MinuteCounts) -> Observed {
        let named = named_counts(&counts);
        let timeliness = self.timeliness(rules, counts.minute());
        let is_new =
            timeliness != Timeliness::TooLate && self.history.get(counts.minute()).is_none();
        let mut observed = Observed {
            counts,
            timeliness,
            is_new,
            rows: Vec::with_capacity(MonitoredStatus::COUNT),
            alerts: Vec::new(),
            episode_events: Vec::new(),
            incident: None,
        };
        match timeliness {
            Timeliness::Fresh => self.advance(rules, &named, &mut observed),
            Timeliness::Late | Timeliness::TooLate => self.correct(rules, &named, &mut observed),
        }
        observed
    }

    fn timeliness(&self, rules: &Rules<'_>, minute: Minute) -> Timeliness {
        let lateness = i64::from(rules.settings.allowed_lateness_minutes);
        match self.history.newest() {
            Some(newest) if minute.since(newest.minute) > 0 => Timeliness::Fresh,
            Some(newest) if newest.minute.since(minute) > lateness => Timeliness::TooLate,
            Some(_) => Timeliness::Late,
            None => Timeliness::Fresh,
        }
    }

    /// True if the state after this minute must be stored with it.
    pub(super) fn is_state_due(&self, observed: &Observed) -> bool {
        let opened_or_closed = observed
            .episode_events
            .iter()
            .any(|event| event.change.is_close() || event.change == EpisodeChange::Opened);
        let out_of_order = observed.timeliness != Timeliness::Fresh && !observed.rows.is_empty();
        opened_or_closed || out_of_order || self.unstored >= STATE_INTERVAL_MINUTES
    }

    /// The usual case: a new newest minute.
    fn advance(&mut self, rules: &Rules<'_>, named: &Named, observed: &mut Observed) {
        let mut minute = ObservedMinute::new(observed.counts.minute());
        minute.record(named);
        let mut judge = |detector: &Detector| {
            detector.judge_next(&mut self.history, &mut self.adaptive, &minute)
        };
        let alerting = judge(&rules.settings.detector);
        let shadow = rules.settings.second().map(judge);
        self.raise(rules, &alerting, false, &minute, observed);
        if let Some(shadow) = &shadow {
            self.raise(rules, shadow, true, &minute, observed);
        }
        for status in MonitoredStatus::ALL {
            let i = status.index();
            let judgement = alerting.judgements[i];
            let shadow = shadow.as_ref().map(|shadow| shadow.judgements[i]);
            let change = minute.judged(i, judgement, shadow);
            observed.rows.push(minute.row(status, &change));
        }
        observed.episode_events = alerting.episode_events;
        if !(self.incidents.is_idle() && observed.alerts.is_empty()) {
            self.step_incident(rules, &minute, &alerting.judgements.map(Some), observed);
        }
        observed
            .episode_events
            .extend(shadow.into_iter().flat_map(|shadow| shadow.episode_events));
        self.history.push(minute);
        self.unstored += 1;
    }

    /// An older minute: new, repeated or corrected. Later windows use its new counts.
    fn correct(&mut self, rules: &Rules<'_>, named: &Named, observed: &mut Observed) {
        let stored = self.history.get(observed.counts.minute()).copied();
        let before = stored.unwrap_or_else(|| ObservedMinute::new(observed.counts.minute()));
        let mut minute = before;
        minute.record(named);
        let mut judgements = [None; MonitoredStatus::COUNT];
        for status in MonitoredStatus::ALL {
            let i = status.index();
            let same_count = minute.counts[i] == before.counts[i];
            let is_stored = stored.is_some();
            if is_stored && same_count && minute.named[i] == before.named[i] {
                continue;
            }
            let change = if observed.timeliness == Timeliness::Late && !(is_stored && same_count) {
                let change = self.judge_late(rules, status, &mut minute, observed);
                if let RowChange::Judged { judgement, .. } = change {
                    judgements[status.index()] = Some(judgement);
                }
                change
            } else {
                RowChange::CountOnly
            };
            observed.rows.push(minute.row(status, &change));
        }
        // An episode knows no late minute, so the incident of a policy with episodes knows none.
        if rules.settings.detector.policy() == PolicyName::ZScore {
            self.step_incident(rules, &minute, &judgements, observed);
        }
        if stored != Some(minute) {
            self.history.correct(minute);
        }
    }

    /// Passes the minute on to the incident of the alerting policy. Most minutes belong to none.
    fn step_incident(
        &mut self,
        rules: &Rules<'_>,
        minute: &ObservedMinute,
        judgements: &[Option<Judgement>; MonitoredStatus::COUNT],
        observed: &mut Observed,
    ) {
        let policy = rules.settings.detector.policy();
        let alert = observed
            .alerts
            .iter()
            .find(|raised| raised.anomaly.key.policy == policy);
        let alert = alert.map(|raised| raised.anomaly.id());
        if (alert.is_none() && self.incidents.is_idle()) || judgements.iter().all(Option::is_none) {
            return;
        }
        let newest = self.history.newest().map(|newest| newest.minute);
        let in_episode = match policy {
            PolicyName::ZScore => None,
            PolicyName::Adaptive => Some(self.adaptive.has_open_episode()),
        };
        let findings = MinuteFindings {
            stream: observed.counts.stream(),
            policy,
            minute: minute.minute,
            newest: newest.map_or(minute.minute, |newest| newest.max(minute.minute)),
            is_new: observed.is_new,
            counts: minute.counts,
            judgements,
            alert,
            episode_events: &observed.episode_events,
            in_episode,
        };
        let step = self
            .incidents
            .step(&findings, rules.settings.resolve_after_minutes);
        observed.incident = step.map(Box::new);
    }

    /// Judges one count of a late or corrected minute. Only `zscore` alerts about it: an episode knows no late minute.
    fn judge_late(
        &mut self,
        rules: &Rules<'_>,
        status: MonitoredStatus,
        minute: &mut ObservedMinute,
        observed: &mut Observed,
    ) -> RowChange {
        let judge = |detector: &Detector| {
            detector.judge_late(&self.history, &self.adaptive, minute, status)
        };
        let judgement = judge(&rules.settings.detector);
        let shadow = rules.settings.second().map(judge);
        self.raise_count(rules, &judgement, false, status, minute, observed);
        if let Some(shadow) = &shadow {
            self.raise_count(rules, shadow, true, status, minute, observed);
        }
        minute.judged(status.index(), judgement, shadow)
    }

    /// Raises what a policy alerts about: `zscore` about counts, `adaptive` about what happens to its episode.
    fn raise(
        &mut self,
        rules: &Rules<'_>,
        judged: &Judged,
        is_shadow: bool,
        minute: &ObservedMinute,
        observed: &mut Observed,
    ) {
        for status in MonitoredStatus::ALL {
            let judgement = &judged.judgements[status.index()];
            self.raise_count(rules, judgement, is_shadow, status, minute, observed);
        }
        let opening = judged
            .episode_events
            .iter()
            .filter(|event| !event.change.is_close());
        for event in opening {
            if let Some((status, finding)) = event.subject(&judged.judgements) {
                let since = (event.since < event.minute).then_some(event.since);
                self.raise_finding(rules, finding, is_shadow, (status, minute), since, observed);
            }
        }
    }

    fn raise_count(
        &mut self,
        rules: &Rules<'_>,
        judgement: &Judgement,
        is_shadow: bool,
        status: MonitoredStatus,
        minute: &ObservedMinute,
        observed: &mut Observed,
    ) {
        if let Judgement::Finding(finding) = judgement
            && finding.policy() == PolicyName::ZScore
            && alerts(finding, minute.peaks[status.index()])
        {
            self.raise_finding(rules, *finding, is_shadow, (status, minute), None, observed);
        }
    }

    /// Raises an alert about one count.
    fn raise_finding(
        &mut self,
        rules: &Rules<'_>,
        finding: Finding,
        is_shadow: bool,
        (status, minute): (MonitoredStatus, &ObservedMinute),
        episode_since: Option<Minute>,
        observed: &mut Observed,
    ) {
        let Some(direction) = finding.direction else {
            return;
        };
        let key = AlertKey {
            stream: observed.counts.stream().clone(),
            policy: finding.policy(),
            status,
            direction,
            severity: finding.severity,
        };
        let newest = self.history.newest();
        let anomaly = Anomaly {
            key,
            minute: minute.minute,
            count: minute.counts[status.index()],
            finding,
            // A correction of the newest minute is not late.
            late: newest.is_some_and(|newest| minute.minute < newest.minute),
        };
        let cooldown_minutes = i64::from(rules.settings.cooldown_minutes);
        let mut raised = self.gate.raise(anomaly, rules.silences, cooldown_minutes);
        raised.episode_since = episode_since;
        if is_shadow {
            raised.suppression = raised.suppression.or(Some(Suppression::Shadow));
        }
        observed.alerts.push(raised);
    }
}

impl ObservedMinute {
    /// The change of a judged count; the minute remembers its peak.
    fn judged(&mut self, i: usize, judgement: Judgement, shadow: Option<Judgement>) -> RowChange {
        let zscore = [Some(judgement), shadow]
            .into_iter()
            .flatten()
            .find(|judgement| judgement.policy() == Some(PolicyName::ZScore));
        let severity = zscore.and_then(|judgement| judgement.severity());
        self.peaks[i] = severity.max(self.peaks[i]);
        RowChange::Judged {
            judgement,
            shadow,
            peak: self.peaks[i],
        }
    }

    /// Applies the named counts; other statuses keep theirs.
    fn record(&mut self, named: &Named) {
        for (i, count) in named.iter().enumerate() {
            if let Some(count) = *count {
                self.counts[i] = count;
                self.named[i] = true;
            }
        }
    }

    fn row(&self, status: MonitoredStatus, change: &RowChange) -> Row {
        Row {
            status,
            count: self.counts[status.index()],
            implied: !self.named[status.index()],
            change: *change,
        }
    }
}
