//! A broker, a file in memory, and the messages that a consumer reads afterwards.

use std::time::Duration;

use common::clock::Clock;
use common::kafka::KafkaProperties;
use common::metrics::MetricsRegistry;
use detection::{Minute, MinuteCounts};
use embedded_kafka::EmbeddedKafka;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use stream_processor::{
    Kafka, Options, ProcessorMetrics, Remote, Shape, Summary, Timeline, remote, run,
};
use tokio_util::sync::CancellationToken;
use transaction_csv::{LoadOptions, Loaded, load};

pub(crate) const TOPIC: &str = "transactions";

/// Two streams in blocks, one minute missing in `b`: 2 x 3 - 1 messages, 10 rows.
pub(crate) const TWO_STREAMS: &str = "\
timestamp,status,count,stream
2025-07-12 13:47:00,approved,103,a
2025-07-12 13:46:00,approved,102,a
2025-07-12 13:45:00,approved,101,a
2025-07-12 13:45:00,approved,201,b
2025-07-12 13:47:00,approved,203,b
2025-07-12 13:45:00,denied,1,a
2025-07-12 13:46:00,denied,2,a
2025-07-12 13:47:00,denied,3,a
2025-07-12 13:45:00,denied,4,b
2025-07-12 13:47:00,denied,6,b
";

pub(crate) fn file(text: &str) -> Loaded {
    load(text.as_bytes(), &LoadOptions::default()).expect("a good file")
}

pub(crate) fn minute(text: &str) -> Minute {
    text.parse().expect("a timestamp")
}

pub(crate) fn options(bootstrap_servers: String, speed: &str, properties: &str) -> Options {
    let properties = KafkaProperties::parse(properties, &[]).expect("good properties");
    let kafka = Kafka {
        bootstrap_servers,
        topic: TOPIC.to_owned(),
        properties,
    };
    Options {
        kafka,
        speed: speed.parse().expect("a speed"),
        timeline: Timeline::AsInFile,
        shape: Shape::Minutes,
    }
}

/// A replay with its metrics, token and both ends of the remote.
pub(crate) struct Replay {
    pub(crate) registry: MetricsRegistry,
    pub(crate) metrics: ProcessorMetrics,
    pub(crate) handle: stream_processor::Handle,
    pub(crate) shutdown: CancellationToken,
    clock: Clock,
    remote: Remote,
}

impl Replay {
    pub(crate) fn new() -> Self {
        Self::at(Clock::system())
    }

    /// With another clock.
    pub(crate) fn at(clock: Clock) -> Self {
        let (registry, (remote, handle)) = (MetricsRegistry::new(), remote());
        let metrics = ProcessorMetrics::new(&registry);
        Self {
            registry,
            metrics,
            handle,
            shutdown: CancellationToken::new(),
            clock,
            remote,
        }
    }

    pub(crate) async fn run(self, loaded: &Loaded, options: &Options) -> anyhow::Result<Summary> {
        run(
            loaded,
            options,
            &self.metrics,
            self.remote,
            self.clock,
            &self.shutdown,
        )
        .await
    }
}

/// A message as a consumer reads it.
#[derive(Debug)]
pub(crate) struct Consumed {
    pub(crate) key: String,
    pub(crate) payload: String,
    pub(crate) parent: SpanContext,
    pub(crate) sent_at_ms: i64,
}

impl Consumed {
    pub(crate) fn counts(&self) -> MinuteCounts {
        MinuteCounts::from_json(self.payload.as_bytes()).expect("minute counts")
    }
}

/// The first `count` messages of partition 0; none may follow.
pub(crate) fn consume(kafka: &EmbeddedKafka, count: usize) -> Vec<Consumed> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap_servers())
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut partitions = TopicPartitionList::new();
    partitions
        .add_partition_offset(TOPIC, 0, Offset::Offset(0))
        .expect("a partition");
    consumer.assign(&partitions).expect("assigned");
    let messages = (0..count).map(|_| consumed(&consumer)).collect();
    assert_eq!(
        kafka.next_offset(TOPIC, 0),
        i64::try_from(count).ok(),
        "no more and no fewer messages"
    );
    messages
}

fn consumed(consumer: &BaseConsumer) -> Consumed {
    let message = consumer
        .poll(Duration::from_secs(20))
        .expect("a message in time")
        .expect("no error");
    let payload = message.payload().expect("a payload");
    let context = common::propagation::extract(message.headers());
    Consumed {
        key: String::from_utf8(message.key().expect("a key").to_vec()).expect("UTF-8"),
        payload: String::from_utf8(payload.to_vec()).expect("UTF-8"),
        parent: context.span().span_context().clone(),
        sent_at_ms: message.timestamp().to_millis().expect("a timestamp"),
    }
}
