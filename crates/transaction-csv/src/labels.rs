//! CSV files of labelled incidents: when something was wrong, of which kind, and whether an alert for it is right. Scores nothing.

use std::path::{Path, PathBuf};

use detection::{Minute, backtest::LabelledIncident};

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
pub fn load_incidents(path: &Path) -> Result<Vec<LabelledIncident>, IncidentFileError> {
    load(path).map_err(|source| IncidentFileError {
        path: path.to_owned(),
        source,
    })
}

fn load(path: &Path) -> Result<Vec<LabelledIncident>, IncidentError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)?;
    let header = reader.headers()?.clone();
    let rows = reader.records().map(|record| {
        let record = record?;
        let incident: LabelledIncident = record.deserialize(Some(&header))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(csv: &str) -> Result<Vec<LabelledIncident>, String> {
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
