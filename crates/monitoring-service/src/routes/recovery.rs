//! What went wrong on the way in and on the way out, and the way back: lost offsets, deliveries, sending one again.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use detection::Stream;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use utoipa::{IntoParams, ToSchema};

use super::{
    AppState,
    error::Problem,
    extract::{Fields, PathId, QueryParams},
    openapi,
    params::{self, Cursor, Limit, page},
    schema,
    views::{AlertView, At, DeliveryView},
};
use crate::store::{DeliveryFilter, DeliveryState, OffsetGapRecord, Replay};

/// Which losses.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OffsetGapsQuery {
    /// Entries of a page.
    #[param(value_type = u32, minimum = 1, maximum = 500, default = 50, required = false)]
    #[serde(default)]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = schema::CursorText, required = false)]
    cursor: Option<Cursor>,
}

impl Fields for OffsetGapsQuery {
    const FIELDS: &'static [(&'static str, &'static str)] =
        &[("limit", params::LIMIT_FIX), ("cursor", params::CURSOR_FIX)];
}

/// A page of losses, newest first.
#[derive(Serialize, ToSchema)]
struct GapsView {
    gaps: Vec<GapView>,
    next_cursor: Option<String>,
}

/// Kafka offsets from `from_offset` to before `to_offset` that were never read; of a topic that was made again, where reading
/// stood and where it went on.
#[derive(Serialize, ToSchema)]
struct GapView {
    topic: String,
    partition: i32,
    from_offset: i64,
    to_offset: i64,
    reason: String,
    #[schema(value_type = schema::Instant)]
    detected_at: At,
}

/// Kafka offsets that were lost before they were read.
#[utoipa::path(
    get,
    path = "/gaps",
    operation_id = "list_gaps",
    tag = "faults",
    params(OffsetGapsQuery),
    responses((status = 200, description = "A page, newest first", body = GapsView), openapi::Query)
)]
pub(super) async fn gaps(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<OffsetGapsQuery>,
) -> Result<impl IntoResponse, Problem> {
    let gaps = state
        .store
        .gaps(query.cursor.map(|Cursor(id)| id), query.limit.probe())
        .await?;
    let (gaps, next_cursor) = page(gaps, query.limit, |gap| gap.id);
    let view = |gap: OffsetGapRecord| GapView {
        topic: gap.topic,
        partition: gap.partition,
        from_offset: gap.from_offset,
        to_offset: gap.to_offset,
        reason: gap.reason,
        detected_at: At(gap.detected_at_ms),
    };
    Ok(Json(GapsView {
        gaps: gaps.into_iter().map(view).collect(),
        next_cursor,
    }))
}

/// Which deliveries.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    /// Only of alerts of this stream.
    #[param(value_type = schema::StreamName, required = false)]
    stream: Option<Stream>,
    /// Only in this state.
    #[param(value_type = schema::DeliveryState, required = false)]
    state: Option<StateName>,
    /// Entries of a page.
    #[param(value_type = u32, minimum = 1, maximum = 500, default = 50, required = false)]
    #[serde(default)]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = schema::CursorText, required = false)]
    cursor: Option<Cursor>,
}

impl Fields for DeliveriesQuery {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("stream", params::STREAM_FIX),
        ("state", "use pending, delivered or dead"),
        ("limit", params::LIMIT_FIX),
        ("cursor", params::CURSOR_FIX),
    ];
}

/// The name of a state a delivery can be in.
struct StateName(DeliveryState);

impl<'de> Deserialize<'de> for StateName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map(Self)
            .map_err(|_| D::Error::custom("is not the state of a delivery"))
    }
}

/// A page of deliveries, newest first.
#[derive(Serialize, ToSchema)]
struct DeliveriesView {
    deliveries: Vec<ListedView>,
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ListedView {
    #[serde(flatten)]
    delivery: DeliveryView,
    alert: AlertView,
}

/// Pages on their way, taken or given up.
#[utoipa::path(
    get,
    path = "/deliveries",
    operation_id = "list_deliveries",
    tag = "faults",
    params(DeliveriesQuery),
    responses((status = 200, description = "A page, newest first", body = DeliveriesView, links(("replay" = (operation_id = "replay_delivery", parameters(("id" = "$response.body#/deliveries/0/id")))))), openapi::Query)
)]
pub(super) async fn deliveries(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<DeliveriesQuery>,
) -> Result<impl IntoResponse, Problem> {
    let filter = DeliveryFilter {
        stream: query.stream.map(|stream| stream.to_string()),
        state: query.state.map(|StateName(state)| state),
        before: query.cursor.map(|Cursor(id)| id),
        limit: query.limit.probe(),
    };
    let (listed, next_cursor) = page(
        state.store.deliveries(filter).await?,
        query.limit,
        |listed| listed.delivery.id,
    );
    let listed = listed.into_iter();
    let deliveries = listed
        .map(|l| ListedView {
            delivery: l.delivery.into(),
            alert: AlertView::from(&l.alert),
        })
        .collect();
    Ok(Json(DeliveriesView {
        deliveries,
        next_cursor,
    }))
}

#[derive(Serialize, ToSchema)]
struct ReplayView {
    id: i64,
    #[schema(value_type = schema::DeliveryState)]
    state: &'static str,
}

/// Sends a page again that was given up or taken: the same alert, with the same id.
#[utoipa::path(
    post,
    path = "/deliveries/{id}/replay",
    operation_id = "replay_delivery",
    tag = "steering",
    params(("id" = i64, Path, description = "From GET /deliveries")),
    responses((status = 202, description = "It is on its way again", body = ReplayView), openapi::Again)
)]
pub(super) async fn replay(
    State(state): State<Arc<AppState>>,
    PathId(id): PathId<i64>,
) -> Result<impl IntoResponse, Problem> {
    match state
        .store
        .replay_delivery(id, state.clock.now_ms())
        .await?
    {
        Replay::Begun => Ok((
            StatusCode::ACCEPTED,
            Json(ReplayView {
                id,
                state: "pending",
            }),
        )),
        Replay::Pending => Err(params::still_pending(&id.to_string())),
        Replay::Unknown => Err(Problem::not_found("there is no such delivery")
            .field("id")
            .value(&*id.to_string())
            .fix("GET /deliveries lists the deliveries that are kept")),
    }
}
