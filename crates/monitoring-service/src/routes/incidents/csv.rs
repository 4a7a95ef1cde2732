//! A page of incidents as CSV, one line each, for a post-mortem.

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;

use crate::{
    alerts::incident_record::IncidentRecord,
    routes::error::{Kind, Problem},
};

const HEADER: [&str; 15] = [
    "id",
    "kind",
    "stream",
    "policy",
    "severity",
    "title",
    "opened_at",
    "ended_at",
    "end_reason",
    "minutes",
    "missing_approvals",
    "excess_problems",
    "acknowledged_by",
    "verdict",
    "note",
];

/// A table as the contract shows it.
pub(super) const EXAMPLE: &str = "id,kind,stream,policy,severity,title,opened_at,ended_at,end_reason,minutes,missing_approvals,excess_problems,acknowledged_by,verdict,note
9c4fcf7c-956e-5d14-bdd7-9b976c4d837a,anomaly,default,zscore,CRITICAL,default: denied up,2025-07-12T18:05:00Z,2025-07-12T18:24:00Z,recovered,19,469,311,on call,real,the acquirer was down
";

/// The table. The cursor of the next page is in the header `x-next-cursor`.
pub(super) fn table(
    incidents: &[IncidentRecord],
    next_cursor: Option<String>,
) -> Result<Response, Problem> {
    let failed = |_| Problem::new(Kind::Internal, "the table cannot be written");
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(HEADER).map_err(failed)?;
    for incident in incidents {
        table.write_record(line(incident)).map_err(failed)?;
    }
    let text = table
        .into_inner()
        .map_err(|_| Problem::new(Kind::Internal, "the table cannot be written"))?;
    let mut headers = HeaderMap::new();
    let csv = HeaderValue::from_static("text/csv; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, csv);
    if let Some(cursor) = next_cursor.and_then(|cursor| HeaderValue::try_from(cursor).ok()) {
        headers.insert("x-next-cursor", cursor);
    }
    Ok((headers, text).into_response())
}

fn line(record: &IncidentRecord) -> [String; HEADER.len()] {
    let incident = &record.message;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
    let instant = |ms: i64| {
        Timestamp::from_millisecond(ms)
            .map(|at| at.to_string())
            .unwrap_or_default()
    };
    let ended_ms = incident.ended_at.map(|at| at.0);
    let minutes = ended_ms.map(|ended| (ended - incident.opened_at.0) / 60_000);
    let feedback = record.feedback.as_ref();
    [
        incident.id.to_string(),
        <&str>::from(incident.kind).to_owned(),
        text(incident.stream.as_deref()),
        text(incident.policy.map(detection::PolicyName::name)),
        incident.severity.name().to_owned(),
        incident.title.clone(),
        instant(incident.opened_at.0),
        ended_ms.map(instant).unwrap_or_default(),
        text(incident.end_reason.map(<&str>::from)),
        minutes
            .map(|minutes| minutes.to_string())
            .unwrap_or_default(),
        number(incident.missing_approvals),
        number(incident.excess_problems),
        text(incident.acknowledged_by.as_deref()),
        text(feedback.map(|feedback| feedback.verdict.into())),
        text(feedback.and_then(|feedback| feedback.note.as_deref())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_the_columns() {
        let mut example = csv::Reader::from_reader(EXAMPLE.as_bytes());
        assert_eq!(example.headers().expect("a header"), &HEADER[..]);
        let lines: Vec<_> = example.records().collect::<Result<_, _>>().expect("lines");
        assert_eq!(lines.len(), 1);
    }
}
