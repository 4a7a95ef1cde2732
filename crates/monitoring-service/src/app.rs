//! The service put together: store, ingest, scheduler, delivery and API, under one supervisor. Nothing here decides anything.

use std::time::Duration;

use anyhow::Context as _;
use common::metrics::MetricsRegistry;
use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::sync::CancellationToken;

use crate::{
    alerting::{self, Delivery, heartbeat::Heartbeat},
    clock::Clock,
    config::Config,
    evaluate::Evaluator,
    ingest,
    lifecycle::{self, STOP_DEADLINE, Supervisor},
    metrics::ServiceMetrics,
    routes::{self, AppState},
    scheduler, server,
    state::{FeedState, Silences, Snapshots, TaskLiveness},
    store::{Retention, Store, Writer},
    webhook::WebhookClient,
};

/// The service with its database open, before anything runs.
pub struct App {
    config: Config,
    clock: Clock,
    registry: MetricsRegistry,
    metrics: ServiceMetrics,
    store: Store,
    writer: Writer,
    snapshots: Snapshots,
    silences: Silences,
    feed: FeedState,
    liveness: TaskLiveness,
}

/// Opens the database and serves on `listener` until `stop` is cancelled or a task fails, which is the error.
pub async fn run(
    config: Config,
    listener: TcpListener,
    clock: Clock,
    registry: MetricsRegistry,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    App::open(config, clock, registry)?
        .run(listener, stop)
        .await
}

impl App {
    /// Opens the database. Kafka and the receiver of alerts need not be there.
    pub fn open(config: Config, clock: Clock, registry: MetricsRegistry) -> anyhow::Result<Self> {
        let (store, writer) = Store::open(&config.database_path)?;
        let metrics = ServiceMetrics::new(&registry);
        metrics.judges_by(&config.policy().detector.thresholds);
        let now_ms = clock.now_ms();
        let (snapshots, feed, liveness) = (
            Snapshots::default(),
            FeedState::new(now_ms),
            TaskLiveness::new(now_ms),
        );
        let silences = Silences::default();
        Ok(Self {
            config,
            clock,
            registry,
            metrics,
            store,
            writer,
            snapshots,
            silences,
            feed,
            liveness,
        })
    }

    /// What is stored, for a program around the service.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// How the feed stands, for a program around the service.
    pub const fn feed(&self) -> &FeedState {
        &self.feed
    }

    /// Serves on `listener` until `stop` is cancelled or a task fails, which is the error.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
        let address = listener
            .local_addr()
            .context("the listener has no address")?;
        let supervisor = Supervisor::new(stop.clone());
        let (ingest, settings) = (self.ingest(), self.ingest_settings());
        let (scheduler, delivery, state) =
            (self.scheduler(), self.delivery()?, self.state(stop.clone()));
        let heartbeat = self.heartbeat()?;
        let Self {
            writer,
            store,
            metrics,
            liveness,
            config,
            clock,
            silences,
            ..
        } = self;
        // The writer ends when the last user of the store is gone, and not before: what was taken is written.
        supervisor.thread("store", move || {
            writer.run();
            Ok(())
        })?;
        metrics.know_streams(&store.stream_names().await?);
        silences.refresh(&store, clock.now_ms()).await?;
        drop(store);
        let token = stop.clone();
        supervisor.thread("ingest", move || ingest::run(settings, ingest, &token))?;
        supervisor.spawn("scheduler", scheduler::run(scheduler, stop.clone()));
        supervisor.spawn("delivery", alerting::deliver(delivery, stop.clone()));
        if let Some(heartbeat) = heartbeat {
            supervisor.spawn(
                "heartbeat",
                alerting::heartbeat::run(heartbeat, stop.clone()),
            );
        }
        let token = stop.clone();
        supervisor.spawn("server", async move {
            server::serve(listener, routes::router(state), token).await;
            Ok(())
        });
        lifecycle::watchdog(stop, move || liveness.last_reports())?;
        tracing::info!(%address, database = %config.database_path.display(), "serving");
        supervisor.finish(STOP_DEADLINE).await
    }

    fn ingest(&self) -> ingest::Deps {
        ingest::Deps {
            store: self.store.clone(),
            snapshots: self.snapshots.clone(),
            silences: self.silences.clone(),
            feed: self.feed.clone(),
            liveness: self.liveness.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            runtime: Handle::current(),
        }
    }

    fn ingest_settings(&self) -> ingest::Settings {
        ingest::Settings {
            bootstrap_servers: self.config.kafka_bootstrap_servers.clone(),
            topic: self.config.kafka_topic.clone(),
            group_id: self.config.kafka_group_id.clone(),
            properties: self.config.kafka_properties.clone(),
            policy: self.config.policy(),
            max_streams: self.config.max_streams as usize,
            paging: self.config.paging(),
            refresh: ingest::METADATA_REFRESH_INTERVAL,
        }
    }

    fn scheduler(&self) -> scheduler::Deps {
        scheduler::Deps {
            store: self.store.clone(),
            feed: self.feed.clone(),
            silences: self.silences.clone(),
            liveness: self.liveness.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
            interval: self.config.alert_check_interval,
            stale_after: self.config.stale_after,
            retention: Retention {
                length_ms: milliseconds(self.config.retention),
            },
            give_up_after: self.config.webhook_give_up_after,
            paging: self.config.paging(),
        }
    }

    fn delivery(&self) -> anyhow::Result<Delivery> {
        let url = self.config.alert_webhook_url.as_ref();
        let keys = self.config.webhook_secret.clone().unwrap_or_default();
        Ok(Delivery {
            store: self.store.clone(),
            client: url
                .map(|url| {
                    WebhookClient::new(url.expose().clone())
                        .map(|client| client.signing_with(keys.expose()))
                })
                .transpose()?,
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            liveness: self.liveness.clone(),
            give_up_after: self.config.webhook_give_up_after,
            format: self.config.webhook_format,
            public_url: self.config.public_url.clone(),
        })
    }

    fn heartbeat(&self) -> anyhow::Result<Option<Heartbeat>> {
        let Some(url) = &self.config.heartbeat_url else {
            return Ok(None);
        };
        Ok(Some(Heartbeat {
            client: WebhookClient::new(url.expose().clone())?,
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            liveness: self.liveness.clone(),
        }))
    }

    fn state(&self, draining: CancellationToken) -> AppState {
        let evaluator = Evaluator {
            store: self.store.clone(),
            snapshots: self.snapshots.clone(),
            silences: self.silences.clone(),
            policy: self.config.policy(),
            paging: self.config.paging(),
            stale_after: self.config.stale_after,
            cooldown: self.config.alert_cooldown,
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
        };
        AppState {
            store: self.store.clone(),
            evaluator,
            silences: self.silences.clone(),
            feed: self.feed.clone(),
            liveness: self.liveness.clone(),
            registry: self.registry.clone(),
            clock: self.clock.clone(),
            stale_after: self.config.stale_after,
            draining,
            api_token: self.config.api_token.clone(),
        }
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
