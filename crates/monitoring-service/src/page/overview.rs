//! `/`: one line of health, the open incidents, every stream, the worst first, and the newest incidents that ended.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use axum::{extract::State as Extract, response::Response};
use detection::{History, State};
use maud::{Markup, html};

use super::{
    frame::{Frame, Here, View},
    health,
    incidents::{self, Newest},
    parts::{ago, badge, class, minute, sentence, stream_path},
    sparkline::Rates,
};
use crate::{
    ingest::status::Source,
    routes::{AppState, error::Problem, health::check},
    store::{StoreError, StreamRecord},
};

/// Streams that are listed with a sentence; the others are tiles.
const MAX_LISTED: usize = 30;

/// So many streams are shown before the incidents that ended; more of them after those.
const MAX_TILES_FIRST: usize = 24;

/// Streams whose approval rate is drawn. Of the others only the newest rate is shown, so that hundreds of streams fit into a page of 150 kB.
const MAX_DRAWN: usize = 200;

/// Streams whose newest hour is read from the database, where memory does not have it since the start, or other instances commit, too.
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
    let newest = incidents::newest(&state.store).await?;
    let is_read = health::unread(&state).is_none();
    let summary = summary(&streams, state.ingest.get().source, is_read);
    // An open incident says more than a row of its stream would.
    let (mut listed, mut tiles) = (Vec::new(), Vec::new());
    for shown in streams {
        let has_incident = newest.streams.contains(&shown.stream.name);
        let is_row = shown.stream.state() >= State::Warning && !has_incident;
        if is_row && listed.len() < MAX_LISTED {
            listed.push(shown);
        } else {
            tiles.push(shown);
        }
    }
    for shown in &mut listed {
        let stream = state.store.stream(&shown.stream.name, state.alerting());
        shown.stream.last_alert = stream.await?.and_then(|stream| stream.last_alert);
    }
    let here = &view.here;
    let later = tiles.len() > MAX_TILES_FIRST;
    let drawn = MAX_DRAWN.saturating_sub(listed.len());
    let body = html! {
        h1 class="sr" { "Overview" }
        (health::line(&state, &health))
        (incidents::open(here, &newest))
        section id="streams" data-live {
            h2 { "Streams" }
            (summary)
            @if !listed.is_empty() {
                ul class="rows" { @for shown in &listed { (row(here, shown, now_ms)) } }
            }
            @if !later { (tile_list(here, &tiles, drawn)) }
        }
        (incidents::ended(here, &newest.ended))
        @if later {
            section id="others" data-live {
                h2 { @if listed.is_empty() { "Every stream" } @else { "Other streams" } }
                (tile_list(here, &tiles, drawn))
            }
        }
    };
    let title = title(&newest);
    Ok(Frame::live(&view).answer(&title, &body))
}

/// The title of the tab says how many incidents are open.
fn title(newest: &Newest) -> String {
    match (newest.open.len(), newest.more) {
        (0, _) => "Overview".to_owned(),
        (open, false) => format!("({open}) Overview"),
        (open, true) => format!("({open}+) Overview"),
    }
}

/// Every stream, the worst first, then by name.
async fn streams(state: &AppState) -> Result<Vec<Shown>, StoreError> {
    let policy = state.alerting();
    let mut streams = state.store.streams_without_alerts(policy).await?;
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

/// The first of them with a drawing.
fn tile_list(here: &Here, streams: &[Shown], drawn: usize) -> Markup {
    html! {
        @if !streams.is_empty() {
            ul class="tiles" { @for (place, shown) in streams.iter().enumerate() { (tile(here, shown, place < drawn)) } }
        }
    }
}

/// `2 CRITICAL, 1 STALE, 497 NORMAL. A line is the approval rate ...`
fn summary(streams: &[Shown], source: Source, is_read: bool) -> Markup {
    let mut states: BTreeMap<Reverse<State>, usize> = BTreeMap::new();
    for shown in streams {
        *states.entry(Reverse(shown.stream.state())).or_default() += 1;
    }
    let states = states
        .iter()
        .map(|(Reverse(state), count)| format!("{count} {}", state.to_string().replace('_', " ")));
    let states: Vec<_> = states.collect();
    let known = streams.iter().filter(|shown| shown.rates.is_some()).count();
    let drawn = known.min(MAX_DRAWN);
    html! {
        @if states.is_empty() {
            p class="empty" {
                "No counts have arrived. Send minute counts to "
                @if source == Source::Kafka { "the topic of KAFKA_TOPIC or to " }
                "POST /transactions; the first stream appears here by itself."
            }
        } @else {
            p class="dim" {
                (states.join(", "))
                @if !is_read { " when counts were last read" }
                ". A line is the approval rate of the newest hour"
                @if drawn < streams.len() { ", drawn for the first " (drawn) }
                "."
            }
        }
    }
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
            div class="rate" { (rate(shown, true)) }
            @if stream.state() == State::Stale {
                p { "No new minute; the newest arrived " (ago(stream.arrived_at_ms, now_ms)) "." }
            } @else if let Some(alert) = &stream.last_alert {
                p { (sentence(alert)) }
            }
        }
    }
}

fn tile(here: &Here, shown: &Shown, is_drawn: bool) -> Markup {
    let stream = &shown.stream;
    html! {
        li class=[(stream.state() >= State::Warning).then(|| class(stream.state()))] {
            a href=(here.link(&stream_path(&stream.name))) { (stream.name) }
            (rate(shown, is_drawn))
            @if stream.state() != State::Normal { b { (stream.state().to_string().replace('_', " ")) } }
        }
    }
}

fn rate(shown: &Shown, is_drawn: bool) -> Markup {
    html! {
        @if let Some(rates) = &shown.rates {
            @if is_drawn { (rates.draw()) }
            @if let Some(rate) = rates.newest() { i { (rate) } }
        }
    }
}
