//! The periodic checks: the database's files, stuck deliveries, gauges; and, if this instance leads, those of the leader.

mod leader;

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use self::leader::Leader;
use crate::{
    alerts::inputs::{InputFault, faults},
    clock::Stopwatch,
    context::Context,
    ingest::status::{IngestStatus, Source},
    liveness::Task,
    store::{PendingOf, Retention, StoreError},
};

/// The longest wait between two reports of the task.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(10);

/// Interval of the checks of openings that wait.
const RELEASE_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a failed pass.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// A delivery in flight for longer than this is logged.
const STUCK_AFTER_MS: i64 = 10 * 60_000;

const NO_LABELS: [&str; 0] = [];

/// The scheduler.
pub(crate) struct Scheduler {
    /// What the service shares.
    pub(crate) context: Context,
    /// Interval of the checks.
    pub(crate) interval: Duration,
    /// The retention.
    pub(crate) retention: Retention,
    /// Deliveries to a receiver that fails or is not configured are given up after this long.
    pub(crate) give_up_after: Duration,
    /// Faults of inputs that were logged.
    pub(crate) warned: Mutex<BTreeSet<(String, InputFault)>>,
}

/// Runs the checks until the stop.
pub(crate) async fn run(scheduler: Scheduler, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        // Nothing that is written from here on would be kept.
        if let Err(error @ StoreError::Broken(_)) = scheduler.context.store.check_files() {
            return Err(error.into());
        }
        let passed = match scheduler.pass().await {
            Ok(()) => scheduler.wait(&stop).await,
            Err(error) => Err(error),
        };
        match passed {
            Ok(true) => return Ok(()),
            Ok(false) | Err(StoreError::NotLeader) => {}
            Err(error @ StoreError::Closed) => return Err(error.into()),
            Err(error) => {
                scheduler
                    .context
                    .metrics
                    .store_errors
                    .with_label_values(&["scheduler"])
                    .inc();
                tracing::error!(%error, "scheduler pass failed; the next one retries");
                if tokio::time::timeout(RETRY_PAUSE, stop.cancelled())
                    .await
                    .is_ok()
                {
                    return Ok(());
                }
            }
        }
    }
}

fn report(context: &Context) {
    let now_ms = context.clock.now_ms();
    context.liveness.report(Task::Scheduler, now_ms);
}

impl Scheduler {
    /// The checks of the leader, if this instance leads.
    fn leader(&self) -> Option<Leader> {
        Some(Leader {
            context: self.context.as_leader()?,
            retention: self.retention,
            give_up_after: self.give_up_after,
        })
    }

    /// Waits for the next pass, reports meanwhile, and notifies of openings when they have waited; true if it is to stop.
    async fn wait(&self, stop: &CancellationToken) -> Result<bool, StoreError> {
        let watch = Stopwatch::start();
        let mut waiting = true;
        while watch.elapsed() < self.interval {
            report(&self.context);
            let left = self.interval.saturating_sub(watch.elapsed());
            let pause = if waiting {
                RELEASE_INTERVAL
            } else {
                LIVENESS_INTERVAL
            };
            let opening = async {
                if waiting {
                    std::future::pending::<()>().await;
                }
                self.context.announcer.opening().await;
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(true),
                () = opening => waiting = true,
                () = tokio::time::sleep(left.min(pause)) => {
                    if waiting {
                        waiting = self.release_incidents().await?;
                    }
                }
            }
        }
        Ok(stop.is_cancelled())
    }

    /// Notifies of openings that have waited, if this instance leads; true if more may wait, as those that other instances record.
    async fn release_incidents(&self) -> Result<bool, StoreError> {
        let waiting = match self.leader() {
            Some(leader) => leader.release_incidents().await?,
            None => true,
        };
        Ok(waiting || self.context.store.is_shared())
    }

    /// One pass.
    pub(crate) async fn pass(&self) -> Result<(), StoreError> {
        let now_ms = self.context.clock.now_ms();
        self.context.store.check_write(now_ms).await?;
        // Requests that change silences publish them too, but may be cancelled before that.
        self.context.refresh_silences().await?;
        self.show_ingest(&self.context.ingest.get());
        if let Some(leader) = self.leader() {
            leader.pass(now_ms).await?;
        }
        self.show_outbox(now_ms).await?;
        self.show_streams().await?;
        self.show_inputs(now_ms).await
    }

    /// Logs each fault of a stream's input once, and counts them.
    async fn show_inputs(&self, now_ms: i64) -> Result<(), StoreError> {
        let inputs = self.context.store.stream_inputs().await?;
        let metrics = &self.context.metrics;
        let (mut hours_off, mut not_judged) = (0, 0);
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        for input in &inputs {
            for (fault, text) in faults(input, now_ms) {
                match fault {
                    InputFault::HoursOff => hours_off += 1,
                    InputFault::NamesNotJudged => not_judged += 1,
                    // Ingest has logged it with the minute.
                    InputFault::NotJudged => continue,
                }
                if warned.insert((input.stream.clone(), fault)) {
                    tracing::warn!(stream = input.stream, "{text}");
                }
            }
        }
        metrics.streams_hours_off.set(hours_off);
        metrics.streams_with_names_not_judged.set(not_judged);
        Ok(())
    }

    fn show_ingest(&self, status: &IngestStatus) {
        let metrics = &self.context.metrics;
        if status.source == Source::Kafka {
            let connected = metrics.kafka_connected.with_label_values(&NO_LABELS);
            connected.set(i64::from(status.connected));
        }
        if let Some(lag) = status.lag {
            metrics
                .consumer_lag
                .set(i64::try_from(lag).unwrap_or(i64::MAX));
        }
    }

    async fn show_streams(&self) -> Result<(), StoreError> {
        let (store, policy) = (&self.context.store, self.context.alerting());
        let streams = store.streams_without_alerts(policy).await?;
        let metrics = &self.context.metrics;
        metrics.watermarks(
            streams
                .iter()
                .map(|stream| (stream.name.as_str(), stream.newest_minute)),
        );
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let stale = streams
            .iter()
            .filter(|stream| stream.stale_since_ms.is_some());
        metrics.streams.set(count(streams.len()));
        metrics.stale_streams.set(count(stale.count()));
        Ok(())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "an age in milliseconds is exact in a double"
    )]
    async fn show_outbox(&self, now_ms: i64) -> Result<(), StoreError> {
        let outbox = self.context.store.outbox().await?;
        let metrics = &self.context.metrics;
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        metrics.deliveries_pending.set(gauge(outbox.pending));
        metrics.deliveries_dead.set(gauge(outbox.dead));
        let age_ms = outbox
            .oldest_pending_created_at_ms
            .map_or(0, |created| now_ms - created);
        self.show_fallback(now_ms);
        let pending = self.context.store.pending_by_receiver().await?;
        metrics.deliveries_oldest_age.reset();
        for (receiver, _) in self.context.receivers.all() {
            let age = metrics
                .deliveries_oldest_age
                .with_label_values(&[&*receiver]);
            age.set(0.0);
        }
        for PendingOf {
            receiver,
            oldest_created_at_ms,
        } in pending
        {
            let age = metrics
                .deliveries_oldest_age
                .with_label_values(&[&*receiver]);
            age.set((now_ms - oldest_created_at_ms) as f64 / 1000.0);
        }
        if age_ms > STUCK_AFTER_MS {
            tracing::warn!(
                pending = outbox.pending,
                oldest_age_s = age_ms / 1000,
                "deliveries are stuck: alerts do not reach the receiver"
            );
        }
        Ok(())
    }

    fn show_fallback(&self, now_ms: i64) {
        let (context, gauge) = (&self.context, &self.context.metrics.fallback_in_use);
        let Some(fallback) = &context.notify.fallback else {
            return;
        };
        let replaced = context.receivers.replaced_by(fallback, now_ms);
        for route in context.notify.routes.iter() {
            let in_use = replaced.iter().any(|(name, _)| *name == route.receiver);
            gauge
                .with_label_values(&[&*route.receiver])
                .set(i64::from(in_use));
        }
    }
}
