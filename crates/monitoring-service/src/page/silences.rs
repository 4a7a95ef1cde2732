//! `/page/silences`: the silences that have not ended, and forms to make and to end one.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use detection::{MonitoredStatus, StreamPattern, silence::Weekly};
use jiff::Timestamp;
use maud::{Markup, html};
use utoipa::openapi::{ObjectBuilder, schema::Type};
use uuid::Uuid;

use super::{
    frame::{Frame, Here, View},
    parts::at,
};
use crate::{
    alerts::SilenceRecord,
    routes::{
        AppState,
        error::Problem,
        extract::{FormBody, PageQuery, PathId},
        fields::fields,
        parameters::values,
        silences::{Reason, SilenceBody, When, add_silence, end_silence},
    },
};

/// Lengths of a silence to choose from, minutes. The long ones need weekly times.
const LENGTHS: [(i64, &str); 8] = [
    (15, "15 minutes"),
    (60, "1 hour"),
    (240, "4 hours"),
    (480, "8 hours"),
    (1440, "24 hours"),
    (7 * 1440, "7 days, at weekly times"),
    (30 * 1440, "30 days, at weekly times"),
    (365 * 1440, "a year, at weekly times"),
];

/// Minutes from now.
#[derive(Clone, Copy)]
pub(crate) struct Minutes(i64);

values! {
    Minutes: ObjectBuilder::new().schema_type(Type::Integer),
        |text: &str| text.parse().map(Minutes).map_err(|_| "is not a number of minutes".to_owned()),
        "choose a length of the list";
}

fields! {
    /// What the form shows at first.
    pub(super) struct SilencesView {
        /// The stream to silence.
        stream: Option<StreamPattern>,
        /// The status to silence.
        status: Option<MonitoredStatus>,
    }
}

fields! {
    /// What to silence.
    pub(super) struct SilenceForm {
        /// Only this stream, or these; without it every stream.
        stream: Option<StreamPattern>,
        /// Only this status; without it every status.
        status: Option<MonitoredStatus>,
        /// The length.
        minutes: Minutes,
        /// Only at these times of each week.
        weekly: Option<Weekly>,
        /// The reason, for people who read it later.
        reason: Reason,
    }
}

pub(super) async fn view(
    State(state): State<Arc<AppState>>,
    view: View,
    PageQuery(chosen): PageQuery<SilencesView>,
) -> Result<Response, Problem> {
    let now_ms = state.clock.now_ms();
    let silences = state.store.silences(now_ms).await?;
    let streams = state.store.stream_names().await?;
    let body = html! {
        h1 { "Silences" }
        p class="dim" {
            "A silence suppresses the notifications of its alerts until it ends. Every suppressed alert is recorded and names its silence."
        }
        (list(&view.here, &silences, now_ms))
        (form(&view.here, &streams, &chosen))
    };
    Ok(Frame::still(&view).answer("Silences", &body))
}

fn list(here: &Here, silences: &[SilenceRecord], now_ms: i64) -> Markup {
    html! {
        section {
            h2 { "Active and planned" }
            @if silences.is_empty() {
                p class="empty" { "There is no silence: every alert is notified by its rules." }
            } @else {
                ul class="rows" { @for record in silences { (row(here, record, now_ms)) } }
            }
        }
    }
}

fn row(here: &Here, record: &SilenceRecord, now_ms: i64) -> Markup {
    let (silence, period) = (&record.silence, &record.period);
    let streams = silence
        .streams
        .as_ref()
        .map_or("every stream".to_owned(), ToString::to_string);
    let status = silence.status.map_or("everything", MonitoredStatus::name);
    html! {
        li class=(if period.contains(now_ms) { "warn" } else { "none" }) {
            div class="what" {
                b { (streams) ", " (status) }
                span class="dim" { (if period.contains(now_ms) { "active" } else { "not active now" }) }
                span class="when" {
                    @if period.from_ms > now_ms { "from " (at(period.from_ms)) " " }
                    "until " (at(period.until_ms))
                }
            }
            @if let Some(weekly) = &period.weekly { p class="dim" { (weekly) } }
            p { (record.reason) }
            form method="post" action=(here.link(&format!("page/silences/{}/end", silence.id))) {
                button { "End it now" span class="sr" { ": " (streams) ", " (status) } }
            }
        }
    }
}

fn form(here: &Here, streams: &[String], chosen: &SilencesView) -> Markup {
    html! {
        section {
            h2 { "New silence" }
            form class="card" method="post" action=(here.link("page/silences")) {
                label for="stream" { "Stream, or several such as " code { "day*" } "; empty: every stream" }
                input id="stream" name="stream" list="streams" autocomplete="off" maxlength="129" value=[chosen.stream.as_ref()];
                datalist id="streams" { @for name in streams { option value=(name) {} } }
                label for="status" { "Status" }
                select id="status" name="status" {
                    option value="" { "every status" }
                    @for status in MonitoredStatus::ALL {
                        option value=(status) selected[chosen.status == Some(status)] { (status) }
                    }
                }
                label for="minutes" { "For" }
                select id="minutes" name="minutes" {
                    @for (minutes, text) in LENGTHS {
                        option value=(minutes) selected[minutes == 60] { (text) }
                    }
                }
                label for="weekly" { "Only at these times of each week, such as " code { "sat,sun 01:00-03:00" } "; empty: all of the time" }
                input id="weekly" name="weekly" autocomplete="off";
                label for="reason" { "Reason" }
                input id="reason" name="reason" required maxlength="500" autocomplete="off" placeholder="planned work of the acquirer";
                button { "Silence" }
            }
        }
    }
}

pub(super) async fn add(
    State(state): State<Arc<AppState>>,
    view: View,
    FormBody(form): FormBody<SilenceForm>,
) -> Result<Response, Problem> {
    let Minutes(minutes) = form.minutes;
    let until_ms = state
        .clock
        .now_ms()
        .saturating_add(minutes.saturating_mul(60_000));
    let until = Timestamp::from_millisecond(until_ms).unwrap_or(Timestamp::MAX);
    let body = SilenceBody {
        stream: form.stream,
        status: form.status,
        from: None,
        until: When(until),
        weekly: form.weekly,
        reason: form.reason,
    };
    add_silence(&state, body).await?;
    Ok(back(&view.here))
}

pub(super) async fn end(
    State(state): State<Arc<AppState>>,
    view: View,
    PathId(id): PathId<Uuid>,
) -> Result<Response, Problem> {
    end_silence(&state, id).await?;
    Ok(back(&view.here))
}

fn back(here: &Here) -> Response {
    let location = here.link("page/silences");
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}
