//! The fold: one minute's counts go in, rows with their findings and the alerts they raise come out.
//!
//! Live ingest, replay and tests run this same fold, so they cannot disagree. It knows no clock, file or network; a stream's
//! memory is a cache of what is stored and can be dropped and restored at any time ([`Monitor::forget`], [`Monitor::restore`]).

use std::collections::HashMap;

use crate::{
    cooldown::Cooldown,
    detector::{
        Detector,
        adaptive::{AdaptiveState, EpisodeEvent},
    },
    finding::Severity,
    gate::{AlertKey, Anomaly, Gate, Raised, alerts},
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
    /// Judges the counts.
    pub detector: Detector,
    /// A minute at most this much older than the newest one is still judged.
    pub allowed_lateness_minutes: u32,
    /// An alert is suppressed if its key fired for a minute less than this before.
    pub cooldown_minutes: u32,
}

impl Default for MonitorSettings {
    fn default() -> Self {
        Self {
            detector: Detector::default(),
            allowed_lateness_minutes: 10,
            cooldown_minutes: 5,
        }
    }
}

impl MonitorSettings {
    /// How many newest observed minutes of a stream [`Monitor::restore`] needs.
    pub const fn history_capacity(&self) -> usize {
        History::capacity(
            self.detector.window(),
            self.allowed_lateness_minutes as usize,
        )
    }

    /// A history of stored minutes.
    pub fn history(&self, minutes: impl IntoIterator<Item = ObservedMinute>) -> History {
        History::from_observed(
            self.detector.window(),
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
pub enum RowChange {
    /// Store count and judgement, replacing the stored ones.
    Judged {
        /// A finding, or still learning.
        judgement: Judgement,
        /// The highest severity that the count ever had, this one included.
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
    /// Alerts to record.
    pub alerts: Vec<Raised>,
    /// The changes of the open episode, of a policy that has episodes (`adaptive`).
    pub episode_events: Vec<EpisodeEvent>,
}

/// What the store keeps of one stream.
#[derive(Clone, Debug, Default)]
pub struct StoredStream {
    /// Its newest observed minutes, at least [`MonitorSettings::history_capacity`] of them or all there are.
    pub minutes: Vec<ObservedMinute>,
    /// Its cooldowns.
    pub cooldowns: Vec<(AlertKey, Cooldown)>,
    /// What the policy `adaptive` remembers after the newest of its minutes; the default learns again from nothing.
    pub adaptive: AdaptiveState,
}

/// The memory of one stream: its minutes, and the gate of its alerts.
struct StreamMonitor {
    history: History,
    adaptive: AdaptiveState,
    gate: Gate,
}

/// Windows, watermarks and cooldowns of many streams that are independent of each other.
pub struct Monitor {
    settings: MonitorSettings,
    streams: HashMap<Stream, StreamMonitor>,
}

impl Monitor {
    /// A monitor without streams.
    pub fn new(settings: MonitorSettings) -> Self {
        Self {
            settings,
            streams: HashMap::new(),
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
    pub fn restore(&mut self, stream: Stream, stored: StoredStream) {
        let monitor = StreamMonitor {
            history: self.settings.history(stored.minutes),
            adaptive: stored.adaptive,
            gate: Gate::restored(stored.cooldowns),
        };
        self.streams.insert(stream, monitor);
    }

    /// Drops all streams from memory.
    pub fn forget(&mut self) {
        self.streams.clear();
    }

    /// The observed minutes of a stream in memory.
    pub fn history(&self, stream: &Stream) -> Option<&History> {
        self.streams.get(stream).map(|stream| &stream.history)
    }

    /// What the policy `adaptive` remembers of a stream in memory, to be stored with its minutes.
    pub fn adaptive(&self, stream: &Stream) -> Option<&AdaptiveState> {
        self.streams.get(stream).map(|stream| &stream.adaptive)
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
        stream.observe(&rules, counts)
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

    /// The usual case: a new newest minute.
    fn advance(&mut self, rules: &Rules<'_>, named: &Named, observed: &mut Observed) {
        let mut minute = ObservedMinute::new(observed.counts.minute());
        minute.record(named);
        let judged =
            rules
                .settings
                .detector
                .judge_next(&mut self.history, &mut self.adaptive, &minute);
        observed.episode_events = judged.episode_events;
        for status in MonitoredStatus::ALL {
            let judgement = judged.judgements[status.index()];
            self.conclude(rules, status, judgement, &mut minute, observed);
        }
        self.history.push(minute);
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
            if observed.timeliness == Timeliness::Late && !(is_stored && same_count) {
                let judgement = rules.settings.detector.judge_late(
                    &self.history,
                    &self.adaptive,
                    &minute,
                    status,
                );
                self.conclude(rules, status, judgement, &mut minute, observed);
            } else {
                observed.rows.push(minute.row(status, RowChange::CountOnly));
            }
        }
        if stored != Some(minute) {
            self.history.correct(minute);
        }
    }

    /// The row of a judged count and, if it alerts, the alert.
    fn conclude(
        &mut self,
        rules: &Rules<'_>,
        status: MonitoredStatus,
        judgement: Judgement,
        minute: &mut ObservedMinute,
        observed: &mut Observed,
    ) {
        let i = status.index();
        if let Judgement::Finding(finding) = judgement
            && let Some(direction) = finding.direction
            && alerts(&finding, minute.peaks[i])
        {
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
                count: minute.counts[i],
                finding,
                // A correction of the newest minute is not late.
                late: newest.is_some_and(|newest| minute.minute < newest.minute),
            };
            let cooldown_minutes = i64::from(rules.settings.cooldown_minutes);
            let raised = self.gate.raise(anomaly, rules.silences, cooldown_minutes);
            observed.alerts.push(raised);
        }
        minute.peaks[i] = judgement.severity().max(minute.peaks[i]);
        let peak = minute.peaks[i];
        observed
            .rows
            .push(minute.row(status, RowChange::Judged { judgement, peak }));
    }
}

impl ObservedMinute {
    /// Takes over the named counts; a status not named keeps its count.
    fn record(&mut self, named: &Named) {
        for (i, count) in named.iter().enumerate() {
            if let Some(count) = *count {
                self.counts[i] = count;
                self.named[i] = true;
            }
        }
    }

    fn row(&self, status: MonitoredStatus, change: RowChange) -> Row {
        Row {
            status,
            count: self.counts[status.index()],
            implied: !self.named[status.index()],
            change,
        }
    }
}
