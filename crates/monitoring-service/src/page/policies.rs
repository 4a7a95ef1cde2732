//! `/page/policies`: the policies side by side over the newest days of a stream, and what another threshold would have sent. Nothing is
//! changed: the numbers come from a fold over the stored counts, the same as that of live ingest and of `backtest`.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use detection::{
    Detector, Minute, MinuteCounts, MonitorSettings, PolicyName, Severity, Stream,
    backtest::{Backtest, BacktestEpisode, Report, with_critical},
};
use maud::{Markup, html};

use super::{
    frame::{Frame, View},
    labels::Labels,
    parts::{minute, severity, stream_path},
};
use crate::{
    alerts::incident_record::Verdict,
    routes::{
        AppState,
        error::{Kind, Problem},
        extract::PageQuery,
        fields::fields,
        parameters::{Whole, unknown_stream},
    },
    store::MinuteFilter,
};

/// Days before the compared ones that the policies only learn from.
const LEARNED_DAYS: i64 = 14;

/// Episodes of a list, the newest.
const MAX_EPISODES: usize = 50;

/// Ranges to choose from, days.
const DAYS: [u32; 3] = [1, 7, 28];

fields! {
    /// What to compare.
    pub(super) struct PoliciesView {
        /// Counts of this stream; without it the first one.
        stream: Option<Stream>,
        /// The newest days.
        days: Option<Whole<1, 28>>,
        /// Another threshold for CRITICAL of the policy that alerts, in tenths.
        tenths: Option<Whole<11, 999>>,
    }
}

/// One policy at one threshold.
struct Column {
    title: &'static str,
    report: Report,
}

pub(super) async fn view(
    State(state): State<Arc<AppState>>,
    view: View,
    PageQuery(query): PageQuery<PoliciesView>,
) -> Result<Response, Problem> {
    let names = state.store.stream_names().await?;
    let asked = query.stream.as_ref().map(ToString::to_string);
    let Some(name) = asked.or_else(|| names.first().cloned()) else {
        let body = html! { h1 { "Policies" } p class="empty" { "No counts have arrived, so there is nothing to compare." } };
        return Ok(Frame::still(&view).answer("Policies", &body));
    };
    let stream = state.store.stream(&name, state.alerting()).await?;
    let Some(stream) = stream else {
        return Err(unknown_stream(&name.parse().unwrap_or_default()));
    };
    let days = query.days.map_or(7, |Whole(days)| days);
    let current = state.monitor.detector;
    let threshold = query.tenths.map(|Whole(tenths)| f64::from(tenths) / 10.0);
    let other = threshold.map(|threshold| {
        with_critical(current, threshold)
            .map_err(|error| Problem::invalid("tenths", None, error.to_string()))
    });
    let to = stream.newest_minute.plus(1);
    let from = to.plus(-i64::from(days) * 1440);
    let labels = Labels::of(&state.store, &name, from, to).await?;
    let columns = compare(&state, &name, to, i64::from(days), other.transpose()?).await?;
    let shown = threshold.unwrap_or_else(|| current.threshold(Severity::Critical));
    let body = html! {
        h1 { "Policies" }
        p class="dim" {
            "What each policy finds in the stored counts of a stream. The policy that alerts is " (current.policy())
            "; the other one runs in shadow and notifies nobody. Silences are not applied."
        }
        (form(&names, &name, days, shown, current))
        (table(&columns, &labels))
        @for column in &columns { (episodes(&view, column)) }
    };
    Ok(Frame::still(&view).answer("Policies", &body))
}

/// Folds the stored counts with each policy.
async fn compare(
    state: &AppState,
    stream: &str,
    to: Minute,
    days: i64,
    other: Option<Detector>,
) -> Result<Vec<Column>, Problem> {
    let from = to.plus(-days * 1440);
    let filter = MinuteFilter {
        stream: stream.parse().ok(),
        from: Some(from.plus(-LEARNED_DAYS * 1440)),
        to: Some(to),
    };
    let counts = state.store.stored_counts(filter).await?;
    let settings = state.monitor;
    let policies = settings.detectors().map(|detector| {
        let alerts = detector.policy() == settings.detector.policy();
        (if alerts { "alerts" } else { "in shadow" }, *detector)
    });
    let policies: Vec<_> = policies
        .chain(other.map(|other| ("what if", other)))
        .collect();
    // A fold of weeks takes too long for a thread that serves others.
    let folded = tokio::task::spawn_blocking(move || {
        let column = |(title, detector)| Column {
            title,
            report: fold(settings, detector, &counts, from),
        };
        policies.into_iter().map(column).collect()
    });
    folded
        .await
        .map_err(|_| Problem::new(Kind::Internal, "the comparison failed"))
}

fn fold(
    settings: MonitorSettings,
    detector: Detector,
    counts: &[MinuteCounts],
    from: Minute,
) -> Report {
    let settings = MonitorSettings {
        detector,
        ..settings
    };
    let mut backtest = Backtest::new(settings, None).score_from(from);
    for counts in counts {
        backtest.observe(counts.clone());
    }
    backtest.report()
}

fn form(names: &[String], chosen: &str, days: u32, threshold: f64, current: Detector) -> Markup {
    let unit = match current.policy() {
        PolicyName::ZScore => "standard deviations",
        PolicyName::Adaptive => "decades (5 is a chance of 1 in 100,000)",
    };
    html! {
        form class="card" {
            label for="stream" { "Stream" }
            select id="stream" name="stream" {
                @for name in names { option value=(name) selected[name == chosen] { (name) } }
            }
            label for="days" { "Range" }
            select id="days" name="days" {
                @for of in DAYS { option value=(of) selected[of == days] { (in_days(of)) } }
            }
            label for="tenths" { "What if CRITICAL began at another threshold?" }
            input id="tenths" name="tenths" type="range" min="15" max="120" step="5" value=(format!("{:.0}", threshold * 10.0));
            div { output for="tenths" { (format!("{threshold:.1}")) } " " (unit) }
            button { "Compare" }
        }
    }
}

fn in_days(days: u32) -> String {
    match days {
        1 => "the newest day".to_owned(),
        days => format!("the newest {days} days"),
    }
}

/// The rows of what people said.
const LABELLED: [(&str, Verdict); 2] = [
    ("Incidents labelled real, found", Verdict::Real),
    (
        "Incidents labelled false alarm, raised",
        Verdict::FalseAlarm,
    ),
];

/// A figure of a policy in words.
type Cell = fn(&Report) -> String;

fn table(columns: &[Column], labels: &Labels) -> Markup {
    let rows: [(&str, Cell); 6] = [
        ("CRITICAL from", |report| format!("{:.1}", report.critical)),
        ("Notifications a day", |report| {
            a_day(report, report.sent.notifications)
        }),
        ("CRITICAL episodes a day", |report| {
            a_day(report, report.sent.critical_episodes)
        }),
        ("CRITICAL episodes", |report| {
            report.sent.critical_episodes.to_string()
        }),
        ("Episodes", |report| report.sent.episodes.to_string()),
        ("WARNING alerts", |report| {
            report.sent.warning_alerts.to_string()
        }),
    ];
    html! {
        div class="scroll" tabindex="0" role="region" aria-label="Comparison" {
            table {
                thead {
                    tr {
                        td {}
                        @for column in columns { th scope="col" { (column.report.policy) " " span class="dim" { (column.title) } } }
                    }
                }
                tbody {
                    @for (title, cell) in rows {
                        tr {
                            th scope="row" { (title) }
                            @for column in columns { td { (cell(&column.report)) } }
                        }
                    }
                    @for (title, verdict) in LABELLED {
                        tr {
                            th scope="row" { (title) }
                            @for column in columns { td { (labels.found(verdict, &column.report.episodes)) } }
                        }
                    }
                }
            }
        }
    }
}

/// Less than a day is not extrapolated to one.
fn a_day(report: &Report, count: u32) -> String {
    if report.days <= 0.0 {
        return "none".to_owned();
    }
    format!("{:.1}", f64::from(count) / report.days.max(1.0))
}

fn episodes(view: &View, column: &Column) -> Markup {
    let critical = column.report.episodes.iter().rev();
    let critical: Vec<_> = critical
        .filter(|episode| episode.critical_at.is_some())
        .collect();
    html! {
        section {
            h2 { "CRITICAL episodes by " (column.report.policy) ", " (column.title) }
            @if critical.is_empty() {
                p class="empty" { "None in this range." }
            } @else {
                ol class="rows" {
                    @for episode in critical.iter().take(MAX_EPISODES) { (row(view, column, episode)) }
                }
                @if critical.len() > MAX_EPISODES {
                    p class="dim" { "The newest " (MAX_EPISODES) " of " (critical.len()) "." }
                }
            }
        }
    }
}

/// An episode with a link to the charts around it.
fn row(view: &View, column: &Column, episode: &BacktestEpisode) -> Markup {
    let end = episode.closed.unwrap_or_else(|| episode.opened.plus(60));
    let path = format!(
        "{}?from={}&to={}&policy={}",
        stream_path(episode.stream.as_str()),
        episode.opened.plus(-60),
        end.plus(60),
        column.report.policy
    );
    html! {
        li class="crit" {
            div class="what" {
                (severity(episode.severity)) " "
                a href=(view.here.link(&path)) { (episode.statuses.join(", ")) }
                span class="when" {
                    (minute(episode.opened))
                    @match episode.closed {
                        Some(closed) => { " to " (minute(closed)) }
                        None => " and still open",
                    }
                }
            }
        }
    }
}
