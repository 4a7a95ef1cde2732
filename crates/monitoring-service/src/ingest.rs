//! Kafka and the API → fold → store, on one thread that owns the consumer and the fold.
//!
//! One transaction for each batch of messages or requests; memory is a cache of what is committed. The recovery from every error is the
//! same: forget, read the stored offsets, check the broker's log, assign again. On a file this instance has all partitions, and resumes at
//! once after a kill. On a PostgreSQL database a consumer group assigns them to the instances, and the stored offsets and versions of streams
//! refuse a commit of what another instance has changed.

mod assignment;
mod batch;
mod commit;
mod committed;
mod gather;
mod kafka;
mod lanes;
mod membership;
pub(crate) mod notes;
mod open;
mod plan;
mod progress;
mod publish;
mod reader;
mod recovery;
mod rejections;
mod replay;
pub(crate) mod requests;
pub(crate) mod retirements;
mod serve;
mod settings;
pub(crate) mod snapshots;
mod spans;
pub mod status;
mod unreadable;
mod versions;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use detection::Stream;
use rdkafka::consumer::Consumer as _;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub(crate) use self::requests::RequestQueue;
use self::{
    commit::InFlightBatch,
    committed::Committed,
    gather::Fetched,
    kafka::{KafkaConsumer, Topic},
    progress::Progress,
    reader::Reader,
    recovery::{Interrupted, Recovery},
    rejections::Rejections,
};
pub use self::{
    requests::Requests,
    settings::{KafkaInput, Settings},
};
use crate::{clock::Stopwatch, context::Context, liveness::Task, store::StoredOffset};

/// Messages of one transaction.
const MAX_MESSAGES: usize = 4000;

/// The same if each is a single transaction: a commit then stores far fewer counts than messages.
const MAX_TRANSACTIONS: usize = 20_000;

/// Time for collecting the messages of one transaction in a backlog; longer while the one before is being written.
const BATCH_TIMEOUT: Duration = Duration::from_millis(20);

/// Time limit for the first message of a transaction.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// Interval of metadata requests: the topic may have new partitions or be recreated.
pub(crate) const METADATA_REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// Interval of offset commits to Kafka.
const OFFSET_COMMIT_INTERVAL: Duration = Duration::from_secs(1);

/// Sessions in a row that others interrupt without a pause.
const MAX_AT_ONCE: u32 = 20;

/// First and longest pause between attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Consumes and serves the queue until the stop. Blocks, so it needs its own thread.
pub fn run(
    settings: Settings,
    context: Context,
    queue: RequestQueue,
    runtime: Handle,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let has_kafka = settings.bootstrap_servers.is_some();
    let mut consumer = has_kafka.then(|| kafka::consumer(&settings)).transpose()?;
    if !has_kafka {
        tracing::info!("no Kafka: minutes come from POST /transactions");
    }
    let mut unreachable: Option<Stopwatch> = None;
    let reader = Reader::new(&context, &settings);
    let mut ingest = Ingest {
        settings,
        context,
        queue,
        runtime,
        reader,
        positions: BTreeMap::new(),
        committed: Committed::default(),
        in_flight: None,
        in_doubt: false,
        doubted: None,
        warned_too_late: HashSet::new(),
        rejections: Rejections::default(),
        progress: Progress::default(),
        failed_at_ms: None,
        partition_failed: None,
        unreadable: BTreeSet::new(),
    };
    let (mut backoff, mut outcome, mut at_once) = (BACKOFF.0, Ok(()), 0);
    while !stop.is_cancelled() {
        let session = Stopwatch::start();
        let ended = match &consumer {
            Some(consumer) => ingest.session(consumer, stop),
            None => ingest.session_without_kafka(stop),
        };
        // Always await the in-flight commit before re-reading offsets.
        let Err(mut interrupted) = ended.and(ingest.settle().map_err(Into::into)) else {
            break;
        };
        if session.elapsed() > BACKOFF.1 {
            at_once = 0;
        }
        if at_once < MAX_AT_ONCE && interrupted.is_by_others(ingest.settings.joins_group) {
            tracing::debug!(%interrupted, "reading again what is stored");
            at_once += 1;
            continue;
        }
        if interrupted.may_be_of_a_name()
            && let Some(consumer) = &consumer
            && let Some(broker) = kafka::unresolved_broker(consumer.client())
        {
            interrupted = Interrupted::Unresolved(broker);
        }
        if session.elapsed() > METADATA_REFRESH_INTERVAL {
            backoff = BACKOFF.0;
        }
        ingest.note(&interrupted);
        let is_of_a_partition = interrupted.is_of_a_partition();
        if is_of_a_partition {
            ingest.partition_failed = Some(Stopwatch::start());
        }
        unreachable = interrupted
            .is_of_the_connection()
            .then(|| unreachable.unwrap_or_else(Stopwatch::start));
        if let Recovery::Stop(error) = interrupted.recovery() {
            outcome = Err(error);
            break;
        }
        ingest.pause(backoff, stop);
        backoff = (backoff * 2).min(BACKOFF.1);
        // librdkafka 2.12 never connects again after an answer without brokers, as of a broker that is fenced (its issue 5301).
        let is_lost = |since: Stopwatch| since.elapsed() > ingest.settings.refresh;
        // After a damaged batch it goes on at an offset that it read from the middle of one.
        if (is_of_a_partition || unreachable.is_some_and(is_lost))
            && let Some(lost) = consumer.take()
        {
            tracing::debug!("connecting with a new client");
            kafka::close(lost, kafka::CLOSE_TIMEOUT);
            consumer = Some(kafka::consumer(&ingest.settings)?);
            unreachable = None;
        }
    }
    if let Some(consumer) = consumer {
        let limit = if ingest.settings.joins_group {
            kafka::LEAVE_TIMEOUT
        } else {
            kafka::CLOSE_TIMEOUT
        };
        kafka::close(consumer, limit);
    }
    outcome
}

struct Ingest {
    settings: Settings,
    context: Context,
    /// What the API asks.
    queue: RequestQueue,
    /// For waits on the thread.
    runtime: Handle,
    reader: Reader,
    positions: BTreeMap<i32, Position>,
    committed: Committed,
    /// The batch that is being written.
    in_flight: Option<InFlightBatch>,
    /// True if a connection was lost and nothing was read since.
    in_doubt: bool,
    /// Since the last lost connection.
    doubted: Option<Stopwatch>,
    /// Streams whose minutes were logged as too late.
    warned_too_late: HashSet<Stream>,
    rejections: Rejections,
    progress: Progress,
    /// When the last session ended, until every partition has gone on since.
    failed_at_ms: Option<i64>,
    /// Since the last session that ended with the error of a partition.
    partition_failed: Option<Stopwatch>,
    /// The partitions that are not assigned, since their next record cannot be read.
    unreadable: BTreeSet<i32>,
}

/// A record that was read, and its partition.
type Anchor = (i32, StoredOffset);

/// The read position of a partition.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// The offset that is stored or in flight.
    stored: StoredOffset,
    /// The offset that was read and is stored with the next commit.
    read: StoredOffset,
    /// True if the next record is the last consumed one, to compare with.
    verify: bool,
    /// True if the partition was read to its end.
    at_end: bool,
}

impl Position {
    const fn next(&self) -> i64 {
        self.read.last_offset + 1
    }
}

impl Ingest {
    /// Runs from the assignment to the first error or the stop.
    fn session(
        &mut self,
        consumer: &KafkaConsumer,
        stop: &CancellationToken,
    ) -> Result<(), Interrupted> {
        self.report();
        self.positions.clear();
        if self.settings.joins_group {
            membership::release(consumer)?;
        }
        self.reader.restart()?;
        let topic = kafka::topic(consumer.client(), &self.settings.topic)
            .map_err(Interrupted::Unreachable)?;
        self.publish(|status| status.connected = true);
        if let Some(code) = topic.refused {
            let topic = self.settings.topic.clone();
            return Err(Interrupted::TopicRefused { topic, code });
        }
        if topic.partitions.is_empty() {
            return Err(Interrupted::NoTopic);
        }
        if self.settings.joins_group {
            membership::join(consumer, &self.settings.topic)?;
        }
        let mut lanes = self.assign(consumer, &topic)?;
        let outcome = self.consume(consumer, &topic, &mut lanes, stop);
        // A partition stays paused over the next assignment.
        for partition in lanes.paused() {
            kafka::resume(consumer, &self.settings.topic, partition)?;
        }
        outcome
    }

    /// Consumes until the first error or the stop.
    fn consume<'c>(
        &mut self,
        consumer: &'c KafkaConsumer,
        topic: &Topic,
        lanes: &mut Fetched<'c>,
        stop: &CancellationToken,
    ) -> Result<(), Interrupted> {
        let session = Stopwatch::start();
        let (mut refreshed, mut committed) = (Stopwatch::start(), Stopwatch::start());
        let mut anchor = None;
        while !stop.is_cancelled() {
            self.report();
            self.serve(Some(topic), Duration::ZERO)?;
            self.gather(consumer, topic, lanes, &session)?;
            self.publish_progress(consumer, lanes);
            anchor = anchor.or_else(|| self.newest_read());
            if committed.elapsed() > OFFSET_COMMIT_INTERVAL {
                committed = Stopwatch::start();
                self.settle()?;
                self.commit_offsets(consumer);
            }
            if refreshed.elapsed() > self.settings.refresh {
                refreshed = Stopwatch::start();
                self.refresh(consumer, topic, anchor)?;
                self.retry_unreadable(consumer)?;
                anchor = self.newest_read();
            }
        }
        self.settle()?;
        self.commit_offsets(consumer);
        Ok(())
    }

    fn report(&self) {
        self.context
            .liveness
            .report(Task::Ingest, self.context.clock.now_ms());
    }
}
