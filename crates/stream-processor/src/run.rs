//! One replay, from the first message to the last acknowledgement: it connects feed, pacer and publisher.
//! It shows no progress and reads no keys.

use common::clock::Clock;
use detection::Minute;
use tokio_util::sync::CancellationToken;
use transaction_csv::Loaded;

use crate::metrics::ProcessorMetrics;
use crate::pacer::{Pacer, Remote, Turn};
use crate::producer::{Kafka, Publisher, Unacknowledged};
use crate::replay::{Feed, Pace, Timeline};
use crate::speed::Speed;
use crate::summary::Summary;

/// How a file is replayed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to send.
    pub kafka: Kafka,
    /// Speed at the start.
    pub speed: Speed,
    /// Which minutes of the clock are sent.
    pub timeline: Timeline,
}

/// Sends the whole file and returns once all of it is acknowledged. When `shutdown` is cancelled, it
/// stops sending and waits for messages in flight, for 10 s at most; the summary says where it stopped.
///
/// # Errors
/// A message was not acknowledged, or librdkafka refuses a property.
pub async fn run(
    loaded: &Loaded,
    options: &Options,
    metrics: &ProcessorMetrics,
    remote: Remote,
    clock: Clock,
    shutdown: &CancellationToken,
) -> anyhow::Result<Summary> {
    let stop = shutdown.child_token();
    let mut publisher = Publisher::new(&options.kafka, options.speed, metrics, stop.clone())?;
    let feed = Feed::new(
        &loaded.counts,
        options.timeline,
        Minute::containing(clock.now()),
    );
    let live = options.timeline.is_live().then_some(clock);
    let pacer = Pacer::new(
        Pace::new(options.speed, feed.start()),
        live,
        remote,
        stop.clone(),
    );
    pacer.report(|progress| progress.expected = feed.remaining());
    let mut summary = Summary::new(loaded);
    let replay = Replay {
        publisher: &mut publisher,
        metrics,
        stop: &stop,
    };
    summary.stopped_at = replay.send_all(feed, pacer, &mut summary).await;
    match publisher.finish(&stop).await {
        Ok(()) => Ok(summary),
        Err(failed) => Err(unacknowledged(&failed, summary.messages, options.timeline)),
    }
}

struct Replay<'a> {
    publisher: &'a mut Publisher,
    metrics: &'a ProcessorMetrics,
    stop: &'a CancellationToken,
}

impl Replay<'_> {
    /// Returns the first minute not sent completely, if it was stopped.
    async fn send_all(
        self,
        feed: Feed<'_>,
        mut pacer: Pacer,
        summary: &mut Summary,
    ) -> Option<Minute> {
        for counts in feed {
            let minute = counts.minute();
            if pacer.until_due(minute).await == Turn::Stopped {
                return Some(minute);
            }
            let Some(slot) = self.publisher.slot(self.stop).await else {
                return Some(minute);
            };
            self.publisher.send(&counts, slot);
            summary.add(&counts);
            self.metrics.event_time_seconds.set(seconds(minute));
            pacer.report(|progress| {
                (progress.minute, progress.sent) = (Some(minute), summary.messages);
            });
        }
        None
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact for the next 285 million years"
)]
fn seconds(minute: Minute) -> f64 {
    minute.start().as_second() as f64
}

fn unacknowledged(failed: &Unacknowledged, sent: u64, timeline: Timeline) -> anyhow::Error {
    let Unacknowledged {
        count,
        reason,
        earliest,
    } = failed;
    let advice = resume(*earliest, timeline);
    anyhow::anyhow!("{count} of {sent} messages were not acknowledged: {reason}; {advice}")
}

/// How to continue from a minute that was not sent or not acknowledged.
pub fn resume(minute: Minute, timeline: Timeline) -> String {
    match timeline {
        Timeline::AsInFile => format!("continue with --from {minute}"),
        Timeline::Rebased | Timeline::RebasedForEver => {
            "restart to continue; minutes sent twice change nothing".into()
        }
    }
}
