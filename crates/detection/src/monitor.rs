//! The fold: one minute's counts go in, rows with their verdicts and the alerts that may go out come out.
//!
//! Live ingest, replay and tests run this same fold, so they cannot disagree. It knows no clock, file or network; a
//! stream's memory is a cache of what is stored and can be dropped and restored at any time ([`Monitor::forget`], [`Monitor::restore`]).

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    baseline::Baseline,
    batch::{Minute, MinuteCounts, Stream},
    cooldown::{Admission, AlertKey, Cooldown},
    detector::{Direction, Severity, Verdict, ZScoreDetector},
    history::{History, ObservedMinute},
    silence::Silence,
    status::MonitoredStatus,
};

/// The settings of the fold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MonitorSettings {
    /// Judges one count against its baseline.
    pub detector: ZScoreDetector,
    /// Observed minutes in a window.
    pub window: usize,
    /// A minute at most this much older than the newest one is still judged.
    pub allowed_lateness_minutes: u32,
    /// An alert is held back if its key fired for a minute less than this before.
    pub cooldown_minutes: u32,
}

impl Default for MonitorSettings {
    fn default() -> Self {
        Self {
            detector: ZScoreDetector::default(),
            window: 60,
            allowed_lateness_minutes: 10,
            cooldown_minutes: 5,
        }
    }
}

impl MonitorSettings {
    /// How many newest observed minutes of a stream [`Monitor::restore`] needs.
    pub const fn history_capacity(&self) -> usize {
        History::capacity(self.window, self.allowed_lateness_minutes as usize)
    }

    /// A history of stored minutes, to look up baselines in.
    pub fn history(&self, known: impl IntoIterator<Item = ObservedMinute>) -> History {
        History::from_observed(self.window, self.allowed_lateness_minutes as usize, known)
    }
}

/// When a batch came, measured by the newest minute of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeliness {
    /// Newer than all before: the watermark moves.
    Fresh,
    /// At or behind the watermark, by no more than the allowed lateness.
    Late,
    /// Too old to be judged.
    TooLate,
}

/// What storing a row must do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowChange {
    /// Store count and verdict, replacing what is there. `peak` is the highest severity the row ever had.
    Judged {
        /// The new verdict.
        verdict: Verdict,
        /// The highest severity the row ever had, this verdict included.
        peak: Severity,
    },
    /// Store the count; a row already there keeps its verdict, a new one is not judged.
    CountOnly,
}

/// One monitored status of the minute, as it must be stored. Rows that would change nothing are left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Which status.
    pub status: MonitoredStatus,
    /// Its count.
    pub count: u32,
    /// True for the 0 of a status that no batch named. An implied 0 never replaces a stored count.
    pub implied: bool,
    /// What to do with it.
    pub change: RowChange,
}

/// Whether an alert goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It does.
    Dispatched {
        /// Alerts of the same key held back since the last one that went out.
        suppressed_before: u32,
    },
    /// Held back, because this alert of the same key went out less than the cooldown before.
    Cooldown {
        /// Id of the alert that went out.
        by: Uuid,
    },
    /// Held back, because people asked not to hear of it. Starts no cooldown.
    Silenced {
        /// Id of the silence.
        by: Uuid,
    },
}

/// A WARNING or CRITICAL verdict to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// [`AlertKey::alert_id`] of its key and minute.
    pub id: Uuid,
    /// Stream, status, direction and severity.
    pub key: AlertKey,
    /// The minute judged.
    pub minute: Minute,
    /// Its count.
    pub count: u32,
    /// Why.
    pub verdict: Verdict,
    /// The limit that was passed, in standard deviations.
    pub threshold: f64,
    /// True if the minute was not the newest of its stream when it was judged.
    pub late: bool,
    /// Whether it goes out.
    pub disposition: Disposition,
    /// The key's memory after this alert, to be stored with it.
    pub cooldown: Cooldown,
}

/// What follows from one batch.
#[derive(Debug)]
pub struct Judged {
    /// The batch; its statuses that are not monitored are to be stored too.
    pub batch: MinuteCounts,
    /// When it came.
    pub timeliness: Timeliness,
    /// True if its minute was not known before, as far as memory reaches: never for one that is [`Timeliness::TooLate`].
    pub is_new: bool,
    /// Rows of monitored statuses that change.
    pub rows: Vec<Row>,
    /// Alerts to record.
    pub alerts: Vec<Alert>,
}

/// What the store remembers of one stream.
#[derive(Clone, Debug, Default)]
pub struct StreamState {
    /// Its newest observed minutes, at least [`MonitorSettings::history_capacity`] of them or all there are.
    pub known: Vec<ObservedMinute>,
    /// Its cooldowns.
    pub cooldowns: Vec<(AlertKey, Cooldown)>,
}

/// One slot for each status, direction and anomalous severity.
type Cooldowns = [Cooldown; MonitoredStatus::COUNT * 4];

/// The memory of one stream.
struct StreamMonitor {
    history: History,
    cooldowns: Cooldowns,
}

/// Windows, watermarks and cooldowns of many streams that know nothing of each other.
pub struct Monitor {
    policy: MonitorSettings,
    streams: HashMap<Stream, StreamMonitor>,
}

impl Monitor {
    /// A monitor that knows no stream.
    pub fn new(policy: MonitorSettings) -> Self {
        Self {
            policy,
            streams: HashMap::new(),
        }
    }

    /// The settings.
    pub const fn policy(&self) -> &MonitorSettings {
        &self.policy
    }

    /// True if the stream is in memory; if not, [`Monitor::restore`] it before its next batch.
    pub fn knows(&self, stream: &Stream) -> bool {
        self.streams.contains_key(stream)
    }

    /// The newest observed minutes of a stream in memory.
    pub fn history(&self, stream: &Stream) -> Option<&History> {
        self.streams.get(stream).map(|stream| &stream.history)
    }

    /// Takes a stream into memory as it is stored; an empty state for one never seen.
    pub fn restore(&mut self, stream: Stream, state: StreamState) {
        let mut cooldowns = Cooldowns::default();
        for (key, cooldown) in state.cooldowns {
            cooldowns[slot(&key)] = cooldown;
        }
        self.streams.insert(
            stream,
            StreamMonitor {
                history: self.policy.history(state.known),
                cooldowns,
            },
        );
    }

    /// Drops all streams from memory: after a commit that failed, memory may be ahead of the store.
    pub fn forget(&mut self) {
        self.streams.clear();
    }

    /// Judges one batch. A stream not in memory starts empty. `silences` are those in force now: they change what becomes of
    /// alerts, never a verdict. O(1) for minutes in order, O(window) for late ones.
    pub fn observe(&mut self, batch: MinuteCounts, silences: &[Silence]) -> Judged {
        if !self.knows(batch.stream()) {
            self.restore(batch.stream().clone(), StreamState::default());
        }
        let stream = self
            .streams
            .get_mut(batch.stream())
            .expect("restored above");
        stream.observe(
            &Rules {
                policy: &self.policy,
                silences,
            },
            batch,
        )
    }
}

/// What one observation goes by.
struct Rules<'a> {
    policy: &'a MonitorSettings,
    silences: &'a [Silence],
}

/// The counts a batch names, by status.
fn named_counts(batch: &MinuteCounts) -> [Option<u32>; MonitoredStatus::COUNT] {
    let mut counts = [None; MonitoredStatus::COUNT];
    for transaction in batch.transactions() {
        if let Some(status) = transaction.status.monitored() {
            counts[status.index()] = Some(transaction.count);
        }
    }
    counts
}

fn slot(key: &AlertKey) -> usize {
    let direction = usize::from(key.direction == Direction::Down);
    let severity = usize::from(key.severity == Severity::Critical);
    key.status.index() * 4 + direction * 2 + severity
}

impl StreamMonitor {
    fn observe(&mut self, rules: &Rules<'_>, batch: MinuteCounts) -> Judged {
        let named = named_counts(&batch);
        let timeliness = self.timeliness(rules, batch.minute());
        let is_new =
            timeliness != Timeliness::TooLate && self.history.get(batch.minute()).is_none();
        let rows = Vec::with_capacity(MonitoredStatus::COUNT);
        let mut judged = Judged {
            batch,
            timeliness,
            is_new,
            rows,
            alerts: Vec::new(),
        };
        match timeliness {
            Timeliness::Fresh => self.advance(rules, named, &mut judged),
            Timeliness::Late | Timeliness::TooLate => self.correct(rules, named, &mut judged),
        }
        judged
    }

    fn timeliness(&self, rules: &Rules<'_>, minute: Minute) -> Timeliness {
        match self.history.newest() {
            Some(newest) if minute.since(newest.minute) > 0 => Timeliness::Fresh,
            Some(newest)
                if newest.minute.since(minute)
                    > i64::from(rules.policy.allowed_lateness_minutes) =>
            {
                Timeliness::TooLate
            }
            Some(_) => Timeliness::Late,
            None => Timeliness::Fresh,
        }
    }

    /// The usual case: a new newest minute, judged by the rolling sums.
    fn advance(
        &mut self,
        rules: &Rules<'_>,
        named: [Option<u32>; MonitoredStatus::COUNT],
        judged: &mut Judged,
    ) {
        let baselines = self.history.baselines_for_next(judged.batch.minute());
        let mut known = unobserved_minute(judged.batch.minute());
        for status in MonitoredStatus::ALL {
            self.judge_row(
                rules,
                status,
                named[status.index()],
                baselines[status.index()],
                &mut known,
                judged,
            );
        }
        self.history.push(known);
    }

    /// An older minute: new, repeated or corrected. Later windows use what it says now.
    fn correct(
        &mut self,
        rules: &Rules<'_>,
        named: [Option<u32>; MonitoredStatus::COUNT],
        judged: &mut Judged,
    ) {
        let minute = judged.batch.minute();
        let stored = self.history.get(minute).copied();
        let mut known = stored.unwrap_or_else(|| unobserved_minute(minute));
        for status in MonitoredStatus::ALL {
            let (i, named) = (status.index(), named[status.index()]);
            let same_count = named.unwrap_or(known.counts[i]) == known.counts[i];
            let same_name = named.is_none() || known.named[i];
            match (stored, judged.timeliness) {
                (Some(_), _) if same_count && same_name => {}
                (Some(_), Timeliness::Late) if !same_count => {
                    let baseline = self.history.baseline(minute, status);
                    self.judge_row(rules, status, named, baseline, &mut known, judged);
                }
                (None, Timeliness::Late) => {
                    let baseline = self.history.baseline(minute, status);
                    self.judge_row(rules, status, named, baseline, &mut known, judged);
                }
                _ => {
                    known.record(status, named);
                    judged.rows.push(Row {
                        status,
                        count: known.counts[i],
                        implied: !known.named[i],
                        change: RowChange::CountOnly,
                    });
                }
            }
        }
        if stored != Some(known) {
            self.history.correct(known);
        }
    }

    fn judge_row(
        &mut self,
        rules: &Rules<'_>,
        status: MonitoredStatus,
        named: Option<u32>,
        baseline: Baseline,
        known: &mut ObservedMinute,
        judged: &mut Judged,
    ) {
        known.record(status, named);
        let count = known.counts[status.index()];
        let verdict = rules.policy.detector.judge(status, count, baseline);
        let peak = &mut known.peaks[status.index()];
        if let Some(direction) = verdict.direction
            && verdict.severity > *peak
        {
            let key = AlertKey {
                stream: judged.batch.stream().clone(),
                status,
                direction,
                severity: verdict.severity,
            };
            // At the watermark it is a correction of the newest minute, which is late for nobody.
            let late = self
                .history
                .newest()
                .is_some_and(|newest| known.minute < newest.minute);
            judged
                .alerts
                .push(self.alert(rules, key, known.minute, count, verdict, late));
        }
        *peak = verdict.severity.max(*peak);
        let change = RowChange::Judged {
            verdict,
            peak: *peak,
        };
        judged.rows.push(Row {
            status,
            count,
            implied: !known.named[status.index()],
            change,
        });
    }

    fn alert(
        &mut self,
        rules: &Rules<'_>,
        key: AlertKey,
        minute: Minute,
        count: u32,
        verdict: Verdict,
        late: bool,
    ) -> Alert {
        let cooldown = &mut self.cooldowns[slot(&key)];
        let length_minutes = i64::from(rules.policy.cooldown_minutes);
        let disposition = match rules.silences.iter().find(|silence| silence.covers(&key)) {
            Some(silence) => {
                cooldown.hold_back();
                Disposition::Silenced { by: silence.id }
            }
            None => match cooldown.admit(minute, length_minutes) {
                Admission::Dispatched { suppressed_before } => {
                    Disposition::Dispatched { suppressed_before }
                }
                Admission::Suppressed { by } => Disposition::Cooldown {
                    by: key.alert_id(by),
                },
            },
        };
        let threshold = rules.policy.detector.thresholds.limit(verdict.severity);
        Alert {
            id: key.alert_id(minute),
            key,
            minute,
            count,
            verdict,
            threshold,
            late,
            disposition,
            cooldown: *cooldown,
        }
    }
}

/// A minute as it stands before any batch: all zeros, none named.
fn unobserved_minute(minute: Minute) -> ObservedMinute {
    let peaks = [Severity::NotJudged; MonitoredStatus::COUNT];
    ObservedMinute {
        minute,
        counts: [0; MonitoredStatus::COUNT],
        named: [false; MonitoredStatus::COUNT],
        peaks,
    }
}

impl ObservedMinute {
    /// Takes over a named count; a status not named keeps what it has.
    fn record(&mut self, status: MonitoredStatus, named: Option<u32>) {
        if let Some(count) = named {
            self.counts[status.index()] = count;
            self.named[status.index()] = true;
        }
    }
}
