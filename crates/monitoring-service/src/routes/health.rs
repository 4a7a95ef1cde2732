//! `GET /health`: the health of each part, for people and dashboards.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Json, extract::State, response::IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState,
    extract::{Nothing, QueryParams},
    openapi,
    schema::Instant,
};
use crate::{
    alerts::inputs::faults,
    context::Context,
    ingest::{
        notes::MessageNotes,
        status::{Acceptance, IngestStatus, Source, StandStill},
    },
    liveness::{HUNG_TIMEOUT_MS, TaskLiveness},
    notify::board::Failing,
    store::{OutboxState, StoreError, StreamInput},
};

/// Health is degraded for this long after an offset gap, milliseconds.
const OFFSET_GAP_DEGRADED_MS: i64 = 3_600_000;

/// A partition that stands still for this long is named, milliseconds.
pub(crate) const STANDS_STILL_MS: i64 = 60_000;

/// Notes about streams that one answer has.
const MAX_NOTES: usize = 20;

/// Time limit for the database to answer.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

/// `degraded`: needs attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    Ok,
    Degraded,
}

impl Condition {
    const fn degraded_if(degraded: bool) -> Self {
        if degraded { Self::Degraded } else { Self::Ok }
    }
}

/// The worst condition, and the condition of each part.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    pub(crate) status: Condition,
    pub(crate) parts: Parts,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Parts {
    pub(crate) database: DatabaseHealth,
    /// Null if the service runs without Kafka.
    pub(crate) kafka: Option<KafkaHealth>,
    pub(crate) messages: MessagesHealth,
    pub(crate) deliveries: DeliveriesHealth,
    pub(crate) offset_gaps: OffsetGapsHealth,
    pub(crate) streams: StreamsHealth,
    pub(crate) tasks: TasksHealth,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct DatabaseHealth {
    pub(crate) status: Condition,
    pub(crate) error: Option<String>,
    /// When all of it was checked for damage since the start; null while the check runs, and with PostgreSQL, which checks its files
    /// itself. Damage ends the service.
    pub(crate) checked_at: Option<Instant>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct KafkaHealth {
    pub(crate) status: Condition,
    pub(crate) connected: bool,
    /// When `connected` last changed.
    pub(crate) since: Instant,
    pub(crate) consuming: bool,
    pub(crate) caught_up: bool,
    pub(crate) partitions: usize,
    pub(crate) lag: Option<u64>,
    /// The partitions that stand still for a minute while messages wait. The others are read, unless `error` says more.
    pub(crate) standing_still: Vec<StandingStill>,
    /// Why most of the newest messages are dead letters; null if they are not.
    pub(crate) rejecting: Option<String>,
    pub(crate) error: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct StandingStill {
    pub(crate) partition: i32,
    /// The offset that is read next.
    pub(crate) offset: i64,
    /// Messages that wait from there on.
    pub(crate) waiting: i64,
    /// When the last one was read.
    pub(crate) since: Instant,
}

impl From<StandStill> for StandingStill {
    fn from(still: StandStill) -> Self {
        Self {
            partition: still.partition,
            offset: still.offset,
            waiting: still.waiting,
            since: Instant(still.since_ms),
        }
    }
}

/// What was noticed in messages since the start.
#[derive(Serialize, ToSchema)]
pub(crate) struct MessagesHealth {
    /// Degraded while `fault` says what is wrong with most messages.
    pub(crate) status: Condition,
    /// That producers of different keys replace each other's minutes, or that counts grow, and what to do; null if neither is so.
    pub(crate) fault: Option<String>,
    /// Unknown fields, each with the number of its messages.
    pub(crate) unknown_fields: BTreeMap<String, u64>,
    /// Messages whose Kafka key is not their stream.
    pub(crate) other_keys: u64,
    /// Transactions of statuses that STATUS_ALIASES ignores.
    pub(crate) ignored_statuses: u64,
    /// Local times that occurred twice; the earlier was taken.
    pub(crate) ambiguous_times: u64,
    /// Streams on more than one partition, whose minutes close with the slowest.
    pub(crate) split_streams: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveriesHealth {
    pub(crate) status: Condition,
    pub(crate) pending: Option<u64>,
    pub(crate) dead: Option<u64>,
    pub(crate) oldest_pending_at: Option<Instant>,
    /// Each configured receiver, by name.
    pub(crate) receivers: Vec<ReceiverHealth>,
    /// The fallback, if there is one.
    pub(crate) fallback: Option<FallbackHealth>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct FallbackHealth {
    pub(crate) receiver: String,
    /// The failing receivers whose messages it gets.
    pub(crate) stands_in_for: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ReceiverHealth {
    pub(crate) name: String,
    /// `degraded` from a failed attempt until one succeeds.
    pub(crate) status: Condition,
    pub(crate) failing_since: Option<Instant>,
    /// Failed attempts in a row.
    pub(crate) failed_attempts: u32,
    pub(crate) last_error: Option<String>,
    pub(crate) next_attempt_at: Option<Instant>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct OffsetGapsHealth {
    pub(crate) status: Condition,
    pub(crate) newest_at: Option<Instant>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct StreamsHealth {
    /// Degraded if nobody can be notified about a stream because of the minutes that it sends.
    pub(crate) status: Condition,
    /// What is wrong with the minutes of streams, the first 20 notes.
    pub(crate) notes: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct TasksHealth {
    pub(crate) status: Condition,
    /// The task whose last report is the oldest.
    pub(crate) oldest_report: &'static str,
    pub(crate) oldest_report_seconds: i64,
}

/// The health of each part, for people and dashboards: always 200.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "operations",
    responses((status = 200, description = "The health of each part", body = Health), openapi::Query)
)]
pub(super) async fn health(
    State(state): State<Arc<AppState>>,
    QueryParams(Nothing): QueryParams<Nothing>,
) -> impl IntoResponse {
    Json(check(&state).await)
}

/// The health of each part now.
pub(crate) async fn check(state: &Context) -> Health {
    let now_ms = state.clock.now_ms();
    let stored = in_time(stored(state)).await;
    let error = stored.as_ref().err().map(ToString::to_string);
    let error = error.or_else(|| state.store.write_error());
    let Stored {
        outbox,
        newest_gap_ms,
        inputs,
    } = stored.unwrap_or_default();
    let ingest = state.ingest.get();
    let parts = Parts {
        database: DatabaseHealth {
            status: Condition::degraded_if(error.is_some()),
            error,
            checked_at: state.store.checked_at_ms().map(Instant),
        },
        messages: messages(&ingest.notes, now_ms),
        kafka: (ingest.source == Source::Kafka).then(|| kafka_health(ingest, now_ms)),
        deliveries: deliveries(outbox, receivers(state), fallback(state, now_ms)),
        offset_gaps: offset_gaps(newest_gap_ms, now_ms),
        streams: streams(&inputs, now_ms),
        tasks: tasks(&state.liveness, now_ms),
    };
    Health {
        status: parts.worst(),
        parts,
    }
}

impl Parts {
    fn worst(&self) -> Condition {
        self.database
            .status
            .max(
                self.kafka
                    .as_ref()
                    .map_or(Condition::Ok, |kafka| kafka.status),
            )
            .max(self.messages.status)
            .max(self.deliveries.status)
            .max(self.offset_gaps.status)
            .max(self.streams.status)
            .max(self.tasks.status)
    }
}

/// What the database says; empty if it does not answer.
#[derive(Default)]
struct Stored {
    outbox: Option<OutboxState>,
    /// When the newest offset gap was detected.
    newest_gap_ms: Option<i64>,
    inputs: Vec<StreamInput>,
}

async fn stored(state: &Context) -> Result<Stored, StoreError> {
    Ok(Stored {
        outbox: Some(state.store.outbox().await?),
        newest_gap_ms: state.store.newest_offset_gap_at().await?,
        inputs: state.store.stream_inputs().await?,
    })
}

pub(super) async fn in_time<T>(
    read: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(DATABASE_TIMEOUT, read)
        .await
        .unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!(
                "no answer within {} s",
                DATABASE_TIMEOUT.as_secs()
            )))
        })
}

/// The health of reading from Kafka.
pub(crate) fn kafka_health(ingest: IngestStatus, now_ms: i64) -> KafkaHealth {
    let standing = ingest.standing_longer_than(STANDS_STILL_MS, now_ms);
    let error = standing.as_ref().map(ToString::to_string).or(ingest.error);
    let standing = standing.map_or_else(Vec::new, |standing| standing.partitions);
    let rejecting = match ingest.acceptance {
        Acceptance::Rejecting(why) => Some(why),
        Acceptance::Unknown | Acceptance::Accepting => None,
    };
    let faulty = !ingest.consuming || error.is_some() || rejecting.is_some();
    KafkaHealth {
        status: Condition::degraded_if(faulty),
        rejecting,
        connected: ingest.connected,
        since: Instant(ingest.since_ms),
        consuming: ingest.consuming,
        caught_up: ingest.caught_up,
        partitions: ingest.partitions,
        lag: ingest.lag,
        standing_still: standing.into_iter().map(StandingStill::from).collect(),
        error,
    }
}

fn messages(notes: &MessageNotes, now_ms: i64) -> MessagesHealth {
    let fault = notes.fault(now_ms);
    MessagesHealth {
        status: Condition::degraded_if(fault.is_some()),
        fault: fault.map(|fault| format!("{}; {}", fault.what(), fault.fix())),
        unknown_fields: notes.unknown_fields.clone(),
        other_keys: notes.other_keys,
        ignored_statuses: notes.ignored_statuses,
        ambiguous_times: notes.ambiguous_times,
        split_streams: notes.split_streams,
    }
}

fn receivers(context: &Context) -> Vec<ReceiverHealth> {
    let all = context.receivers.all().into_iter();
    let health = |(name, failing): (String, Option<Failing>)| {
        let failing = failing.as_ref();
        ReceiverHealth {
            name,
            status: Condition::degraded_if(failing.is_some()),
            failing_since: failing.map(|failing| Instant(failing.since_ms)),
            failed_attempts: failing.map_or(0, |failing| failing.attempts),
            last_error: failing.map(|failing| failing.error.clone()),
            next_attempt_at: failing.map(|failing| Instant(failing.retry_at_ms)),
        }
    };
    all.map(health).collect()
}

fn fallback(context: &Context, now_ms: i64) -> Option<FallbackHealth> {
    let fallback = context.notify.fallback.as_ref()?;
    let replaced = context.receivers.replaced_by(fallback, now_ms).into_iter();
    Some(FallbackHealth {
        receiver: fallback.receiver.clone(),
        stands_in_for: replaced.map(|(name, _)| name).collect(),
    })
}

fn deliveries(
    outbox: Option<OutboxState>,
    receivers: Vec<ReceiverHealth>,
    fallback: Option<FallbackHealth>,
) -> DeliveriesHealth {
    let dead = Condition::degraded_if(outbox.is_some_and(|outbox| outbox.dead > 0));
    let oldest_ms = outbox.and_then(|outbox| outbox.oldest_pending_created_at_ms);
    DeliveriesHealth {
        status: receivers
            .iter()
            .map(|receiver| receiver.status)
            .fold(dead, Ord::max),
        pending: outbox.map(|outbox| outbox.pending),
        dead: outbox.map(|outbox| outbox.dead),
        oldest_pending_at: oldest_ms.map(Instant),
        receivers,
        fallback,
    }
}

fn offset_gaps(newest_ms: Option<i64>, now_ms: i64) -> OffsetGapsHealth {
    let recent = newest_ms.is_some_and(|at_ms| now_ms - at_ms < OFFSET_GAP_DEGRADED_MS);
    OffsetGapsHealth {
        status: Condition::degraded_if(recent),
        newest_at: newest_ms.map(Instant),
    }
}

fn streams(inputs: &[StreamInput], now_ms: i64) -> StreamsHealth {
    let faults: Vec<_> = inputs
        .iter()
        .flat_map(|input| faults(input, now_ms))
        .collect();
    let degraded = faults.iter().any(|(fault, _)| fault.degrades());
    let notes = faults.into_iter().take(MAX_NOTES).map(|(_, note)| note);
    StreamsHealth {
        status: Condition::degraded_if(degraded),
        notes: notes.collect(),
    }
}

fn tasks(liveness: &TaskLiveness, now_ms: i64) -> TasksHealth {
    let (task, unreported_ms) = liveness.longest_unreported(now_ms);
    TasksHealth {
        status: Condition::degraded_if(unreported_ms >= HUNG_TIMEOUT_MS),
        oldest_report: task.name(),
        oldest_report_seconds: unreported_ms / 1000,
    }
}
