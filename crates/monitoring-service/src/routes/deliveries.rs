//! `GET /deliveries` and `POST /deliveries/{id}/replay`: notifications that are pending, delivered, dead, superseded or summarized.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use detection::Stream;
use serde::Serialize;
use utoipa::{PartialSchema as _, ToSchema};

use super::{
    AppState,
    error::{Kind, Problem},
    extract::{PathId, QueryParams},
    fields::{fields, reference},
    openapi,
    parameters::{Page, values},
    schema,
};
use crate::{
    alerts::{incident::IncidentMessage, json::AlertView},
    store::{Content, DeliveryFilter, DeliveryRecord, DeliveryState, ListedDelivery, Replay},
};

fields! {
    /// Which deliveries.
    pub(super) struct DeliveriesQuery {
        /// Only of alerts and incidents of this stream.
        stream: Option<Stream>,
        /// Only in this state.
        state: Option<DeliveryState>,
        ..page: Page,
    }
}

/// The number of a delivery.
#[derive(Clone, Copy)]
pub(crate) struct DeliveryId(pub(crate) i64);

values! {
    DeliveryState: reference::<schema::DeliveryState>(),
        |text: &str| text.parse().map_err(|_| "is not the state of a delivery".to_owned()),
        "use pending, delivered, dead, superseded or summarized";
    DeliveryId: i64::schema(),
        |text: &str| text.parse().map(DeliveryId).map_err(|_| "is not a whole number".to_owned()),
        "take the id from GET /deliveries";
}

/// A page of deliveries, newest first.
#[derive(Serialize, ToSchema)]
struct Deliveries {
    deliveries: Vec<Listed>,
    next_cursor: Option<String>,
}

/// A delivery with what it sends: an alert or an event of an incident.
#[derive(Serialize, ToSchema)]
struct Listed {
    #[serde(flatten)]
    delivery: DeliveryRecord,
    alert: Option<AlertView>,
    incident: Option<IncidentMessage>,
}

impl From<ListedDelivery> for Listed {
    fn from(listed: ListedDelivery) -> Self {
        let (alert, incident) = match listed.content {
            Content::Alert(alert) => (Some(AlertView::from(&*alert)), None),
            Content::Incident(incident) => (None, Some(*incident)),
        };
        Self {
            delivery: listed.delivery,
            alert,
            incident,
        }
    }
}

/// Notifications: pending, delivered or given up.
#[utoipa::path(
    get,
    path = "/deliveries",
    operation_id = "list_deliveries",
    tag = "faults",
    params(DeliveriesQuery),
    responses((
        status = 200,
        description = "A page, newest first",
        body = Deliveries,
        links(("replay" = (operation_id = "replay_delivery", parameters(("id" = "$response.body#/deliveries/0/id")))))
    ), openapi::Query)
)]
pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<DeliveriesQuery>,
) -> Result<impl IntoResponse, Problem> {
    let filter = DeliveryFilter {
        stream: query.stream.map(|stream| stream.to_string()),
        state: query.state,
        before: query.page.before(),
        limit: query.page.probe(),
    };
    let listed = state.store.deliveries(filter).await?;
    let (listed, next_cursor) = query.page.cut(listed, |listed| listed.delivery.id);
    Ok(Json(Deliveries {
        deliveries: listed.into_iter().map(Listed::from).collect(),
        next_cursor,
    }))
}

/// A delivery that is pending again.
#[derive(Serialize, ToSchema)]
struct Replayed {
    id: i64,
    #[schema(value_type = schema::DeliveryState)]
    state: DeliveryState,
}

/// Delivers a notification again that was delivered, given up, superseded or summarized: the same message with the same id.
#[utoipa::path(
    post,
    path = "/deliveries/{id}/replay",
    operation_id = "replay_delivery",
    tag = "control",
    params(("id" = i64, Path, description = "From GET /deliveries")),
    responses((status = 202, description = "The delivery is pending", body = Replayed), openapi::Replay)
)]
pub(super) async fn replay(
    State(state): State<Arc<AppState>>,
    PathId(DeliveryId(id)): PathId<DeliveryId>,
) -> Result<impl IntoResponse, Problem> {
    replay_delivery(&state, id).await?;
    let state = DeliveryState::Pending;
    Ok((StatusCode::ACCEPTED, Json(Replayed { id, state })))
}

/// Makes a delivery pending again.
pub(crate) async fn replay_delivery(state: &AppState, id: i64) -> Result<(), Problem> {
    match state
        .store
        .replay_delivery(id, state.clock.now_ms())
        .await?
    {
        Replay::Begun => Ok(()),
        Replay::Pending => Err(still_pending(id)),
        Replay::Unknown => {
            Err(Problem::not_found("id", "delivery", id)
                .fix("GET /deliveries lists the deliveries"))
        }
    }
}

/// Refuses the replay of a delivery that is pending.
pub(super) fn still_pending(id: i64) -> Problem {
    Problem::new(
        Kind::Conflict,
        format!("the delivery {id} is still pending"),
    )
    .field("id")
    .value(&*id.to_string())
    .fix("wait until it is delivered or dead; GET /deliveries shows when it is tried next")
}
