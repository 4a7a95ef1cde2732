//! The place of the consumer in its group: what the group assigns is noted when it is polled, and answered at the begin of the next session.

use std::{
    collections::BTreeSet,
    sync::{MutexGuard, PoisonError},
};

use rdkafka::{
    TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaRespErr,
};

use super::kafka::{self, KafkaConsumer, Watcher};

/// The place of a consumer in its group.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// True once it has subscribed.
    subscribed: bool,
    /// The partitions that it has; none before its first assignment.
    held: Option<BTreeSet<i32>>,
    /// A change that it has not answered.
    change: Option<Change>,
    /// True when it is being closed.
    closing: bool,
}

/// A change of the assignment. The group waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// To be answered by an assignment.
    Assigned,
    /// To be answered by giving the partitions up.
    Revoked,
}

impl Watcher {
    fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The partitions that the group assigned; none before the first assignment.
    pub(super) fn held(&self) -> Option<BTreeSet<i32>> {
        self.membership().held.clone()
    }

    /// Notes that the consumer is being closed: it gives up its partitions at once.
    pub(super) fn note_closing(&self) {
        self.membership().closing = true;
    }

    /// True if the assignment changed and the change was not answered.
    pub(super) fn is_changed(&self) -> bool {
        self.membership().change.is_some()
    }
}

impl ConsumerContext for Watcher {
    /// Notes the change. Ingest answers it: it first finishes what is in flight, and reads the stored offsets.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = list.elements();
        let partitions = partitions.iter().map(TopicPartitionListElem::partition);
        let mut membership = self.membership();
        let is_first = membership.held.is_none();
        let held = membership.held.get_or_insert_default();
        let answered = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            held.extend(partitions);
            if list.count() > 0 || is_first {
                membership.change = Some(Change::Assigned);
                return;
            }
            consumer.incremental_assign(list)
        } else {
            partitions.for_each(|partition| {
                held.remove(&partition);
            });
            if !membership.closing {
                membership.change = Some(Change::Revoked);
                return;
            }
            consumer.incremental_unassign(list)
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "the group's change of partitions cannot be answered");
        }
    }
}

/// Joins the group, once. It assigns the partitions later.
pub(super) fn join(consumer: &KafkaConsumer, topic: &str) -> Result<(), KafkaError> {
    if !std::mem::replace(&mut consumer.context().membership().subscribed, true) {
        consumer.subscribe(&[topic])?;
    }
    Ok(())
}

/// Gives up the partitions that are assigned here, and so answers the group if it revoked some. The others are assigned again later.
pub(super) fn release(consumer: &KafkaConsumer) -> Result<(), KafkaError> {
    let is_revoked = consumer.context().membership().change == Some(Change::Revoked);
    let assigned = consumer.assignment()?;
    if assigned.count() > 0 || is_revoked {
        consumer.incremental_unassign(&assigned)?;
    }
    if is_revoked {
        consumer.context().membership().change = None;
    }
    Ok(())
}

/// Assigns the partitions that this instance has in the group, and so answers the group if it assigned some.
pub(super) fn hold(
    consumer: &KafkaConsumer,
    topic: &str,
    offsets: impl IntoIterator<Item = (i32, i64)>,
) -> Result<(), KafkaError> {
    let list = kafka::list(topic, offsets)?;
    let is_assigned = consumer.context().membership().change == Some(Change::Assigned);
    if list.count() > 0 || is_assigned {
        consumer.incremental_assign(&list)?;
    }
    if is_assigned {
        consumer.context().membership().change = None;
    }
    Ok(())
}
