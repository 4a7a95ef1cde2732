//! The labelled incidents of a file, read from a CSV. Scoring is in `scorecard`.

use std::path::Path;

use anyhow::{Context as _, ensure};
use detection::{Minute, Stream};
use serde::{Deserialize, Deserializer, de::Error as _};

/// An incident is found in time if one of its first minutes, this many, raises an alert.
pub(crate) const FOUND_WITHIN_MINUTES: i64 = 8;

/// A labelled period of a stream: [start, end).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Incident {
    /// Its first minute.
    pub start: Minute,
    /// The minute after its last.
    pub end: Minute,
    /// What happened.
    pub kind: String,
    /// The affected stream; `None` means all streams.
    pub stream: Option<Stream>,
    /// True if an alert for it is right; false for a harmless event, such as a sale or a feed gap.
    #[serde(default = "yes", deserialize_with = "yes_or_no")]
    pub alert: bool,
}

impl Incident {
    /// What happened and to which stream, in words.
    pub fn name(&self) -> String {
        let kind = self.kind.replace('_', " ");
        match &self.stream {
            Some(stream) => format!("{kind} of {stream}"),
            None => kind,
        }
    }

    /// True if the minute of the stream is within the period or less than `echo` minutes after its end.
    pub(crate) fn covers(&self, stream: &str, minute: Minute, echo: i64) -> bool {
        self.is_of(stream) && self.start <= minute && minute < self.end.plus(echo)
    }

    /// Minutes from its start to an alert for this minute of the stream; `None` if that is too late or another stream.
    pub(crate) fn delay(&self, stream: &str, minute: Minute) -> Option<i64> {
        let delay = minute.since(self.start);
        (self.is_of(stream) && (0..FOUND_WITHIN_MINUTES).contains(&delay)).then_some(delay)
    }

    /// The same for an alert after the time limit and before the end.
    pub(crate) fn late(&self, stream: &str, minute: Minute) -> Option<i64> {
        let late = self.covers(stream, minute, 0) && self.delay(stream, minute).is_none();
        late.then(|| minute.since(self.start))
    }

    fn is_of(&self, stream: &str) -> bool {
        let own = self.stream.as_ref();
        own.is_none_or(|own| own.as_str() == stream)
    }
}

/// Reads `start,end,kind` and, where the file has them, `stream` and `alert` (`yes` or `no`). Other columns are ignored.
pub fn load_incidents(path: &Path) -> anyhow::Result<Vec<Incident>> {
    let context = || {
        format!(
            "cannot read the incidents from {} (--incidents)",
            path.display()
        )
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .with_context(context)?;
    let rows = reader.deserialize().map(|incident| {
        let incident: Incident = incident?;
        ensure!(
            incident.start < incident.end,
            "the end {} is not after the start {}",
            incident.end,
            incident.start
        );
        Ok(incident)
    });
    rows.collect::<anyhow::Result<_>>().with_context(context)
}

fn yes() -> bool {
    true
}

fn yes_or_no<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "yes" | "" => Ok(true),
        "no" => Ok(false),
        other => Err(D::Error::custom(format!(
            "alert {other:?} is neither yes nor no"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(csv: &str) -> anyhow::Result<Vec<Incident>> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), csv)?;
        load_incidents(file.path())
    }

    #[test]
    fn stream_and_alert_are_optional_columns() {
        let short = load("start,end,kind\n2025-07-12 11:50:00,2025-07-12 12:00:00,sale\n").unwrap();
        assert_eq!((&short[0].stream, short[0].alert), (&None, true));
        assert_eq!(short[0].end.since(short[0].start), 10);
        let times = "2025-07-12 11:50,2025-07-12 12:00";
        let long = load(&format!(
            "start,end,note,kind,alert,stream\n{times},,sale, no,shop\n{times},big,slow_ramp,,\n"
        ));
        let long = long.unwrap();
        assert_eq!((long[0].alert, long[1].alert), (false, true));
        assert_eq!(
            (long[0].name(), long[1].name()),
            ("sale of shop".into(), "slow ramp".into())
        );
    }

    #[test]
    fn a_bad_label_names_its_line_and_value() {
        let times = "2025-07-12 11:50,2025-07-12 12:00";
        for (row, parts) in [
            (
                format!("{times},sale,a,maybe"),
                ["line: 2", "\"maybe\" is neither yes nor no"],
            ),
            (format!("{times},sale,a b,no"), ["line: 2", "a b"]),
            ("soon,later,sale,,no".into(), ["line: 2", "soon"]),
            (
                "2025-07-12 12:00,2025-07-12 12:00,sale,,".into(),
                ["the end 2025-07-12T12:00:00Z", "not after"],
            ),
        ] {
            let error = format!(
                "{:#}",
                load(&format!("start,end,kind,stream,alert\n{row}\n")).unwrap_err()
            );
            assert!(
                parts.iter().all(|part| error.contains(part)),
                "{row}: {error}"
            );
        }
    }
}
