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
        if membership.closing {
            // To any answer, librdkafka now gives all up and leaves.
            note_unanswered(consumer.incremental_unassign(list));
            return;
        }
        let is_first = membership.held.is_none();
        let held = membership.held.get_or_insert_default();
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            held.extend(partitions);
            if list.count() > 0 || is_first {
                membership.change = Some(Change::Assigned);
            } else {
                note_unanswered(consumer.incremental_assign(list));
            }
        } else {
            partitions.for_each(|partition| {
                held.remove(&partition);
            });
            membership.change = Some(Change::Revoked);
        }
    }
}

fn note_unanswered(answered: Result<(), KafkaError>) {
    if let Err(error) = answered {
        tracing::warn!(%error, "the group's change of partitions cannot be answered");
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

/// Gives up all partitions before the consumer is closed. An answer that it owes the group comes first: librdkafka waits for it, and leaves
/// the group only then.
pub(super) fn give_up(consumer: &KafkaConsumer) {
    let is_member = {
        let mut membership = consumer.context().membership();
        membership.closing = true;
        membership.subscribed
    };
    if is_member {
        let is_assigned = consumer.context().membership().change == Some(Change::Assigned);
        note_unanswered(release(consumer));
        if is_assigned {
            note_unanswered(consumer.incremental_assign(&TopicPartitionList::new()));
        }
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rdkafka::{mocking::MockCluster, types::RDKafkaApiKey};

    use super::*;
    use crate::{
        config::{Config, KafkaProperties},
        ingest::Settings,
    };

    const TOPIC: &str = "ours";
    const POLL: Duration = Duration::from_millis(20);
    const PATIENCE: Duration = Duration::from_secs(30);

    fn member(brokers: &str) -> KafkaConsumer {
        let config = Config::default();
        let consumer = kafka::consumer(&Settings {
            bootstrap_servers: Some(brokers.to_owned()),
            topic: TOPIC.to_owned(),
            group_id: "test".to_owned(),
            joins_group: true,
            properties: KafkaProperties::default(),
            max_streams: 1,
            input: config.input.kafka_input,
            mapping: config.input.mapping(),
            open_minutes: config.input.open_minutes(config.stale_after),
            refresh: PATIENCE,
        });
        let consumer = consumer.expect("a consumer");
        join(&consumer, TOPIC).expect("subscribed");
        consumer
    }

    fn poll_until(consumer: &KafkaConsumer, is_done: impl Fn(&Watcher) -> bool) {
        let times = PATIENCE.as_millis() / POLL.as_millis();
        let mut polls = (0..times).map(|_| drop(consumer.poll(POLL)));
        assert!(polls.any(|()| is_done(consumer.context())), "in time");
    }

    /// Answers as a session does, until all partitions are assigned.
    fn settle(member: &KafkaConsumer) {
        poll_until(member, |watcher| {
            if watcher.is_changed() {
                release(member).expect("given up");
                let held = watcher.held().unwrap_or_default();
                let offsets = held.into_iter().map(|partition| (partition, 0));
                hold(member, TOPIC, offsets).expect("assigned");
            }
            !watcher.is_changed() && watcher.held().is_some_and(|held| held.len() == 2)
        });
    }

    #[test]
    fn a_member_that_owes_an_answer_is_closed_at_once() {
        let cluster = MockCluster::new(1).expect("a broker");
        cluster.create_topic(TOPIC, 2, 1).expect("created");
        let brokers = cluster.bootstrap_servers();

        let assigned = member(&brokers);
        poll_until(&assigned, Watcher::is_changed);
        assert!(kafka::close(assigned, PATIENCE), "it owes an assignment");

        let revoked = member(&brokers);
        settle(&revoked);
        // Its session has ended, as after a pause.
        let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
        cluster.request_errors(RDKafkaApiKey::Heartbeat, &[unknown]);
        poll_until(&revoked, Watcher::is_changed);
        assert!(kafka::close(revoked, PATIENCE), "it owes a revocation");
    }
}
