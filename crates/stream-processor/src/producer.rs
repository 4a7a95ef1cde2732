//! The producer: sends messages to Kafka without waiting for each, and accounts for every delivery. It
//! knows no schedule.
//!
//! A message holds one of [`MAX_IN_FLIGHT`] slots until its delivery is known. So memory is bounded, and
//! once all slots are free, every message is acknowledged or has failed.

use std::sync::Arc;
use std::time::Duration;

use common::kafka::KafkaProperties;
use common::{propagation, trace};
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{SpanBuilder, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, Producer, PurgeConfig, ThreadedProducer};
use rdkafka::types::RDKafkaConfRes;
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

mod deliveries;

pub(crate) use deliveries::Unacknowledged;

use self::deliveries::{Deliveries, InFlight};
use crate::metrics::ProcessorMetrics;
use crate::shape::Body;
use crate::speed::Speed;

/// Messages sent and not yet acknowledged.
const MAX_IN_FLIGHT: u32 = 10_000;

/// Slots acquired at a time. One at a time is half as fast on two cores, because each
/// acknowledgement would wake the sender for a single message.
const SLOTS_AT_ONCE: u32 = 1_000;

/// Time limit for messages in flight after a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a message waits for Kafka before it is given up. Kafka may start after this program.
const MESSAGE_TIMEOUT_MS: &str = "600000";

/// Properties that this program sets itself: its promise that each message is acknowledged, in order,
/// and its memory limit depend on them.
pub(crate) const OWNED_PROPERTIES: [&str; 10] = [
    "acks",
    "bootstrap.servers",
    "delivery.report.only.error",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "metadata.broker.list",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "request.required.acks",
    "transactional.id",
];

/// Where to send.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `host:port,...`
    pub bootstrap_servers: String,
    /// The topic. If it is missing, the first message creates it, where the broker allows that.
    pub topic: String,
    /// More librdkafka properties.
    pub properties: KafkaProperties,
}

/// Sends messages.
pub(crate) struct Publisher {
    producer: ThreadedProducer<Deliveries>,
    slots: Arc<Semaphore>,
    /// Slots acquired and not yet used.
    spare: Option<OwnedSemaphorePermit>,
    tracer: BoxedTracer,
    attributes: [KeyValue; 4],
}

impl Publisher {
    /// Does not wait for a broker. The first failed delivery cancels `stop`.
    pub(crate) fn new(
        kafka: &Kafka,
        speed: Speed,
        metrics: &ProcessorMetrics,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let producer = config(kafka, speed)
            .create_with_context(Deliveries::new(kafka, metrics, stop))
            .map_err(refused)?;
        let attributes = [
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.name", "send"),
            KeyValue::new("messaging.operation.type", "send"),
            KeyValue::new("messaging.destination.name", kafka.topic.clone()),
        ];
        let slots = Arc::new(Semaphore::new(MAX_IN_FLIGHT as usize));
        Ok(Self {
            producer,
            slots,
            spare: None,
            tracer: trace::tracer(),
            attributes,
        })
    }

    /// A slot for one more message, or `None` once `stop` is cancelled.
    pub(crate) async fn slot(&mut self, stop: &CancellationToken) -> Option<OwnedSemaphorePermit> {
        if let Some(slot) = self.spare.as_mut().and_then(|spare| spare.split(1)) {
            return Some(slot);
        }
        // At `--speed max` nothing else waits, so signals, progress and metrics get their turn here.
        yield_now().await;
        self.spare = select! {
            biased;
            slots = Arc::clone(&self.slots).acquire_many_owned(SLOTS_AT_ONCE) => slots.ok(),
            () = stop.cancelled() => None,
        };
        self.spare.as_mut()?.split(1)
    }

    /// Queues one message under a root span of its own, which ends with the delivery.
    pub(crate) fn send(&self, body: &Body, slot: OwnedSemaphorePermit) {
        let deliveries = self.producer.context();
        let (key, topic) = (body.stream().as_str(), &deliveries.kafka.topic);
        let trace = self.root_span(topic, key);
        let headers = propagation::inject(&trace, OwnedHeaders::new_with_capacity(1));
        let payload = body.to_json();
        let message = InFlight {
            minute: body.minute(),
            rows: body.rows(),
            trace,
            timer: deliveries.metrics.delivery_duration.start_timer(),
            _slot: slot,
        };
        deliveries.metrics.in_flight_messages.inc();
        let record = BaseRecord::with_opaque_to(topic, Box::new(message))
            .key(key)
            .payload(&payload)
            .headers(headers);
        // The queue is larger than the number of slots, so an error here is never a full queue.
        if let Err((error, record)) = self.producer.send(record) {
            deliveries.failed(&error, *record.delivery_opaque);
        }
    }

    /// Waits until every message is acknowledged or given up; after a stop, for 10 s at most.
    pub(crate) async fn finish(mut self, stop: &CancellationToken) -> Result<(), Unacknowledged> {
        self.spare = None;
        let timeout = async {
            stop.cancelled().await;
            sleep(STOP_TIMEOUT).await;
        };
        select! {
            biased;
            _ = self.slots.acquire_many(MAX_IN_FLIGHT) => {}
            () = timeout => {
                self.producer.purge(PurgeConfig::default().queue().inflight());
                // Each purged message is reported as failed.
                let _ = self.slots.acquire_many(MAX_IN_FLIGHT).await;
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

fn config(kafka: &Kafka, speed: Speed) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("client.id", "stream-processor")
        .set("message.timeout.ms", MESSAGE_TIMEOUT_MS)
        .set("reconnect.backoff.max.ms", "1000")
        // A paced minute is sent alone; at `--speed max` larger requests are faster.
        .set("linger.ms", if speed == Speed::Max { "5" } else { "0" });
    for (key, value) in kafka.properties.pairs() {
        config.set(key, value);
    }
    config
        .set("bootstrap.servers", &kafka.bootstrap_servers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set(
            "queue.buffering.max.messages",
            (2 * MAX_IN_FLIGHT).to_string(),
        )
        .set("queue.buffering.max.kbytes", "2097151");
    config
}

/// Why librdkafka refuses its properties, without their values, which may be secret.
fn refused(error: KafkaError) -> anyhow::Error {
    match error {
        KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, key, _) => {
            anyhow::anyhow!(
                "KAFKA_PROPERTIES: librdkafka has no property {key:?}; check its CONFIGURATION.md"
            )
        }
        KafkaError::ClientConfig(_, _, key, _) => {
            anyhow::anyhow!(
                "KAFKA_PROPERTIES: librdkafka refuses the value of {key:?}; check its CONFIGURATION.md"
            )
        }
        error => anyhow::anyhow!(error).context("librdkafka cannot create a producer"),
    }
}
