//! A broker, a file in memory, and what a consumer finds afterwards.

use std::time::Duration;

use common::metrics::MetricsRegistry;
use detection::{Minute, MinuteCounts};
use embedded_kafka::EmbeddedKafka;
use opentelemetry::trace::{SpanContext, TraceContextExt};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use stream_processor::{
    Clock, Kafka, Options, ProcessorMetrics, Properties, Remote, Summary, Timeline,
    loader::{LoadOptions, Loaded, load},
    remote, run,
};
use tokio_util::sync::CancellationToken;

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

pub(crate) fn options(brokers: String, speed: &str, properties: &str) -> Options {
    let properties = Properties::parse(properties).expect("good properties");
    let kafka = Kafka {
        brokers,
        topic: TOPIC.to_owned(),
        properties,
    };
    Options {
        kafka,
        speed: speed.parse().expect("a speed"),
        timeline: Timeline::AsInFile,
    }
}

/// A replay of its own: metrics, token, and both ends of the remote.
pub(crate) struct Replay {
    pub(crate) registry: MetricsRegistry,
    pub(crate) own: ProcessorMetrics,
    pub(crate) handle: stream_processor::Handle,
    pub(crate) shutdown: CancellationToken,
    remote: Remote,
}

impl Replay {
    pub(crate) fn new() -> Self {
        let (registry, (remote, handle)) = (MetricsRegistry::new(), remote());
        let own = ProcessorMetrics::new(&registry);
        Self {
            registry,
            own,
            handle,
            shutdown: CancellationToken::new(),
            remote,
        }
    }

    pub(crate) async fn run(self, loaded: &Loaded, options: &Options) -> anyhow::Result<Summary> {
        run(
            loaded,
            options,
            &self.own,
            self.remote,
            Clock::System,
            &self.shutdown,
        )
        .await
    }
}

/// A message as a consumer finds it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) key: String,
    pub(crate) batch: MinuteCounts,
    pub(crate) payload: String,
    pub(crate) parent: SpanContext,
    pub(crate) sent_at_ms: i64,
}

/// The first `count` messages of partition 0; none may follow.
pub(crate) fn consume(kafka: &EmbeddedKafka, count: usize) -> Vec<Found> {
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
    let found = (0..count).map(|_| found(&consumer)).collect();
    assert_eq!(
        kafka.next_offset(TOPIC, 0),
        i64::try_from(count).ok(),
        "no more and no fewer messages"
    );
    found
}

fn found(consumer: &BaseConsumer) -> Found {
    let message = consumer
        .poll(Duration::from_secs(20))
        .expect("a message in time")
        .expect("no error");
    let payload = message.payload().expect("a payload");
    let context = common::propagation::extract(message.headers());
    Found {
        key: String::from_utf8(message.key().expect("a key").to_vec()).expect("UTF-8"),
        batch: MinuteCounts::from_json(payload).expect("a batch"),
        payload: String::from_utf8(payload.to_vec()).expect("UTF-8"),
        parent: context.span().span_context().clone(),
        sent_at_ms: message.timestamp().to_millis().expect("a timestamp"),
    }
}
