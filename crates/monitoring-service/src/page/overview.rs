//! `/`: one line of health, every stream, the worst first, and the newest alerts.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use axum::{extract::State as Extract, response::Response};
use detection::{History, State, Suppression};
use maud::{Markup, html};

use super::{
    frame::{Frame, Here, View},
    health,
    parts::{ago, badge, class, minute, sentence, severity, stream_path},
    sparkline::Rates,
};
use crate::{
    alerts::Alert,
    routes::{AppState, error::Problem, health::check},
    store::{AlertFilter, StoreError, StreamRecord},
};

/// Alerts of the list, and how many are searched for those that are not muted.
const MAX_ALERTS: usize = 8;
const SEARCHED_ALERTS: u32 = 100;

/// Streams that are listed with a sentence; the others are tiles.
const MAX_LISTED: usize = 30;

/// Streams whose newest hour is read from the database, where memory does not have it since the start.
const MAX_READ: usize = 50;

/// A stream of the overview.
struct Shown {
    stream: StreamRecord,
    rates: Option<Rates>,
}

pub(super) async fn view(
    Extract(state): Extract<Arc<AppState>>,
    view: View,
) -> Result<Response, Problem> {
    let now_ms = state.clock.now_ms();
    let health = check(&state).await;
    let streams = streams(&state).await?;
    let alerts = newest_alerts(&state).await?;
    let is_wrong = |shown: &&Shown| shown.stream.state() >= State::Warning;
    let wrong = streams.iter().filter(is_wrong).take(MAX_LISTED).count();
    let here = &view.here;
    let body = html! {
        h1 class="sr" { "Overview" }
        (health::line(&health, now_ms))
        (in_trouble(here, &streams[..wrong], &streams, now_ms))
        (alert_list(here, &alerts, now_ms))
        (others(here, &streams[wrong..], wrong))
    };
    let title = title(&streams);
    Ok(Frame::live(&view).answer(&title, &body))
}

/// The title of the tab says whether something is wrong.
fn title(streams: &[Shown]) -> String {
    let critical = streams
        .iter()
        .filter(|shown| shown.stream.state() == State::Critical);
    match critical.count() {
        0 => "Overview".to_owned(),
        critical => format!("({critical}) Overview"),
    }
}

/// Every stream, the worst first, then by name.
async fn streams(state: &AppState) -> Result<Vec<Shown>, StoreError> {
    let mut streams = state.store.streams(state.alerting(), false).await?;
    streams.sort_by(|a, b| (Reverse(a.state()), &a.name).cmp(&(Reverse(b.state()), &b.name)));
    let (mut shown, mut read) = (Vec::with_capacity(streams.len()), 0);
    for stream in streams {
        let history = match state.snapshots.get(&stream.name) {
            Some(snapshot) => Some(snapshot.history),
            None if read < MAX_READ => {
                read += 1;
                stored_history(state, &stream).await?
            }
            None => None,
        };
        let rates = history.map(|history| Rates::of(&history, stream.newest_minute));
        shown.push(Shown { stream, rates });
    }
    Ok(shown)
}

async fn stored_history(
    state: &AppState,
    stream: &StreamRecord,
) -> Result<Option<Arc<History>>, StoreError> {
    let minutes = state.monitor.history_capacity();
    let observed = state
        .store
        .observed_minutes(&stream.name, None, minutes)
        .await?;
    Ok(Some(Arc::new(state.monitor.history(observed))))
}

/// The newest alerts that neither repeat another one nor are of the policy in shadow.
async fn newest_alerts(state: &AppState) -> Result<Vec<Alert>, StoreError> {
    let filter = AlertFilter {
        limit: SEARCHED_ALERTS,
        ..AlertFilter::default()
    };
    let is_shown =
        |alert: &Alert| !alert.is_muted() && alert.suppression != Some(Suppression::Shadow);
    let alerts = state.store.alerts(filter).await?.into_iter();
    Ok(alerts
        .map(|(_, alert)| alert)
        .filter(is_shown)
        .take(MAX_ALERTS)
        .collect())
}

fn alert_list(here: &Here, alerts: &[Alert], now_ms: i64) -> Markup {
    html! {
        section id="alerts" data-live {
            h2 { "Newest alerts" }
            @if alerts.is_empty() {
                p class="empty" { "No alert is recorded." }
            } @else {
                ol class="rows" {
                    @for alert in alerts { (alert_row(here, alert, now_ms)) }
                }
            }
        }
    }
}

fn alert_row(here: &Here, alert: &Alert, now_ms: i64) -> Markup {
    let anomaly = alert.anomaly();
    html! {
        li class=(class(State::of(alert.severity()))) {
            div class="what" {
                (severity(alert.severity())) " "
                @if let Some(anomaly) = anomaly {
                    a href=(here.link(&stream_path(anomaly.key.stream.as_str()))) { (anomaly.key.stream) }
                }
                span class="when" {
                    @match anomaly {
                        Some(anomaly) => (minute(anomaly.minute)),
                        None => (ago(alert.recorded_at_ms, now_ms)),
                    }
                }
            }
            p { (sentence(alert)) }
        }
    }
}

fn in_trouble(here: &Here, wrong: &[Shown], all: &[Shown], now_ms: i64) -> Markup {
    html! {
        section id="streams" data-live {
            h2 { "Streams" }
            @if all.is_empty() {
                p class="empty" {
                    "No counts have arrived. Send minute counts to the topic of KAFKA_TOPIC; the first stream appears here by itself."
                }
            } @else {
                p class="dim" { (summary(all)) }
            }
            @if !wrong.is_empty() {
                ul class="rows" {
                    @for shown in wrong { (row(here, shown, now_ms)) }
                }
            }
        }
    }
}

fn others(here: &Here, others: &[Shown], wrong: usize) -> Markup {
    html! {
        section id="others" data-live {
            @if !others.is_empty() {
                @if wrong > 0 { h2 { "Other streams" } } @else { h2 { "Every stream" } }
                ul class="tiles" {
                    @for shown in others { (tile(here, shown)) }
                }
            }
        }
    }
}

/// `2 CRITICAL, 1 STALE, 497 NORMAL. Each line is the approval rate ...`
fn summary(streams: &[Shown]) -> String {
    let mut states: BTreeMap<Reverse<State>, usize> = BTreeMap::new();
    for shown in streams {
        *states.entry(Reverse(shown.stream.state())).or_default() += 1;
    }
    let states = states
        .iter()
        .map(|(Reverse(state), count)| format!("{count} {}", state.to_string().replace('_', " ")));
    let states: Vec<_> = states.collect();
    format!(
        "{}. A line is the approval rate of the newest hour.",
        states.join(", ")
    )
}

/// A stream that needs attention: what it is about, in a sentence.
fn row(here: &Here, shown: &Shown, now_ms: i64) -> Markup {
    let stream = &shown.stream;
    html! {
        li class=(class(stream.state())) {
            div class="what" {
                (badge(stream.state())) " "
                a href=(here.link(&stream_path(&stream.name))) { (stream.name) }
                span class="when" { (minute(stream.newest_minute)) }
            }
            div class="rate" { (rate(shown)) }
            @if stream.state() == State::Stale {
                p { "No new minute; the newest arrived " (ago(stream.arrived_at_ms, now_ms)) "." }
            } @else if let Some(alert) = &stream.last_alert {
                p { (sentence(alert)) }
            }
        }
    }
}

fn tile(here: &Here, shown: &Shown) -> Markup {
    let stream = &shown.stream;
    html! {
        li {
            a href=(here.link(&stream_path(&stream.name))) { (stream.name) }
            @if stream.state() != State::Normal { (badge(stream.state())) }
            (rate(shown))
        }
    }
}

fn rate(shown: &Shown) -> Markup {
    html! {
        @if let Some(rates) = &shown.rates {
            (rates.draw())
            @if let Some(rate) = rates.newest() { i { (rate) } }
        }
    }
}
