//! CSV files of labelled incidents: when something was wrong, of which kind, and whether an alert for it is right. Scores nothing.

use std::path::{Path, PathBuf};

use detection::{Minute, Stream};
use serde::{Deserialize, Deserializer, de::Error as _};

/// A labelled period of a stream: [start, end).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Incident {
    /// Its first minute.
    pub start: Minute,
    /// The minute after its last.
    pub end: Minute,
    /// What happened.
    pub kind: String,
    /// The stream it happened to; none for all streams.
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

    /// True if the label is about this stream.
    pub fn is_of(&self, stream: &str) -> bool {
        let own = self.stream.as_ref();
        own.is_none_or(|own| own.as_str() == stream)
    }

    /// True if the minute of the stream is within the period or less than `echo` minutes after its end.
    pub fn covers(&self, stream: &str, minute: Minute, echo: i64) -> bool {
        self.is_of(stream) && self.start <= minute && minute < self.end.plus(echo)
    }
}

/// A file of incidents that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the incidents from {}", path.display())]
pub struct IncidentFileError {
    /// The file.
    pub path: PathBuf,
    /// Why it cannot be used.
    pub source: IncidentError,
}

/// Rows that are no incidents.
#[derive(Debug, thiserror::Error)]
pub enum IncidentError {
    /// The file cannot be read, or a value cannot be used; the text names the line and the value.
    #[error(transparent)]
    Read(#[from] csv::Error),
    /// The incident has no minute.
    #[error("line {line}: the end {end} is not after the start {start}")]
    Order {
        /// Counted from 1, the header included.
        line: u64,
        /// The start.
        start: Minute,
        /// The end.
        end: Minute,
    },
}

/// Reads `start,end,kind` and, where the file has them, `stream` and `alert` (`yes` or `no`). Other columns are notes.
pub fn load_incidents(path: &Path) -> Result<Vec<Incident>, IncidentFileError> {
    load(path).map_err(|source| IncidentFileError {
        path: path.to_owned(),
        source,
    })
}

fn load(path: &Path) -> Result<Vec<Incident>, IncidentError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)?;
    let header = reader.headers()?.clone();
    let rows = reader.records().map(|record| {
        let record = record?;
        let incident: Incident = record.deserialize(Some(&header))?;
        if incident.start < incident.end {
            return Ok(incident);
        }
        Err(IncidentError::Order {
            line: record.position().map_or(0, csv::Position::line),
            start: incident.start,
            end: incident.end,
        })
    });
    rows.collect()
}

const fn yes() -> bool {
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

    fn load(csv: &str) -> Result<Vec<Incident>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), csv).unwrap();
        load_incidents(file.path()).map_err(|error| format!("{error}: {}", error.source))
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
                ["line 2: the end 2025-07-12T12:00:00Z", "not after"],
            ),
        ] {
            let error = load(&format!("start,end,kind,stream,alert\n{row}\n")).unwrap_err();
            assert!(
                parts.iter().all(|part| error.contains(part)),
                "{row}: {error}"
            );
        }
    }
}
