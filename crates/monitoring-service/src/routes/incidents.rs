//! `/incidents`: from their opening to their end, what was notified of them, and what people say of them.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use detection::{Severity, Stream};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{ObjectBuilder, schema::Type},
};
use uuid::Uuid;

use super::{
    AppState,
    alerts::AlertSeverity,
    error::{Kind, Problem},
    extract::{JsonBodyOf, PathId, QueryParams},
    fields::{fields, reference},
    openapi,
    parameters::{Page, Range, values},
    schema::{self, Instant},
};
use crate::{
    alerts::{
        incident::{EndReason, IncidentEventKind, IncidentKind, IncidentMessage},
        incident_record::{Feedback, IncidentRecord, Verdict},
        incident_update::{EventSuppression, Now, RecordedEvent},
        json::At,
    },
    store::{DeliveryRecord, IncidentFilter, StoredEvent},
};

mod csv;

/// Maximum length of a name, characters.
const MAX_NAME_CHARS: usize = 100;

/// Maximum length of a note, characters.
const MAX_NOTE_CHARS: usize = 2000;

fields! {
    /// Which incidents.
    pub(super) struct IncidentsQuery {
        /// Only open or resolved ones.
        state: Option<IncidentState>,
        /// Only of this stream.
        stream: Option<Stream>,
        /// Only of this kind.
        kind: Option<IncidentKind>,
        /// Only of this severity, the worst of the incident.
        severity: Option<AlertSeverity>,
        /// `csv`: a table for a post-mortem instead of JSON, as with `Accept: text/csv`.
        format: Option<Format>,
        ..range: Range,
        ..page: Page,
    }
}

/// The state of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IncidentState {
    Open,
    Resolved,
}

/// The format of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Csv,
}

/// The name of a person.
pub(crate) struct Name(String);

/// A note of a person.
pub(crate) struct Note(String);

values! {
    IncidentState: reference::<schema::IncidentState>(),
        |text: &str| match text {
            "open" => Ok(IncidentState::Open),
            "resolved" => Ok(IncidentState::Resolved),
            _ => Err("is not the state of an incident".to_owned()),
        },
        "use open or resolved";
    IncidentKind: reference::<schema::IncidentKindName>(),
        |text: &str| text.parse().map_err(|_| "is not the kind of an incident".to_owned()),
        "use anomaly, stale_stream, ingest_down, ingest_rejecting or group";
    Format: schema::one_of(["json", "csv"]),
        |text: &str| match text {
            "json" => Ok(Format::Json),
            "csv" => Ok(Format::Csv),
            _ => Err("is not a format".to_owned()),
        },
        "use json or csv";
    Verdict: reference::<schema::VerdictName>(),
        |text: &str| text.parse().map_err(|_| "is not a verdict".to_owned()),
        "use real or false_alarm";
    Name: ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(MAX_NAME_CHARS)),
        |text: &str| trimmed(text, MAX_NAME_CHARS).map(Name), format!("give a name of 1 to {MAX_NAME_CHARS} characters");
    Note: ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(MAX_NOTE_CHARS)),
        |text: &str| trimmed(text, MAX_NOTE_CHARS).map(Note), format!("give a note of 1 to {MAX_NOTE_CHARS} characters");
}

fn trimmed(text: &str, max: usize) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > max {
        return Err(format!("is empty or longer than {max} characters"));
    }
    Ok(text.to_owned())
}

/// An incident as it is now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IncidentView {
    #[serde(flatten)]
    incident: IncidentMessage,
    #[schema(value_type = schema::IncidentState)]
    state: IncidentState,
    /// The reason why nobody is notified of it; null if somebody is.
    #[schema(value_type = Option<schema::EventSuppressionReason>)]
    suppressed: Option<&'static str>,
    /// Since when people are notified of it.
    notified_at: Option<Instant>,
    acknowledged_at: Option<Instant>,
    /// The group that is notified instead of it.
    #[schema(value_type = Option<schema::Id>)]
    group: Option<Uuid>,
    /// What a person says of it.
    feedback: Option<Feedback>,
}

impl From<IncidentRecord> for IncidentView {
    fn from(record: IncidentRecord) -> Self {
        Self {
            state: if record.is_open() {
                IncidentState::Open
            } else {
                IncidentState::Resolved
            },
            suppressed: record.suppressed.map(EventSuppression::reason),
            notified_at: record.notified_at_ms.map(At),
            acknowledged_at: record.acknowledged_at_ms.map(At),
            group: record.group,
            feedback: record.feedback,
            incident: record.message,
        }
    }
}

/// A page of incidents, newest first.
#[derive(Serialize, ToSchema)]
struct Incidents {
    incidents: Vec<IncidentView>,
    next_cursor: Option<String>,
}

/// Incidents, open or resolved. A range selects them by their opening.
#[utoipa::path(
    get,
    path = "/incidents",
    operation_id = "list_incidents",
    tag = "incidents",
    params(IncidentsQuery),
    responses((
        status = 200,
        description = "A page of incidents, newest first",
        content((Incidents = "application/json"), (String = "text/csv", example = json!(csv::EXAMPLE))),
        links(("incident" = (operation_id = "get_incident", parameters(("id" = "$response.body#/incidents/0/id")))))
    ), openapi::Query)
)]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
    QueryParams(query): QueryParams<IncidentsQuery>,
) -> Result<Response, Problem> {
    let (from, to) = query.range.ends()?;
    let filter = IncidentFilter {
        open: query.state.map(|state| state == IncidentState::Open),
        stream: query.stream.map(|stream| stream.to_string()),
        kind: query.kind,
        severity: query.severity.map(Severity::from),
        from,
        to,
        without_members: false,
        before: query.page.before(),
        limit: query.page.probe(),
    };
    let incidents = state.store.incidents(filter).await?;
    let (incidents, next_cursor) = query.page.cut(incidents, |incident| incident.seq);
    let accepts_csv = headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"text/csv"));
    if query
        .format
        .map_or(accepts_csv, |format| format == Format::Csv)
    {
        return csv::table(&incidents, next_cursor);
    }
    let incidents = incidents.into_iter().map(IncidentView::from).collect();
    Ok(Json(Incidents {
        incidents,
        next_cursor,
    })
    .into_response())
}

/// An incident with its story.
#[derive(Serialize, ToSchema)]
struct IncidentDetail {
    #[serde(flatten)]
    incident: IncidentView,
    /// What happened to it, in order.
    events: Vec<EventView>,
}

/// An event with its deliveries.
#[derive(Serialize, ToSchema)]
struct EventView {
    #[serde(flatten)]
    event: IncidentMessage,
    /// The reason why it is not notified; null if it is.
    #[schema(value_type = Option<schema::EventSuppressionReason>)]
    suppressed: Option<&'static str>,
    deliveries: Vec<DeliveryRecord>,
}

impl From<StoredEvent> for EventView {
    fn from(stored: StoredEvent) -> Self {
        Self {
            event: stored.event.message,
            suppressed: stored.event.suppressed.map(EventSuppression::reason),
            deliveries: stored.deliveries,
        }
    }
}

/// One incident with its evidence, its events and their deliveries.
#[utoipa::path(
    get,
    path = "/incidents/{id}",
    operation_id = "get_incident",
    tag = "incidents",
    params(("id" = schema::Id, Path, description = "From GET /incidents")),
    responses((status = 200, description = "The incident", body = IncidentDetail), openapi::OfOne)
)]
pub(super) async fn one(
    State(state): State<Arc<AppState>>,
    PathId(id): PathId<Uuid>,
) -> Result<impl IntoResponse, Problem> {
    let Some((incident, events)) = state.store.incident(id).await? else {
        return Err(unknown(id));
    };
    Ok(Json(IncidentDetail {
        incident: incident.into(),
        events: events.into_iter().map(EventView::from).collect(),
    }))
}

pub(crate) fn unknown(id: Uuid) -> Problem {
    Problem::not_found("id", "incident", id).fix("GET /incidents lists the incidents")
}

fn resolved(id: Uuid) -> Problem {
    Problem::new(Kind::Conflict, format!("the incident {id} is resolved"))
        .field("id")
        .value(&*id.to_string())
        .fix("GET /incidents?state=open lists the open ones")
}

fields! {
    /// Who acts.
    pub(super) struct ActionBody {
        /// Your name, for others.
        by: Option<Name>,
    }
}

/// Takes over an incident: it does not escalate any more. Receivers with a form for it are sent this.
#[utoipa::path(
    post,
    path = "/incidents/{id}/acknowledge",
    operation_id = "acknowledge_incident",
    tag = "incidents",
    params(("id" = schema::Id, Path, description = "From GET /incidents")),
    request_body(content = ActionBody, example = json!({"by": "the person on call"})),
    responses((status = 200, description = "The incident", body = IncidentView), openapi::ActionOfOne)
)]
pub(super) async fn acknowledge(
    State(state): State<Arc<AppState>>,
    JsonBodyOf(id, body): JsonBodyOf<Uuid, ActionBody>,
) -> Result<impl IntoResponse, Problem> {
    let incident = acknowledge_incident(&state, id, body).await?;
    Ok(Json(IncidentView::from(incident)))
}

/// Records that a person takes over an open incident.
pub(crate) async fn acknowledge_incident(
    state: &AppState,
    id: Uuid,
    body: ActionBody,
) -> Result<IncidentRecord, Problem> {
    let by = body.by.map(|Name(by)| by);
    act(state, id, move |now, incident| {
        now.update(IncidentMessage {
            event: IncidentEventKind::Acknowledged,
            recorded_at: At(now.ms),
            acknowledged_by: Some(by.clone().unwrap_or_else(|| "somebody".to_owned())),
            ..incident.message.clone()
        })
    })
    .await
}

/// Resolves an incident by hand, or a group with its members. Findings are counted until counts are usual; the next alert opens another one.
#[utoipa::path(
    post,
    path = "/incidents/{id}/resolve",
    operation_id = "resolve_incident",
    tag = "incidents",
    params(("id" = schema::Id, Path, description = "From GET /incidents")),
    request_body(content = ActionBody, example = json!({"by": "the person on call"})),
    responses((status = 200, description = "The incident", body = IncidentView), openapi::ActionOfOne)
)]
pub(super) async fn resolve(
    State(state): State<Arc<AppState>>,
    JsonBodyOf(id, body): JsonBodyOf<Uuid, ActionBody>,
) -> Result<impl IntoResponse, Problem> {
    let incident = resolve_incident(&state, id, body).await?;
    Ok(Json(IncidentView::from(incident)))
}

/// Records that a person resolves an open incident.
pub(crate) async fn resolve_incident(
    state: &AppState,
    id: Uuid,
    body: ActionBody,
) -> Result<IncidentRecord, Problem> {
    let by = body.by.map(|Name(by)| by);
    act(state, id, move |now, incident| {
        now.ended(incident, EndReason::ByHand, by.as_deref())
    })
    .await
}

/// Records what a person does with an open incident.
async fn act(
    state: &AppState,
    id: Uuid,
    update: impl Fn(&Now<'_>, &IncidentRecord) -> crate::alerts::incident_update::IncidentUpdate
    + Send
    + 'static,
) -> Result<IncidentRecord, Problem> {
    let (policy, now_ms) = (state.notify.clone(), state.clock.now_ms());
    let decide = move |incident: &IncidentRecord| {
        let now = Now::without_silences(&policy, now_ms);
        incident.is_open().then(|| update(&now, incident))
    };
    let Some((incident, events)) = state.store.update_incident(id, decide).await? else {
        return Err(unknown(id));
    };
    if events.is_empty() {
        return Err(resolved(id));
    }
    announce(state, &events);
    Ok(incident)
}

fn announce(state: &AppState, events: &[RecordedEvent]) {
    state.announcer.announce_incidents(events);
}

fields! {
    /// What an incident was.
    pub(super) struct FeedbackBody {
        /// `real`: there was trouble; `false_alarm`: there was none.
        verdict: Verdict,
        /// What else there is to say.
        note: Option<Note>,
        /// Your name, for others.
        by: Option<Name>,
    }
}

/// Labels an incident, open or resolved, for `monitoring-service backtest --database`. It replaces earlier feedback; nothing tunes itself.
#[utoipa::path(
    post,
    path = "/incidents/{id}/feedback",
    operation_id = "label_incident",
    tag = "incidents",
    params(("id" = schema::Id, Path, description = "From GET /incidents")),
    request_body(content = FeedbackBody, example = json!({"verdict": "false_alarm", "note": "a planned test", "by": "the person on call"})),
    responses((status = 200, description = "The incident", body = IncidentView), openapi::ActionOfOne)
)]
pub(super) async fn feedback(
    State(state): State<Arc<AppState>>,
    JsonBodyOf(id, body): JsonBodyOf<Uuid, FeedbackBody>,
) -> Result<impl IntoResponse, Problem> {
    let incident = label_incident(&state, id, body).await?;
    Ok(Json(IncidentView::from(incident)))
}

/// Stores what a person says an incident was.
pub(crate) async fn label_incident(
    state: &AppState,
    id: Uuid,
    body: FeedbackBody,
) -> Result<IncidentRecord, Problem> {
    let feedback = Feedback {
        verdict: body.verdict,
        note: body.note.map(|Note(note)| note),
        by: body.by.map(|Name(by)| by),
        at: At(state.clock.now_ms()),
    };
    tracing::info!(incident_id = %id, verdict = <&str>::from(feedback.verdict), by = feedback.by, "incident labelled");
    let labelled = state.store.label_incident(id, feedback).await?;
    labelled.ok_or_else(|| unknown(id))
}
