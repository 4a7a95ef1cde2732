//! Rows grouped into the counts of one stream and minute. A status counts once in a minute: of two
//! rows for it, the second one is bad.

use detection::MinuteCounts;
use detection::message::MAX_STATUSES;

use crate::rows::Row;
use crate::{BadRows, RowError};

/// Sorted by minute, then stream. Statuses of a minute keep the order of the file.
pub(crate) fn group(
    mut rows: Vec<Row>,
    bad_rows: &mut BadRows,
) -> Result<Vec<MinuteCounts>, RowError> {
    rows.sort_by(|a, b| (a.minute, &a.stream).cmp(&(b.minute, &b.stream)));
    rows.chunk_by(|a, b| (a.minute, &a.stream) == (b.minute, &b.stream))
        .map(|rows| minute_counts(rows, bad_rows))
        .collect()
}

fn minute_counts(rows: &[Row], bad_rows: &mut BadRows) -> Result<MinuteCounts, RowError> {
    let mut accepted: Vec<&Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match conflict(row, &accepted) {
            None => accepted.push(row),
            Some(reason) => bad_rows.add(RowError {
                line: row.line,
                column: Some("status"),
                reason,
            })?,
        }
    }
    let transactions = accepted.iter().map(|row| row.counted.clone()).collect();
    let counts = MinuteCounts::try_new(rows[0].stream.clone(), rows[0].minute, transactions);
    Ok(counts.expect("each status once, and at most MAX_STATUSES"))
}

/// Why a row cannot join the accepted ones of its stream and minute.
fn conflict(row: &Row, accepted: &[&Row]) -> Option<String> {
    let (status, minute, stream) = (&row.counted.status, row.minute, &row.stream);
    let same = |other: &&&Row| other.counted.status == *status;
    if let Some(first) = accepted.iter().find(same) {
        return Some(format!(
            "{status} appears twice in minute {minute} of stream {stream}, first in line {}",
            first.line
        ));
    }
    (accepted.len() == MAX_STATUSES).then(|| {
        format!(
            "{status} is one status too many; minute {minute} of stream {stream} already has {MAX_STATUSES}"
        )
    })
}
