//! The report as one page of HTML: no script, no request, its style and its charts within. It can be mailed and read on a phone.

mod figures;

use std::fmt::{self, Write as _};

use detection::backtest::Report;

use self::figures::{write_charts, write_closeup};
use super::{
    Comparison, PolicyResult, rows,
    table::{advice, kind_cell, sweep_columns},
};

const STYLE: &str = include_str!("page.css");

/// Missed incidents of a policy with a chart of their own.
const MAX_CLOSEUPS: usize = 40;

/// Episodes that are listed of each policy.
const MAX_EPISODES: usize = 500;

/// Text whose markup is only shown.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The whole page.
pub(super) fn render(comparison: &Comparison) -> Result<String, fmt::Error> {
    let mut out = String::new();
    write(&mut out, comparison)?;
    Ok(out)
}

fn write(out: &mut String, comparison: &Comparison) -> fmt::Result {
    let file = comparison.history.path.file_name().unwrap_or_default();
    let file = file.to_string_lossy();
    let (title, facts) = (Escaped(&file), rows::history(comparison));
    let labels = rows::labels(comparison.labels.as_ref());
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"content-security-policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>Backtest of {title}</title><style>{STYLE}</style></head>\n<body><h1>Backtest of {title}</h1>\
         <p class=\"dim\">{}</p><p class=\"dim\">{}</p>\n",
        Escaped(&facts),
        Escaped(&labels)
    )?;
    out.push_str("<div class=\"lead\">");
    for policy in &comparison.policies {
        write_lead(out, &policy.report)?;
    }
    out.push_str("</div>\n");
    write_scores(out, comparison)?;
    write_requirements(out, comparison)?;
    for policy in &comparison.policies {
        write_missed(out, comparison, policy)?;
    }
    write_sweeps(out, comparison)?;
    write_charts(out, comparison)?;
    write_episodes(out, comparison)?;
    out.push_str(HOW_TO_READ);
    out.push_str("</body></html>\n");
    Ok(())
}

/// The result of a policy in a sentence.
fn write_lead(out: &mut String, report: &Report) -> fmt::Result {
    write!(out, "<div><b>{}</b><br>", report.policy)?;
    let per_day = f64::from(report.sent.critical_episodes) / report.days.max(f64::MIN_POSITIVE);
    match &report.score {
        Some(score) => {
            let (found, incidents) = (score.found, score.incidents);
            write!(out, "found {found} of {incidents} incidents")?;
            if let Some(delay) = score.delay {
                write!(out, ", half of them within {} minutes", delay.median + 1)?;
            }
            let false_alarms = score.episodes.false_alarms;
            write!(
                out,
                "; opened {per_day:.1} CRITICAL episodes a day, {false_alarms} of {} false",
                report.sent.critical_episodes
            )?;
        }
        None => write!(
            out,
            "would have opened {per_day:.1} CRITICAL episodes a day and sent {} notifications",
            report.sent.notifications
        )?,
    }
    out.push_str(".</div>");
    Ok(())
}

fn write_scores(out: &mut String, comparison: &Comparison) -> fmt::Result {
    let reports: Vec<_> = comparison.policies.iter().map(|of| &of.report).collect();
    out.push_str("<h2>Score</h2><div class=\"scroll\"><table><tr><th></th>");
    for report in &reports {
        write!(out, "<th>{}</th>", report.policy)?;
    }
    out.push_str("</tr>\n");
    for row in rows::rows(comparison.labels.is_some()) {
        write_row(out, row.label, reports.iter().map(|r| row.cell(r)))?;
    }
    if let Some(score) = &reports[0].score {
        out.push_str("<tr><th>found by kind (median delay)</th></tr>\n");
        for kind in &score.kinds {
            let label = format!("  {}", rows::kind(&kind.kind));
            let cells = reports.iter().map(|report| kind_cell(report, &kind.kind));
            write_row(out, &label, cells)?;
        }
    }
    out.push_str("</table></div>\n");
    Ok(())
}

/// An indented label is a part of the one above.
fn write_row(out: &mut String, label: &str, cells: impl Iterator<Item = String>) -> fmt::Result {
    let class = if label.starts_with(' ') { "sub" } else { "" };
    write!(
        out,
        "<tr><td class=\"{class}\">{}</td>",
        Escaped(label.trim_start())
    )?;
    for cell in cells {
        write!(out, "<td>{}</td>", Escaped(&cell))?;
    }
    out.push_str("</tr>\n");
    Ok(())
}

fn write_requirements(out: &mut String, comparison: &Comparison) -> fmt::Result {
    if comparison.checked.is_empty() {
        return Ok(());
    }
    out.push_str("<h2>Requirements</h2><ul>");
    for checked in &comparison.checked {
        let met = if checked.met { "met" } else { "<b>not met</b>" };
        write!(out, "<li>{met}: {}</li>", Escaped(&checked.to_string()))?;
    }
    out.push_str("</ul>\n");
    Ok(())
}

fn write_missed(out: &mut String, comparison: &Comparison, policy: &PolicyResult) -> fmt::Result {
    let report = &policy.report;
    let missed = rows::missed(report);
    if missed.is_empty() {
        return Ok(());
    }
    write!(out, "<h2>Missed by {}</h2><ul>", report.policy)?;
    for (at, missed) in missed.iter().enumerate() {
        write!(
            out,
            "<li>{}<br><small>{}</small>",
            Escaped(&rows::incident(&missed.incident)),
            Escaped(&rows::why(&missed.reason, report.policy))
        )?;
        if at < MAX_CLOSEUPS {
            write_closeup(out, comparison.labels.as_ref(), policy, missed)?;
        }
        out.push_str("</li>");
    }
    out.push_str("</ul>\n");
    Ok(())
}

fn write_sweeps(out: &mut String, comparison: &Comparison) -> fmt::Result {
    for policy in &comparison.policies {
        let Some(sweep) = &policy.sweep else {
            continue;
        };
        let columns = sweep_columns(policy.report.score.is_some());
        write!(
            out,
            "<h2>{} at other thresholds</h2><div class=\"scroll\"><table><tr>",
            policy.report.policy
        )?;
        for (title, _) in columns {
            write!(out, "<th>{title}</th>")?;
        }
        out.push_str("</tr>\n");
        for (at, report) in sweep.reports.iter().enumerate() {
            let best = sweep.recommended == Some(at);
            write!(out, "<tr class=\"{}\">", if best { "best" } else { "" })?;
            for (_, cell) in columns {
                write!(out, "<td>{}</td>", Escaped(&cell(report)))?;
            }
            out.push_str("</tr>\n");
        }
        let advice = advice(policy, sweep).unwrap_or_default();
        writeln!(out, "</table></div><p>{advice}</p>")?;
    }
    Ok(())
}

fn write_episodes(out: &mut String, comparison: &Comparison) -> fmt::Result {
    out.push_str("<h2>CRITICAL episodes</h2>\n");
    for policy in &comparison.policies {
        let critical = policy.report.episodes.iter();
        let critical: Vec<_> = critical
            .filter_map(|episode| Some((episode, episode.critical_at?)))
            .collect();
        writeln!(
            out,
            "<details><summary>{} by {}</summary><div class=\"scroll\"><table>\
             <tr><th>CRITICAL at, UTC</th><th>stream</th><th>statuses</th><th>closed</th><th></th></tr>",
            critical.len(),
            policy.report.policy
        )?;
        for (episode, critical_at) in critical.iter().take(MAX_EPISODES) {
            let what = rows::explain(episode, comparison.labels.as_ref()).unwrap_or_default();
            writeln!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                rows::short(*critical_at),
                Escaped(episode.stream.as_str()),
                episode.statuses.join(", "),
                episode
                    .closed
                    .map_or_else(|| "open".to_owned(), rows::short),
                Escaped(&what)
            )?;
        }
        out.push_str("</table></div>");
        if critical.len() > MAX_EPISODES {
            write!(out, "<p>Only the first {MAX_EPISODES} are listed.</p>")?;
        }
        out.push_str("</details>\n");
    }
    Ok(())
}

const HOW_TO_READ: &str = "<h2>How to read it</h2><p>An incident is found if a count is CRITICAL before its end; the delay is counted from its \
    labelled start. An episode or a notification is false if it begins outside every incident and more than 60 minutes after one. \
    The interval holds the true rate with 95 % confidence. Times are UTC. Silences are not applied, and minutes count in order of time.</p>\n";
