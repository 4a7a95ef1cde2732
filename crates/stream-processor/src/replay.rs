//! When is what sent: speeds, the order of a replay and the shift into the present. Pure: it knows no clock and sends nothing.

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use detection::{Minute, MinuteCounts};

/// How fast event time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// A multiple of real time, between 0.001 and 1,000,000.
    Times(f64),
    /// Without waiting.
    Max,
}

impl Speed {
    /// Ten event minutes a second.
    pub const DEFAULT: Self = Self::Times(600.0);
    const SLOWEST: f64 = 0.001;
    const FASTEST: f64 = 1_000_000.0;

    /// Twice as fast, up to the fastest multiple.
    pub fn faster(self) -> Self {
        match self {
            Self::Times(times) => Self::Times((times * 2.0).min(Self::FASTEST)),
            Self::Max => Self::Max,
        }
    }

    /// Half as fast; below [`Speed::Max`] comes 6000.
    pub fn slower(self) -> Self {
        match self {
            Self::Times(times) => Self::Times((times / 2.0).max(Self::SLOWEST)),
            Self::Max => Self::Times(6000.0),
        }
    }

    /// The real time that `minutes` of event time take.
    fn takes(self, minutes: i64) -> Duration {
        match self {
            Self::Times(times) => {
                let minutes =
                    u32::try_from(minutes).unwrap_or(if minutes < 0 { 0 } else { u32::MAX });
                Duration::from_secs_f64(f64::from(minutes) * 60.0 / times)
            }
            Self::Max => Duration::ZERO,
        }
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse() {
            Ok(times) if (Self::SLOWEST..=Self::FASTEST).contains(&times) => Ok(Self::Times(times)),
            _ => Err("allowed are a multiple of real time from 0.001 to 1000000 (600: ten minutes per second), or max"
                .into()),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(times) => write!(f, "{times}"),
            Self::Max => f.write_str("max"),
        }
    }
}

/// When each minute is due, counted from the start of the replay. One known point and a speed: a change moves the point, so the past is never recomputed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    speed: Speed,
    minute: Minute,
    due: Duration,
}

impl Pace {
    /// `first` is due at once.
    pub const fn new(speed: Speed, first: Minute) -> Self {
        Self {
            speed,
            minute: first,
            due: Duration::ZERO,
        }
    }

    /// The present speed.
    pub const fn speed(&self) -> Speed {
        self.speed
    }

    /// When a minute is due.
    pub fn due(&self, minute: Minute) -> Duration {
        self.due
            .saturating_add(self.speed.takes(minute.since(self.minute)))
    }

    /// Changes the speed at `now`, while `next` is waited for: the part of the wait that is left shrinks or grows with it.
    pub fn change(&mut self, speed: Speed, next: Minute, now: Duration) {
        let left = self.due(next).saturating_sub(now);
        let left = match (self.speed, speed) {
            (Speed::Times(before), Speed::Times(after)) => left.mul_f64(before / after),
            (_, Speed::Max) | (Speed::Max, _) => Duration::ZERO,
        };
        *self = Self {
            speed,
            minute: next,
            due: now.saturating_add(left),
        };
    }

    /// Moves all that is to come by the length of a pause.
    pub fn postpone(&mut self, pause: Duration) {
        self.due = self.due.saturating_add(pause);
    }
}

/// How the minutes of the file lie on the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeline {
    /// As they stand in the file, each once.
    AsInFile,
    /// Laid end to end over real time; each once, ending now.
    Rebased,
    /// Laid end to end over real time, for ever.
    RebasedForEver,
}

impl Timeline {
    /// True if a minute may not be sent before the clock has passed it.
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::AsInFile)
    }
}

/// The minute of a file from `first` on, `span` minutes long, whose counts a minute of the clock has: shifts are whole spans, so it is always the same one.
pub fn file_minute(clock: Minute, first: Minute, span: i64) -> Minute {
    first.plus(clock.since(first).rem_euclid(span))
}

/// The batches in the order in which they are sent, under the minutes that they are sent as.
#[derive(Debug)]
pub struct Feed<'a> {
    batches: &'a [MinuteCounts],
    span: i64,
    next: usize,
    shift: i64,
    remaining: Option<u64>,
}

impl<'a> Feed<'a> {
    /// `batches` are sorted by minute and not empty; `open` is the minute of the clock, which has not closed yet.
    pub fn new(batches: &'a [MinuteCounts], timeline: Timeline, open: Minute) -> Self {
        let (first, last) = (batches[0].minute(), batches[batches.len() - 1].minute());
        let span = last.since(first) + 1;
        let remaining = (timeline != Timeline::RebasedForEver).then_some(batches.len() as u64);
        if timeline == Timeline::AsInFile {
            return Self {
                batches,
                span,
                next: 0,
                shift: 0,
                remaining,
            };
        }
        let start = open.plus(-span);
        let in_file = file_minute(start, first, span);
        let next = batches.partition_point(|batch| batch.minute() < in_file);
        Self {
            batches,
            span,
            next,
            shift: start.since(in_file),
            remaining,
        }
    }

    /// The first minute to come. There always is one.
    pub fn start(&self) -> Minute {
        self.batches[self.next].minute().plus(self.shift)
    }

    /// How many batches are still to come; `None` if there is no end.
    pub const fn remaining(&self) -> Option<u64> {
        self.remaining
    }
}

impl<'a> Iterator for Feed<'a> {
    type Item = Cow<'a, MinuteCounts>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.checked_sub(1)?;
        }
        if self.next == self.batches.len() {
            (self.next, self.shift) = (0, self.shift + self.span);
        }
        let batch = &self.batches[self.next];
        self.next += 1;
        Some(shifted(batch, self.shift))
    }
}

fn shifted(batch: &MinuteCounts, minutes: i64) -> Cow<'_, MinuteCounts> {
    if minutes == 0 {
        return Cow::Borrowed(batch);
    }
    let (stream, transactions) = (batch.stream().clone(), batch.transactions().to_vec());
    let shifted = MinuteCounts::try_new(stream, batch.minute().plus(minutes), transactions);
    Cow::Owned(shifted.expect("the same statuses were accepted before"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(minute: i64) -> Minute {
        Minute::from_epoch_minutes(minute)
    }

    fn batches(minutes: &[i64]) -> Vec<MinuteCounts> {
        let batch =
            |m: &i64| MinuteCounts::try_new("s".parse().unwrap(), at(*m), Vec::new()).unwrap();
        minutes.iter().map(batch).collect()
    }

    fn sent(file: &[i64], timeline: Timeline, open: i64, count: usize) -> Vec<i64> {
        let batches = batches(file);
        Feed::new(&batches, timeline, at(open))
            .take(count)
            .map(|b| b.minute().epoch_minutes())
            .collect()
    }

    #[test]
    fn a_speed_is_a_multiple_in_range_or_max() {
        assert_eq!("600".parse(), Ok(Speed::DEFAULT));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        assert_eq!("max".parse(), Ok(Speed::Max));
        for text in ["0", "-1", "nan", "inf", "1e9", "fast", ""] {
            assert!(
                text.parse::<Speed>().unwrap_err().contains("or max"),
                "{text:?} must be refused"
            );
        }
    }

    #[test]
    fn at_600_a_minute_is_due_every_tenth_of_a_second() {
        let pace = Pace::new(Speed::DEFAULT, at(10));
        assert_eq!(pace.due(at(10)), Duration::ZERO);
        assert_eq!(pace.due(at(13)), Duration::from_millis(300));
        assert_eq!(Pace::new(Speed::Max, at(10)).due(at(5000)), Duration::ZERO);
    }

    #[test]
    fn a_change_of_speed_scales_only_what_is_left_of_the_wait() {
        let mut pace = Pace::new(Speed::Times(60.0), at(0));
        pace.change(Speed::Times(120.0), at(10), Duration::from_secs(4));
        assert_eq!(pace.due(at(10)), Duration::from_secs(7));
        assert_eq!(pace.due(at(12)), Duration::from_secs(8));
        pace.change(Speed::Max, at(11), Duration::from_secs(7));
        assert_eq!(pace.due(at(99)), Duration::from_secs(7));
        pace.change(Speed::Max.slower(), at(12), Duration::from_secs(8));
        assert_eq!(pace.due(at(112)), Duration::from_secs(9));
    }

    #[test]
    fn a_pause_moves_the_whole_schedule() {
        let mut pace = Pace::new(Speed::DEFAULT, at(0));
        pace.postpone(Duration::from_secs(5));
        assert_eq!(pace.due(at(1)), Duration::from_millis(5100));
    }

    #[test]
    fn speeds_double_and_halve_within_their_range() {
        assert_eq!(Speed::DEFAULT.faster(), Speed::Times(1200.0));
        assert_eq!(Speed::DEFAULT.slower(), Speed::Times(300.0));
        assert_eq!(Speed::Times(900_000.0).faster(), Speed::Times(1_000_000.0));
        assert_eq!(Speed::Times(0.001).slower(), Speed::Times(0.001));
    }

    #[test]
    fn a_file_is_sent_once_as_it_stands() {
        assert_eq!(sent(&[3, 3, 5], Timeline::AsInFile, 1000, 9), [3, 3, 5]);
    }

    #[test]
    fn a_rebased_file_ends_with_the_last_closed_minute_and_keeps_its_gaps() {
        // Span 4 (minutes 3 to 6, 5 missing), open minute 1000: 996..=999 are sent, and 997 % 4 == 5 % 4 is the gap.
        assert_eq!(
            sent(&[3, 4, 6], Timeline::Rebased, 1000, 9),
            [996, 998, 999]
        );
        assert_eq!(
            sent(&[3, 4, 6], Timeline::RebasedForEver, 1000, 6),
            [996, 998, 999, 1000, 1002, 1003]
        );
    }

    #[test]
    fn a_file_from_the_future_is_rebased_into_the_past() {
        assert_eq!(
            sent(&[1003, 1004, 1006], Timeline::Rebased, 1000, 9),
            [996, 998, 999]
        );
    }

    proptest! {
        #[test]
        fn a_minute_of_the_clock_always_has_the_counts_of_one_minute_of_the_file(
            first in -5_000_i64..5_000, span in 1_i64..500, clock in -1_000_000_i64..1_000_000, spans in -50_i64..50,
        ) {
            let minute = file_minute(at(clock), at(first), span);
            prop_assert!((first..first + span).contains(&minute.epoch_minutes()));
            prop_assert_eq!((clock - minute.epoch_minutes()) % span, 0);
            prop_assert_eq!(file_minute(at(clock + spans * span), at(first), span), minute);
        }

        #[test]
        fn whenever_it_starts_a_rebased_feed_is_sorted_and_gives_each_clock_minute_the_same_counts(
            mut file in prop::collection::vec(0_i64..200, 1..20), open in 0_i64..10_000,
        ) {
            file.sort_unstable();
            let (first, span) = (file[0], file[file.len() - 1] - file[0] + 1);
            let sent = sent(&file, Timeline::RebasedForEver, open, 60);
            prop_assert!(sent.is_sorted() && sent[0] >= open - span);
            let in_file = |m: &i64| file_minute(at(*m), at(first), span).epoch_minutes();
            prop_assert!(sent.iter().all(|minute| file.contains(&in_file(minute))));
            let once = self::sent(&file, Timeline::Rebased, open, 60);
            prop_assert_eq!(once.len(), file.len());
            prop_assert!(once.iter().all(|minute| (open - span..open).contains(minute)));
        }
    }
}
