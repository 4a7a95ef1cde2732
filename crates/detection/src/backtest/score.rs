//! From the facts of a backtest to its report: recall, delays, false alarms, precision. It folds nothing.

use std::collections::BTreeMap;

use super::{
    episode::BacktestEpisode,
    facts::{Facts, LabelFacts},
    interval::Interval,
    label::{LabelledIncident, Labels},
    report::{EpisodeScore, FoundWithin, KindScore, Missed, Quantiles, Report, Score, Sent},
};
use crate::{MonitorSettings, Severity};

/// An alert within this many minutes of an incident's start is prompt.
const PROMPT_MINUTES: i64 = 8;

impl Report {
    pub(super) fn new(
        settings: &MonitorSettings,
        facts: &Facts,
        labels: Option<&Labels>,
        episodes: Vec<BacktestEpisode>,
    ) -> Self {
        let critical = episodes
            .iter()
            .filter(|episode| episode.critical_at.is_some());
        let sent = Sent {
            episodes: count(episodes.iter()),
            critical_episodes: count(critical),
            ..facts.sent
        };
        let detector = &settings.detector;
        Self {
            policy: detector.policy(),
            warning: detector.threshold(Severity::Warning),
            critical: detector.threshold(Severity::Critical),
            first: facts.first,
            last: facts.last,
            days: facts.days(),
            observed_minutes: facts.observed_minutes,
            too_late: facts.too_late,
            sent,
            score: labels.map(|labels| Score::new(facts, labels, &episodes)),
            episodes,
        }
    }
}

impl Quantiles {
    fn of(mut minutes: Vec<i64>) -> Option<Self> {
        minutes.sort_unstable();
        let rank = |percent: usize| minutes[(minutes.len() * percent).div_ceil(100) - 1];
        Some(Self {
            worst: *minutes.last()?,
            median: rank(50),
            p90: rank(90),
        })
    }
}

impl Score {
    fn new(facts: &Facts, labels: &Labels, episodes: &[BacktestEpisode]) -> Self {
        let scored: Vec<_> = labels
            .all()
            .iter()
            .zip(&facts.labels)
            .filter(|(label, _)| facts.covers(label))
            .collect();
        let all = Group::of(&scored);
        let closes = scored
            .iter()
            .filter_map(|(label, of_label)| close_delay(label, of_label, episodes));
        Self {
            incidents: all.incidents,
            found: all.found(),
            recall: share(all.found(), all.incidents),
            found_within: FoundWithin {
                minutes: PROMPT_MINUTES,
                found: count(all.delays.iter().filter(|delay| **delay < PROMPT_MINUTES)),
            },
            close_delay: Quantiles::of(closes.collect()),
            missed: missed(&scored),
            episodes: EpisodeScore::new(facts.days(), labels, episodes),
            false_notifications: facts.false_notifications,
            false_notifications_per_day: per_day(facts.false_notifications, facts.days()),
            kinds: kinds(&scored),
            delay: Quantiles::of(all.delays),
        }
    }
}

impl EpisodeScore {
    fn new(days: f64, labels: &Labels, episodes: &[BacktestEpisode]) -> Self {
        let is_false = episodes.iter().filter_map(|episode| {
            let minute = episode.critical_at?;
            Some(!labels.excuses(&episode.stream, minute))
        });
        let is_false: Vec<_> = is_false.collect();
        let false_alarms = count(is_false.iter().filter(|is_false| **is_false));
        let all = count(is_false.iter());
        Self {
            false_alarms,
            false_per_day: per_day(false_alarms, days),
            precision: share(all - false_alarms, all),
        }
    }
}

type Labelled<'a> = (&'a LabelledIncident, &'a LabelFacts);

/// The number of some incidents and the delays of the found ones.
#[derive(Default)]
struct Group {
    incidents: u32,
    delays: Vec<i64>,
}

impl Group {
    fn of<'a>(labelled: impl IntoIterator<Item = &'a Labelled<'a>>) -> Self {
        let mut group = Self::default();
        for (label, facts) in labelled {
            group.add(label, facts);
        }
        group
    }

    fn add(&mut self, label: &LabelledIncident, facts: &LabelFacts) {
        self.incidents += 1;
        self.delays
            .extend(facts.found_at.map(|found| found.since(label.start)));
    }

    fn found(&self) -> u32 {
        count(self.delays.iter())
    }
}

fn kinds(scored: &[Labelled<'_>]) -> Vec<KindScore> {
    let mut groups = BTreeMap::<&str, Group>::new();
    for (label, facts) in scored {
        groups.entry(&label.kind).or_default().add(label, facts);
    }
    let score = |(kind, group): (&str, Group)| KindScore {
        kind: kind.to_owned(),
        incidents: group.incidents,
        found: group.found(),
        delay: Quantiles::of(group.delays),
    };
    groups.into_iter().map(score).collect()
}

fn missed(scored: &[Labelled<'_>]) -> Vec<Missed> {
    let missed = scored.iter().filter(|(_, facts)| facts.found_at.is_none());
    missed
        .map(|(label, facts)| Missed {
            incident: (*label).clone(),
            reason: facts.miss_reason(),
        })
        .collect()
}

/// Minutes from the end of a found incident to the close of the first episode that contains its first CRITICAL minute.
fn close_delay(
    label: &LabelledIncident,
    facts: &LabelFacts,
    episodes: &[BacktestEpisode],
) -> Option<i64> {
    let found = facts.found_at?;
    let episode = episodes
        .iter()
        .take_while(|episode| episode.opened <= found)
        .find(|episode| episode.closed.is_none_or(|closed| found <= closed))?;
    Some(episode.closed?.since(label.end))
}

fn per_day(events: u32, days: f64) -> Option<Interval> {
    (days > 0.0).then(|| Interval::of_rate(events, days))
}

fn share(part: u32, all: u32) -> Option<f64> {
    (all > 0).then(|| f64::from(part) / f64::from(all))
}

/// Saturates at 2^32 - 1.
fn count(items: impl Iterator) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
