//! The reasons why a session with the broker ends, and the recovery: assign again or stop the service.

use anyhow::anyhow;
use common::kafka::UnresolvedBroker;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::store::StoreError;

/// The reason why a session with the broker ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interrupted {
    #[error("the Kafka brokers cannot be reached: {0}")]
    Unreachable(KafkaError),
    #[error("{0}")]
    Unresolved(UnresolvedBroker),
    #[error("Kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("the topic does not exist yet")]
    NoTopic,
    #[error("the broker refuses the topic {topic}: {code}{fix}", fix = fix(*code))]
    TopicRefused {
        topic: String,
        code: RDKafkaErrorCode,
    },
    #[error("the topic changed: {0}")]
    TopicChanged(String),
    #[error("partition {0} can be read again; all partitions are assigned")]
    ReadableAgain(i32),
    #[error("the group assigns other partitions")]
    Rebalanced,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The recovery from an interrupted session.
pub(super) enum Recovery {
    /// Assign again from the store.
    Restart,
    /// End the service.
    Stop(anyhow::Error),
}

/// What to do about a topic that the broker refuses.
const fn fix(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed => {
            "; grant Describe and Read on the topic to the user in KAFKA_PROPERTIES"
        }
        RDKafkaErrorCode::InvalidTopic => "; check KAFKA_TOPIC",
        _ => "",
    }
}

impl Interrupted {
    /// True if nothing failed: others have changed what this session went on from. `is_shared`: other instances may commit offsets.
    pub(super) const fn is_by_others(&self, is_shared: bool) -> bool {
        match self {
            Self::Rebalanced => true,
            Self::Store(error) => error.is_outdated() || (is_shared && error.is_offset_moved()),
            _ => false,
        }
    }

    /// True if the name of a broker may not be resolved. The error does not say which.
    pub(super) fn may_be_of_a_name(&self) -> bool {
        match self {
            // A request to a broker under such a name times out, and one for a topic that is created may come before it.
            Self::Unreachable(_) | Self::NoTopic => true,
            Self::Kafka(error) => error.rdkafka_error_code() == Some(RDKafkaErrorCode::Resolve),
            _ => false,
        }
    }

    /// True if the brokers cannot be reached.
    pub(super) const fn is_of_the_connection(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unresolved(_))
    }

    /// True if a partition could not be read. The error does not say which.
    pub(super) const fn is_of_a_partition(&self) -> bool {
        matches!(self, Self::Kafka(KafkaError::MessageConsumption(_)))
    }

    pub(super) fn recovery(self) -> Recovery {
        match self {
            Self::Store(error @ (StoreError::Broken(_) | StoreError::Closed)) => {
                Recovery::Stop(error.into())
            }
            Self::Kafka(KafkaError::MessageConsumption(RDKafkaErrorCode::NotImplemented)) => {
                Recovery::Stop(anyhow!(
                    "the topic has messages compressed with a codec that this build cannot read (it reads gzip, snappy, lz4 and zstd)"
                ))
            }
            Self::Kafka(KafkaError::MessageConsumptionFatal(code)) => {
                Recovery::Stop(anyhow!("Kafka: fatal error: {code}"))
            }
            Self::Unreachable(_)
            | Self::Unresolved(_)
            | Self::Kafka(_)
            | Self::NoTopic
            | Self::TopicRefused { .. }
            | Self::TopicChanged(_)
            | Self::ReadableAgain(_)
            | Self::Rebalanced
            | Self::Store(_) => Recovery::Restart,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_topic_names_the_right_to_grant() {
        let refused = Interrupted::TopicRefused {
            topic: "transactions".to_owned(),
            code: RDKafkaErrorCode::TopicAuthorizationFailed,
        };
        let text = refused.to_string();
        assert!(text.starts_with("the broker refuses the topic transactions: "));
        assert!(
            text.ends_with("grant Describe and Read on the topic to the user in KAFKA_PROPERTIES")
        );
    }
}
