//! The fold: one minute's counts go in, rows with their findings, the alerts they raise and what became of incidents come out.
//!
//! Live ingest, replay and tests run this same fold, so they cannot disagree. It knows no clock, file or network; a stream's
//! memory is a cache of what is stored and can be dropped and restored at any time ([`Monitor::forget`], [`Monitor::restore`]).

mod stream;

use std::collections::{BTreeSet, HashMap};

use self::stream::{Rules, StreamMonitor};
use crate::{
    cooldown::Cooldown,
    detector::adaptive::{AdaptiveSettings, AdaptiveState, EpisodeEvent},
    finding::{PolicyName, Severity},
    gate::{AlertKey, Gate, Raised},
    history::{History, ObservedMinute},
    incident::{Incident, IncidentStep, Incidents},
    judgement::Judgement,
    message::MinuteCounts,
    minute::Minute,
    settings::MonitorSettings,
    silence::Silence,
    status::MonitoredStatus,
    stream::Stream,
};

/// The age of a minute, compared with the newest one of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeliness {
    /// Newer: the watermark moves.
    Fresh,
    /// Not newer, and within the allowed lateness.
    Late,
    /// Too old to be evaluated.
    TooLate,
}

/// The change of a stored row.
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
    /// Store only the count: a stored row keeps its judgement, a new row has none.
    CountOnly,
}

/// The row of one monitored status. Rows without a change are omitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// The status.
    pub status: MonitoredStatus,
    /// Its count.
    pub count: u32,
    /// True for the 0 of a status that no message named. An implied 0 never replaces a stored count.
    pub implied: bool,
    /// The change to store.
    pub change: RowChange,
}

/// The result of observing one minute.
#[derive(Debug)]
pub struct Observed {
    /// The counts. The caller must also store those of statuses that are not monitored.
    pub counts: MinuteCounts,
    /// The age of the minute.
    pub timeliness: Timeliness,
    /// True if the minute was not observed before, as far as memory reaches; false if it is [`Timeliness::TooLate`].
    pub is_new: bool,
    /// Rows of monitored statuses that change.
    pub rows: Vec<Row>,
    /// Alerts to record, those of the policy in shadow last.
    pub alerts: Vec<Raised>,
    /// The changes of the episode of the policy `adaptive`, whether it alerts or runs in shadow.
    pub episode_events: Vec<EpisodeEvent>,
    /// What became of the incident of the alerting policy; none while no incident is open.
    pub incident: Option<Box<IncidentStep>>,
}

/// The stored form of one stream.
#[derive(Clone, Debug, Default)]
pub struct StoredStream {
    /// Its newest observed minutes: at least [`MonitorSettings::history_capacity`] of them, and all that are newer than `adaptive`.
    pub minutes: Vec<ObservedMinute>,
    /// Its cooldowns.
    pub cooldowns: Vec<(AlertKey, Cooldown)>,
    /// A state of the policy `adaptive`. The minutes that are newer than it are folded on top; the default learns from them alone.
    pub adaptive: AdaptiveState,
    /// The last incident of the alerting policy, open or resolved.
    pub incident: Option<Incident>,
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

/// The fold over many independent streams: windows, watermarks, cooldowns and incidents.
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

    /// Loads a stream into memory, replacing its present memory.
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
            incidents: Incidents::restored(stored.incident),
        };
        self.streams.insert(stream, monitor);
    }

    /// Drops all streams from memory.
    pub fn forget(&mut self) {
        self.streams.clear();
        self.due.clear();
    }

    /// Drops one stream from memory.
    pub fn forget_stream(&mut self, stream: &Stream) {
        self.streams.remove(stream);
        self.due.remove(stream);
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
