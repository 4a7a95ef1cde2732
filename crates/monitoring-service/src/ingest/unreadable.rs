//! Partitions whose next record cannot be read, as of a damaged batch. The consumer does not say whose error it is, and what it fetched after the
//! error stays unread. So each partition is tried alone, and the others are read without those that fail, which are tried again at each refresh.

use std::{collections::BTreeSet, time::Duration};

use rdkafka::consumer::Consumer as _;

use super::{
    Ingest,
    kafka::{self, KafkaConsumer, Probe},
    recovery::Interrupted,
};

/// After the error of a partition each assignment is tried for this long: the group may assign it again later, as other instances connect with
/// a new client, too.
const SUSPECT_TIMEOUT: Duration = Duration::from_mins(10);

impl Ingest {
    /// After the error of a partition, finds those that cannot be read. `ends` has the end of each log. Without a group, an error if no other one
    /// is left.
    pub(super) fn find_unreadable(&mut self, ends: &[(i32, i64, i64)]) -> Result<(), Interrupted> {
        // A new client has no partitions before its group assigns some.
        let failed = self.partition_failed.as_ref();
        let is_suspect = failed.is_some_and(|since| since.elapsed() < SUSPECT_TIMEOUT);
        if ends.is_empty() || !is_suspect && self.unreadable.is_empty() {
            return Ok(());
        }
        let probe = Probe::new(&self.settings)?;
        let mut unreadable = BTreeSet::new();
        for &(partition, _, end) in ends {
            self.report();
            let next = self.positions[&partition].next();
            if next >= end {
                continue;
            }
            let Some(error) = probe.error_at(partition, next)? else {
                continue;
            };
            unreadable.insert(partition);
            // In a group the next client would only take it from another instance.
            if unreadable.len() == ends.len() && !self.settings.joins_group {
                return Err(error.into());
            }
            if !self.unreadable.contains(&partition) {
                tracing::error!(
                    topic = self.settings.topic,
                    partition,
                    offset = next,
                    %error,
                    "partition cannot be read; the others are read without it"
                );
            }
        }
        self.unreadable = unreadable;
        Ok(())
    }

    /// Ends the session if a partition that was left out can be read, or lost the record that could not.
    pub(super) fn retry_unreadable(&mut self, consumer: &KafkaConsumer) -> Result<(), Interrupted> {
        if self.unreadable.is_empty() {
            return Ok(());
        }
        let probe = Probe::new(&self.settings)?;
        for &partition in &self.unreadable {
            self.report();
            // It may be another instance's by now.
            let Some(position) = self.positions.get(&partition) else {
                continue;
            };
            let next = position.next();
            let log = kafka::log(consumer.client(), &self.settings.topic, partition)?;
            self.progress.set_log(partition, log);
            let is_there = (log.low..log.high).contains(&next);
            if !is_there || probe.error_at(partition, next)?.is_none() {
                return Err(Interrupted::ReadableAgain(partition));
            }
        }
        Ok(())
    }
}
