//! Delivery reports of librdkafka: each message is counted as acknowledged or failed. It sends nothing.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use common::kafka::UnresolvedBroker;
use detection::Minute;
use opentelemetry::Context;
use opentelemetry::trace::{Status, TraceContextExt};
use prometheus::HistogramTimer;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Kafka, STOP_TIMEOUT};
use crate::metrics::ProcessorMetrics;

/// Messages that Kafka did not acknowledge.
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    pub(crate) count: u64,
    /// The first error, and how to fix it.
    pub(crate) reason: String,
    /// The oldest minute among them.
    pub(crate) earliest: Minute,
}

/// A message that is neither acknowledged nor given up.
pub(super) struct InFlight {
    pub(super) minute: Minute,
    pub(super) rows: u64,
    pub(super) trace: Context,
    pub(super) timer: HistogramTimer,
    pub(super) _slot: OwnedSemaphorePermit,
}

/// Receives the delivery reports of librdkafka, on its threads.
pub(super) struct Deliveries {
    pub(super) kafka: Kafka,
    pub(super) metrics: ProcessorMetrics,
    stop: CancellationToken,
    failed: AtomicU64,
    first_error: OnceLock<KafkaError>,
    earliest: AtomicI64,
    /// The last broker whose name could not be resolved.
    unresolved: Mutex<Option<UnresolvedBroker>>,
    /// True from the first connection error to the next acknowledgement.
    unreachable: AtomicBool,
}

impl Deliveries {
    /// The first failed delivery cancels `stop`.
    pub(super) fn new(kafka: &Kafka, metrics: &ProcessorMetrics, stop: CancellationToken) -> Self {
        Self {
            kafka: kafka.clone(),
            metrics: metrics.clone(),
            stop,
            failed: AtomicU64::new(0),
            first_error: OnceLock::new(),
            earliest: AtomicI64::new(i64::MAX),
            unresolved: Mutex::default(),
            unreachable: AtomicBool::new(false),
        }
    }

    fn acknowledged(&self, message: InFlight) {
        if self.unreachable.load(Relaxed) && self.unreachable.swap(false, Relaxed) {
            let servers = &self.kafka.bootstrap_servers;
            info!(bootstrap_servers = servers, "Kafka is reachable");
        }
        self.metrics.in_flight_messages.dec();
        self.metrics.messages_produced.inc();
        self.metrics.rows_produced.inc_by(message.rows);
        message.timer.observe_duration();
        message.trace.span().end();
    }

    pub(super) fn failed(&self, error: &KafkaError, message: InFlight) {
        self.metrics.in_flight_messages.dec();
        self.metrics.delivery_errors.inc();
        message.timer.stop_and_discard();
        message
            .trace
            .span()
            .set_status(Status::error(error.to_string()));
        message.trace.span().end();
        self.first_error.get_or_init(|| error.clone());
        self.earliest
            .fetch_min(message.minute.epoch_minutes(), Relaxed);
        self.failed.fetch_add(1, Relaxed);
        self.stop.cancel();
    }

    pub(super) fn outcome(&self) -> Result<(), Unacknowledged> {
        let Some(error) = self.first_error.get() else {
            return Ok(());
        };
        Err(Unacknowledged {
            count: self.failed.load(Relaxed),
            reason: format!("{error}: {}", self.advice(error)),
            earliest: Minute::from_epoch_minutes(self.earliest.load(Relaxed)),
        })
    }

    fn unresolved(&self) -> MutexGuard<'_, Option<UnresolvedBroker>> {
        self.unresolved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn advice(&self, error: &KafkaError) -> String {
        use RDKafkaErrorCode as Code;
        let Kafka {
            bootstrap_servers: servers,
            topic,
            ..
        } = &self.kafka;
        let unresolved = self.unresolved().clone();
        match error.rdkafka_error_code() {
            Some(Code::MessageTimedOut) => {
                if let Some(broker) = unresolved {
                    return broker.to_string();
                }
                format!(
                    "no broker at {servers} accepted it within message.timeout.ms; check the address and that Kafka runs. If it runs, start again: librdkafka 2.12 does not connect again after an answer without brokers (its issue 5301)"
                )
            }
            Some(Code::PurgeQueue | Code::PurgeInflight) => {
                format!(
                    "{servers} did not acknowledge it within {} s of the stop",
                    STOP_TIMEOUT.as_secs()
                )
            }
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => {
                format!("create the topic {topic}, or allow {servers} to create topics")
            }
            Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                format!(
                    "the user may not write to the topic {topic}; grant it Write and IdempotentWrite"
                )
            }
            _ => format!("from {servers}, topic {topic}"),
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, message: Box<InFlight>) {
        match result {
            Ok(_) => self.acknowledged(*message),
            Err((error, _)) => self.failed(error, *message),
        }
    }
}

impl ClientContext for Deliveries {
    /// librdkafka reports every attempt. It is logged once per outage, and only if messages wait.
    fn error(&self, error: KafkaError, reason: &str) {
        let unresolved = (error.rdkafka_error_code() == Some(RDKafkaErrorCode::Resolve))
            .then(|| UnresolvedBroker::from_reason(reason))
            .flatten();
        let reason = unresolved
            .as_ref()
            .map_or_else(|| reason.to_owned(), ToString::to_string);
        if unresolved.is_some() {
            *self.unresolved() = unresolved;
        }
        let messages_wait =
            self.metrics.messages_produced.get() == 0 || self.metrics.in_flight_messages.get() > 0;
        if messages_wait && !self.unreachable.swap(true, Relaxed) {
            let servers = &self.kafka.bootstrap_servers;
            warn!(bootstrap_servers = servers, %error, reason, "Kafka is unreachable; still trying");
        } else {
            debug!(%error, reason, "Kafka client error");
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(?level, facility, message, "librdkafka");
    }
}
