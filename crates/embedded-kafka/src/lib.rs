//! A Kafka-protocol broker inside the process, for the demo and the tests.
//!
//! It wraps `krafka`'s `FakeBroker`: one node on a loopback port, a new cluster id at each start, logs in memory that stay bounded
//! ([`MAX_TOPIC_BYTES`]), and faults on request. It runs on its own thread, so it also serves a caller that blocks.
//!
//! Not for production: nothing is persisted, there is one replica, and only the requests of our clients are implemented. Known differences
//! from Kafka: a fetch ignores its size limits; a fetch below the log start is answered from the log start; a fetch beyond the end or of a
//! deleted topic gets an error that librdkafka cannot parse and retries forever; records never expire by age. Behaviour that depends on
//! these is tested on a real broker.

mod faults;
mod retention;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use krafka::testing::FakeBroker;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

pub use krafka::error::ErrorCode;
pub use krafka::testing::ApiKey;
pub use retention::MAX_TOPIC_BYTES;

use faults::Faults;
use retention::Bound;

/// The only node of the cluster.
const NODE: i32 = 0;

/// A one-node Kafka on a loopback port. Dropping it stops the broker and discards its data.
pub struct EmbeddedKafka {
    broker: Arc<FakeBroker>,
    faults: Arc<Faults>,
    /// `Some` until the broker is stopped.
    runtime: Option<Runtime>,
}

impl EmbeddedKafka {
    /// Starts an empty broker on a free loopback port. Topics are created at their first use, with one partition.
    pub async fn start() -> Result<Self> {
        Self::start_bounded(MAX_TOPIC_BYTES).await
    }

    /// Like [`start`](Self::start), but keeps at most `max_topic_bytes` per topic instead of [`MAX_TOPIC_BYTES`].
    pub async fn start_bounded(max_topic_bytes: usize) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("embedded-kafka")
            .enable_all()
            .build()
            .context("starting the thread of the embedded Kafka")?;
        let broker = runtime
            .spawn(FakeBroker::start())
            .await?
            .context("opening a loopback port for the embedded Kafka")?;
        let broker = Arc::new(broker);
        // Clients store offsets per cluster id, so two runs need different ids.
        broker.with_state(|state| state.cluster_id = Uuid::new_v4().simple().to_string());
        let faults = Arc::new(Faults::default());
        faults::install(&broker, &faults, Bound::new(max_topic_bytes));
        Ok(Self {
            broker,
            faults,
            runtime: Some(runtime),
        })
    }

    /// `host:port`, for `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        self.broker.bootstrap_servers()
    }

    /// Advertises another name to clients, as `advertised.listeners` does; [`bootstrap_servers`](Self::bootstrap_servers) from before goes on to work.
    pub fn advertise(&self, host: &str) {
        self.broker.with_state(|state| {
            for broker in &mut state.brokers {
                host.clone_into(&mut broker.host);
            }
        });
    }

    /// The id of this cluster, different at every start.
    pub fn cluster_id(&self) -> String {
        self.broker.with_state(|state| state.cluster_id.clone())
    }

    /// Creates an empty topic. An error if the name is taken or `partitions` is below 1.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<()> {
        ensure!(
            partitions >= 1,
            "topic {name} needs at least 1 partition, not {partitions}"
        );
        ensure!(
            self.broker.create_topic(name, partitions),
            "topic {name} exists already: delete it first or choose another name"
        );
        Ok(())
    }

    /// Grows a topic to `partitions` partitions. An error if there is no such topic or it has as many already.
    pub fn add_partitions(&self, name: &str, partitions: i32) -> Result<()> {
        ensure!(
            self.broker.add_partitions(name, partitions) > 0,
            "topic {name} does not exist or has {partitions} partitions already"
        );
        Ok(())
    }

    /// Deletes a topic, its records and the offsets that groups committed for it; `false` if there was none.
    pub fn delete_topic(&self, name: &str) -> bool {
        self.broker.with_state(|state| {
            for group in state.groups.values_mut() {
                group.offsets.retain(|(topic, _), _| topic != name);
            }
            state.delete_topic(name)
        })
    }

    /// Deletes the records of a partition below `offset`, as retention does; an offset beyond the end deletes them all.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        self.broker.with_state(|state| {
            let log = state
                .partition_mut(topic, partition)
                .with_context(|| format!("there is no partition {partition} of topic {topic}"))?;
            retention::delete_below(log, offset);
            Ok(())
        })
    }

    /// Damages the batch with the record at `offset` where it is stored, so that each fetch of it fails its checksum.
    pub fn damage_records(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        self.broker.with_state(|state| {
            let log = state
                .partition_mut(topic, partition)
                .with_context(|| format!("there is no partition {partition} of topic {topic}"))?;
            retention::damage(log, offset)
                .with_context(|| format!("there is no record at offset {offset}"))
        })
    }

    /// The offset of the next record of a partition; `None` if there is no such partition.
    pub fn next_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        self.broker.next_offset(topic, partition)
    }

    /// The offset that `group` committed for a partition, if any.
    pub fn committed_offset(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        self.broker.committed_offset(group, topic, partition)
    }

    /// Stops the broker and returns once its port is closed.
    pub async fn shutdown(mut self) -> Result<()> {
        if let Some(runtime) = self.runtime.take() {
            // Dropping a runtime blocks until its threads end, which async code must not do.
            tokio::task::spawn_blocking(move || drop(runtime)).await?;
        }
        Ok(())
    }
}

impl Drop for EmbeddedKafka {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
