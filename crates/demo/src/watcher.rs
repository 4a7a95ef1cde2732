//! From the first message to the scorecard: what is told while the replay runs, and when it is through. Reads the store and writes to the console.

use std::time::Duration;

use detection::{MinuteCounts, Severity};
use embedded_kafka::EmbeddedKafka;
use monitoring_service::{
    alerts::{Alert, Subject},
    store::Store,
};
use prometheus::IntCounter;
use stream_processor::{Handle, Summary};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    Outcome, TOPIC,
    cli::Cli,
    console::Console,
    labels::Incident,
    scorecard::score,
    stored::{Scope, Totals, alerts_after},
};

/// How often the store is asked for new alerts.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A receiver that takes no page in this many looks is not waited for any longer.
const MAX_IDLE_POLLS: u32 = 100;

/// What the replay tells of itself.
pub(crate) struct Told {
    /// Which minute it is at.
    pub(crate) handle: Handle,
    /// Rows that Kafka has acknowledged.
    pub(crate) rows: IntCounter,
}

/// Watches the store on behalf of the person at the console.
pub(crate) struct Watcher {
    store: Store,
    console: Console,
    scope: Scope,
    incidents: Vec<Incident>,
    expected: Totals,
    /// What the database held before the start.
    held: Totals,
    newest_seen: i64,
    uncaught: Vec<Incident>,
    /// WARNINGs that went out: they are counted, not shown.
    warnings: usize,
}

impl Watcher {
    /// Looks at what is stored already: that is not news.
    pub(crate) async fn new(
        store: Store,
        console: Console,
        scope: Scope,
        incidents: Vec<Incident>,
        batches: &[MinuteCounts],
    ) -> anyhow::Result<Self> {
        let newest_seen = alerts_after(&store, 0)
            .await?
            .last()
            .map_or(0, |(seq, _)| *seq);
        let earlier = scope.alerts(&store).await?;
        let found = |incident: &Incident| {
            earlier
                .iter()
                .any(|a| a.dispatched && incident.delay(&a.stream, a.minute).is_some())
        };
        let uncaught = incidents
            .iter()
            .filter(|incident| incident.alert && !found(incident))
            .cloned()
            .collect();
        let (held, expected) = (scope.totals(&store).await?, Totals::of(batches));
        Ok(Self {
            store,
            console,
            scope,
            incidents,
            expected,
            held,
            newest_seen,
            uncaught,
            warnings: 0,
        })
    }

    /// Shows what the replay brings, and at the end how good that was; none if it was stopped before.
    pub(crate) async fn account(
        mut self,
        cli: &Cli,
        replay: impl Future<Output = anyhow::Result<Summary>>,
        told: &Told,
        broker: &EmbeddedKafka,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<Outcome>> {
        self.console.header(cli, &self.scope, &self.held);
        let sent = self.watch(replay, told).await?;
        if sent.stopped_at.is_some() || !self.all_consumed(broker, stop).await? {
            self.console.finish();
            self.console
                .line("\nStopped before the end of the file: no scorecard.");
            return Ok(None);
        }
        self.show_new_alerts().await?;
        self.console.finish();
        let outcome = self.outcome().await?;
        self.console.totals(&outcome, &self.expected);
        self.console
            .scorecard(&outcome.scorecard, &self.incidents, cli);
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
        told: &Told,
    ) -> anyhow::Result<Summary> {
        let (mut look, mut show) = (
            every(POLL_INTERVAL),
            every(self.console.progress_interval()),
        );
        // At the start there is no progress to show.
        show.reset();
        tokio::pin!(replay);
        loop {
            tokio::select! {
                sent = &mut replay => return sent,
                _ = look.tick() => self.show_new_alerts().await?,
                _ = show.tick() => {
                    let progress = *told.handle.progress.borrow();
                    self.console.progress(progress.minute, progress.sent, told.rows.get(), self.warnings);
                }
            }
        }
    }

    /// Waits until the service has stored everything the broker has; false if it was stopped before.
    async fn all_consumed(
        &mut self,
        broker: &EmbeddedKafka,
        stop: &CancellationToken,
    ) -> anyhow::Result<bool> {
        let mut look = every(POLL_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                _ = look.tick() => {}
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

    async fn show_new_alerts(&mut self) -> anyhow::Result<()> {
        for (seq, alert) in alerts_after(&self.store, self.newest_seen).await? {
            self.newest_seen = seq;
            if !alert.is_muted() {
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
        let found = |incident: &Incident| {
            incident
                .delay(anomaly.key.stream.as_str(), anomaly.minute)
                .is_some()
        };
        if let Some(at) = self.uncaught.iter().position(found) {
            let incident = self.uncaught.remove(at);
            self.console
                .caught(&incident, anomaly.minute, alert.severity());
        }
    }

    /// From what is stored, not from what was shown.
    async fn outcome(&self) -> anyhow::Result<Outcome> {
        let totals = self.scope.totals(&self.store).await?;
        let scorecard = score(
            &self.scope.alerts(&self.store).await?,
            &self.incidents,
            self.scope.length(),
        );
        Ok(Outcome {
            as_in_file: totals == self.expected,
            totals,
            scorecard,
        })
    }

    /// The end of the process must not be the end of pages on their way: waits for as long as the receiver takes some.
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
