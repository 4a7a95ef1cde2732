//! The schedule: order, pace and shift in time of a replay. Pure: it reads no clock and sends nothing.

use std::time::Duration;

use detection::{Minute, MinuteCounts};
use transaction_csv::{Counts, Minutes};

use crate::speed::Speed;

/// When each message is due, counted from the start of the replay. It is one known point and a speed: a
/// change of speed moves the point, so the past is never computed again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    speed: Speed,
    /// A time of the data, in milliseconds since 1970.
    at_ms: i64,
    due: Duration,
}

impl Pace {
    /// What belongs to `first_ms` is due immediately.
    pub(crate) const fn new(speed: Speed, first_ms: i64) -> Self {
        Self {
            speed,
            at_ms: first_ms,
            due: Duration::ZERO,
        }
    }

    /// The current speed.
    pub(crate) const fn speed(&self) -> Speed {
        self.speed
    }

    /// When this time of the data is due.
    pub(crate) fn due(&self, at_ms: i64) -> Duration {
        self.due
            .saturating_add(self.speed.takes(at_ms.saturating_sub(self.at_ms)))
    }

    /// Changes the speed at `now`, during the wait for `next_ms`: the rest of that wait is scaled.
    pub(crate) fn change(&mut self, speed: Speed, next_ms: i64, now: Duration) {
        let left = self.due(next_ms).saturating_sub(now);
        let left = match (self.speed, speed) {
            (Speed::Times(before), Speed::Times(after)) => left.mul_f64(before / after),
            (_, Speed::Max) | (Speed::Max, _) => Duration::ZERO,
        };
        *self = Self {
            speed,
            at_ms: next_ms,
            due: now.saturating_add(left),
        };
    }

    /// Delays all that follows by the length of a pause.
    pub(crate) fn postpone(&mut self, pause: Duration) {
        self.due = self.due.saturating_add(pause);
    }
}

/// Which minutes of the clock the minutes of the file are sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeline {
    /// The minutes of the file, each once.
    AsInFile,
    /// Shifted to the present; each once, the last one closed just now.
    Rebased,
    /// Shifted to the present, and repeated forever.
    RebasedForEver,
}

impl Timeline {
    /// Whether what a message says must have happened before it is sent.
    pub(crate) const fn is_live(self) -> bool {
        !matches!(self, Self::AsInFile)
    }
}

/// The minute of the file whose counts a minute of the clock gets. The file begins at `first` and is
/// `span` minutes long; shifts are multiples of `span`, so the result does not depend on the start.
pub fn file_minute(clock: Minute, first: Minute, span: i64) -> Minute {
    first.plus(clock.since(first).rem_euclid(span))
}

/// The minute counts in the order in which they are sent, shifted to the minutes they are sent as.
#[derive(Debug)]
pub(crate) struct Feed<'a> {
    counts: &'a Counts,
    next: Minutes<'a>,
    span: i64,
    shift: i64,
    remaining: Option<u64>,
}

impl<'a> Feed<'a> {
    /// `open` is the current minute, not yet closed.
    pub(crate) fn new(counts: &'a Counts, timeline: Timeline, open: Minute) -> Self {
        let (first, last) = (counts.first(), counts.last());
        let span = last.since(first) + 1;
        let (in_file, shift) = if timeline == Timeline::AsInFile {
            (first, 0)
        } else {
            let start = open.plus(-span);
            let in_file = file_minute(start, first, span);
            (in_file, start.since(in_file))
        };
        Self {
            counts,
            next: counts.iter_from(in_file),
            span,
            shift,
            remaining: (timeline != Timeline::RebasedForEver).then_some(counts.messages()),
        }
    }
}

impl Iterator for Feed<'_> {
    type Item = MinuteCounts;

    fn next(&mut self) -> Option<MinuteCounts> {
        if let Some(remaining) = &mut self.remaining {
            *remaining = remaining.checked_sub(1)?;
        }
        let counts = self.next.next().or_else(|| {
            self.next = self.counts.iter();
            self.shift += self.span;
            self.next.next()
        });
        counts.map(|counts| {
            let minute = counts.minute().plus(self.shift);
            counts.at(minute)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use transaction_csv::LoadOptions;

    use super::*;

    const fn at(minute: i64) -> Minute {
        Minute::from_epoch_minutes(minute)
    }

    const fn ms(minute: i64) -> i64 {
        minute * 60_000
    }

    /// A file with one row for each minute, each of its own stream.
    fn counts(minutes: &[i64]) -> Counts {
        let row = |(i, minute): (usize, &i64)| format!("{},denied,1,s{i}\n", at(*minute));
        let rows: String = minutes.iter().enumerate().map(row).collect();
        let file = format!("timestamp,status,count,stream\n{rows}");
        transaction_csv::load(file.as_bytes(), &LoadOptions::default())
            .unwrap()
            .counts
    }

    fn sent(file: &[i64], timeline: Timeline, open: i64, count: usize) -> Vec<i64> {
        let counts = counts(file);
        Feed::new(&counts, timeline, at(open))
            .take(count)
            .map(|b| b.minute().epoch_minutes())
            .collect()
    }

    #[test]
    fn at_600_a_minute_is_due_every_tenth_second() {
        let pace = Pace::new(Speed::DEFAULT, ms(10));
        assert_eq!(pace.due(ms(10)), Duration::ZERO);
        assert_eq!(pace.due(ms(9)), Duration::ZERO);
        assert_eq!(pace.due(ms(13)), Duration::from_millis(300));
        assert_eq!(pace.due(ms(10) + 1_200), Duration::from_millis(2));
        let pace = Pace::new(Speed::Max, ms(10));
        assert_eq!(pace.due(ms(5000)), Duration::ZERO);
    }

    #[test]
    fn a_new_speed_scales_the_rest_of_the_wait() {
        let mut pace = Pace::new(Speed::Times(60.0), ms(0));
        pace.change(Speed::Times(120.0), ms(10), Duration::from_secs(4));
        assert_eq!(pace.due(ms(10)), Duration::from_secs(7));
        assert_eq!(pace.due(ms(12)), Duration::from_secs(8));
        pace.change(Speed::Max, ms(11), Duration::from_secs(7));
        assert_eq!(pace.due(ms(99)), Duration::from_secs(7));
        pace.change(Speed::Max.slower(), ms(12), Duration::from_secs(8));
        assert_eq!(pace.due(ms(112)), Duration::from_secs(9));
    }

    #[test]
    fn a_pause_delays_the_whole_schedule() {
        let mut pace = Pace::new(Speed::DEFAULT, ms(0));
        pace.postpone(Duration::from_secs(5));
        assert_eq!(pace.due(ms(1)), Duration::from_millis(5100));
    }

    #[test]
    fn an_unshifted_file_is_sent_once() {
        assert_eq!(sent(&[3, 3, 5], Timeline::AsInFile, 1000, 9), [3, 3, 5]);
    }

    #[test]
    fn a_rebased_file_ends_now_and_keeps_its_gaps() {
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
        fn a_clock_minute_has_the_counts_of_one_file_minute(
            first in -5_000_i64..5_000, span in 1_i64..500, clock in -1_000_000_i64..1_000_000, spans in -50_i64..50,
        ) {
            let minute = file_minute(at(clock), at(first), span);
            prop_assert!((first..first + span).contains(&minute.epoch_minutes()));
            prop_assert_eq!((clock - minute.epoch_minutes()) % span, 0);
            prop_assert_eq!(file_minute(at(clock + spans * span), at(first), span), minute);
        }

        #[test]
        fn a_rebased_feed_does_not_depend_on_its_start(
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
