//! The Kafka broker: one inside the process, or a server whose topics the campaign owns. It is only written to here, and never injured.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use embedded_kafka::EmbeddedKafka;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
};

/// Time limit of one request.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the topics are.
pub enum Broker {
    /// A broker inside the process.
    Embedded(EmbeddedKafka),
    /// `host:port` of a server.
    Server(String),
}

impl Broker {
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Embedded(broker) => broker.bootstrap_servers(),
            Self::Server(address) => address.clone(),
        }
    }

    /// False if one answer has all that there is, regardless of the limits of a request.
    pub(crate) const fn can_pace(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    pub(crate) async fn create(&self, topic: &str, partitions: i32) -> Result<()> {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let results = self.admin()?.create_topics([&new], &options()).await;
        let results = results.context("creating a topic")?;
        results
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map_err(|(topic, code)| anyhow!("creating topic {topic}: {code}"))?;
        Ok(())
    }

    pub(crate) async fn delete(&self, topic: &str) -> Result<()> {
        if let Self::Embedded(broker) = self {
            broker.delete_topic(topic);
            return Ok(());
        }
        self.admin()?.delete_topics(&[topic], &options()).await?;
        Ok(())
    }

    /// Deletes the records of a partition below `offset`, as retention does.
    pub(crate) async fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<()> {
        if let Self::Embedded(broker) = self {
            return broker.delete_records(topic, partition, offset);
        }
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        self.admin()?.delete_records(&offsets, &options()).await?;
        Ok(())
    }

    /// The offset of the next record of a partition.
    pub(crate) fn end(&self, topic: &str, partition: i32) -> Result<i64> {
        let consumer: BaseConsumer = self.config().create()?;
        Ok(consumer.fetch_watermarks(topic, partition, PATIENCE)?.1)
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        Ok(self.config().create()?)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.address())
            .set("broker.address.family", "v4");
        config
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(PATIENCE))
        .operation_timeout(Some(PATIENCE))
}
