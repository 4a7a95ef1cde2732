//! The policy `adaptive`: evaluates a problem status as a share of the traffic and `approved` as a volume against its usual level at
//! this time of day. The score is a probability. One pure fold over the observed minutes of a stream in order of time, O(1) per minute.
//!
//! It deliberately has no clock and no weekly pattern, and ignores rises of approvals, so a sale never alerts. Only the five monitored
//! statuses are evaluated. Nothing is learned while an episode is open, so an outage becomes usual only if the episode closes as the new
//! level.

mod bar;
mod blob;
mod day;
mod episode;
mod evidence;
mod judge;
mod rate;
mod sentence;
mod tail;

pub use bar::{AdaptiveSettings, AdaptiveSettingsError};
pub use blob::{AdaptiveStateError, BLOB_BYTES, BLOB_VERSION};
pub use episode::{EpisodeChange, EpisodeEvent, NewLevel, StatusSet};
pub use evidence::{AdaptiveEvidence, Test};
pub(crate) use judge::bad;
pub(crate) use sentence::sentence;

use self::{
    day::{DayShape, TimeOfDay},
    episode::{Episodes, MinuteSummary},
    judge::Evaluated,
    rate::{Exposure, Rate, WINDOW},
};
use crate::{Judgement, Minute, MonitoredStatus, Severity};

/// Where no state is stored, the minutes of the last 28 days rebuild it.
pub const MAX_LEARNED_MINUTES: i64 = 28 * 1440;
/// Observed minutes before the first evaluation.
const MIN_OBSERVED: u64 = 30;
/// A pause longer than this starts a new window, in minutes.
const MAX_PAUSE_MINUTES: i64 = 5;
/// A score below this is calm, in decades.
const CALM_SCORE: f64 = 2.0;
/// exp(-1/1440): the factor per observed minute by which a status forgets its episodes.
const EPISODES_KEPT: f64 = 0.999_305_796_626_292_2;

/// The result of one observed minute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaptiveObserved {
    /// In the order of [`MonitoredStatus::ALL`].
    pub judgements: [Judgement; MonitoredStatus::COUNT],
    /// The number of the episode that this minute belongs to; the minute that closes an episode belongs to it.
    pub episode: Option<u32>,
    events: [Option<EpisodeEvent>; 2],
}

impl AdaptiveObserved {
    /// The events of the episode: at most one change, then at most one close.
    pub fn events(&self) -> impl Iterator<Item = &EpisodeEvent> {
        self.events.iter().flatten()
    }
}

/// The memory of the policy for one stream: about 250 numbers, independent of the settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdaptiveState {
    newest: Option<Minute>,
    observed: u64,
    /// Observed minutes since the last longer pause or close, at most [`WINDOW`].
    run: usize,
    day: DayShape,
    rates: [Rate; MonitoredStatus::COUNT],
    episodes: Episodes,
}

impl AdaptiveState {
    /// The newest minute that was folded.
    pub const fn newest(&self) -> Option<Minute> {
        self.newest
    }

    /// True while an episode is open.
    pub const fn has_open_episode(&self) -> bool {
        self.episodes.open.is_some()
    }

    /// Ends the open episode without an event, as if there had been none. True if one was open.
    pub fn drop_episode(&mut self) -> bool {
        let dropped = self.episodes.open.take().is_some();
        if dropped {
            self.run = 0;
        }
        dropped
    }

    /// Folds the next observed minute: evaluates it, learns from it unless an episode is open, and updates the episode.
    /// A minute that is not newer than all before is only evaluated, as by [`Self::judge`].
    pub fn observe(
        &mut self,
        settings: AdaptiveSettings,
        minute: Minute,
        counts: [u32; MonitoredStatus::COUNT],
    ) -> AdaptiveObserved {
        if self.newest.is_some_and(|newest| minute <= newest) {
            return AdaptiveObserved {
                judgements: self.judge(settings, minute, counts),
                episode: None,
                events: [None; 2],
            };
        }
        let counts = counts.map(f64::from);
        let time = self.advance(minute);
        let evaluated = self.evaluate(settings, time, &counts, self.run, self.is_ready());
        let learning = self.episodes.open.is_none();
        for (i, status) in evaluated.iter().enumerate() {
            self.record(i, &counts, status, learning);
        }
        let summary = self.summarize(minute, &evaluated);
        let step = self.episodes.step(&summary);
        self.finish(&step);
        let in_episode = self.has_open_episode() || step.events[1].is_some();
        AdaptiveObserved {
            judgements: evaluated.map(|status| self.judgement(&status)),
            episode: in_episode.then_some(self.episodes.number),
            events: step.events,
        }
    }

    /// Advances the time: pauses, the slot of the day, and forgetting.
    fn advance(&mut self, minute: Minute) -> TimeOfDay {
        let pause = self.newest.map_or(1, |newest| minute.since(newest));
        if pause > MAX_PAUSE_MINUTES {
            self.run = 0;
        }
        let approved = &mut self.rates[MonitoredStatus::Approved.index()];
        if pause > 1 && self.day.seen {
            #[expect(clippy::cast_precision_loss, reason = "a pause of 2^53 minutes")]
            approved.forget_missing((pause - 1) as f64);
        }
        let (time, unit) = self.day.advance(minute);
        if let Some(ratio) = unit {
            approved.change_unit(ratio);
        }
        for rate in &mut self.rates {
            rate.episodes *= EPISODES_KEPT;
        }
        self.newest = Some(minute);
        self.observed += 1;
        self.run = (self.run + 1).min(WINDOW);
        time
    }

    /// The index of the newest minute in the rings.
    #[expect(clippy::cast_possible_truncation, reason = "below ten")]
    const fn place(&self) -> usize {
        (self.observed.saturating_sub(1) % WINDOW as u64) as usize
    }

    const fn is_ready(&self) -> bool {
        self.observed > MIN_OBSERVED
    }

    /// Records a minute of one status, and learns from it unless an episode is open.
    fn record(
        &mut self,
        i: usize,
        counts: &[f64; MonitoredStatus::COUNT],
        status: &Evaluated,
        learning: bool,
    ) {
        let count = counts[i];
        let (place, observed, ready) = (self.place(), self.observed, self.is_ready());
        let full = self.run == WINDOW && observed % WINDOW as u64 == 0;
        let rate = &mut self.rates[i];
        let exposure = match status.exposure {
            Exposure::Volume { level, .. } => level,
            Exposure::Share { .. } => counts[0],
        };
        rate.record(count, status.expectation.mean, exposure, place);
        if !learning {
            return;
        }
        if ready && full {
            rate.learn_level_noise(&status.window);
        }
        let learned = rate.learn(count, &status.expectation, status.exposure, observed, ready);
        if matches!(status.exposure, Exposure::Volume { .. }) {
            self.day.learn(learned);
        }
    }

    /// Summarizes the minute for the episode.
    fn summarize(
        &self,
        minute: Minute,
        evaluated: &[Evaluated; MonitoredStatus::COUNT],
    ) -> MinuteSummary {
        let in_episode = self.episodes.statuses();
        let mut summary = MinuteSummary {
            minute,
            hot: StatusSet::default(),
            severity: Severity::Normal,
            score: 0.0,
            calm: true,
            collapsed: false,
            nothing_comes: false,
            level: NewLevel::default(),
        };
        for (status, judged) in MonitoredStatus::ALL.into_iter().zip(evaluated) {
            let bad = bad(status, judged.finding.score.unwrap_or(0.0));
            let severity = judged.finding.severity;
            let hot = severity.is_anomalous();
            if hot {
                summary.hot.insert(status);
            }
            summary.severity = summary.severity.max(severity);
            summary.score = summary.score.max(bad / judged.heat);
            summary.calm &= bad < CALM_SCORE || !(hot || in_episode.contains(status));
        }
        if self.has_open_episode() {
            let approved = &evaluated[0];
            let hour = self.rates[0].last_hour;
            let came = hour.events * self.day.exposure;
            summary.nothing_comes = came < 0.1 * approved.expectation.mean * hour.exposure;
            summary.collapsed = approved.finding.severity == Severity::Critical
                && approved.window.count < 0.5 * approved.window.expected;
            summary.level = self.level_of_last_hour();
        }
        summary
    }

    fn level_of_last_hour(&self) -> NewLevel {
        let counts = self.rates.each_ref().map(|rate| rate.last_hour.events);
        let payments: f64 = counts.iter().sum();
        let approved = self.rates[0].last_hour;
        NewLevel {
            approved: approved.events / approved.exposure * self.day.exposure,
            shares: counts.map(|count| {
                if payments > 0.0 {
                    count / payments
                } else {
                    0.0
                }
            }),
        }
    }

    /// Applies the step of the episode.
    fn finish(&mut self, step: &episode::Step) {
        for status in step.joined.iter() {
            self.rates[status.index()].episodes += 1.0;
        }
        let Some(close) = step.events[1] else {
            return;
        };
        self.run = 0;
        if matches!(close.change, EpisodeChange::ClosedNewLevel(_)) {
            for rate in &mut self.rates {
                rate.usual = rate.last_hour;
            }
        }
    }
}
