//! The consumer: its configuration, the topic's metadata, the assignment. Messages are read in `ingest`.

use std::{
    collections::BTreeMap,
    net::ToSocketAddrs as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use common::kafka::UnresolvedBroker;
use rdkafka::{
    ClientConfig, ClientContext, Message as _, Offset, TopicPartitionList,
    client::Client,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
    metadata::{MetadataBroker, MetadataPartition, MetadataTopic},
    statistics::Statistics,
};

use super::{KafkaInput, Settings, membership, membership::Membership, plan::Log};

/// Time limit of one request to the brokers.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Time for the brokers to answer before a consumer is closed.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The same at the stop of a member of a group: while the group assigns, it answers no sooner, and a member that does not leave keeps its
/// partitions until its session ends. The tasks beside it stop meanwhile, within seven seconds.
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Receives librdkafka's own log lines and statistics, and what the group assigns.
#[derive(Default)]
pub(super) struct Watcher {
    /// The end of each partition's log, from the last statistics.
    ends: Mutex<BTreeMap<i32, i64>>,
    /// True once a failed authentication was logged.
    refused: AtomicBool,
    /// The addresses that the brokers advertised last.
    brokers: Mutex<Vec<String>>,
    /// What the group assigned.
    pub(super) membership: Mutex<Membership>,
}

impl Watcher {
    /// The end of each partition's log, from the last statistics.
    pub(super) fn each_end(&self, note: impl FnMut((i32, i64))) {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.iter()
            .map(|(&partition, &end)| (partition, end))
            .for_each(note);
    }

    fn note_brokers(&self, brokers: &[MetadataBroker]) {
        let address = |broker: &MetadataBroker| format!("{}:{}", broker.host(), broker.port());
        let addresses = brokers.iter().map(address).collect();
        *self.brokers.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Forgets the ends, since the topic may be another one.
    pub(super) fn forget_ends(&self) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.clear();
    }
}

impl ClientContext for Watcher {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Ingest logs a lost connection once; librdkafka repeats it for each broker and try.
        tracing::debug!(target: "librdkafka", ?level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Refused credentials and certificates otherwise look like a lost connection.
        let refused = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL)
        );
        if refused && !self.refused.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, reason, "Kafka authentication failed; check KAFKA_PROPERTIES");
        } else {
            tracing::debug!(target: "librdkafka", %error, reason);
        }
    }

    fn stats(&self, statistics: Statistics) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        for partition in statistics
            .topics
            .into_values()
            .flat_map(|topic| topic.partitions.into_values())
        {
            if partition.hi_offset >= 0 {
                ends.insert(partition.partition, partition.hi_offset);
            }
        }
    }
}

pub(super) type KafkaConsumer = BaseConsumer<Watcher>;

/// A topic, from the brokers' metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub(super) cluster_id: String,
    /// Empty while the topic does not exist.
    pub(super) partitions: Vec<i32>,
    /// Why the broker does not describe the topic; none while it does not exist.
    pub(super) refused: Option<RDKafkaErrorCode>,
}

/// Creates the consumer. It needs no connection, so an error is a configuration error.
pub(super) fn consumer(settings: &Settings) -> anyhow::Result<KafkaConsumer> {
    config(settings)
        .create_with_context(Watcher::default())
        .context("the Kafka consumer cannot be created; check KAFKA_BOOTSTRAP_SERVERS and KAFKA_PROPERTIES")
}

/// The timestamp of the record at an offset, milliseconds since 1970; none if it was deleted.
pub(super) fn timestamp_at(
    settings: &Settings,
    partition: i32,
    offset: i64,
) -> Result<Option<i64>, KafkaError> {
    let probe = Probe::new(settings)?;
    match probe.poll(partition, offset)? {
        Some(Ok(message)) if message.offset() == offset => Ok(message.timestamp().to_millis()),
        _ => Ok(None),
    }
}

/// Another consumer, which reads one record, so that the main one keeps its fetched messages.
pub(super) struct Probe<'s> {
    consumer: KafkaConsumer,
    topic: &'s str,
}

impl<'s> Probe<'s> {
    pub(super) fn new(settings: &'s Settings) -> Result<Self, KafkaError> {
        Ok(Self {
            consumer: config(settings).create_with_context(Watcher::default())?,
            topic: &settings.topic,
        })
    }

    fn poll(
        &self,
        partition: i32,
        offset: i64,
    ) -> Result<Option<Result<BorrowedMessage<'_>, KafkaError>>, KafkaError> {
        assign(&self.consumer, self.topic, [(partition, offset)])?;
        Ok(self.consumer.poll(REQUEST_TIMEOUT))
    }

    /// The error of the record at an offset; none if it can be read, or nothing came.
    pub(super) fn error_at(
        &self,
        partition: i32,
        offset: i64,
    ) -> Result<Option<KafkaError>, KafkaError> {
        let polled = self.poll(partition, offset)?;
        let error = polled.and_then(Result::err);
        Ok(error.filter(|error| {
            matches!(error, KafkaError::MessageConsumption(_)) && !is_of_connection(error)
        }))
    }
}

/// Closes a consumer, which leaves its group at once. That waits for the answers to its last commits, a minute from a broker that hangs; after
/// the time limit the rest is left to a thread, since the offsets that count are in the database. False if it is.
pub(super) fn close(consumer: KafkaConsumer, limit: Duration) -> bool {
    membership::give_up(&consumer);
    let (closed, outcome) = mpsc::channel();
    let close = move || {
        drop(consumer);
        // Nobody waits any more after the timeout.
        let _ = closed.send(());
    };
    let thread = thread::Builder::new().name("kafka-close".to_owned());
    let is_closed = thread.spawn(close).is_ok() && outcome.recv_timeout(limit).is_ok();
    if !is_closed {
        tracing::warn!(
            "the brokers do not answer the last requests; lag tools show old offsets, and the partitions stay in the group until its session timeout"
        );
    }
    is_closed
}

fn config(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    // Without it, damaged records are read as something else, or their partition stands still without an error.
    config.set("check.crcs", "true");
    // What waits for another partition is kept, and each partition brings up to this much at once. Ingest of single transactions waits
    // for smaller fetches; minutes of many streams are a few bytes each, and larger ones only go cold.
    let fetch_bytes = match settings.input {
        KafkaInput::Transactions => "262144",
        KafkaInput::Minutes | KafkaInput::Updates => "65536",
    };
    config.set("fetch.message.max.bytes", fetch_bytes);
    if settings.joins_group {
        config
            // The others take over from an instance that is gone after this time, and from one that does not poll, as without a database.
            .set("session.timeout.ms", "10000")
            // How soon they learn that one has stopped or joined.
            .set("heartbeat.interval.ms", "400")
            .set("max.poll.interval.ms", "60000")
            // How soon new partitions are assigned.
            .set("topic.metadata.refresh.interval.ms", "30000");
    }
    for (key, value) in settings.properties.pairs() {
        config.set(key, value);
    }
    config
        .set(
            "bootstrap.servers",
            settings.bootstrap_servers.as_deref().unwrap_or_default(),
        )
        .set("group.id", &settings.group_id)
        // Offsets live in SQLite: librdkafka must not store or reset any.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("enable.partition.eof", "true")
        // With the defaults a fast consumer stalls for a second and resumes nine seconds after an outage.
        .set("fetch.queue.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "1000")
        // A request to a broker waits behind the fetch before it: half a second by default.
        .set("fetch.wait.max.ms", "100")
        .set("queued.min.messages", "5000")
        .set("queued.max.messages.kbytes", "4096")
        .set("statistics.interval.ms", "5000")
        .set("client.id", "monitoring-service");
    if settings.joins_group {
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    config
}

/// True for an error of the connection itself.
pub(super) fn is_of_connection(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::MessageConsumption(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

/// Asks the brokers for the topic.
pub(super) fn topic(client: &Client<Watcher>, name: &str) -> Result<Topic, KafkaError> {
    let metadata = client.fetch_metadata(Some(name), REQUEST_TIMEOUT)?;
    client.context().note_brokers(metadata.brokers());
    let cluster_id = client
        .fetch_cluster_id(REQUEST_TIMEOUT)
        .ok_or(KafkaError::MetadataFetch(
            RDKafkaErrorCode::OperationTimedOut,
        ))?;
    let found = metadata.topics().iter().find(|topic| topic.name() == name);
    let error = found
        .and_then(MetadataTopic::error)
        .map(RDKafkaErrorCode::from);
    let mut partitions: Vec<_> = found
        .filter(|_| error.is_none())
        .into_iter()
        .flat_map(MetadataTopic::partitions)
        .map(MetadataPartition::id)
        .collect();
    partitions.sort_unstable();
    Ok(Topic {
        cluster_id,
        partitions,
        refused: error.filter(|code| !is_missing(*code)),
    })
}

/// The first broker that is advertised under a name that cannot be resolved here. The brokers are not asked again: once librdkafka knows
/// their names, it may ask under no other.
pub(super) fn unresolved_broker(client: &Client<Watcher>) -> Option<UnresolvedBroker> {
    let brokers = &client.context().brokers;
    let brokers = brokers.lock().unwrap_or_else(PoisonError::into_inner);
    let mut addresses = brokers.clone().into_iter();
    drop(brokers);
    let unresolved = addresses.find(|address| address.to_socket_addrs().is_err())?;
    Some(UnresolvedBroker::advertised(unresolved))
}

/// True if the topic does not exist, or is being created.
const fn is_missing(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::LeaderNotAvailable
    )
}

/// Asks for the ends of a partition's log.
pub(super) fn log(
    client: &Client<Watcher>,
    topic: &str,
    partition: i32,
) -> Result<Log, KafkaError> {
    let (low, high) = client.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
    Ok(Log { low, high })
}

/// Assigns the partitions at absolute offsets. Do not seek: after an offset error a seek fails and nothing more is read.
pub(super) fn assign(
    consumer: &KafkaConsumer,
    topic: &str,
    offsets: impl IntoIterator<Item = (i32, i64)>,
) -> Result<(), KafkaError> {
    consumer.assign(&list(topic, offsets)?)
}

/// Stops to fetch a partition. Its messages that were fetched and not yet returned are dropped and fetched again later.
pub(super) fn pause(
    consumer: &KafkaConsumer,
    topic: &str,
    partition: i32,
) -> Result<(), KafkaError> {
    consumer.pause(&one(topic, partition))
}

/// Continues to fetch a partition, after the last message that was returned.
pub(super) fn resume(
    consumer: &KafkaConsumer,
    topic: &str,
    partition: i32,
) -> Result<(), KafkaError> {
    consumer.resume(&one(topic, partition))
}

fn one(topic: &str, partition: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    list
}

/// Commits the offsets to Kafka, for lag tools only: they are never read back, so a failure is no fault.
pub(super) fn commit_offsets(
    consumer: &KafkaConsumer,
    topic: &str,
    next_offsets: impl IntoIterator<Item = (i32, i64)>,
) -> Result<(), KafkaError> {
    consumer.commit(&list(topic, next_offsets)?, CommitMode::Async)
}

pub(super) fn list(
    topic: &str,
    offsets: impl IntoIterator<Item = (i32, i64)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use rdkafka::{mocking::MockCluster, types::RDKafkaRespErr};

    use super::*;

    #[test]
    fn the_error_of_a_topic_is_the_broker_s_own() {
        let brokers = MockCluster::new(1).expect("a broker");
        brokers.create_topic("ours", 1, 1).expect("created");
        let settings = Settings {
            bootstrap_servers: Some(brokers.bootstrap_servers()),
            topic: "ours".to_owned(),
            group_id: "test".to_owned(),
            joins_group: false,
            properties: crate::config::KafkaProperties::default(),
            max_streams: 1,
            input: KafkaInput::Minutes,
            mapping: detection::Mapping::default(),
            open_minutes: detection::open_minutes::Settings {
                close_after_ms: 10_000,
                max_pause_minutes: 3,
            },
            refresh: super::super::METADATA_REFRESH_INTERVAL,
        };
        let consumer = consumer(&settings).expect("a consumer");
        let refused = || {
            let topic = topic(consumer.client(), "ours").expect("an answer");
            (topic.refused, topic.partitions.len())
        };
        assert_eq!(refused(), (None, 1));
        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        brokers.topic_error("ours", denied).expect("set");
        let code = RDKafkaErrorCode::TopicAuthorizationFailed;
        assert_eq!(refused(), (Some(code), 0));
        let missing = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        brokers.topic_error("ours", missing).expect("set");
        assert_eq!(refused(), (None, 0));
    }
}
