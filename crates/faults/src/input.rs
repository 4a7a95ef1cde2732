//! What is sent: some hours of the sample, chosen by the seed, and the counts that must be stored. stream-processor sends it, in any shape.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use anyhow::Result;
use common::{clock::Clock, kafka::KafkaProperties, metrics::MetricsRegistry};
use fastrand::Rng;
use stream_processor::{Kafka, Options, ProcessorMetrics, Shape, Speed, Timeline};
use tokio_util::sync::CancellationToken;
use transaction_csv::{LoadOptions, Loaded};

const SAMPLE: &str = include_str!("../../../sample_data/transactions.csv");

/// Counts by stream, minute (RFC 3339) and status; zeros are left out.
pub(crate) type Counts = BTreeMap<(String, String, String), u64>;

pub(crate) struct Input {
    loaded: Loaded,
    minutes: usize,
    /// What must be stored.
    pub(crate) counts: Counts,
}

impl Input {
    /// `minutes` minutes of each stream. Each stream has other hours of the sample, moved to the same times.
    pub(crate) fn draw(rng: &mut Rng, streams: &[&str], minutes: usize) -> Self {
        let mut sample = BTreeMap::<&str, Vec<[&str; 2]>>::new();
        for line in SAMPLE.lines().skip(1) {
            if let [minute, status, count] = *line.split(',').collect::<Vec<_>>() {
                sample.entry(minute).or_default().push([status, count]);
            }
        }
        let sample: Vec<_> = sample.into_iter().collect();
        let mut csv = "timestamp,stream,status,count\n".to_owned();
        let mut counts = Counts::new();
        for stream in streams {
            let from = rng.usize(..sample.len() - minutes);
            for at in 0..minutes {
                let minute = sample[at].0;
                for [status, count] in &sample[from + at].1 {
                    let _ = writeln!(csv, "{minute},{stream},{status},{count}");
                    let count = count.parse().expect("the sample has counts");
                    let minute = format!("{}Z", minute.replace(' ', "T"));
                    counts.insert(((*stream).to_owned(), minute, (*status).to_owned()), count);
                }
            }
        }
        counts.retain(|_, count| *count > 0);
        let loaded = transaction_csv::load(csv.as_bytes(), &LoadOptions::default());
        Self {
            loaded: loaded.expect("the sample can be read"),
            minutes,
            counts,
        }
    }

    /// Sends all of it within this time, and waits until it is acknowledged; returns the number of messages.
    pub(crate) async fn send(
        &self,
        broker: &str,
        topic: &str,
        shape: Shape,
        takes: Duration,
    ) -> Result<u64> {
        let data = Duration::from_mins(self.minutes as u64);
        let options = Options {
            kafka: Kafka {
                bootstrap_servers: broker.to_owned(),
                topic: topic.to_owned(),
                // In small batches, so that they can also be fetched little by little.
                properties: KafkaProperties::parse("batch.size=4096,broker.address.family=v4", &[])
                    .map_err(anyhow::Error::msg)?,
            },
            speed: if takes.is_zero() {
                Speed::Max
            } else {
                Speed::Times(data.div_duration_f64(takes))
            },
            timeline: Timeline::AsInFile,
            shape,
        };
        let metrics = ProcessorMetrics::new(&MetricsRegistry::new());
        let (remote, _handle) = stream_processor::remote();
        let (clock, stop) = (Clock::system(), CancellationToken::new());
        let sent = stream_processor::run(&self.loaded, &options, &metrics, remote, clock, &stop);
        // Its future is large.
        Ok(Box::pin(sent).await?.messages)
    }
}
