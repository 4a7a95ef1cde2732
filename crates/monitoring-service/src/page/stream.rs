//! `/page/streams/{name}`: a chart for each monitored status of a stream, its alerts, and the explanation of one count.

use std::sync::Arc;

use axum::{
    extract::{Path, State as Extract},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use detection::{Minute, MonitoredStatus, PolicyName, State, Status, Stream};
use maud::{Markup, PreEscaped, html};
use uuid::Uuid;

use super::{
    chart::HATCH,
    frame::{Frame, View},
    gather::{Gathered, gather},
    health,
    parts::{ago, at, badge, class, minute, number, sentence, severity, stream_path},
    ranges::{self, Length},
};
use crate::{
    alerts::{Alert, Subject, policy::in_words},
    routes::{
        AppState,
        error::Problem,
        explain::{ExplainedCount, explained},
        extract::{PageQuery, PathId},
        fields::{Field as _, fields},
        parameters::{OnePolicy, Range, unknown_stream},
    },
    store::{NewestRow, StreamRecord},
};

fields! {
    /// What to show of the stream.
    pub(super) struct StreamView {
        /// The newest minutes.
        last: Option<Length>,
        /// The minute to explain.
        minute: Option<Minute>,
        /// The status to explain.
        status: Option<MonitoredStatus>,
        ..policy: OnePolicy,
        ..range: Range,
    }
}

/// The longest range from-to: what a chart can show and a request can read.
const MAX_MINUTES: i64 = 31 * 1440;

/// Minutes of the charts before and after an alert.
const BEFORE_ALERT_MINUTES: i64 = 300;
const AFTER_ALERT_MINUTES: i64 = 60;

/// What the view shows.
pub(super) struct Shown {
    pub(super) stream: StreamRecord,
    pub(super) policy: PolicyName,
    pub(super) from: Minute,
    pub(super) to: Minute,
    /// None if the range is from-to.
    pub(super) last: Option<Length>,
}

impl Shown {
    fn new(stream: StreamRecord, query: StreamView, state: &AppState) -> Result<Self, Problem> {
        let policy = query.policy.of(state);
        let (from, to) = query.range.ends()?;
        let is_given = from.is_some() || to.is_some();
        let last = query.last.unwrap_or(Length::Hours);
        let now = Minute::containing(state.clock.now());
        let to = to.unwrap_or_else(|| newest_end(&stream, last, now));
        let from = from.unwrap_or_else(|| to.plus(-last.minutes()));
        if to.since(from) > MAX_MINUTES {
            let detail = format!("the range from {from} to {to} is longer than 31 days");
            return Err(
                Problem::invalid("from", &*from.to_string(), detail).fix("use a shorter range")
            );
        }
        Ok(Self {
            stream,
            policy,
            from,
            to,
            last: (!is_given).then_some(last),
        })
    }

    /// The query of this range, to keep it when a count is explained.
    pub(super) fn query(&self) -> String {
        match self.last {
            Some(last) => format!("last={}&policy={}", last.name(), self.policy),
            None => format!("from={}&to={}&policy={}", self.from, self.to, self.policy),
        }
    }
}

/// The end of a range of the newest minutes: after the newest one. The charts of a stale stream go on until now, so that they show what is
/// missing; at most a third of them, so that they show what was usual, too.
fn newest_end(stream: &StreamRecord, last: Length, now: Minute) -> Minute {
    let end = stream.newest_minute.plus(1);
    match stream.state() {
        State::Stale => end.plus(now.since(end).clamp(0, last.minutes() / 3)),
        _ => end,
    }
}

/// The view of an alert: the charts around its minute, with the reason of its finding.
pub(super) async fn alert(
    Extract(state): Extract<Arc<AppState>>,
    view: View,
    PathId(id): PathId<Uuid>,
) -> Result<Response, Problem> {
    let Some((alert, _)) = state.store.alert(id).await? else {
        return Err(Problem::not_found("id", "alert", id).fix("GET /alerts lists the alerts"));
    };
    // An alert of the monitor itself is about all of it, or about deliveries.
    let of_monitor = || match alert.subject {
        Subject::ReceiverSummary => "page/deliveries".to_owned(),
        _ => String::new(),
    };
    let path = alert.anomaly().map_or_else(of_monitor, |anomaly| {
        let (key, minute) = (&anomaly.key, anomaly.minute);
        format!(
            "{}?from={}&to={}&policy={}&minute={minute}&status={}#explanation",
            stream_path(key.stream.as_str()),
            minute.plus(-BEFORE_ALERT_MINUTES),
            minute.plus(AFTER_ALERT_MINUTES),
            key.policy,
            key.status
        )
    });
    let location = view.here.link(&path);
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
}

pub(super) async fn view(
    Extract(state): Extract<Arc<AppState>>,
    view: View,
    Path(name): Path<String>,
    PageQuery(query): PageQuery<StreamView>,
) -> Result<Response, Problem> {
    let name = <Stream as crate::routes::fields::Field>::read(&name).map_err(|error| {
        Problem::invalid("stream", &*name, format!("{name:?} {error}")).fix(Stream::fix())
    })?;
    let policy = query.policy.of(&state);
    let stream = state.store.stream(name.as_str(), policy).await?;
    let stream = stream.ok_or_else(|| unknown_stream(&name))?;
    let asked = query.minute.zip(query.status);
    let shown = Shown::new(stream, query, &state)?;
    let explanation = match asked {
        None => None,
        Some((minute, status)) => {
            let status = Status::Monitored(status);
            Some(explained(&state, name.clone(), minute, status, policy).await?)
        }
    };
    let gathered = gather(&state, &shown, "").await?;
    let newest = state
        .store
        .newest_rows(vec![name.to_string()], policy)
        .await?;
    let newest = newest.into_iter().flatten().collect::<Vec<_>>();
    let body = html! {
        (heading(&view, &state, &shown))
        (ranges::choice(&state, &shown, asked))
        @if let (Some((minute, status)), Some(found)) = (asked, &explanation) {
            (explanation_of(minute, status, found))
        }
        (PreEscaped(HATCH))
        div id="charts" data-live {
            @for status in MonitoredStatus::ALL { (chart(status, &gathered, &newest)) }
        }
        p class="dim key" {
            span class="k band" {} "usual" span class="k hole" {} "no minute arrived" span class="k inc" {} "incident"
            span class="k c" {} "CRITICAL alert" span class="k w" {} "WARNING alert"
        }
        (alert_list(&shown, &gathered))
    };
    let frame = if shown.last.is_some() {
        Frame::live(&view)
    } else {
        Frame::still(&view)
    };
    Ok(frame.answer(&shown.stream.name, &body))
}

fn heading(view: &View, state: &AppState, shown: &Shown) -> Markup {
    let stream = &shown.stream;
    let unread = health::unread(state);
    // What is not read may be anything by now.
    let was_normal = unread.is_some() && stream.state() == State::Normal;
    html! {
        div id="stream" data-live {
            h1 {
                (stream.name) " "
                @if was_normal { span class="badge" { "was NORMAL" } } @else { (badge(stream.state())) }
            }
            @if let Some(unread) = unread { (unread) }
            p class="dim" {
                "Newest minute " (minute(stream.newest_minute)) ", arrived "
                (ago(stream.arrived_at_ms, state.clock.now_ms())) "."
                @if let Some(since_ms) = stream.stale_since_ms { " No new minute since " (at(since_ms)) "." }
                @if stream.old_since_ms.is_some() { " Only minutes older than ALLOWED_LATENESS arrive; they are not evaluated." }
            }
            p class="links" {
                a href=(view.here.link(&format!("page/silences?stream={}", stream.name))) { "Silence this stream" }
                @if let Some(grafana) = state.grafana() {
                    @let [from_ms, to_ms] = [shown.from, shown.to].map(|end| end.start().as_millisecond());
                    a href=(grafana.dashboard(Some(&stream.name), from_ms, Some(to_ms))) { "Dashboard" }
                }
            }
        }
    }
}

fn explanation_of(at: Minute, status: MonitoredStatus, found: &ExplainedCount) -> Markup {
    html! {
        section id="explanation" class="card" tabindex="-1" {
            h2 { (status) " at " (minute(at)) }
            p { (found.explanation) }
            @if !found.window.is_empty() {
                details {
                    summary { "The " (found.window.len()) " minutes it was compared with, newest first" }
                    p class="figures" { @for minute in &found.window { (minute.count) " " } }
                }
            }
        }
    }
}

pub(super) fn chart(status: MonitoredStatus, gathered: &Gathered, newest: &[NewestRow]) -> Markup {
    let newest = newest.iter().find(|row| row.status == status);
    let state = newest.map_or(State::NotJudged, |row| row.judgement.state());
    let chart = &gathered.charts[status.index()];
    let is_empty = chart
        .steps
        .iter()
        .flatten()
        .all(|step| step.high == 0 && step.alert.is_none());
    html! {
        figure class={ "chart " (class(state)) } {
            figcaption {
                b { (status) } " "
                @if let Some(row) = newest { (now(row, gathered)) }
            }
            @if is_empty {
                p class="empty" { "None in this range." }
            } @else {
                div class="plot" {
                    (PreEscaped(chart.draw()))
                    span class="top" aria-hidden="true" { (number(chart.top())) }
                }
                div class="axis" { @for at in gathered.ticks() { (minute(at)) } }
            }
        }
    }
}

/// The newest count beside what is usual.
fn now(row: &NewestRow, gathered: &Gathered) -> Markup {
    let usual = row
        .judgement
        .evidence()
        .and_then(|evidence| gathered.usual(evidence));
    html! {
        @if row.judgement.state() != State::Normal { (badge(row.judgement.state())) " " }
        span class="now" {
            (row.count)
            @if row.implied { " (not sent)" }
        }
        @if let Some((low, high)) = usual {
            span class="dim" { " usual " (number(low.ceil())) " to " (number(high.floor())) }
        }
    }
}

fn alert_list(shown: &Shown, gathered: &Gathered) -> Markup {
    let alerts = &gathered.alerts;
    html! {
        section id="alerts" data-live {
            h2 { "Alerts" }
            @if alerts.is_empty() {
                p class="empty" { "No alert in this range." }
            } @else {
                ol class="rows" { @for alert in alerts { (alert_row(shown, alert)) } }
                @if gathered.alert_count > alerts.len() {
                    p class="dim" { "The newest " (alerts.len()) " of " (gathered.alert_count) "; the charts mark all of them." }
                }
            }
        }
    }
}

fn alert_row(shown: &Shown, alert: &Alert) -> Markup {
    let Some(anomaly) = alert.anomaly() else {
        return html! {};
    };
    let query = format!(
        "?{}&minute={}&status={}#explanation",
        shown.query(),
        anomaly.minute,
        anomaly.key.status
    );
    html! {
        li class=(class(State::of(alert.severity()))) {
            div class="what" {
                (severity(alert.severity())) " "
                a href=(query) { (anomaly.key.status) " " (anomaly.key.direction) }
                span class="when" { (minute(anomaly.minute)) }
            }
            p {
                (sentence(alert).trim_end_matches('.')) "."
                @if let Some(suppression) = alert.suppression {
                    span class="dim" { " Not notified: " (in_words(suppression)) "." }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::harness::{Api, NOW_MS, now};

    #[tokio::test]
    async fn charts_of_a_stale_stream_show_what_is_missing() {
        let mut api = Api::new();
        api.consume_usual("default", now(), 5);
        let policy = api.state.alerting();
        let stream = api.state.store.stream("default", policy).await.unwrap();
        let mut stream = stream.unwrap();
        let end = |stream: &_, after| newest_end(stream, Length::Hour, now().plus(after));
        assert_eq!(end(&stream, 12), now(), "not stale");
        stream.stale_since_ms = Some(NOW_MS);
        assert_eq!(end(&stream, 12), now().plus(12));
        assert_eq!(end(&stream, 300), now().plus(20), "a third of the hour");
        assert_eq!(end(&stream, -3), now());
    }
}
