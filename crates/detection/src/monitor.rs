//! The fold: one minute's counts go in, rows with their findings and the alerts they raise come out.
//!
//! Live ingest, replay and tests run this same fold, so they cannot disagree. It knows no clock, file or network; a stream's
//! memory is a cache of what is stored and can be dropped and restored at any time ([`Monitor::forget`], [`Monitor::restore`]).

use std::collections::{BTreeSet, HashMap};

use crate::{
    cooldown::Cooldown,
    detector::{
        Detector, Judged,
        adaptive::{AdaptiveSettings, AdaptiveState, EpisodeChange, EpisodeEvent},
        zscore::ZScoreDetector,
    },
    finding::{Finding, PolicyName, Severity},
    gate::{AlertKey, Anomaly, Gate, Raised, Suppression, alerts},
    history::{History, ObservedMinute},
    judgement::Judgement,
    message::MinuteCounts,
    minute::Minute,
    silence::Silence,
    status::MonitoredStatus,
    stream::Stream,
};

/// The settings of the fold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MonitorSettings {
    /// Judges the counts and alerts.
    pub detector: Detector,
    /// Judges the same counts in shadow: its findings are stored and its alerts recorded, and nobody is notified. One of the same
    /// policy as `detector` is ignored.
    pub shadow: Option<Detector>,
    /// A minute at most this much older than the newest one is still judged.
    pub allowed_lateness_minutes: u32,
    /// An alert is suppressed if its key fired for a minute less than this before.
    pub cooldown_minutes: u32,
}

impl Default for MonitorSettings {
    fn default() -> Self {
        Self {
            detector: Detector::default(),
            shadow: None,
            allowed_lateness_minutes: 10,
            cooldown_minutes: 5,
        }
    }
}

impl MonitorSettings {
    /// The detector in shadow, unless it has the policy of the alerting one.
    fn second(&self) -> Option<&Detector> {
        let policy = self.detector.policy();
        self.shadow
            .as_ref()
            .filter(|shadow| shadow.policy() != policy)
    }

    /// The detectors that judge every minute: the alerting one, then the one in shadow.
    pub fn detectors(&self) -> impl Iterator<Item = &Detector> {
        std::iter::once(&self.detector).chain(self.second())
    }

    /// The settings with this policy alone: as it is set here, or at its defaults.
    #[must_use]
    pub fn only(&self, policy: PolicyName) -> Self {
        let mut detectors = self.detectors();
        let detector = detectors.find(|detector| detector.policy() == policy);
        Self {
            detector: detector.copied().unwrap_or_else(|| match policy {
                PolicyName::ZScore => Detector::ZScore(ZScoreDetector::default()),
                PolicyName::Adaptive => Detector::Adaptive(AdaptiveSettings::default()),
            }),
            shadow: None,
            ..*self
        }
    }

    /// The settings of the policy `zscore`, if it judges.
    pub fn zscore(&self) -> Option<ZScoreDetector> {
        self.detectors().find_map(|detector| match detector {
            Detector::ZScore(detector) => Some(*detector),
            Detector::Adaptive(_) => None,
        })
    }

    /// The settings of the policy `adaptive`, if it judges.
    pub fn adaptive(&self) -> Option<AdaptiveSettings> {
        self.detectors().find_map(|detector| match detector {
            Detector::Adaptive(settings) => Some(*settings),
            Detector::ZScore(_) => None,
        })
    }

    fn window(&self) -> usize {
        self.detectors().map(Detector::window).max().unwrap_or(1)
    }

    /// How many newest observed minutes of a stream [`Monitor::restore`] needs.
    pub fn history_capacity(&self) -> usize {
        History::capacity(self.window(), self.allowed_lateness_minutes as usize)
    }

    /// A history of stored minutes.
    pub fn history(&self, minutes: impl IntoIterator<Item = ObservedMinute>) -> History {
        History::from_observed(
            self.window(),
            self.allowed_lateness_minutes as usize,
            minutes,
        )
    }
}

/// The age of a minute, compared with the newest one of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeliness {
    /// Newer: the watermark moves.
    Fresh,
    /// Not newer, and within the allowed lateness.
    Late,
    /// Too old to be judged.
    TooLate,
}

/// What storing a row must do.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every row is judged")]
pub enum RowChange {
    /// Store count and judgement, replacing the stored ones.
    Judged {
        /// Of the alerting policy: a finding, or still learning.
        judgement: Judgement,
        /// The same of the policy in shadow, where there is one.
        shadow: Option<Judgement>,
        /// The highest severity that the policy `zscore` ever gave the count, this one included.
        peak: Option<Severity>,
    },
    /// Store the count; a stored row keeps its judgement, a new one is not judged.
    CountOnly,
}

/// One monitored status of the minute, as it must be stored. Rows that would change nothing are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The status.
    pub status: MonitoredStatus,
    /// Its count.
    pub count: u32,
    /// True for the 0 of a status that no message named. An implied 0 never replaces a stored count.
    pub implied: bool,
    /// What to store.
    pub change: RowChange,
}

/// The result of observing one minute.
#[derive(Debug)]
pub struct Observed {
    /// The counts; those of statuses that are not monitored are to be stored too.
    pub counts: MinuteCounts,
    /// The age of the minute.
    pub timeliness: Timeliness,
    /// True if the minute was not observed before, as far as memory reaches: never for one that is [`Timeliness::TooLate`].
    pub is_new: bool,
    /// Rows of monitored statuses that change.
    pub rows: Vec<Row>,
    /// Alerts to record, those of the policy in shadow last.
    pub alerts: Vec<Raised>,
    /// The changes of the episode of the policy `adaptive`, whether it alerts or runs in shadow.
    pub episode_events: Vec<EpisodeEvent>,
}

/// What the store keeps of one stream.
#[derive(Clone, Debug, Default)]
pub struct StoredStream {
    /// Its newest observed minutes: at least [`MonitorSettings::history_capacity`] of them, and all that are newer than `adaptive`.
    pub minutes: Vec<ObservedMinute>,
    /// Its cooldowns.
    pub cooldowns: Vec<(AlertKey, Cooldown)>,
    /// A state of the policy `adaptive`. The minutes that are newer than it are folded on top; the default learns from them alone.
    pub adaptive: AdaptiveState,
}

impl StoredStream {
    /// The state of the policy `adaptive` after the newest minute, and how many minutes were folded to come there.
    pub fn fold_adaptive(&mut self, settings: AdaptiveSettings) -> (&AdaptiveState, usize) {
        self.minutes
            .sort_unstable_by_key(|observed| observed.minute);
        let stored = self.adaptive.newest();
        let mut folded = 0;
        for observed in &self.minutes {
            if stored.is_none_or(|stored| observed.minute > stored) {
                self.adaptive
                    .observe(settings, observed.minute, observed.counts);
                folded += 1;
            }
        }
        (&self.adaptive, folded)
    }
}

/// The state of a policy that is due for storing, with the minutes that it was folded from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectorState {
    /// The stream.
    pub stream: Stream,
    /// The policy.
    pub policy: PolicyName,
    /// The newest minute in it.
    pub minute: Minute,
    /// Its stored form ([`AdaptiveState::to_bytes`]).
    pub bytes: Vec<u8>,
}

/// Fresh minutes between two stored states of a stream: at most this many are folded again after a restart.
const STATE_INTERVAL_MINUTES: usize = 60;

/// The memory of one stream: its minutes, and the gate of its alerts.
struct StreamMonitor {
    history: History,
    adaptive: AdaptiveState,
    /// Fresh minutes since the state was stored.
    unstored: usize,
    gate: Gate,
}

/// Windows, watermarks and cooldowns of many streams that are independent of each other.
pub struct Monitor {
    settings: MonitorSettings,
    streams: HashMap<Stream, StreamMonitor>,
    /// Streams whose state is to be stored with the next commit.
    due: BTreeSet<Stream>,
}

impl Monitor {
    /// A monitor without streams.
    pub fn new(settings: MonitorSettings) -> Self {
        Self {
            settings,
            streams: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// The settings.
    pub const fn settings(&self) -> &MonitorSettings {
        &self.settings
    }

    /// True if the stream is in memory; if not, [`Monitor::restore`] it before its next minute.
    pub fn knows(&self, stream: &Stream) -> bool {
        self.streams.contains_key(stream)
    }

    /// Takes a stream into memory, replacing what is there.
    pub fn restore(&mut self, stream: Stream, mut stored: StoredStream) {
        let unstored = self
            .settings
            .adaptive()
            .map_or(0, |settings| stored.fold_adaptive(settings).1);
        let monitor = StreamMonitor {
            history: self.settings.history(stored.minutes),
            adaptive: stored.adaptive,
            unstored,
            gate: Gate::restored(stored.cooldowns),
        };
        self.streams.insert(stream, monitor);
    }

    /// Drops all streams from memory.
    pub fn forget(&mut self) {
        self.streams.clear();
        self.due.clear();
    }

    /// The observed minutes of a stream in memory.
    pub fn history(&self, stream: &Stream) -> Option<&History> {
        self.streams.get(stream).map(|stream| &stream.history)
    }

    /// What the policy `adaptive` remembers of a stream in memory; none where the policy does not judge.
    pub fn adaptive(&self, stream: &Stream) -> Option<&AdaptiveState> {
        self.settings.adaptive()?;
        self.streams.get(stream).map(|stream| &stream.adaptive)
    }

    /// The states that must be stored in the transaction of the minutes observed so far. A state is due after
    /// an hour of fresh minutes, when an episode opens or closes, and whenever a minute came late or was corrected: such a minute
    /// never enters the state, so the stored minutes that are newer than the state must not include it.
    pub fn take_due_states(&mut self) -> Vec<DetectorState> {
        let due = std::mem::take(&mut self.due);
        due.into_iter()
            .filter_map(|stream| {
                let monitor = self.streams.get_mut(&stream)?;
                monitor.unstored = 0;
                Some(DetectorState {
                    policy: PolicyName::Adaptive,
                    minute: monitor.adaptive.newest()?,
                    bytes: monitor.adaptive.to_bytes(),
                    stream,
                })
            })
            .collect()
    }

    /// Observes one minute of a stream; a stream that is not in memory starts empty. `silences` are the active ones: they
    /// suppress alerts and never change a finding. O(1) for minutes in order, O(window) for late ones.
    pub fn observe(&mut self, counts: MinuteCounts, silences: &[Silence]) -> Observed {
        if !self.knows(counts.stream()) {
            self.restore(counts.stream().clone(), StoredStream::default());
        }
        let stream = self
            .streams
            .get_mut(counts.stream())
            .expect("restored above");
        let rules = Rules {
            settings: &self.settings,
            silences,
        };
        let observed = stream.observe(&rules, counts);
        if self.settings.adaptive().is_some()
            && stream.is_state_due(&observed)
            && !self.due.contains(observed.counts.stream())
        {
            self.due.insert(observed.counts.stream().clone());
        }
        observed
    }
}

/// Settings and silences of one observation.
struct Rules<'a> {
    settings: &'a MonitorSettings,
    silences: &'a [Silence],
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

impl StreamMonitor {
    fn observe(&mut self, rules: &Rules<'_>, counts: MinuteCounts) -> Observed {
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
    fn is_state_due(&self, observed: &Observed) -> bool {
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
        observed
            .episode_events
            .extend(shadow.into_iter().flat_map(|shadow| shadow.episode_events));
        self.history.push(minute);
        self.unstored += 1;
    }

    /// An older minute: new, repeated or corrected. Later windows use its counts of now.
    fn correct(&mut self, rules: &Rules<'_>, named: &Named, observed: &mut Observed) {
        let stored = self.history.get(observed.counts.minute()).copied();
        let before = stored.unwrap_or_else(|| ObservedMinute::new(observed.counts.minute()));
        let mut minute = before;
        minute.record(named);
        for status in MonitoredStatus::ALL {
            let i = status.index();
            let same_count = minute.counts[i] == before.counts[i];
            let is_stored = stored.is_some();
            if is_stored && same_count && minute.named[i] == before.named[i] {
                continue;
            }
            let change = if observed.timeliness == Timeliness::Late && !(is_stored && same_count) {
                self.judge_late(rules, status, &mut minute, observed)
            } else {
                RowChange::CountOnly
            };
            observed.rows.push(minute.row(status, &change));
        }
        if stored != Some(minute) {
            self.history.correct(minute);
        }
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

    /// Takes over the named counts; a status not named keeps its count.
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
