//! One replay, from the first message to the last acknowledgement: it connects feed, pacer and publisher.
//! It shows no progress and reads no keys.

use anyhow::ensure;
use common::clock::Clock;
use detection::Minute;
use tokio_util::sync::CancellationToken;
use transaction_csv::Loaded;

use crate::metrics::ProcessorMetrics;
use crate::pacer::{Pacer, Remote, Turn};
use crate::producer::{Kafka, Publisher, Unacknowledged};
use crate::replay::{Feed, Pace, Timeline};
use crate::shape::{Message, Shape};
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
    /// What one message is.
    pub shape: Shape,
}

/// Sends the whole file and returns once all of it is acknowledged. When `shutdown` is cancelled, it
/// stops sending and waits for messages in flight, for 10 s at most; the summary says where it stopped.
///
/// # Errors
/// A message was not acknowledged, librdkafka refuses a property, or the file has nothing to send.
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
    let mut summary = Summary::new(loaded);
    let open = Minute::containing(clock.now());
    let feed = Feed::new(&loaded.counts, options.timeline, open);
    let expected = expected(loaded, options.shape);
    ensure!(
        expected > 0,
        "every count of the file is 0, so there is no transaction to send"
    );
    let mut messages = options.shape.messages(feed).peekable();
    let first_ms = messages.peek().map_or(0, |message| message.due_ms);
    let pacer = Pacer::new(
        Pace::new(options.speed, first_ms),
        options.timeline.is_live().then_some(clock),
        remote,
        stop.clone(),
    );
    let has_end = options.timeline != Timeline::RebasedForEver;
    pacer.report(|progress| progress.expected = has_end.then_some(expected));
    let replay = Replay {
        publisher: &mut publisher,
        metrics,
        stop: &stop,
    };
    summary.stopped_at = replay.send_all(messages, pacer, &mut summary).await;
    match publisher.finish(&stop).await {
        Ok(()) => Ok(summary),
        Err(failed) => Err(unacknowledged(&failed, summary.messages, options)),
    }
}

/// How many messages the file is.
fn expected(loaded: &Loaded, shape: Shape) -> u64 {
    match shape {
        Shape::Minutes => loaded.counts.messages(),
        Shape::Updates | Shape::Transactions => {
            let minutes = loaded.counts.iter();
            minutes.map(|counts| shape.size(&counts).0).sum()
        }
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
        messages: impl Iterator<Item = Message>,
        mut pacer: Pacer,
        summary: &mut Summary,
    ) -> Option<Minute> {
        for Message { due_ms, body } in messages {
            if pacer.until_due(due_ms).await == Turn::Stopped {
                return Some(body.minute());
            }
            let Some(slot) = self.publisher.slot(self.stop).await else {
                return Some(body.minute());
            };
            self.publisher.send(&body, slot);
            summary.add(&body);
            summary
                .last
                .inspect(|newest| self.metrics.event_time_seconds.set(seconds(*newest)));
            pacer.report(|progress| {
                (progress.minute, progress.sent) = (summary.last, summary.messages);
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

fn unacknowledged(failed: &Unacknowledged, sent: u64, options: &Options) -> anyhow::Error {
    let Unacknowledged {
        count,
        reason,
        earliest,
    } = failed;
    let advice = resume(*earliest, options);
    anyhow::anyhow!("{count} of {sent} messages were not acknowledged: {reason}; {advice}")
}

/// How to continue from a minute that was not sent or not acknowledged.
pub fn resume(minute: Minute, options: &Options) -> String {
    match (options.shape, options.timeline) {
        (Shape::Transactions, _) => {
            format!(
                "transactions that are sent again count again: start again with an empty topic, or continue with --from {} without the rest of {minute}",
                minute.plus(1)
            )
        }
        (_, Timeline::AsInFile) => format!("continue with --from {minute}"),
        (_, Timeline::Rebased | Timeline::RebasedForEver) => {
            "restart to continue; minutes sent twice change nothing".into()
        }
    }
}
