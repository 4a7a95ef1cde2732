//! Broker, producer and service in one process, over the same code paths as production: only the broker is embedded.

pub mod cli;
mod console;
pub mod sample;
pub mod scorecard;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, ensure};
use common::metrics::Metrics;
use detection::Minute;
use embedded_kafka::EmbeddedKafka;
use monitoring_service::{
    app::App,
    clock::Clock,
    config::{Config, SecretUrl},
    store::{AlertFilter, AlertRecord, Store},
};
use stream_processor::{
    Handle, Kafka, Options, ProcessorMetrics, Properties, Summary, Timeline,
    loader::{self, LoadOptions, Loaded},
};
use tokio::{net::TcpListener, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    cli::Cli,
    console::Console,
    scorecard::{Incident, Scorecard, Scored, delay, load_incidents, score},
};

const TOPIC: &str = "transactions";

/// How often the store is asked for new alerts.
const LOOK: Duration = Duration::from_millis(100);

/// Alerts asked for at a time.
const PAGE: u32 = 500;

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Stored rows.
    pub rows: u64,
    /// Stored transactions per status.
    pub totals: BTreeMap<String, u64>,
    /// How the policy did.
    pub scorecard: Scorecard,
}

/// Runs the demo until it is through (`--once`) or stopped; none if it was stopped before the end of the file.
pub async fn run(cli: &Cli, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<Option<Outcome>> {
    let loaded = loader::load_file(&cli.file, &LoadOptions::default())?;
    ensure!(!loaded.batches.is_empty(), "{} has no rows: use --file for another one", cli.file.display());
    let incidents = load_incidents(&cli.incidents)?;
    let broker = EmbeddedKafka::start().await?;
    broker.create_topic(TOPIC, 1)?;
    let temporary = tempfile::tempdir().context("no temporary folder can be made: use --database")?;
    let config = Config {
        database_path: cli.database.clone().unwrap_or_else(|| temporary.path().join("demo.db")),
        kafka_bootstrap_servers: broker.bootstrap_servers(),
        kafka_topic: TOPIC.to_owned(),
        alert_webhook_url: cli.webhook_url.as_deref().map(SecretUrl::parse).transpose().map_err(anyhow::Error::msg)?,
        ..Config::default()
    };
    let metrics = Metrics::new();
    let app = App::open(config, Clock::system(), metrics.clone())?;
    let address = listener.local_addr()?.to_string();
    let watcher = Watcher {
        store: app.store().clone(),
        console: Console::new(loaded.batches.len() as u64),
        newest_seen: app
            .store()
            .alerts(AlertFilter { limit: 1, ..AlertFilter::default() })
            .await?
            .first()
            .map_or(0, |(seq, _)| *seq),
        uncaught: incidents.clone(),
        warnings: 0,
    };
    let account = async {
        // Whatever happens here, the service is not left running alone.
        let guard = stop.clone().drop_guard();
        let outcome = watcher.account(cli, &loaded, &incidents, &broker, &metrics, &address, &stop).await;
        if outcome.is_ok() && !cli.once {
            stop.cancelled().await;
        }
        drop(guard);
        outcome
    };
    let (served, outcome) = tokio::join!(app.run(listener, stop.clone()), account);
    served?;
    let outcome = outcome?;
    broker.shutdown().await?;
    Ok(outcome)
}

struct Watcher {
    store: Store,
    console: Console,
    newest_seen: i64,
    uncaught: Vec<Incident>,
    warnings: usize,
}

impl Watcher {
    /// Replays the file, shows what is found, and at the end how good that was.
    #[expect(clippy::too_many_arguments, reason = "the one place where all the parts meet")]
    async fn account(
        mut self,
        cli: &Cli,
        loaded: &Loaded,
        incidents: &[Incident],
        broker: &EmbeddedKafka,
        metrics: &Metrics,
        address: &str,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Outcome>> {
        let what = format!("{} minutes of {} at speed {}", loaded.batches.len(), cli.file.display(), cli.speed);
        self.console.header(address, &what);
        let options = Options {
            kafka: Kafka {
                brokers: broker.bootstrap_servers(),
                topic: TOPIC.to_owned(),
                properties: Properties::default(),
            },
            speed: cli.speed,
            timeline: Timeline::AsInFile,
        };
        let (remote, handle) = stream_processor::remote();
        let producer = ProcessorMetrics::new(metrics);
        let clock = stream_processor::Clock::System;
        let replay = stream_processor::run(loaded, &options, &producer, remote, clock, stop);
        let sent = self.watch(replay, &handle).await?;
        self.console.finish();
        if sent.stopped_at.is_some() || !self.all_consumed(broker, stop).await? {
            self.console.line("Stopped before the end of the file: no scorecard.");
            return Ok(None);
        }
        self.show_new_alerts().await?;
        let outcome = self.outcome(incidents).await?;
        self.show(&outcome, &sent, cli, address);
        Ok(Some(outcome))
    }

    /// Shows alerts and progress while the replay runs.
    async fn watch(
        &mut self,
        replay: impl Future<Output = anyhow::Result<Summary>>,
        handle: &Handle,
    ) -> anyhow::Result<Summary> {
        let every = |period| {
            let mut interval = tokio::time::interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        let (mut look, mut show) = (every(LOOK), every(self.console.progress_interval()));
        tokio::pin!(replay);
        loop {
            tokio::select! {
                sent = &mut replay => return sent,
                _ = look.tick() => self.show_new_alerts().await?,
                _ = show.tick() => {
                    let progress = *handle.progress.borrow();
                    self.console.progress(progress.minute, progress.sent, self.warnings);
                }
            }
        }
    }

    /// Waits until the service has stored everything the broker has; false if it was stopped before.
    async fn all_consumed(&mut self, broker: &EmbeddedKafka, stop: &CancellationToken) -> anyhow::Result<bool> {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                _ = look.tick() => {}
            }
            self.show_new_alerts().await?;
            let (store, cluster_id) = (self.store.clone(), broker.cluster_id());
            let offsets = tokio::task::spawn_blocking(move || store.offsets(&cluster_id, TOPIC)).await??;
            let stored = offsets.get(&0).map(|stored| stored.last_offset + 1);
            if stored == broker.next_offset(TOPIC, 0) {
                return Ok(true);
            }
        }
    }

    async fn show_new_alerts(&mut self) -> anyhow::Result<()> {
        let mut new = stream_alerts(&self.store, self.newest_seen).await?;
        new.reverse();
        for (seq, alert) in new {
            self.newest_seen = seq;
            if !alert.is_dispatched() {
                continue;
            }
            self.warnings += usize::from(alert.severity == detection::Severity::Warning);
            self.console.alert(&alert);
            if let Some(anomaly) = &alert.anomaly {
                self.note_caught(anomaly.minute);
            }
        }
        Ok(())
    }

    fn note_caught(&mut self, minute: Minute) {
        if let Some(at) = self.uncaught.iter().position(|incident| delay(incident, minute).is_some()) {
            let incident = self.uncaught.remove(at);
            self.console.caught(&incident, minute.since(incident.start));
        }
    }

    /// From what is stored, not from what was shown.
    async fn outcome(&self, incidents: &[Incident]) -> anyhow::Result<Outcome> {
        let mut scored = Vec::new();
        for (_, alert) in stream_alerts(&self.store, 0).await? {
            if let Some(anomaly) = &alert.anomaly {
                let (minute, severity, dispatched) = (anomaly.minute, alert.severity, alert.is_dispatched());
                scored.push(Scored { minute, severity, dispatched });
            }
        }
        let (mut rows, mut totals, mut minutes) = (0, BTreeMap::new(), 0);
        for stream in self.store.stream_names().await? {
            let summary = self.store.summary(&stream, None, None).await?;
            minutes = minutes.max(summary.minutes_known);
            for total in summary.statuses {
                rows += total.minutes;
                *totals.entry(total.status).or_default() += total.count;
            }
        }
        Ok(Outcome { rows, totals, scorecard: score(&scored, incidents, minutes) })
    }

    fn show(&self, outcome: &Outcome, sent: &Summary, cli: &Cli, address: &str) {
        let expected: BTreeMap<_, _> = sent.totals.iter().map(|(status, total)| (status.to_string(), *total)).collect();
        self.console.line("\nThe end of the file. What is stored:\n");
        self.console.line(&format!("  rows                 {}", outcome.rows));
        for (status, total) in &outcome.totals {
            let agrees = if expected.get(status).copied().unwrap_or(0) == *total {
                "as in the file"
            } else {
                "DIFFERS from the file"
            };
            self.console.line(&format!("  {status:<20} {total:<10} {agrees}"));
        }
        self.console.line(&format!("\nHeld against {}:\n\n{}\n", cli.incidents.display(), outcome.scorecard));
        if !cli.once {
            self.console.line(&format!("Still serving on http://{address}; Ctrl-C ends it."));
        }
    }
}

/// The alerts of the stream with a number above `after`, newest first.
async fn stream_alerts(store: &Store, after: i64) -> anyhow::Result<Vec<(i64, AlertRecord)>> {
    let origin = Some(monitoring_service::store::Origin::Stream);
    let (mut alerts, mut before) = (Vec::new(), None);
    loop {
        let page = store.alerts(AlertFilter { origin, before, limit: PAGE, ..AlertFilter::default() }).await?;
        let full = page.len() == PAGE as usize;
        let reached = page.last().is_none_or(|(seq, _)| *seq <= after);
        before = page.last().map(|(seq, _)| *seq);
        alerts.extend(page.into_iter().filter(|(seq, _)| *seq > after));
        if reached || !full {
            return Ok(alerts);
        }
    }
}
