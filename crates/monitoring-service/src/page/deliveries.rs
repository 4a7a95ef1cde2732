//! `/page/deliveries`: notifications that are pending or failed, with the words of the receiver, and those that arrived.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use detection::Severity;
use maud::{Markup, html};

use super::{
    frame::{Frame, Here, View},
    parts::{at, sentence, severity, stream_path},
};
use crate::{
    notify::board::Failing,
    routes::{
        AppState,
        deliveries::{DeliveryId, replay_delivery},
        error::Problem,
        extract::PathId,
    },
    store::{Content, DeliveryFilter, DeliveryState, ListedDelivery},
};

/// Deliveries of a list.
const MAX_LISTED: u32 = 50;

pub(super) async fn view(
    State(state): State<Arc<AppState>>,
    view: View,
) -> Result<Response, Problem> {
    let of = async |delivery_state| {
        let filter = DeliveryFilter {
            state: Some(delivery_state),
            limit: MAX_LISTED,
            ..DeliveryFilter::default()
        };
        state.store.deliveries(filter).await
    };
    let (dead, pending) = (
        of(DeliveryState::Dead).await?,
        of(DeliveryState::Pending).await?,
    );
    let delivered = of(DeliveryState::Delivered).await?;
    let superseded = of(DeliveryState::Superseded).await?;
    let summarized = of(DeliveryState::Summarized).await?;
    let here = &view.here;
    let body = html! {
        h1 { "Deliveries" }
        @if !state.notify.has_receiver() {
            p class="lead warn" {
                "No receiver is configured, so nobody is notified. Set ALERT_WEBHOOK_URL to the address of one, or RECEIVERS_FILE to a file of several."
            }
        }
        div id="deliveries" data-live {
            (receivers(&state.receivers.all(), fallback(&state).as_ref()))
            (list(here, "Given up", "Nothing was given up.", &dead))
            (list(here, "Pending", "Nothing is pending.", &pending))
            (list(here, "Delivered", "Nothing was delivered yet.", &delivered))
            @if !summarized.is_empty() { (list(here, "Not sent one by one, but counted by a summary", "", &summarized)) }
            @if !superseded.is_empty() { (list(here, "Superseded by a later message", "", &superseded)) }
        }
    };
    Ok(Frame::live(&view).answer("Deliveries", &body))
}

/// The name of the fallback, and its part in a sentence.
fn fallback(state: &AppState) -> Option<(&str, String)> {
    let fallback = state.notify.fallback.as_ref()?;
    let replaced = state.receivers.replaced_by(fallback, state.clock.now_ms());
    let names: Vec<_> = replaced.into_iter().map(|(name, _)| name).collect();
    let part = if names.is_empty() {
        " It is the fallback and stands in for no receiver now.".to_owned()
    } else {
        let names = names.join(" and ");
        format!(
            " It is the fallback and stands in for {names}: what is new and open goes to it, too."
        )
    };
    Some((&fallback.receiver, part))
}

/// Whether each receiver accepts its messages.
fn receivers(receivers: &[(String, Option<Failing>)], fallback: Option<&(&str, String)>) -> Markup {
    let part = |name: &str| {
        let fallback = fallback.filter(|(fallback, _)| *fallback == name);
        fallback.map_or("", |(_, part)| part.as_str())
    };
    html! {
        @if !receivers.is_empty() {
            section {
                h2 { "Receivers" }
                ul class="rows" {
                    @for (name, failing) in receivers {
                        li class=(if failing.is_some() { "crit" } else { "ok" }) {
                            @match failing {
                                None => p { b { (name) } " has no failed attempt since its last success." (part(name)) }
                                Some(failing) => {
                                    p {
                                        b { (name) } " has failed since " (at(failing.since_ms)) ", "
                                        (attempts(failing.attempts)) "; the next " (at(failing.retry_at_ms)) "." (part(name))
                                    }
                                    p class="quote" { (failing.error) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn list(here: &Here, title: &str, empty: &str, deliveries: &[ListedDelivery]) -> Markup {
    html! {
        section {
            h2 { (title) }
            @if deliveries.is_empty() {
                p class="empty" { (empty) }
            } @else {
                ol class="rows" { @for listed in deliveries { (row(here, listed)) } }
                @if deliveries.len() == MAX_LISTED as usize {
                    p class="dim" { "The newest " (MAX_LISTED) "; GET /deliveries lists all." }
                }
            }
        }
    }
}

/// What a delivery sends, in a line.
struct Sent<'a> {
    severity: Severity,
    stream: Option<&'a str>,
    text: &'a str,
}

impl<'a> From<&'a Content> for Sent<'a> {
    fn from(content: &'a Content) -> Self {
        match content {
            Content::Alert(alert) => Self {
                severity: alert.severity(),
                stream: alert.anomaly().map(|anomaly| anomaly.key.stream.as_str()),
                text: sentence(alert),
            },
            Content::Incident(incident) => Self {
                severity: incident.severity,
                stream: incident.stream.as_deref(),
                text: &incident.message,
            },
        }
    }
}

fn row(here: &Here, listed: &ListedDelivery) -> Markup {
    let delivery = &listed.delivery;
    let sent = Sent::from(&listed.content);
    html! {
        li class=(mark(delivery.state)) {
            div class="what" {
                (severity(sent.severity)) " "
                @if let Some(stream) = sent.stream { a href=(here.link(&stream_path(stream))) { (stream) } }
                span class="dim" { "to " (delivery.receiver) }
                span class="when" { (at(delivery.created_at.0)) }
            }
            p { (sent.text) }
            (progress(listed))
            @if matches!(delivery.state, DeliveryState::Dead | DeliveryState::Summarized) {
                form method="post" action=(here.link(&format!("page/deliveries/{}/replay", delivery.id))) {
                    button { "Send again" span class="sr" { " delivery " (delivery.id) } }
                }
            }
        }
    }
}

const fn mark(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Dead => "crit",
        DeliveryState::Pending => "warn",
        _ => "ok",
    }
}

fn attempts(number: u32) -> String {
    match number {
        1 => "1 attempt".to_owned(),
        _ => format!("{number} attempts"),
    }
}

/// The attempts, the answer of the receiver, and when it is tried next.
fn progress(listed: &ListedDelivery) -> Markup {
    let delivery = &listed.delivery;
    html! {
        p class="dim" {
            (attempts(delivery.attempts))
            @if let Some(last) = delivery.last_attempt_at { ", the last " (at(last.0)) }
            @if let Some(status) = delivery.last_status { ", answered " (status) }
            @if let Some(next) = delivery.next_attempt_at { ", next " (at(next.0)) }
            "."
        }
        @if let Some(error) = &delivery.last_error { p class="quote" { (error) } }
        @if delivery.may_have_arrived && delivery.state != DeliveryState::Delivered {
            p class="dim" { "An attempt without an answer may have arrived." }
        }
    }
}

pub(super) async fn replay(
    State(state): State<Arc<AppState>>,
    view: View,
    PathId(DeliveryId(id)): PathId<DeliveryId>,
) -> Result<Response, Problem> {
    replay_delivery(&state, id).await?;
    let location = view.here.link("page/deliveries");
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
}

#[cfg(test)]
mod tests {
    use crate::{
        alerts::{Fallback, NotifyPolicy},
        notify::board::ReceiverBoard,
        routes::harness::{Api, NOW_MS},
    };

    #[tokio::test]
    async fn the_view_names_the_receivers_or_says_that_there_is_none() {
        let api = Api::new();
        let text = api.get("/page/deliveries").await.text;
        assert!(text.contains("<b>default</b> has no failed"), "{text}");
        assert!(!text.contains("nobody is notified"), "{text}");
        let nobody = api.with(|state| state.context.notify = NotifyPolicy::default());
        let text = nobody.get("/page/deliveries").await.text;
        assert!(text.contains("or RECEIVERS_FILE to a file"), "{text}");
    }

    #[tokio::test]
    async fn the_view_says_whom_the_fallback_stands_in_for() {
        let api = Api::new().with(|state| {
            state.context.notify.fallback = Some(Fallback {
                receiver: "spare".to_owned(),
                after_ms: 60_000,
                acknowledgements: false,
            });
            state.context.receivers = ReceiverBoard::new(state.notify.all_receivers());
        });
        let text = api.get("/page/deliveries").await.text;
        assert!(text.contains("stands in for no receiver now"), "{text}");
        let error = "the receiver answered 503".to_owned();
        let board = &api.state.receivers;
        board.failed("default", 0, error, NOW_MS, NOW_MS - 60_000);
        let text = api.get("/page/deliveries").await.text;
        let part = "It is the fallback and stands in for default: what is new";
        assert!(text.contains(part), "{text}");
    }
}
