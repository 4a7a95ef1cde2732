//! The history and its labels: read from a file or from the database of a service. Nothing is judged here.

use std::collections::BTreeSet;
use std::io::{Write as _, stderr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use detection::{
    Minute, MinuteCounts, Stream,
    backtest::{LabelledIncident, Report},
    status::unjudged,
};
use transaction_csv::{LoadOptions, labels::load_incidents, load_file, with_advice};

use super::Options;
use crate::store::{DatabaseAddress, MinuteFilter, labelled_incidents, stored_minutes};

/// The minutes to fold, and where they are from.
#[derive(Debug)]
pub struct History {
    /// The file or the database.
    pub path: PathBuf,
    /// By minute, then stream; never empty.
    pub minutes: Vec<MinuteCounts>,
    /// Its streams.
    pub streams: BTreeSet<Stream>,
    /// Bad rows of a file that were skipped.
    pub skipped: u64,
}

impl History {
    /// Reads the history that the flags name.
    pub fn load(options: &Options) -> anyhow::Result<Self> {
        let (path, minutes, skipped) = match (&options.file, &options.database) {
            (Some(path), _) => from_file(path, options)?,
            (None, Some(database)) => from_database(database, options)?,
            (None, None) => anyhow::bail!("give --file or --database"),
        };
        let streams = minutes.iter().map(|counts| counts.stream().clone());
        Ok(Self {
            path,
            streams: streams.collect(),
            minutes,
            skipped,
        })
    }

    /// The first minute.
    pub(crate) fn first(&self) -> Minute {
        self.minutes[0].minute()
    }

    /// The last minute.
    pub(crate) fn last(&self) -> Minute {
        self.minutes[self.minutes.len() - 1].minute()
    }
}

type Read = (PathBuf, Vec<MinuteCounts>, u64);

fn from_file(path: &Path, options: &Options) -> anyhow::Result<Read> {
    let load = LoadOptions {
        from: options.from,
        to: options.to,
        ..options.how.load_options()
    };
    let loaded = load_file(path, &load).map_err(with_advice)?;
    let renamed = |counts: MinuteCounts| counts.renamed(&options.aliases);
    let mut counts: Vec<_> = loaded.counts.iter().map(renamed).collect();
    if let Some(stream) = &options.stream {
        counts = of_stream(counts, stream);
    }
    ensure!(
        !counts.is_empty(),
        "{} has no minute of that stream; check --stream",
        path.display()
    );
    warn_of_unjudged(&counts)?;
    Ok((path.to_owned(), counts, loaded.skipped))
}

/// Names statuses that no policy judges, where they may be others under another name.
fn warn_of_unjudged(counts: &[MinuteCounts]) -> std::io::Result<()> {
    let counts = counts.iter().flat_map(MinuteCounts::transactions);
    let named: BTreeSet<_> = counts.map(|count| &count.status).collect();
    let unjudged = unjudged(named);
    if let Some(first) = unjudged.first() {
        writeln!(
            stderr(),
            "warning: {}: not judged; --status-aliases {first}=denied, for example, gives them the names of monitored statuses",
            unjudged.join(", ")
        )?;
    }
    Ok(())
}

/// One stream of several; or the only one, which has no name, under this name.
fn of_stream(mut counts: Vec<MinuteCounts>, stream: &Stream) -> Vec<MinuteCounts> {
    let default = Stream::default();
    if counts.iter().any(|counts| *counts.stream() != default) {
        counts.retain(|counts| counts.stream() == stream);
        return counts;
    }
    let named = counts.into_iter().map(|counts| counts.of(stream.clone()));
    named.collect()
}

fn from_database(database: &DatabaseAddress, options: &Options) -> anyhow::Result<Read> {
    let filter = MinuteFilter {
        stream: options.stream.clone(),
        from: options.from,
        to: options.to,
    };
    let minutes = stored_minutes(database, &filter).context("--database")?;
    ensure!(
        !minutes.is_empty(),
        "{database} has no such minute; check --from, --to and --stream"
    );
    Ok((database.to_string().into(), minutes, 0))
}

/// A file of labels.
#[derive(Clone, Debug)]
pub struct LabelFile {
    /// The file.
    pub path: PathBuf,
    /// Its labels for the streams and the time of the history.
    pub labels: Vec<LabelledIncident>,
    /// How many are about other streams or another time.
    pub elsewhere: usize,
}

impl LabelFile {
    /// Reads the labels that the flags name, else the feedback in the database, if any.
    pub(crate) fn load(options: &Options, history: &History) -> anyhow::Result<Option<Self>> {
        let (path, all) = match (&options.incidents, &options.database) {
            (Some(path), _) => (path.clone(), load_incidents(path).context("--incidents")?),
            (None, Some(database)) => (
                database.to_string().into(),
                labelled_incidents(database).context("--database")?,
            ),
            (None, None) => return Ok(None),
        };
        if all.is_empty() && options.incidents.is_none() {
            return Ok(None);
        }
        let count = all.len();
        let is_here = |label: &LabelledIncident| {
            let mut streams = history.streams.iter();
            streams.any(|stream| label.is_of(stream))
                && label.start <= history.last()
                && history.first() < label.end
        };
        let labels: Vec<_> = all.into_iter().filter(is_here).collect();
        Ok(Some(Self {
            path,
            elsewhere: count - labels.len(),
            labels,
        }))
    }

    /// Incidents that a policy should find.
    pub(super) fn incidents(&self) -> impl Iterator<Item = &LabelledIncident> {
        self.labels.iter().filter(|label| label.alert)
    }

    /// True if the policy found every incident, and notified of no harmless event.
    pub(super) fn is_met_by(&self, report: &Report) -> bool {
        let found = report
            .score
            .as_ref()
            .is_some_and(|score| score.found == score.incidents);
        let alarms = report
            .episodes
            .iter()
            .filter_map(|episode| Some((&episode.stream, episode.critical_at?)));
        let is_false = |(stream, minute): (&Stream, Minute)| {
            let mut harmless = self.harmless();
            harmless.any(|label| label.covers(stream, minute, 0))
        };
        found && !alarms.into_iter().any(is_false)
    }

    /// Harmless events: an alert for one is false.
    pub(super) fn harmless(&self) -> impl Iterator<Item = &LabelledIncident> {
        self.labels.iter().filter(|label| !label.alert)
    }
}
