//! The subject of an alert, without texts for people.

use detection::Anomaly;
use serde::Serialize;
use strum::{EnumString, IntoStaticStr};
use uuid::Uuid;

/// Streams that one alert names.
pub(crate) const MAX_NAMED: usize = 20;

/// The subject of an alert. The text of each variant is its type in payloads, answers and the database.
#[derive(Clone, Debug, PartialEq, IntoStaticStr)]
pub enum Subject {
    /// A count of a stream left its range.
    #[strum(serialize = "transaction.anomaly")]
    Anomaly(Anomaly),
    /// A count submitted to `POST /alerts/evaluate` left its range; it is in no baseline and no total.
    #[strum(serialize = "transaction.anomaly")]
    Submission(Anomaly),
    /// Live streams have no new minutes.
    #[strum(serialize = "stream.stale")]
    StaleStreams {
        /// The first `MAX_NAMED` of them, by name.
        streams: Vec<String>,
    },
    /// Stale streams have new minutes again.
    #[strum(serialize = "stream.resumed")]
    StreamsResumed {
        /// The first `MAX_NAMED` of them, by name.
        streams: Vec<String>,
    },
    /// Kafka or a partition of it cannot be read, so counts are not monitored.
    #[strum(serialize = "ingest.down")]
    IngestDown,
    /// Kafka is read again.
    #[strum(serialize = "ingest.up")]
    IngestUp,
    /// Most of the newest messages are dead letters.
    #[strum(serialize = "ingest.rejecting")]
    IngestRejecting,
    /// Most of the newest messages can be used again.
    #[strum(serialize = "ingest.accepting")]
    IngestAccepting,
    /// What was too old to be notified when it was read.
    #[strum(serialize = "ingest.summary")]
    IngestSummary,
    /// What was over or too old before a receiver accepted it.
    #[strum(serialize = "receiver.summary")]
    ReceiverSummary,
    /// A test of notifications.
    #[strum(serialize = "alert.test")]
    Test,
}

/// The origin of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, EnumString, IntoStaticStr)]
#[serde(into = "&'static str")]
#[strum(serialize_all = "snake_case")]
pub enum Origin {
    /// A minute consumed from Kafka.
    Stream,
    /// A submission to `POST /alerts/evaluate`.
    Evaluate,
    /// The monitor, about itself.
    Monitor,
}

impl Origin {
    /// `stream`, `evaluate` or `monitor`.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

impl Subject {
    /// The texts of all types.
    pub(crate) const TYPES: [&str; 10] = [
        "transaction.anomaly",
        "stream.stale",
        "stream.resumed",
        "ingest.down",
        "ingest.up",
        "ingest.rejecting",
        "ingest.accepting",
        "ingest.summary",
        "receiver.summary",
        "alert.test",
    ];

    /// Its type, one of `Subject::TYPES`.
    pub fn kind(&self) -> &'static str {
        self.into()
    }

    /// Its origin.
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Anomaly(_) => Origin::Stream,
            Self::Submission(_) => Origin::Evaluate,
            _ => Origin::Monitor,
        }
    }

    /// The streams that an alert about several of them names.
    pub fn streams(&self) -> &[String] {
        match self {
            Self::StaleStreams { streams } | Self::StreamsResumed { streams } => streams,
            _ => &[],
        }
    }

    /// The type of the beginning, if this is the end of a condition.
    pub(crate) fn beginning(&self) -> Option<&'static str> {
        Some(match self {
            Self::StreamsResumed { .. } => "stream.stale",
            Self::IngestUp => "ingest.down",
            Self::IngestAccepting => "ingest.rejecting",
            _ => return None,
        })
    }

    /// The key by which a receiver groups alerts. The end of a condition has the same key as its start.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Anomaly(anomaly) | Self::Submission(anomaly) => {
                let key = &anomaly.key;
                format!("{}/{}/{}", key.stream, key.status, key.direction)
            }
            Self::StaleStreams { .. } | Self::StreamsResumed { .. } => "monitor/streams".to_owned(),
            Self::IngestDown | Self::IngestUp => "monitor/ingest".to_owned(),
            Self::IngestRejecting | Self::IngestAccepting => "monitor/messages".to_owned(),
            Self::IngestSummary | Self::ReceiverSummary => "monitor/summary".to_owned(),
            Self::Test => "monitor/test".to_owned(),
        }
    }
}

/// The namespace of the ids of the monitor's own alerts (RFC 9562, version 5).
const NAMESPACE: Uuid = Uuid::from_u128(0x2c1b_52a6_90b3_5a6e_8f5e_5f7a_7c0d_93e1);

pub(super) fn monitor_alert_id(subject: &Subject, since_ms: i64) -> Uuid {
    Uuid::new_v5(
        &NAMESPACE,
        format!("{}\n{since_ms}", subject.kind()).as_bytes(),
    )
}
