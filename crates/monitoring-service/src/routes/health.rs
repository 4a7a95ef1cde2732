//! Health for probes and people, and the metrics. Looks, and changes nothing.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState,
    error::{Kind, Problem},
    openapi, schema,
    views::At,
};
use crate::{
    ingest::status::IngestStatus,
    liveness::{HUNG_TIMEOUT_MS, Task},
    store::{OutboxState, StoreError},
};

/// A loss of offsets is a worry for this long.
const OFFSET_GAP_DEGRADED_MS: i64 = 3_600_000;

/// A database that answers later than this is not usable.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// `degraded`: something needs a look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Condition {
    Ok,
    Degraded,
}

impl Condition {
    const fn degraded_if(degraded: bool) -> Self {
        if degraded { Self::Degraded } else { Self::Ok }
    }
}

#[derive(Serialize, ToSchema)]
struct HealthView {
    status: Condition,
    parts: PartsView,
}

#[derive(Serialize, ToSchema)]
struct PartsView {
    database: DatabaseView,
    kafka: KafkaView,
    deliveries: OutboxView,
    gaps: LossesView,
    tasks: TasksView,
}

#[derive(Serialize, ToSchema)]
struct DatabaseView {
    status: Condition,
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct KafkaView {
    status: Condition,
    connected: bool,
    /// Since when `connected` is what it is.
    #[schema(value_type = schema::Instant)]
    since: At,
    consuming: bool,
    caught_up: bool,
    partitions: usize,
    lag: Option<u64>,
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct OutboxView {
    status: Condition,
    pending: Option<u64>,
    dead: Option<u64>,
    #[schema(value_type = Option<schema::Instant>)]
    oldest_pending_at: Option<At>,
}

#[derive(Serialize, ToSchema)]
struct LossesView {
    status: Condition,
    #[schema(value_type = Option<schema::Instant>)]
    newest_at: Option<At>,
}

#[derive(Serialize, ToSchema)]
struct TasksView {
    status: Condition,
    /// The task without a sign of life for longest.
    stillest: &'static str,
    still_seconds: i64,
}

/// What the database says about health.
#[derive(Default)]
struct Stored {
    outbox: Option<OutboxState>,
    newest_gap_ms: Option<i64>,
    error: Option<String>,
}

/// How everything stands, for people and dashboards: always 200.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "operations",
    responses((status = 200, description = "How each part stands", body = HealthView), openapi::Any)
)]
pub(super) async fn health(State(state): State<Arc<AppState>>) -> impl IntoResponse {
    let stored = match in_time(read_stored(&state)).await {
        Ok(stored) => stored,
        Err(error) => Stored {
            error: Some(error.to_string()),
            ..Stored::default()
        },
    };
    Json(view(
        stored,
        state.ingest.get(),
        state.liveness.longest_unreported(state.clock.now_ms()),
        state.clock.now_ms(),
    ))
}

async fn read_stored(state: &AppState) -> Result<Stored, StoreError> {
    let outbox = state.store.outbox().await?;
    Ok(Stored {
        outbox: Some(outbox),
        newest_gap_ms: state.store.newest_offset_gap_at().await?,
        error: None,
    })
}

async fn in_time<T>(read: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late =
        || StoreError::Unavailable(format!("no answer within {} s", DATABASE_TIMEOUT.as_secs()));
    tokio::time::timeout(DATABASE_TIMEOUT, read)
        .await
        .unwrap_or_else(|_| Err(late()))
}

fn view(
    stored: Stored,
    feed: IngestStatus,
    (stillest, still_ms): (Task, i64),
    now_ms: i64,
) -> HealthView {
    let Stored {
        outbox,
        newest_gap_ms,
        error,
    } = stored;
    let database = DatabaseView {
        status: Condition::degraded_if(error.is_some()),
        error,
    };
    let deliveries = OutboxView {
        status: Condition::degraded_if(outbox.is_some_and(|outbox| outbox.dead > 0)),
        pending: outbox.map(|outbox| outbox.pending),
        dead: outbox.map(|outbox| outbox.dead),
        oldest_pending_at: outbox
            .and_then(|outbox| outbox.oldest_pending_created_at_ms)
            .map(At),
    };
    let gaps = LossesView {
        status: Condition::degraded_if(
            newest_gap_ms.is_some_and(|at_ms| now_ms - at_ms < OFFSET_GAP_DEGRADED_MS),
        ),
        newest_at: newest_gap_ms.map(At),
    };
    let tasks = TasksView {
        status: Condition::degraded_if(still_ms >= HUNG_TIMEOUT_MS),
        stillest: stillest.name(),
        still_seconds: still_ms / 1000,
    };
    let kafka = kafka_view(feed);
    let conditions = [
        database.status,
        kafka.status,
        deliveries.status,
        gaps.status,
        tasks.status,
    ];
    let status = conditions.into_iter().max().unwrap_or(Condition::Ok);
    HealthView {
        status,
        parts: PartsView {
            database,
            kafka,
            deliveries,
            gaps,
            tasks,
        },
    }
}

fn kafka_view(feed: IngestStatus) -> KafkaView {
    let IngestStatus {
        connected,
        since_ms,
        consuming,
        caught_up,
        partitions,
        lag,
        error,
        ..
    } = feed;
    let status = Condition::degraded_if(!consuming || error.is_some());
    KafkaView {
        status,
        connected,
        since: At(since_ms),
        consuming,
        caught_up,
        partitions,
        lag,
        error,
    }
}

#[derive(Serialize, ToSchema)]
struct ProbeView {
    #[schema(value_type = schema::ProbeStatus)]
    status: &'static str,
}

/// Alive while its own tasks show signs of life; whatever else is down, a restart would not help.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "live",
    tag = "operations",
    security(()),
    responses((status = 200, description = "Its tasks show signs of life", body = ProbeView), openapi::Probe)
)]
pub(super) async fn live(State(state): State<Arc<AppState>>) -> Result<impl IntoResponse, Problem> {
    let Some((task, still_ms)) = state.liveness.hung(state.clock.now_ms()) else {
        return Ok(Json(ProbeView { status: "alive" }));
    };
    let detail = format!(
        "the task {} has shown no sign of life for {} s",
        task.name(),
        still_ms / 1000
    );
    Err(Problem::new(Kind::Unavailable, detail).fix("restart the service"))
}

/// Ready while the database is usable and no stop has begun. Kafka does not matter to it.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "ready",
    tag = "operations",
    security(()),
    responses((status = 200, description = "Requests can be answered", body = ProbeView), openapi::Probe)
)]
pub(super) async fn ready(
    State(state): State<Arc<AppState>>,
) -> Result<impl IntoResponse, Problem> {
    if state.draining.is_cancelled() {
        return Err(
            Problem::new(Kind::Unavailable, "the service is stopping").fix("ask another instance")
        );
    }
    in_time(state.store.next_delivery_at()).await?;
    Ok(Json(ProbeView { status: "ready" }))
}

/// The metrics.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "operations",
    responses((status = 200, description = "Prometheus text format 0.0.4", body = String, content_type = "text/plain; version=0.0.4"), openapi::Any)
)]
pub(super) async fn metrics(State(state): State<Arc<AppState>>) -> Response {
    (
        [(header::CONTENT_TYPE, common::metrics::CONTENT_TYPE)],
        state.registry.render(),
    )
        .into_response()
}
