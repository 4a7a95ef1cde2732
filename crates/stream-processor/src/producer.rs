//! The way to Kafka: an idempotent producer that is never waited for message by message and yet accounts for each. Knows no schedule.
//!
//! A message holds one of [`IN_FLIGHT`] slots until its delivery is known, so memory stays bounded and "all slots are free" means "all acknowledged or failed".

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{propagation, trace};
use detection::{Minute, MinuteCounts};
use opentelemetry::{
    Context, KeyValue,
    global::BoxedTracer,
    trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer},
};
use prometheus::HistogramTimer;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::OwnedHeaders,
    producer::{
        BaseRecord, DeliveryResult, Producer, ProducerContext, PurgeConfig, ThreadedProducer,
    },
    types::RDKafkaConfRes,
};
use tokio::{
    select,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{metrics::ProcessorMetrics, properties::Properties, replay::Speed};

/// Messages sent and not acknowledged, at most.
const IN_FLIGHT: u32 = 10_000;

/// Slots are taken by so many at a time: one by one, each acknowledgement would wake the sender for a single message (half as fast on two cores).
const SLOTS_AT_ONCE: u32 = 1_000;

/// How long what is in flight may still take after a stop.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How long Kafka may be away before a message is given up: nothing depends on which side starts first.
const MESSAGE_TIMEOUT_MS: &str = "600000";

/// Where to send.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `host:port,...`
    pub brokers: String,
    /// The topic; made at the first message where the broker allows it.
    pub topic: String,
    /// More settings for librdkafka.
    pub properties: Properties,
}

/// Messages that Kafka did not acknowledge.
#[derive(Debug)]
pub(crate) struct Unacknowledged {
    pub(crate) count: u64,
    /// The first error, and what to do about it.
    pub(crate) reason: String,
    /// The oldest minute among them.
    pub(crate) earliest: Minute,
}

/// Sends batches.
pub(crate) struct Publisher {
    producer: ThreadedProducer<Deliveries>,
    slots: Arc<Semaphore>,
    /// Taken and not used yet.
    spare: Option<OwnedSemaphorePermit>,
    tracer: BoxedTracer,
    attributes: [KeyValue; 4],
}

impl Publisher {
    /// Does not wait for a broker. The first failed delivery cancels `stop`.
    pub(crate) fn new(
        kafka: &Kafka,
        speed: Speed,
        registry: &ProcessorMetrics,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let deliveries = Deliveries {
            kafka: kafka.clone(),
            registry: registry.clone(),
            stop,
            failed: AtomicU64::new(0),
            first_error: OnceLock::new(),
            earliest: AtomicI64::new(i64::MAX),
            away: AtomicBool::new(false),
        };
        common::kafka::require_tls(kafka.properties.iter())?;
        let producer = config(kafka, speed)
            .create_with_context(deliveries)
            .map_err(refused)?;
        let attributes = [
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", kafka.topic.clone()),
        ];
        let slots = Arc::new(Semaphore::new(IN_FLIGHT as usize));
        Ok(Self {
            producer,
            slots,
            spare: None,
            tracer: trace::tracer(),
            attributes,
        })
    }

    /// Room for one more message, or nothing once `stop` is cancelled.
    pub(crate) async fn slot(&mut self, stop: &CancellationToken) -> Option<OwnedSemaphorePermit> {
        if let Some(slot) = self.spare.as_mut().and_then(|spare| spare.split(1)) {
            return Some(slot);
        }
        // A flood never waits for anything else: here signals, progress and metrics get their turn.
        yield_now().await;
        self.spare = select! {
            biased;
            slots = Arc::clone(&self.slots).acquire_many_owned(SLOTS_AT_ONCE) => slots.ok(),
            () = stop.cancelled() => None,
        };
        self.spare.as_mut()?.split(1)
    }

    /// Queues a batch under a root span of its own, which ends with the delivery.
    pub(crate) fn send(&self, batch: &MinuteCounts, slot: OwnedSemaphorePermit) {
        let deliveries = self.producer.context();
        let (key, topic) = (batch.stream().as_str(), &deliveries.kafka.topic);
        let trace = self.root_span(topic, key);
        let headers = propagation::inject(&trace, OwnedHeaders::new_with_capacity(1));
        let payload = batch.to_json();
        let message = Message {
            minute: batch.minute(),
            rows: batch.transactions().len() as u64,
            trace,
            timer: deliveries.registry.delivery_seconds.start_timer(),
            _slot: slot,
        };
        deliveries.registry.in_flight_messages.inc();
        let record = BaseRecord::with_opaque_to(topic, Box::new(message))
            .key(key)
            .payload(&payload)
            .headers(headers);
        // The queue holds more than there are slots, so what is refused here is refused for good.
        if let Err((error, record)) = self.producer.send(record) {
            deliveries.failed(&error, *record.delivery_opaque);
        }
    }

    /// Waits until every message is acknowledged or given up; after a stop, not for long.
    pub(crate) async fn finish(mut self, stop: &CancellationToken) -> Result<(), Unacknowledged> {
        self.spare = None;
        let patience = async {
            stop.cancelled().await;
            sleep(STOP_PATIENCE).await;
        };
        select! {
            biased;
            _ = self.slots.acquire_many(IN_FLIGHT) => {}
            () = patience => {
                self.producer.purge(PurgeConfig::default().queue().inflight());
                // Each purged message reports itself, as failed.
                let _ = self.slots.acquire_many(IN_FLIGHT).await;
            }
        }
        self.producer.context().outcome()
    }

    fn root_span(&self, topic: &str, key: &str) -> Context {
        let [system, name, kind, destination] = self.attributes.clone();
        let key = KeyValue::new("messaging.kafka.message.key", key.to_owned());
        let span = SpanBuilder::from_name(format!("send {topic}"))
            .with_kind(SpanKind::Producer)
            .with_attributes([system, name, kind, destination, key]);
        let root = Context::new();
        root.with_span(self.tracer.build_with_context(span, &root))
    }
}

/// A message under way.
struct Message {
    minute: Minute,
    rows: u64,
    trace: Context,
    timer: HistogramTimer,
    _slot: OwnedSemaphorePermit,
}

/// What librdkafka reports, from its own threads.
struct Deliveries {
    kafka: Kafka,
    registry: ProcessorMetrics,
    stop: CancellationToken,
    failed: AtomicU64,
    first_error: OnceLock<KafkaError>,
    earliest: AtomicI64,
    /// True between the first sign that Kafka is away and the next acknowledgement.
    away: AtomicBool,
}

impl Deliveries {
    fn acknowledged(&self, message: Message) {
        if self.away.load(Relaxed) && self.away.swap(false, Relaxed) {
            info!(brokers = self.kafka.brokers, "Kafka answers");
        }
        self.registry.in_flight_messages.dec();
        self.registry.messages_produced.inc();
        self.registry.rows_produced.inc_by(message.rows);
        message.timer.observe_duration();
        message.trace.span().end();
    }

    fn failed(&self, error: &KafkaError, message: Message) {
        self.registry.in_flight_messages.dec();
        self.registry.delivery_errors.inc();
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

    fn outcome(&self) -> Result<(), Unacknowledged> {
        let Some(error) = self.first_error.get() else {
            return Ok(());
        };
        Err(Unacknowledged {
            count: self.failed.load(Relaxed),
            reason: format!("{error}: {}", self.advice(error)),
            earliest: Minute::from_epoch_minutes(self.earliest.load(Relaxed)),
        })
    }

    fn advice(&self, error: &KafkaError) -> String {
        use RDKafkaErrorCode as Code;
        let Kafka { brokers, topic, .. } = &self.kafka;
        match error.rdkafka_error_code() {
            Some(Code::MessageTimedOut) => {
                format!(
                    "no broker at {brokers} took it within message.timeout.ms; check the address and that Kafka runs"
                )
            }
            Some(Code::PurgeQueue | Code::PurgeInflight) => {
                format!(
                    "{brokers} did not acknowledge it within {} s of the stop",
                    STOP_PATIENCE.as_secs()
                )
            }
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => {
                format!("create the topic {topic}, or let {brokers} create topics by itself")
            }
            Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                format!(
                    "this user may not write to the topic {topic}; grant it Write and IdempotentWrite"
                )
            }
            _ => format!("from {brokers}, topic {topic}"),
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Message>;

    fn delivery(&self, result: &DeliveryResult<'_>, message: Box<Message>) {
        match result {
            Ok(_) => self.acknowledged(*message),
            Err((error, _)) => self.failed(error, *message),
        }
    }
}

impl ClientContext for Deliveries {
    /// Librdkafka repeats itself at every attempt: said once per outage, with the reason, and not when nothing waits for the broker.
    fn error(&self, error: KafkaError, reason: &str) {
        let missed = self.registry.messages_produced.get() == 0
            || self.registry.in_flight_messages.get() > 0;
        if missed && !self.away.swap(true, Relaxed) {
            warn!(brokers = self.kafka.brokers, %error, reason, "Kafka cannot be reached yet; still trying, no need to start again");
        } else {
            debug!(%error, reason, "Kafka client error");
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(?level, facility, message, "librdkafka");
    }
}

fn config(kafka: &Kafka, speed: Speed) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", "stream-processor")
        .set("message.timeout.ms", MESSAGE_TIMEOUT_MS)
        .set("reconnect.backoff.max.ms", "1000")
        // A paced minute has nothing to wait for; a flood gains from larger requests.
        .set("linger.ms", if speed == Speed::Max { "5" } else { "0" });
    for (key, value) in kafka.properties.iter() {
        config.set(key, value);
    }
    config
        .set("bootstrap.servers", &kafka.brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("queue.buffering.max.messages", (2 * IN_FLIGHT).to_string())
        .set("queue.buffering.max.kbytes", "2097151");
    config
}

/// Why librdkafka does not accept its settings, without the values, which may be secret.
fn refused(error: KafkaError) -> anyhow::Error {
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, key, _) => {
            anyhow::anyhow!("KAFKA_PROPERTIES: librdkafka knows no property {key:?}")
        }
        KafkaError::ClientConfig(_, _, key, _) => {
            anyhow::anyhow!(
                "KAFKA_PROPERTIES: the value of {key:?} is not allowed; see librdkafka's CONFIGURATION.md"
            )
        }
        error => anyhow::anyhow!(error).context("librdkafka refuses the settings"),
    }
}
