//! The charts of the page: of each stream and status, and of each missed incident. How one is drawn is in [`svg`].

use std::fmt::{self, Write as _};

use detection::{
    MonitoredStatus, Stream,
    backtest::{LabelledIncident, MissReason, Missed, Report},
};

use super::Escaped;
use crate::backtest::{
    Comparison, LabelFile, PolicyResult, rows,
    svg::{self, Shade, Span},
};

/// Streams with charts: more make the page too large to mail.
const MAX_STREAMS: usize = 8;

const KEY: &str = "<p class=\"key dim\"><span class=\"c\"></span>counts a minute (lowest to highest of a step) \
    <span class=\"b\"></span>usual: not CRITICAL <span class=\"f\"></span>incident, found <span class=\"m\"></span>incident, missed \
    <span class=\"h\"></span>harmless event <span class=\"k\"></span>CRITICAL alert <span class=\"w\"></span>WARNING alert</p>\n";

pub(super) fn write_charts(out: &mut String, comparison: &Comparison) -> fmt::Result {
    out.push_str("<h2>Charts</h2>");
    out.push_str(KEY);
    let streams = &comparison.history.streams;
    for stream in streams.iter().take(MAX_STREAMS) {
        write!(out, "<h3>{}</h3>", Escaped(stream.as_str()))?;
        for status in MonitoredStatus::ALL {
            for policy in &comparison.policies {
                write_chart(out, comparison.labels.as_ref(), policy, stream, status)?;
            }
        }
    }
    if let Some(more) = streams
        .len()
        .checked_sub(MAX_STREAMS)
        .filter(|more| *more > 0)
    {
        write!(
            out,
            "<p>The charts of {more} more streams are left out; choose one with --stream.</p>"
        )?;
    }
    Ok(())
}

fn write_chart(
    out: &mut String,
    labels: Option<&LabelFile>,
    policy: &PolicyResult,
    stream: &Stream,
    status: MonitoredStatus,
) -> fmt::Result {
    let Some(charts) = &policy.charts else {
        return Ok(());
    };
    let Some(points) = charts.streams.get(stream) else {
        return Ok(());
    };
    let name = policy.report.policy;
    let title = format!("{status} of {stream} by {name}");
    write!(
        out,
        "<figure><figcaption><b>{status}</b> by {name}</figcaption><div class=\"scroll\">"
    )?;
    let spans = spans(labels, &policy.report, stream);
    let title = Escaped(&title).to_string();
    svg::draw(out, &title, &charts.axis, &points[status.index()], &spans)?;
    out.push_str("</div></figure>\n");
    Ok(())
}

/// The labels of a stream as the policy did with them.
fn spans(labels: Option<&LabelFile>, report: &Report, stream: &Stream) -> Vec<Span> {
    let Some(file) = labels else {
        return Vec::new();
    };
    let missed = report.score.iter().flat_map(|score| &score.missed);
    let missed: Vec<_> = missed.map(|missed| &missed.incident).collect();
    let span = |label: &LabelledIncident| Span {
        start: label.start,
        end: label.end,
        shade: match label.alert {
            false => Shade::Harmless,
            true if missed.contains(&label) => Shade::Missed,
            true => Shade::Found,
        },
    };
    let labels = file.harmless().chain(file.incidents());
    labels
        .filter(|label| label.is_of(stream))
        .map(span)
        .collect()
}

/// The status of the incident that came closest, with an hour on either side.
pub(super) fn write_closeup(
    out: &mut String,
    labels: Option<&LabelFile>,
    policy: &PolicyResult,
    missed: &Missed,
) -> fmt::Result {
    let closeups = policy.charts.iter().flat_map(|charts| &charts.closeups);
    let closeup = closeups
        .into_iter()
        .find(|of| of.incident == missed.incident);
    let (MissReason::BelowBar(closest), Some(closeup)) = (&missed.reason, closeup) else {
        return Ok(());
    };
    let Ok(status) = closest.status.parse::<MonitoredStatus>() else {
        return Ok(());
    };
    let title = Escaped(&format!(
        "{status} during {}",
        rows::incident(&missed.incident)
    ))
    .to_string();
    let spans = spans(labels, &policy.report, &closeup.stream);
    out.push_str("<div class=\"scroll\">");
    svg::draw(
        out,
        &title,
        &closeup.axis,
        &closeup.points[status.index()],
        &spans,
    )?;
    out.push_str("</div>");
    Ok(())
}
