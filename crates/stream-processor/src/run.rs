//! One replay from the first message to the last acknowledgement: feed, pacer and publisher put together. Draws nothing and reads no keys.

use detection::Minute;
use tokio_util::sync::CancellationToken;

use crate::{
    loader::Loaded,
    metrics::ProcessorMetrics,
    pacer::{Clock, Pacer, Remote, Turn},
    producer::{Kafka, Publisher, Unacknowledged},
    replay::{Feed, Pace, Speed, Timeline},
    summary::Summary,
};

/// What a replay does with a file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to send.
    pub kafka: Kafka,
    /// How fast, at first.
    pub speed: Speed,
    /// Under which minutes.
    pub timeline: Timeline,
}

/// Sends everything and returns once all of it is acknowledged. When `shutdown` is cancelled it stops sending, flushes what is in flight (for 10 s at most) and says
/// where it stopped.
///
/// An error if any message was not acknowledged, or if librdkafka refuses its settings.
pub async fn run(
    loaded: &Loaded,
    options: &Options,
    registry: &ProcessorMetrics,
    remote: Remote,
    clock: Clock,
    shutdown: &CancellationToken,
) -> anyhow::Result<Summary> {
    let stop = shutdown.child_token();
    let mut publisher = Publisher::new(&options.kafka, options.speed, registry, stop.clone())?;
    let feed = Feed::new(
        &loaded.batches,
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
    let mut summary = Summary {
        skipped: loaded.skipped,
        ..Summary::default()
    };
    let replay = Replay {
        publisher: &mut publisher,
        registry,
        stop: &stop,
    };
    summary.stopped_at = replay.send_all(feed, pacer, &mut summary).await;
    match publisher.finish(&stop).await {
        Ok(()) => Ok(summary),
        Err(lost) => Err(unacknowledged(&lost, summary.batches, options.timeline)),
    }
}

struct Replay<'a> {
    publisher: &'a mut Publisher,
    registry: &'a ProcessorMetrics,
    stop: &'a CancellationToken,
}

impl Replay<'_> {
    /// The first minute that was not sent in full, if it was stopped.
    async fn send_all(
        self,
        feed: Feed<'_>,
        mut pacer: Pacer,
        summary: &mut Summary,
    ) -> Option<Minute> {
        for batch in feed {
            let minute = batch.minute();
            if pacer.until_due(minute).await == Turn::Stopped {
                return Some(minute);
            }
            let Some(slot) = self.publisher.slot(self.stop).await else {
                return Some(minute);
            };
            self.publisher.send(&batch, slot);
            summary.add(&batch);
            self.registry.event_time_seconds.set(seconds(minute));
            pacer.report(|progress| {
                (progress.minute, progress.sent) = (Some(minute), summary.batches)
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

fn unacknowledged(lost: &Unacknowledged, sent: u64, timeline: Timeline) -> anyhow::Error {
    let Unacknowledged {
        count,
        reason,
        earliest,
    } = lost;
    let how = resume(*earliest, timeline);
    anyhow::anyhow!("{count} of {sent} messages were not acknowledged: {reason}; {how}")
}

/// How to go on from a minute that was not sent, or not acknowledged.
pub fn resume(minute: Minute, timeline: Timeline) -> String {
    match timeline {
        Timeline::AsInFile => format!("continue with --from {minute}"),
        Timeline::Rebased | Timeline::RebasedForEver => {
            "start it again to continue: what was sent before is sent again and changes nothing"
                .into()
        }
    }
}
