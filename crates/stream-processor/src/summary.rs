//! Totals of a replay or a dry run, and their text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use detection::{Minute, MinuteCounts, Status, Stream};
use indicatif::HumanCount;

/// Totals of a replay. If it succeeded, Kafka acknowledged all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Distinct minutes.
    pub minutes: u64,
    /// Messages: one per stream and minute.
    pub messages: u64,
    /// Rows in them: one per stream, minute and status.
    pub rows: u64,
    /// Bad rows of the file that were skipped.
    pub skipped: u64,
    /// The streams.
    pub streams: BTreeSet<Stream>,
    /// Transactions of each status.
    pub totals: BTreeMap<Status, u64>,
    /// The first minute sent.
    pub first: Option<Minute>,
    /// The newest minute sent.
    pub last: Option<Minute>,
    /// The first minute not sent completely, if the replay was stopped early.
    pub stopped_at: Option<Minute>,
}

impl Summary {
    /// The totals of minute counts sorted by minute.
    pub fn of(counts: &[MinuteCounts], skipped: u64) -> Self {
        let mut summary = Self {
            skipped,
            ..Self::default()
        };
        for counts in counts {
            summary.add(counts);
        }
        summary
    }

    /// Adds the counts of a minute that is not older than the ones before.
    pub fn add(&mut self, counts: &MinuteCounts) {
        self.minutes += u64::from(self.last != Some(counts.minute()));
        self.messages += 1;
        self.rows += counts.transactions().len() as u64;
        self.first.get_or_insert(counts.minute());
        self.last = Some(counts.minute());
        if !self.streams.contains(counts.stream()) {
            self.streams.insert(counts.stream().clone());
        }
        for counted in counts.transactions() {
            match self.totals.get_mut(&counted.status) {
                Some(total) => *total += u64::from(counted.count),
                None => drop(
                    self.totals
                        .insert(counted.status.clone(), counted.count.into()),
                ),
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return f.write_str("nothing was sent");
        };
        let (minutes, streams) = (
            HumanCount(self.minutes),
            HumanCount(self.streams.len() as u64),
        );
        writeln!(
            f,
            "minutes   {minutes}, from {first} to {last}; streams: {streams}"
        )?;
        writeln!(
            f,
            "messages  {} with {} rows; {} bad rows skipped",
            HumanCount(self.messages),
            HumanCount(self.rows),
            HumanCount(self.skipped)
        )?;
        let width = self
            .totals
            .keys()
            .map(|status| status.name().len())
            .max()
            .unwrap_or(0);
        for (i, (status, total)) in self.totals.iter().enumerate() {
            let (title, end) = (
                if i == 0 { "totals" } else { "" },
                if i + 1 < self.totals.len() { "\n" } else { "" },
            );
            write!(
                f,
                "{title:<9} {:<width$} {:>13}{end}",
                status.name(),
                HumanCount(*total).to_string()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use detection::StatusCount;

    use super::*;

    fn minute_counts(stream: &str, minute: i64, counts: &[(&str, u32)]) -> MinuteCounts {
        let count = |(status, count): &(&str, u32)| StatusCount {
            status: Status::parse(status).unwrap(),
            count: *count,
        };
        let minute = Minute::from_epoch_minutes(minute);
        MinuteCounts::try_new(
            stream.parse().unwrap(),
            minute,
            counts.iter().map(count).collect(),
        )
        .unwrap()
    }

    #[test]
    fn totals_are_sums_over_streams_and_minutes() {
        let counts = [
            minute_counts("a", 0, &[("approved", u32::MAX), ("denied", 2)]),
            minute_counts("b", 0, &[("approved", 1)]),
            minute_counts("a", 7, &[("refunded", 3)]),
        ];
        let summary = Summary::of(&counts, 1);
        assert_eq!(
            (
                summary.minutes,
                summary.messages,
                summary.rows,
                summary.streams.len()
            ),
            (2, 3, 4, 2)
        );
        let text = "\
minutes   2, from 1970-01-01T00:00:00Z to 1970-01-01T00:07:00Z; streams: 2
messages  3 with 4 rows; 1 bad rows skipped
totals    approved 4,294,967,296
          denied               2
          refunded             3";
        assert_eq!(summary.to_string(), text);
        assert_eq!(Summary::default().to_string(), "nothing was sent");
    }
}
