//! Follows the replay: shows new alerts and progress while it runs, and the scorecard at its end. It reads the store and writes to the console.

use std::time::Duration;

use anyhow::ensure;
use detection::{MinuteCounts, PolicyName, Severity, backtest::LabelledIncident};
use embedded_kafka::EmbeddedKafka;
use monitoring_service::{
    alerts::{Alert, Subject},
    store::Store,
};
use prometheus::IntCounter;
use stream_processor::{Handle, Shape, Summary};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    Outcome, TOPIC,
    cli::Cli,
    console::Console,
    scorecard::{delay, score},
    stored::{Scope, Totals, alerts_after, in_shadow},
};

/// Interval of the queries for new alerts.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Waiting for deliveries ends after this many polls without a new delivery.
const MAX_IDLE_POLLS: u32 = 100;

/// Waiting for the newest minute ends after this many polls: 90 s.
const MAX_CLOSE_POLLS: u32 = 900;

/// The progress of the replay.
pub(crate) struct ReplayProgress {
    /// The minutes that were sent.
    pub(crate) handle: Handle,
    /// Rows that Kafka has acknowledged.
    pub(crate) rows: IntCounter,
}

/// Reads the store and shows on the console what is new.
pub(crate) struct Watcher {
    store: Store,
    console: Console,
    scope: Scope,
    incidents: Vec<LabelledIncident>,
    expected: Totals,
    /// The totals before the replay.
    already_stored: Totals,
    newest_seen: i64,
    uncaught: Vec<LabelledIncident>,
    /// WARNINGs that were not suppressed. They are counted, not shown.
    warnings: usize,
}

impl Watcher {
    /// Reads the alerts that are stored already, so that they are not shown as new.
    pub(crate) async fn new(
        store: Store,
        console: Console,
        scope: Scope,
        incidents: Vec<LabelledIncident>,
        minutes: &[MinuteCounts],
    ) -> anyhow::Result<Self> {
        let newest_seen = alerts_after(&store, 0)
            .await?
            .last()
            .map_or(0, |(seq, _)| *seq);
        let earlier = scope.alerts(&store).await?;
        let found = |incident: &LabelledIncident| {
            earlier
                .iter()
                .any(|a| a.dispatched && delay(incident, &a.stream, a.minute).is_some())
        };
        let uncaught = incidents
            .iter()
            .filter(|incident| incident.alert && !found(incident))
            .cloned()
            .collect();
        let (already_stored, expected) = (scope.totals(&store).await?, Totals::of(minutes));
        Ok(Self {
            store,
            console,
            scope,
            incidents,
            expected,
            already_stored,
            newest_seen,
            uncaught,
            warnings: 0,
        })
    }

    /// Shows the replay and, at its end, the scorecard; `None` if it stops before the end.
    pub(crate) async fn follow(
        mut self,
        cli: &Cli,
        replay: impl Future<Output = anyhow::Result<Summary>>,
        progress: &ReplayProgress,
        broker: &EmbeddedKafka,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Outcome>> {
        ensure!(
            cli.shape != Shape::Transactions || self.already_stored.minutes == 0,
            "the database has these minutes, and transactions that are sent again count again; use another --database"
        );
        self.console.header(cli, &self.scope, &self.already_stored);
        let summary = self.watch(replay, progress).await?;
        if summary.stopped_at.is_some()
            || !self.all_consumed(broker, stop).await?
            || !self.all_closed(cli.shape, stop).await?
        {
            self.console.finish();
            self.console
                .line("\nStopped before the end of the file: no scorecard.");
            return Ok(None);
        }
        self.show_new_alerts().await?;
        self.console.finish();
        let outcome = self.outcome(cli.shape).await?;
        self.console.totals(&outcome, &self.expected, cli.shape);
        self.console
            .scorecard(&outcome.scorecards, &self.incidents, cli);
        if cli.once && cli.webhook_url.is_some() {
            self.until_delivered(stop).await?;
        }
        if !cli.once {
            self.console.serving_on();
        }
        Ok(Some(outcome))
    }

    /// Shows alerts and progress while the replay runs.
    async fn watch(
        &mut self,
        replay: impl Future<Output = anyhow::Result<Summary>>,
        progress: &ReplayProgress,
    ) -> anyhow::Result<Summary> {
        let (mut poll, mut show) = (
            every(POLL_INTERVAL),
            every(self.console.progress_interval()),
        );
        // At the start there is no progress to show.
        show.reset();
        tokio::pin!(replay);
        loop {
            tokio::select! {
                summary = &mut replay => return summary,
                _ = poll.tick() => self.show_new_alerts().await?,
                _ = show.tick() => {
                    let now = *progress.handle.progress.borrow();
                    self.console.progress(&now, progress.rows.get(), self.warnings);
                }
            }
        }
    }

    /// Waits until the service has stored every message of the broker; false if it stops before.
    async fn all_consumed(
        &mut self,
        broker: &EmbeddedKafka,
        stop: &CancellationToken,
    ) -> anyhow::Result<bool> {
        let mut poll = every(POLL_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                _ = poll.tick() => {}
            }
            self.show_new_alerts().await?;
            let (store, cluster_id) = (self.store.clone(), broker.cluster_id());
            let offsets =
                tokio::task::spawn_blocking(move || store.offsets(&cluster_id, TOPIC)).await??;
            let stored = offsets.get(&0).map(|stored| stored.last_offset + 1);
            if stored == broker.next_offset(TOPIC, 0) {
                return Ok(true);
            }
        }
    }

    /// Waits until the newest minutes have closed, if they do: `CLOSE_AFTER` after the last message. False if it stops before.
    async fn all_closed(&mut self, shape: Shape, stop: &CancellationToken) -> anyhow::Result<bool> {
        if shape == Shape::Minutes {
            return Ok(true);
        }
        self.console
            .line("  ...      the newest minute closes 10 s after its end");
        let mut poll = every(POLL_INTERVAL);
        for _ in 0..MAX_CLOSE_POLLS {
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                _ = poll.tick() => {}
            }
            self.show_new_alerts().await?;
            if self.scope.newest_is_stored(&self.store).await? {
                break;
            }
        }
        Ok(true)
    }

    async fn show_new_alerts(&mut self) -> anyhow::Result<()> {
        for (seq, alert) in alerts_after(&self.store, self.newest_seen).await? {
            self.newest_seen = seq;
            if !alert.is_muted() && !in_shadow(&alert) {
                self.show_alert(&alert);
            }
        }
        Ok(())
    }

    fn show_alert(&mut self, alert: &Alert) {
        self.warnings += usize::from(alert.severity() == Severity::Warning);
        self.console.alert(alert);
        let Subject::Anomaly(anomaly) = &alert.subject else {
            return;
        };
        let found = |incident: &LabelledIncident| {
            delay(incident, &anomaly.key.stream, anomaly.minute).is_some()
        };
        if let Some(at) = self.uncaught.iter().position(found) {
            let incident = self.uncaught.remove(at);
            self.console
                .caught(&incident, anomaly.minute, alert.severity());
        }
    }

    /// The outcome, from the stored alerts and not from the shown ones.
    async fn outcome(&self, shape: Shape) -> anyhow::Result<Outcome> {
        let totals = self.scope.totals(&self.store).await?;
        let alerts = self.scope.alerts(&self.store).await?;
        let scorecards = [PolicyName::ZScore, PolicyName::Adaptive].map(|policy| {
            let alerts = alerts.iter().filter(|alert| alert.policy == policy);
            let alerts: Vec<_> = alerts.cloned().collect();
            let card = score(&alerts, &self.incidents, self.scope.length());
            (policy, card)
        });
        Ok(Outcome {
            as_in_file: match shape {
                Shape::Minutes => totals == self.expected,
                // Minutes without transactions are zeros there, or unknown.
                Shape::Updates | Shape::Transactions => totals.has_transactions_of(&self.expected),
            },
            totals,
            scorecards,
        })
    }

    /// Waits for pending deliveries while the receiver accepts some, so that the exit does not lose them.
    async fn until_delivered(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        let (mut fewest, mut idle) = (u64::MAX, 0);
        loop {
            let outbox = self.store.outbox().await?;
            (fewest, idle) = if outbox.pending < fewest {
                (outbox.pending, 0)
            } else {
                (fewest, idle + 1)
            };
            if outbox.pending == 0 || idle == MAX_IDLE_POLLS || stop.is_cancelled() {
                self.console.deliveries(outbox);
                return Ok(());
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
