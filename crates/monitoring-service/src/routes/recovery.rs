//! What went wrong on the way in and on the way out, and the way back: lost offsets, deliveries, sending one again.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use detection::Stream;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{
    AppState,
    error::{Kind, Problem},
    extract::{Fields, PathText, QueryParams},
    params::{self, Cursor, Limit, page},
    views::{AlertView, At, DeliveryView},
};
use crate::store::{DeliveryFilter, GapRecord, Replay};

const STATES: [&str; 3] = ["pending", "delivered", "dead"];

/// Which losses.
#[derive(Deserialize)]
pub(super) struct GapsQuery {
    #[serde(default)]
    limit: Limit,
    cursor: Option<Cursor>,
}

impl Fields for GapsQuery {
    const FIELDS: &'static [(&'static str, &'static str)] =
        &[("limit", params::LIMIT_FIX), ("cursor", params::CURSOR_FIX)];
}

/// A page of losses, newest first.
#[derive(Serialize)]
struct GapsView {
    gaps: Vec<GapView>,
    next_cursor: Option<String>,
}

/// Kafka offsets from `from_offset` to before `to_offset` that were never read; of a topic that was made again, where reading
/// stood and where it went on.
#[derive(Serialize)]
struct GapView {
    topic: String,
    partition: i32,
    from_offset: i64,
    to_offset: i64,
    reason: String,
    detected_at: At,
}

pub(super) async fn gaps(
    State(state): State<Arc<AppState>>,
    QueryParams(query): QueryParams<GapsQuery>,
) -> Result<impl IntoResponse, Problem> {
    let gaps = state.store.gaps(query.cursor.map(|Cursor(id)| id), query.limit.probe()).await?;
    let (gaps, next_cursor) = page(gaps, query.limit, |gap| gap.id);
    let view = |gap: GapRecord| GapView {
        topic: gap.topic,
        partition: gap.partition,
        from_offset: gap.from_offset,
        to_offset: gap.to_offset,
        reason: gap.reason,
        detected_at: At(gap.detected_at_ms),
    };
    Ok(Json(GapsView { gaps: gaps.into_iter().map(view).collect(), next_cursor }))
}

/// Which deliveries.
#[derive(Deserialize)]
pub(super) struct DeliveriesQuery {
    stream: Option<Stream>,
    state: Option<StateName>,
    #[serde(default)]
    limit: Limit,
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
struct StateName(&'static str);

impl<'de> Deserialize<'de> for StateName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = STATES.into_iter().find(|state| *state == text);
        known.map(Self).ok_or_else(|| D::Error::custom("is not the state of a delivery"))
    }
}

/// A page of deliveries, newest first.
#[derive(Serialize)]
struct DeliveriesView {
    deliveries: Vec<ListedView>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct ListedView {
    #[serde(flatten)]
    delivery: DeliveryView,
    alert: AlertView,
}

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
    let (listed, next_cursor) = page(state.store.deliveries(filter).await?, query.limit, |listed| listed.delivery.id);
    let listed = listed.into_iter();
    let deliveries = listed.map(|l| ListedView { delivery: l.delivery.into(), alert: l.alert.into() }).collect();
    Ok(Json(DeliveriesView { deliveries, next_cursor }))
}

#[derive(Serialize)]
struct ReplayView {
    id: i64,
    state: &'static str,
}

/// Asks for a delivery again: 202, since it is sent by and by.
pub(super) async fn replay(
    State(state): State<Arc<AppState>>,
    PathText(id): PathText,
) -> Result<impl IntoResponse, Problem> {
    let known = match id.parse::<i64>() {
        Ok(number) => state.store.replay_delivery(number, state.clock.now_ms()).await.map(|replay| (number, replay))?,
        Err(_) => (0, Replay::Unknown),
    };
    match known {
        (id, Replay::Begun) => Ok((StatusCode::ACCEPTED, Json(ReplayView { id, state: "pending" }))),
        (_, Replay::Pending) => Err(Problem::new(Kind::Conflict, "the delivery is still on its way")
            .field("id")
            .value(&*id)
            .fix("wait until it is delivered or dead; GET /deliveries shows when it is tried next")),
        (_, Replay::Unknown) => Err(Problem::not_found("there is no such delivery")
            .field("id")
            .value(&*id)
            .fix("GET /deliveries lists the deliveries that are kept")),
    }
}
