//! The settings of ingest.

use std::time::Duration;

use detection::{Mapping, open_minutes};

use crate::config::KafkaProperties;

/// What a Kafka message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaInput {
    /// The counts of one closed minute, evaluated on arrival.
    Minutes,
    /// Counts that may grow until their minute closes.
    Updates,
    /// One transaction.
    Transactions,
}

/// The settings of ingest.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Brokers to start from; none runs without Kafka.
    pub bootstrap_servers: Option<String>,
    /// Topic to read.
    pub topic: String,
    /// The group of the offsets committed to Kafka.
    pub group_id: String,
    /// True if the group assigns the partitions; else this instance has all of them.
    pub joins_group: bool,
    /// More librdkafka properties.
    pub properties: KafkaProperties,
    /// Maximum number of streams.
    pub max_streams: usize,
    /// What a message is.
    pub input: KafkaInput,
    /// How messages are read.
    pub mapping: Mapping,
    /// When open minutes close.
    pub open_minutes: open_minutes::Settings,
    /// Interval of metadata requests; `METADATA_REFRESH_INTERVAL`.
    pub refresh: Duration,
}
