//! Connects the parts of the service: store, ingest, scheduler, delivery and API, under one supervisor.

use std::sync::Mutex;

use anyhow::Context as _;
use common::metrics::MetricsRegistry;
use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    clock::{Clock, milliseconds},
    config::{Config, ReceiverSettings, WebhookFormat},
    context::Context,
    database_check,
    evaluate::Evaluator,
    group,
    ingest::{
        self, Requests,
        status::{Group, IngestStatus, Source},
    },
    lifecycle::{self, STOP_TIMEOUT, Supervisor},
    metrics::ServiceMetrics,
    notify::{
        self, Delivery, Receiver,
        client::{self, WebhookClient},
        ping::{self, Ping},
        receiver::Format,
        template::Template,
    },
    opening,
    page::{self, events::Feed},
    routes::{self, AppState},
    scheduler::{self, Scheduler},
    store::{DatabaseAddress, Retention, Store, Writer},
};

/// The service with an open database, before its tasks start.
pub struct App {
    /// Boxed, because futures that hold an `App` would be large.
    config: Box<Config>,
    registry: MetricsRegistry,
    context: Context,
    writer: Writer,
}

/// Opens the database, waiting while its server is away, and serves on `listener` until `stop` is cancelled or a task fails, which is the error.
pub async fn run(
    config: Config,
    listener: TcpListener,
    clock: Clock,
    registry: MetricsRegistry,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let opened = opening::open(&config, listener, &registry, &stop).await?;
    let Some((store, writer, listener)) = opened else {
        return Ok(());
    };
    App::with(config, clock, registry, store, writer)
        .run(listener, stop)
        .await
}

impl App {
    /// Opens the database; a file may have no other service. Kafka and the receiver need not be available.
    pub fn open(config: Config, clock: Clock, registry: MetricsRegistry) -> anyhow::Result<Self> {
        let (store, writer) = match config.database() {
            DatabaseAddress::File(path) => Store::open(&path)?,
            DatabaseAddress::Postgres(url) => Store::connect(url)?,
        };
        Ok(Self::with(config, clock, registry, store, writer))
    }

    fn with(
        config: Config,
        clock: Clock,
        registry: MetricsRegistry,
        store: Store,
        writer: Writer,
    ) -> Self {
        let (metrics, monitor) = (ServiceMetrics::new(&registry), config.monitor_settings());
        metrics.show_thresholds(&monitor);
        let stale_after_ms = milliseconds(config.stale_after);
        let notify = config.notify_policy();
        let context = Context::new(store, clock, metrics, monitor, notify, stale_after_ms);
        if config.kafka_brokers().is_none() {
            let now_ms = context.clock.now_ms();
            let without_kafka = |status: &mut IngestStatus| status.source = Source::Requests;
            context.ingest.update(now_ms, without_kafka);
        } else if context.store.is_shared() {
            let topic = config.kafka_topic.clone();
            let group = Group {
                instance: Uuid::new_v4().to_string(),
                topic,
                ..Group::default()
            };
            let now_ms = context.clock.now_ms();
            let of_group = |status: &mut IngestStatus| status.group = Some(group);
            context.ingest.update(now_ms, of_group);
        }
        Self {
            config: Box::new(config),
            registry,
            context,
            writer,
        }
    }

    /// The store, for a program around the service.
    pub const fn store(&self) -> &Store {
        &self.context.store
    }

    /// Serves on `listener` until `stop` is cancelled or a task fails, which is the error.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
        let address = listener
            .local_addr()
            .context("the listener has no address")?;
        let mut supervisor = Supervisor::new(stop.clone());
        let (settings, scheduler) = (self.ingest_settings(), self.scheduler());
        let (delivery, ping) = (self.delivery()?, self.ping()?);
        let (requests, queue) = Requests::new(settings.mapping.clone());
        let state = self.state(requests, stop.clone());
        let Self {
            config,
            context,
            writer,
            ..
        } = self;
        // The writer ends only when every clone of the store is dropped, so every accepted job is written.
        supervisor.thread("store", move || {
            writer.run();
            Ok(())
        })?;
        context
            .metrics
            .reserve_stream_labels(&context.store.stream_names().await?);
        context.refresh_silences().await?;
        let liveness = context.liveness.clone();
        let events = page::events::run(state.feed.clone(), context.clone(), stop.clone());
        let database_check = database_check::run(context.clone(), stop.clone());
        if context.store.is_shared() {
            supervisor.spawn("group", group::run(context.clone(), stop.clone()));
        }
        let (token, runtime) = (stop.clone(), Handle::current());
        supervisor.thread("ingest", move || {
            ingest::run(settings, context, queue, runtime, &token)
        })?;
        supervisor.spawn("scheduler", scheduler::run(scheduler, stop.clone()));
        supervisor.spawn("events", events);
        supervisor.spawn("database check", database_check);
        supervisor.spawn("delivery", notify::deliver(delivery, stop.clone()));
        if let Some(ping) = ping {
            supervisor.spawn("heartbeat", ping::run(ping, stop.clone()));
        }
        let (token, keep_alive) = (stop.clone(), config.keep_alive);
        supervisor.spawn("server", async move {
            http_listener::serve(listener, routes::router(state), keep_alive, token).await;
            Ok(())
        });
        lifecycle::watchdog(stop, move || liveness.last_reports())?;
        tracing::info!(%address, database = %config.database(), "serving");
        supervisor.finish(STOP_TIMEOUT).await
    }

    fn ingest_settings(&self) -> ingest::Settings {
        ingest::Settings {
            bootstrap_servers: self.config.kafka_brokers().map(ToOwned::to_owned),
            topic: self.config.kafka_topic.clone(),
            group_id: self.config.kafka_group_id.clone(),
            joins_group: self.context.store.is_shared(),
            properties: self.config.kafka_properties.clone(),
            max_streams: self.config.max_streams as usize,
            input: self.config.input.kafka_input,
            mapping: self.config.input.mapping(),
            open_minutes: self.config.input.open_minutes(self.config.stale_after),
            refresh: ingest::METADATA_REFRESH_INTERVAL,
        }
    }

    fn scheduler(&self) -> Scheduler {
        Scheduler {
            context: self.context.clone(),
            interval: self.config.alert_check_interval,
            retention: Retention {
                length_ms: milliseconds(self.config.retention),
            },
            give_up_after: self.config.webhook_give_up_after,
            warned: Mutex::default(),
        }
    }

    fn delivery(&self) -> anyhow::Result<Delivery> {
        let receivers = self.config.receivers();
        if receivers.is_empty() {
            tracing::warn!(
                "no receiver is configured: alerts are only logged and listed, and nobody is notified; set ALERT_WEBHOOK_URL or RECEIVERS_FILE"
            );
        }
        let receiver = |settings: &ReceiverSettings| {
            let context = || format!("receiver {:?}", settings.name);
            self.receiver(settings).with_context(context)
        };
        Ok(Delivery {
            context: self.context.clone(),
            receivers: receivers.iter().map(receiver).collect::<Result<_, _>>()?,
            give_up_after: self.config.webhook_give_up_after,
            public_url: self.config.public_url.clone(),
        })
    }

    fn receiver(&self, settings: &ReceiverSettings) -> anyhow::Result<Receiver> {
        let config = &self.config;
        let keys = config.webhook_secret.clone().unwrap_or_default();
        let proxy = config.webhook_proxy.as_ref();
        let client = WebhookClient::with(
            settings.url.expose().clone(),
            config.webhook_timeout,
            proxy.map(|proxy| proxy.expose().clone()),
            client::headers(settings.headers.expose())?,
        )?;
        let mut client = client.signing_with(keys.expose());
        let routing_key = settings.routing_key.as_ref();
        if let Some(key) = routing_key {
            client = client.hiding(key.expose());
        }
        Ok(Receiver {
            name: settings.name.clone(),
            client,
            format: match settings.format {
                WebhookFormat::Json => Format::Json,
                WebhookFormat::Slack => Format::Slack,
                WebhookFormat::PagerDuty => Format::PagerDuty {
                    routing_key: routing_key
                        .context("its routing key is not set")?
                        .expose()
                        .to_owned(),
                },
                WebhookFormat::Alertmanager => Format::Alertmanager,
                WebhookFormat::Template => {
                    let path = settings
                        .template
                        .as_deref()
                        .context("its template is not set")?;
                    let public_url = config.public_url.as_deref();
                    Format::Template(Box::new(Template::read(path, public_url)?))
                }
            },
        })
    }

    fn ping(&self) -> anyhow::Result<Option<Ping>> {
        let Some(url) = &self.config.heartbeat_url else {
            return Ok(None);
        };
        Ok(Some(Ping {
            client: WebhookClient::new(url.expose().clone())?,
            clock: self.context.clock.clone(),
            metrics: self.context.metrics.clone(),
            liveness: self.context.liveness.clone(),
        }))
    }

    fn state(&self, requests: Requests, draining: CancellationToken) -> AppState {
        AppState {
            context: self.context.clone(),
            requests,
            evaluator: Evaluator {
                context: self.context.clone(),
                cooldown_ms: milliseconds(self.config.alert_cooldown),
            },
            registry: self.registry.clone(),
            draining,
            api_token: self.config.api_token.clone(),
            public_url: self.config.public_url.clone(),
            grafana_url: self.config.grafana_url.clone(),
            feed: Feed::new(self.context.clock.now_ms()),
        }
    }
}
