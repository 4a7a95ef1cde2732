//! Every 30 seconds: what no message announces. Silence, a monitor that is blind, deliveries that stick, retention, gauges.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    alerting::log_alert,
    clock::Clock,
    metrics::ServiceMetrics,
    state::{FeedState, Silences, Task, TaskLiveness},
    store::{AlertRecord, Paging, Retention, Store, StoreError},
};

/// The longest wait between two signs of life.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(10);

/// Pruning steps of one pass: enough to keep up with any feed, few enough never to hold it up.
const PRUNE_STEPS: usize = 100;

/// A delivery on its way for longer than this is told of in the log.
const STUCK_AFTER_MS: i64 = 10 * 60_000;

/// What the scheduler works with and is told.
pub struct Deps {
    /// Where it looks and writes.
    pub store: Store,
    /// How the feed stands.
    pub feed: FeedState,
    /// What people do not want to hear of.
    pub silences: Silences,
    /// Where signs of life go.
    pub liveness: TaskLiveness,
    /// Where it is shown.
    pub metrics: ServiceMetrics,
    /// The time.
    pub clock: Clock,
    /// How often it looks.
    pub interval: Duration,
    /// A live stream without a new minute for this long is quiet.
    pub stale_after: Duration,
    /// How long things are kept.
    pub retention: Retention,
    /// Who is paged.
    pub paging: Paging,
    /// Deliveries that nobody is there for are given up after this long.
    pub give_up_after: Duration,
}

/// Looks after things until it is told to stop.
pub async fn run(deps: Deps, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        match deps.pass().await {
            Ok(()) => {}
            Err(error @ StoreError::Closed) => return Err(error.into()),
            Err(error) => {
                deps.metrics
                    .store_errors
                    .with_label_values(&["scheduler"])
                    .inc();
                tracing::error!(%error, "a scheduler pass failed; the next one tries again");
            }
        }
        if deps.wait(&stop).await {
            return Ok(());
        }
    }
}

impl Deps {
    /// Waits for the next pass, with signs of life; true if it is to stop.
    async fn wait(&self, stop: &CancellationToken) -> bool {
        let mut left = self.interval;
        while !left.is_zero() {
            self.liveness.report(Task::Scheduler, self.clock.now_ms());
            let pause = left.min(LIVENESS_INTERVAL);
            if tokio::time::timeout(pause, stop.cancelled()).await.is_ok() {
                return true;
            }
            left -= pause;
        }
        stop.is_cancelled()
    }

    /// One pass.
    pub(crate) async fn pass(&self) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        // Requests that change silences publish them too, but may be cut off between the two.
        self.silences.refresh(&self.store, now_ms).await?;
        for alert in self.watch_feed(now_ms).await? {
            self.metrics.alert(&alert);
            log_alert(&alert);
        }
        self.give_up(now_ms).await?;
        self.show_outbox(now_ms).await?;
        let streams = self.store.streams().await?;
        self.metrics.watermarks(
            streams
                .iter()
                .map(|stream| (stream.name.as_str(), stream.newest_minute)),
        );
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.streams.set(count(streams.len()));
        self.metrics.stale_streams.set(count(
            streams
                .iter()
                .filter(|s| s.stale_since_ms.is_some())
                .count(),
        ));
        self.prune(now_ms).await
    }

    /// Silence is only judged by a monitor that sees everything there is: otherwise the silence may be its own.
    async fn watch_feed(&self, now_ms: i64) -> Result<Vec<AlertRecord>, StoreError> {
        let feed = self.feed.get();
        self.metrics.kafka_connected.set(i64::from(feed.connected));
        if let Some(lag) = feed.lag {
            self.metrics
                .consumer_lag
                .set(i64::try_from(lag).unwrap_or(i64::MAX));
        }
        let stale_after_ms = i64::try_from(self.stale_after.as_millis()).unwrap_or(i64::MAX);
        let long_ago = now_ms - feed.consuming_since_ms > stale_after_ms;
        // A new installation may wait for its topic: nobody is to be woken for what never was.
        let sees =
            feed.consuming || (feed.connected && self.store.stream_names().await?.is_empty());
        if !sees && !long_ago {
            return Ok(Vec::new());
        }
        if !sees {
            let why = feed
                .error
                .unwrap_or_else(|| "the Kafka brokers cannot be reached".to_owned());
            return self
                .store
                .note_ingest_down(feed.consuming_since_ms, now_ms, self.paging, why)
                .await;
        }
        let mut alerts = self.store.note_ingest_up(now_ms, self.paging).await?;
        // After an outage of ours the producers have as long as any silence may last.
        if feed.caught_up && long_ago {
            alerts.extend(
                self.store
                    .note_stale_streams(now_ms, stale_after_ms, self.paging)
                    .await?,
            );
        }
        Ok(alerts)
    }

    /// Without a receiver nothing tries what an earlier configuration left in the outbox.
    async fn give_up(&self, now_ms: i64) -> Result<(), StoreError> {
        if self.paging.webhook || self.store.outbox().await?.pending == 0 {
            return Ok(());
        }
        let give_up_after_ms = i64::try_from(self.give_up_after.as_millis()).unwrap_or(i64::MAX);
        let given_up = self
            .store
            .give_up_deliveries(now_ms - give_up_after_ms, "no receiver is configured")
            .await?;
        if given_up > 0 {
            tracing::error!(
                deliveries = given_up,
                "given up: no receiver is configured (ALERT_WEBHOOK_URL)"
            );
        }
        Ok(())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "an age in milliseconds is exact in a double"
    )]
    async fn show_outbox(&self, now_ms: i64) -> Result<(), StoreError> {
        let outbox = self.store.outbox().await?;
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.outbox_pending.set(gauge(outbox.pending));
        self.metrics.outbox_dead.set(gauge(outbox.dead));
        let age_ms = outbox
            .oldest_pending_created_at_ms
            .map_or(0, |created| now_ms - created);
        self.metrics.outbox_oldest_age.set(age_ms as f64 / 1000.0);
        if age_ms > STUCK_AFTER_MS {
            tracing::warn!(
                pending = outbox.pending,
                oldest_age_s = age_ms / 1000,
                "alerts do not reach their receiver"
            );
        }
        Ok(())
    }

    async fn prune(&self, now_ms: i64) -> Result<(), StoreError> {
        for _ in 0..PRUNE_STEPS {
            self.liveness.report(Task::Scheduler, self.clock.now_ms());
            if !self.store.prune_step(now_ms, self.retention).await? {
                break;
            }
        }
        Ok(())
    }
}
