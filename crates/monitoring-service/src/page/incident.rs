//! `/page/incidents/{id}`: what happened, in order; the evidence with its charts; and what a person can do about it.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use detection::{Minute, MonitoredStatus};
use maud::{Markup, PreEscaped, html};
use uuid::Uuid;

use super::{
    chart::HATCH,
    frame::{Frame, Here, View},
    gather::{Gathered, gather},
    grafana::Grafana,
    incidents::{
        acknowledge as acknowledge_form, end_reason, path, so_far, suppression, verdict,
        worst_first,
    },
    parts::{at, number, severity, stream_path, without_severity},
    stream::{Shown, chart},
};
use crate::{
    alerts::{
        incident::{IncidentEventKind, IncidentMessage},
        incident_record::IncidentRecord,
        incident_update::EventSuppression,
        json::At,
    },
    routes::{
        AppState,
        error::Problem,
        extract::{FormBodyOf, PathId},
        incidents::{self, ActionBody, FeedbackBody},
    },
    store::{DeliveryRecord, StoredEvent},
};

/// Minutes of the charts on either side of the incident.
const AROUND_MINUTES: i64 = 60;

/// The longest range of the charts.
const MAX_CHART_MINUTES: i64 = 7 * 1440;

pub(super) async fn view(
    State(state): State<Arc<AppState>>,
    view: View,
    PathId(id): PathId<Uuid>,
) -> Result<Response, Problem> {
    let Some((incident, events)) = state.store.incident(id).await? else {
        return Err(incidents::unknown(id));
    };
    let charts = charts(&state, &view.here, &incident.message).await?;
    let (here, message) = (&view.here, &incident.message);
    let body = html! {
        div id="incident" data-live {
            (heading(here, &incident))
            (evidence(here, message))
            (elsewhere(here, state.grafana(), message))
        }
        @if let Some((shown, gathered)) = &charts {
            (PreEscaped(HATCH))
            div id="charts" data-live {
                @for status in MonitoredStatus::ALL {
                    @if message.statuses.iter().any(|joined| joined.status == status) {
                        (chart(status, gathered, &[]))
                    }
                }
                p { a href=(here.link(&format!("{}?{}", stream_path(&shown.stream.name), shown.query()))) { "All charts of this time" } }
            }
        } @else if let Some(stream) = &message.stream {
            p { a href=(here.link(&stream_path(stream))) { "The charts of " (stream) } }
        }
        (story(&events))
        (actions(here, &incident))
    };
    Ok(Frame::live_with_form(&view).answer(&message.title, &body))
}

/// The charts from an hour before it began to an hour after it ended.
async fn charts(
    state: &AppState,
    here: &Here,
    message: &IncidentMessage,
) -> Result<Option<(Shown, Gathered)>, Problem> {
    let (Some(name), false) = (&message.stream, message.statuses.is_empty()) else {
        return Ok(None);
    };
    let policy = message.policy.unwrap_or(state.alerting());
    let Some(stream) = state.store.stream(name, policy).await? else {
        return Ok(None);
    };
    let minute = |at: At| Minute::from_epoch_minutes(at.0.div_euclid(60_000));
    let last = stream.newest_minute.plus(1);
    let to = message
        .ended_at
        .map_or(last, |ended| minute(ended).plus(AROUND_MINUTES).min(last));
    let from = minute(message.opened_at).plus(-AROUND_MINUTES);
    let shown = Shown {
        stream,
        policy,
        from: from.max(to.plus(-MAX_CHART_MINUTES)).min(to.plus(-1)),
        to,
        last: None,
    };
    let path = here.link(&stream_path(&shown.stream.name));
    let gathered = gather(state, &shown, &path).await?;
    Ok(Some((shown, gathered)))
}

fn heading(here: &Here, incident: &IncidentRecord) -> Markup {
    let message = &incident.message;
    html! {
        h1 { (message.title) " " (severity(message.severity)) }
        p class="dim" {
            @match message.ended_at {
                Some(ended_at) => {
                    (at(message.opened_at.0)) " to " (at(ended_at.0)) ". "
                    @if let Some(reason) = message.end_reason { (end_reason(reason)) }
                }
                None => { "Open since " (at(message.opened_at.0)) "." }
            }
            @if let Some(by) = &message.acknowledged_by { " Acknowledged by " (by) "." }
            @if let Some(feedback) = &incident.feedback {
                " " (feedback.by.as_deref().unwrap_or("A person")) " calls it " b { (verdict(feedback.verdict)) } "."
            }
        }
        p class="lead" { (lead(message)) }
        @if incident.is_open() && message.acknowledged_by.is_none() { (acknowledge_form(here, incident)) }
        @if let Some(note) = incident.feedback.as_ref().and_then(|feedback| feedback.note.as_ref()) {
            p class="note" { (note) }
        }
    }
}

/// What it costs, while the evidence says what it is; its message where there is no evidence, or it is over.
fn lead(message: &IncidentMessage) -> String {
    let is_explained = message.ended_at.is_none() && !message.statuses.is_empty();
    let cost = is_explained.then(|| so_far(message)).flatten();
    cost.unwrap_or_else(|| message.message.clone())
}

/// The counts against what was expected, and what else was in trouble.
fn evidence(here: &Here, message: &IncidentMessage) -> Markup {
    html! {
        @if !message.statuses.is_empty() {
            section {
                h2 { "Evidence" }
                ul class="rows" {
                    @for joined in worst_first(message) {
                        li class="none" {
                            div class="what" {
                                (severity(joined.severity)) " " b { (joined.status) " " (joined.direction) }
                                span {
                                    b { (joined.count) }
                                    @if let Some(expected) = joined.expected { ", expected " (number(expected)) }
                                    @if let Some(share) = joined.share { ", " (format!("{:.1}", share * 100.0)) " % of the payments" }
                                }
                                span class="when" { (at(joined.minute.0)) }
                            }
                            p { (without_severity(&joined.sentence)) }
                        }
                    }
                }
            }
        }
        @if !message.streams.is_empty() {
            p class="dim" {
                "Streams with the same trouble at this time: "
                @for (place, stream) in message.streams.iter().enumerate() {
                    @if place > 0 { ", " }
                    a href=(here.link(&stream_path(stream))) { (stream) }
                }
                @if message.stream_count as usize > message.streams.len() + usize::from(message.stream.is_some()) { " (" (message.stream_count) " in all)" }
                "."
            }
        }
    }
}

/// Where else the incident can be seen.
fn elsewhere(here: &Here, grafana: Option<Grafana>, message: &IncidentMessage) -> Markup {
    const AROUND_MS: i64 = AROUND_MINUTES * 60_000;
    let from_ms = message.opened_at.0 - AROUND_MS;
    let to_ms = message.ended_at.map(|ended| ended.0 + AROUND_MS);
    html! {
        p class="links" {
            @if let Some(grafana) = grafana {
                a href=(grafana.dashboard(message.stream.as_deref(), from_ms, to_ms)) { "Dashboard" }
            }
            @match (grafana, &message.trace_id) {
                (Some(grafana), Some(trace_id)) => {
                    a href=(grafana.trace(trace_id)) { "Trace" }
                    a href=(grafana.logs(trace_id)) { "Logs" }
                }
                (None, Some(trace_id)) => span { "Trace and logs: " code { (trace_id) } }
                (_, None) => {}
            }
            a href=(here.link(&format!("incidents/{}", message.id))) { "As JSON" }
        }
    }
}

fn story(events: &[StoredEvent]) -> Markup {
    html! {
        section id="story" data-live {
            h2 { "Story" }
            ol class="rows" { @for stored in events { (event(stored)) } }
        }
    }
}

fn event(stored: &StoredEvent) -> Markup {
    let message = &stored.event.message;
    let title = match message.event {
        IncidentEventKind::Opened => "Opened",
        IncidentEventKind::Escalated => "Escalated",
        IncidentEventKind::Acknowledged => "Acknowledged",
        IncidentEventKind::Resolved => "Resolved",
    };
    html! {
        li class="none" {
            div class="what" { b { (title) } span class="when" { (at(message.recorded_at.0)) } }
            @if message.event == IncidentEventKind::Acknowledged {
                @if let Some(by) = &message.acknowledged_by { p { "By " (by) "." } }
            } @else {
                p { (message.message) }
            }
            @if let Some(reason) = stored.event.suppressed {
                p class="dim" { "Not notified: " (why_not(message.event, reason)) "." }
            }
            @for delivery in &stored.deliveries { (notified(delivery)) }
        }
    }
}

/// Why an event is not notified. An opening that is `not_opened` was over before its wait.
fn why_not(event: IncidentEventKind, reason: EventSuppression) -> &'static str {
    match (event, reason) {
        (IncidentEventKind::Opened, EventSuppression::NotOpened) => {
            "it was over before the wait for others with the same trouble was (GROUP_WAIT)"
        }
        _ => suppression(reason),
    }
}

/// Which receiver, which answer.
fn notified(delivery: &DeliveryRecord) -> Markup {
    html! {
        p class="dim" {
            (delivery.receiver) ": " (delivery.state.name())
            @if let Some(last) = delivery.last_attempt_at { " " (at(last.0)) }
            @if let Some(status) = delivery.last_status { ", answered " (status) }
            @if let Some(error) = &delivery.last_error { " " span class="quote" { (error) } }
        }
    }
}

fn actions(here: &Here, incident: &IncidentRecord) -> Markup {
    let to = |action: &str| here.link(&format!("{}/{action}", path(incident.message.id)));
    let given = incident.feedback.as_ref();
    html! {
        section class="actions" {
            h2 { "What was it?" }
            form class="card" method="post" action=(to("feedback")) {
                fieldset {
                    legend { "A label for comparing policies; it changes no threshold by itself." }
                    label { input type="radio" name="verdict" value="real" required checked[given.is_some_and(|given| verdict(given.verdict) == "real")]; " Real trouble" }
                    label { input type="radio" name="verdict" value="false_alarm" checked[given.is_some_and(|given| verdict(given.verdict) != "real")]; " False alarm" }
                }
                label for="note" { "Note" }
                textarea id="note" name="note" maxlength="2000" rows="3" {
                    @if let Some(note) = given.and_then(|given| given.note.as_ref()) { (note) }
                }
                label for="by" { "Your name" }
                input id="by" name="by" maxlength="100" autocomplete="name";
                button { "Save" }
            }
            @if incident.is_open() {
                form method="post" action=(to("resolve")) { button class="second" { "Resolve by hand" } }
            }
            @if let Some(stream) = &incident.message.stream {
                p { a href=(here.link(&format!("page/silences?stream={stream}"))) { "Silence this stream" } }
            }
        }
    }
}

pub(super) async fn acknowledge(
    State(state): State<Arc<AppState>>,
    view: View,
    FormBodyOf(id, body): FormBodyOf<Uuid, ActionBody>,
) -> Result<Response, Problem> {
    incidents::acknowledge_incident(&state, id, body).await?;
    Ok(back(&view.here, id))
}

pub(super) async fn resolve(
    State(state): State<Arc<AppState>>,
    view: View,
    FormBodyOf(id, body): FormBodyOf<Uuid, ActionBody>,
) -> Result<Response, Problem> {
    incidents::resolve_incident(&state, id, body).await?;
    Ok(back(&view.here, id))
}

pub(super) async fn feedback(
    State(state): State<Arc<AppState>>,
    view: View,
    FormBodyOf(id, body): FormBodyOf<Uuid, FeedbackBody>,
) -> Result<Response, Problem> {
    incidents::label_incident(&state, id, body).await?;
    Ok(back(&view.here, id))
}

fn back(here: &Here, id: Uuid) -> Response {
    let location = here.link(&path(id));
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}
