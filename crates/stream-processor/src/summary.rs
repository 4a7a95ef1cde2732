//! Totals of a replay or a dry run, and their text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use detection::{Minute, MinuteCounts, Status, Stream, status::unjudged};
use indicatif::HumanCount;
use transaction_csv::Loaded;

use crate::shape::{Body, Shape};

/// Totals of a replay. If it succeeded, Kafka acknowledged all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Distinct minutes.
    pub minutes: u64,
    /// Messages.
    pub messages: u64,
    /// Counts in them; a transaction is one.
    pub rows: u64,
    /// Bad rows of the file that were skipped.
    pub skipped: u64,
    /// Minutes of streams that were left out, because they may miss the count of a skipped row.
    pub left_out: u64,
    /// Minutes of streams without rows in the file; their counts are unknown.
    pub absent: u64,
    /// The streams.
    pub streams: BTreeSet<Stream>,
    /// Transactions of each status.
    pub totals: BTreeMap<Status, u64>,
    /// The first minute sent.
    pub first: Option<Minute>,
    /// The newest minute sent.
    pub last: Option<Minute>,
    /// The newest one before it.
    before_last: Option<Minute>,
    /// The first minute not sent completely, if the replay was stopped early.
    pub stopped_at: Option<Minute>,
}

impl Summary {
    /// What the file lacks; no minute is added yet.
    pub(crate) fn new(loaded: &Loaded) -> Self {
        Self {
            skipped: loaded.skipped,
            left_out: loaded.left_out,
            absent: loaded.counts.absent(),
            ..Self::default()
        }
    }

    /// The totals of a file that is sent in this shape.
    pub(crate) fn of(loaded: &Loaded, shape: Shape) -> Self {
        let mut summary = Self::new(loaded);
        for counts in &loaded.counts {
            let (messages, rows) = shape.size(&counts);
            summary.add_messages(messages, rows, counts.minute(), counts.stream());
            summary.add_counts(&counts);
        }
        summary
    }

    /// Adds a message. It is older than the newest minute by a minute at most.
    pub(crate) fn add(&mut self, body: &Body) {
        self.add_messages(1, body.rows(), body.minute(), body.stream());
        match body {
            Body::Totals(counts) => self.add_counts(counts),
            Body::Partial(_) => {}
            Body::Transaction(transaction) => self.add_count(&transaction.status, 1),
        }
    }

    fn add_messages(&mut self, messages: u64, rows: u64, minute: Minute, stream: &Stream) {
        self.messages += messages;
        self.rows += rows;
        self.add_minute(minute);
        if !self.streams.contains(stream) {
            self.streams.insert(stream.clone());
        }
    }

    fn add_minute(&mut self, minute: Minute) {
        if self.last < Some(minute) {
            self.before_last = self.last.replace(minute);
            self.minutes += 1;
        } else if self.last > Some(minute) && self.before_last < Some(minute) {
            self.before_last = Some(minute);
            self.minutes += 1;
        }
        self.first = Some(self.first.map_or(minute, |first| first.min(minute)));
    }

    fn add_counts(&mut self, counts: &MinuteCounts) {
        for counted in counts.transactions() {
            self.add_count(&counted.status, counted.count);
        }
    }

    fn add_count(&mut self, status: &Status, count: u32) {
        match self.totals.get_mut(status) {
            Some(total) => *total += u64::from(count),
            None => drop(self.totals.insert(status.clone(), count.into())),
        }
    }
}

impl Summary {
    /// A line for each kind of minute that the file does not have, and one for statuses that are not judged, if there are any.
    fn fmt_missing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.left_out > 0 {
            let minutes = HumanCount(self.left_out);
            writeln!(
                f,
                "left out  {minutes} minutes of a stream that may miss the count of a skipped row"
            )?;
        }
        if self.absent > 0 {
            let minutes = HumanCount(self.absent);
            writeln!(
                f,
                "absent    {minutes} minutes of a stream without rows: unknown, or 0 with --fill-minutes zero"
            )?;
        }
        let unjudged = unjudged(self.totals.keys());
        if let Some(first) = unjudged.first() {
            writeln!(
                f,
                "unjudged  {}: stored, not evaluated; the service reads other names with STATUS_ALIASES, such as {first}=denied",
                unjudged.join(", ")
            )?;
        }
        Ok(())
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
        self.fmt_missing(f)?;
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
    use transaction_csv::{LoadOptions, load};

    use super::*;

    #[test]
    fn totals_are_sums_over_streams_and_minutes() {
        let file = "\
timestamp,status,count,stream
1970-01-01 00:00,approved,4294967295,a
1970-01-01 00:00,denied,2,a
1970-01-01 00:00,approved,1,b
1970-01-01 00:07,refunded,3,a
1970-01-01 00:07,refunded,0,b
";
        let loaded = load(file.as_bytes(), &LoadOptions::default()).unwrap();
        let summary = Summary::of(&loaded, Shape::Minutes);
        assert_eq!(
            (
                summary.minutes,
                summary.messages,
                summary.rows,
                summary.streams.len()
            ),
            (2, 4, 5, 2)
        );
        let text = "\
minutes   2, from 1970-01-01T00:00:00Z to 1970-01-01T00:07:00Z; streams: 2
messages  4 with 5 rows; 0 bad rows skipped
absent    12 minutes of a stream without rows: unknown, or 0 with --fill-minutes zero
unjudged  refunded: stored, not evaluated; the service reads other names with STATUS_ALIASES, such as refunded=denied
totals    approved 4,294,967,296
          denied               2
          refunded             3";
        assert_eq!(summary.to_string(), text);
        assert_eq!(Summary::default().to_string(), "nothing was sent");
    }
}
