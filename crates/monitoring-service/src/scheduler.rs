//! The periodic checks: the database's files, stale streams, ingest down or up, stuck deliveries, retention, gauges. The rules in
//! [`crate::alerts`] decide which findings become alerts.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    alerts::{
        Alert, Subject,
        incident::{EndReason, IncidentKind},
        incident_record::IncidentRecord,
        incident_text::capitalized,
        incident_update::{IncidentUpdate, Now, opened},
        ingest,
        inputs::{InputFault, faults},
        release::{self, Open},
        stale::{self, StaleRules},
        summary,
    },
    clock::{Stopwatch, milliseconds},
    context::Context,
    ingest::status::{Acceptance, IngestStatus, Source},
    liveness::Task,
    store::{PendingOf, Retention, StoreError},
};

/// The longest wait between two reports of the task.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(10);

/// Interval of the checks of openings that wait.
const RELEASE_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a failed pass.
const RETRY_PAUSE: Duration = Duration::from_secs(10);

/// Pruning steps of one pass: enough to keep up with ingest, few enough not to delay it.
const MAX_PRUNE_STEPS: usize = 100;

/// A delivery in flight for longer than this is logged.
const STUCK_AFTER_MS: i64 = 10 * 60_000;

const NO_LABELS: [&str; 0] = [];

const NOTHING_MONITORED: &str = "nothing is monitored";

/// The alerts about ingest down.
const DOWN_OR_UP: [Subject; 2] = [Subject::IngestDown, Subject::IngestUp];

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
            Ok(false) => {}
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

impl Scheduler {
    fn report(&self) {
        self.context
            .liveness
            .report(Task::Scheduler, self.context.clock.now_ms());
    }

    /// Waits for the next pass, reports meanwhile, and notifies of openings when they have waited; true if it is to stop.
    async fn wait(&self, stop: &CancellationToken) -> Result<bool, StoreError> {
        let watch = Stopwatch::start();
        let mut waiting = true;
        while watch.elapsed() < self.interval {
            self.report();
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

    /// One pass.
    pub(crate) async fn pass(&self) -> Result<(), StoreError> {
        let now_ms = self.context.clock.now_ms();
        self.context.store.check_write(now_ms).await?;
        // Requests that change silences publish them too, but may be cancelled before that.
        self.context.refresh_silences().await?;
        self.check_ingest(now_ms).await?;
        self.release_incidents().await?;
        self.sum_up_ingest(now_ms).await?;
        self.give_up(now_ms).await?;
        self.show_outbox(now_ms).await?;
        self.show_streams().await?;
        self.show_inputs(now_ms).await?;
        self.prune(now_ms).await
    }

    /// Notifies of openings that have waited long enough, and escalates; true if openings still wait.
    async fn release_incidents(&self) -> Result<bool, StoreError> {
        let now_ms = self.context.clock.now_ms();
        let policy = self.context.notify.clone();
        let (silences, alerting) = (
            self.context.silences.active(now_ms),
            self.context.alerting(),
        );
        let plan = move |open: &Open| {
            let now = Now {
                policy: &policy,
                silences: &silences,
                ms: now_ms,
            };
            release::plan(open, alerting, &now)
        };
        let (events, waiting) = self.context.store.release_incidents(now_ms, plan).await?;
        self.context.announcer.announce_incidents(&events);
        Ok(waiting)
    }

    /// Records one summary of what was too old to be notified, once ingest has caught up.
    async fn sum_up_ingest(&self, now_ms: i64) -> Result<(), StoreError> {
        if !self.context.ingest.get().caught_up {
            return Ok(());
        }
        let policy = self.context.notify.clone();
        let incidents = policy.incidents.notified;
        let decide = move |tally: &_, last_ms| summary::of_ingest(tally, last_ms, &policy, now_ms);
        let store = &self.context.store;
        if let Some(alert) = store.sum_up_ingest(incidents, now_ms, decide).await? {
            self.context.announcer.announce(&alert);
        }
        Ok(())
    }

    /// Streams are only marked as stale while ingest is up and caught up; otherwise the monitor may be the cause.
    async fn check_ingest(&self, now_ms: i64) -> Result<(), StoreError> {
        let status = self.context.ingest.get();
        self.show_ingest(&status);
        let stale_after_ms = self.context.stale_after_ms;
        if let Some(standing) = status.standing_longer_than(stale_after_ms, now_ms) {
            let since_ms = standing.partitions[0].since_ms;
            let what = if standing.read == 0 {
                format!("{NOTHING_MONITORED}: {standing}")
            } else {
                format!("not everything is monitored: {standing}")
            };
            return self.record_down(since_ms, what, now_ms).await;
        }
        let long_ago = now_ms - status.consuming_since_ms > stale_after_ms;
        // A new installation may wait for its topic; that is not ingest down.
        let reads = status.consuming
            || (status.connected && self.context.store.stream_names().await?.is_empty());
        if !reads {
            if long_ago {
                let why = status.error.as_deref();
                let why = why.unwrap_or("the Kafka brokers cannot be reached");
                let what = format!("{NOTHING_MONITORED}: {why}");
                self.record_down(status.consuming_since_ms, what, now_ms)
                    .await?;
            }
            return Ok(());
        }
        let notify = self.context.notify.clone();
        let up = move |newest: Option<&_>| ingest::up(newest, &notify, now_ms);
        self.record(DOWN_OR_UP, up).await?;
        self.check_acceptance(status.acceptance, now_ms).await?;
        self.end(IncidentKind::IngestDown, now_ms).await?;
        // After an outage of ingest, producers get a full STALE_AFTER before their streams count as stale.
        if status.caught_up && long_ago {
            self.record_stale(now_ms).await?;
        }
        Ok(())
    }

    async fn record_down(
        &self,
        since_ms: i64,
        what: String,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let notify = self.context.notify.clone();
        let message = format!("{}.", capitalized(what.trim_end_matches('.')));
        let down = move |newest: Option<&_>| ingest::down(newest, since_ms, &what, &notify, now_ms);
        self.record(DOWN_OR_UP, down).await?;
        self.begin(IncidentKind::IngestDown, since_ms, message, now_ms)
            .await
    }

    /// Opens the incident of a condition of ingest, unless it is open.
    async fn begin(
        &self,
        kind: IncidentKind,
        since_ms: i64,
        message: String,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let policy = self.context.notify.clone();
        let opening = move |open: &[IncidentRecord]| {
            let now = Now::without_silences(&policy, now_ms);
            let opened = || opened(kind, None, since_ms, message.clone(), &now);
            open.is_empty().then(opened).into_iter().collect()
        };
        self.change(kind, opening).await
    }

    /// Ends the incident of a condition of ingest, if it is open.
    async fn end(&self, kind: IncidentKind, now_ms: i64) -> Result<(), StoreError> {
        let policy = self.context.notify.clone();
        let over = move |open: &[IncidentRecord]| {
            let now = Now::without_silences(&policy, now_ms);
            let ended = |incident| now.ended(incident, EndReason::Recovered, None);
            open.iter().map(ended).collect()
        };
        self.change(kind, over).await
    }

    async fn change<F>(&self, kind: IncidentKind, decide: F) -> Result<(), StoreError>
    where
        F: Fn(&[IncidentRecord]) -> Vec<IncidentUpdate> + Send + 'static,
    {
        let events = self.context.store.change_incidents(kind, decide).await?;
        self.context.announcer.announce_incidents(&events);
        Ok(())
    }

    /// Records whether most of the newest messages are dead letters, when that changes.
    async fn check_acceptance(
        &self,
        acceptance: Acceptance,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let notify = self.context.notify.clone();
        let subjects = [Subject::IngestRejecting, Subject::IngestAccepting];
        match acceptance {
            Acceptance::Unknown => Ok(()),
            Acceptance::Accepting => {
                let accepting =
                    move |newest: Option<&_>| ingest::accepting(newest, &notify, now_ms);
                self.record(subjects, accepting).await?;
                self.end(IncidentKind::IngestRejecting, now_ms).await
            }
            Acceptance::Rejecting(why) => {
                let message = format!(
                    "{}. GET /dead-letters lists them.",
                    why.trim_end_matches('.')
                );
                let rejecting =
                    move |newest: Option<&_>| ingest::rejecting(newest, &why, &notify, now_ms);
                self.record(subjects, rejecting).await?;
                self.begin(IncidentKind::IngestRejecting, now_ms, message, now_ms)
                    .await
            }
        }
    }

    /// Records and announces the begin or the end of a condition.
    async fn record<F>(&self, subjects: [Subject; 2], decide: F) -> Result<(), StoreError>
    where
        F: Fn(Option<&Alert>) -> Option<Alert> + Send + 'static,
    {
        let recorded = self.context.store.record_condition(subjects, decide);
        if let Some(alert) = recorded.await? {
            self.context.announcer.announce(&alert);
        }
        Ok(())
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

    async fn record_stale(&self, now_ms: i64) -> Result<(), StoreError> {
        let rules = StaleRules {
            stale_after_ms: self.context.stale_after_ms,
            silences: self.context.silences.active(now_ms),
            dead_letters: self
                .context
                .store
                .dead_letters_since(now_ms - self.context.stale_after_ms)
                .await?,
            policy: self.context.notify.clone(),
        };
        let policy = rules.policy.clone();
        let change = move |streams: &[_]| stale::change(streams, &rules, now_ms);
        let end = move |incident: &_| {
            let now = Now::without_silences(&policy, now_ms);
            now.ended(incident, EndReason::Recovered, None)
        };
        let store = &self.context.store;
        let (alerts, events) = store.change_stale_streams(now_ms, change, end).await?;
        for alert in alerts {
            self.context.announcer.announce(&alert);
        }
        self.context.announcer.announce_incidents(&events);
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
        let streams = self
            .context
            .store
            .streams(self.context.alerting(), false)
            .await?;
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

    /// Gives up old deliveries to receivers that are not configured any more or that fail: while one fails, only some of its
    /// deliveries are attempted.
    async fn give_up(&self, now_ms: i64) -> Result<(), StoreError> {
        let before_ms = now_ms - milliseconds(self.give_up_after);
        let configured = self.context.receivers.all();
        for pending in self.context.store.pending_by_receiver().await? {
            let name = &pending.receiver;
            let why = match configured.iter().find(|(known, _)| known == name) {
                Some((_, None)) => continue,
                Some((_, Some(failing))) => failing.error.clone(),
                None => "its receiver is not configured".to_owned(),
            };
            let store = &self.context.store;
            let given_up = store
                .give_up_deliveries(name, before_ms, why.clone())
                .await?;
            if given_up > 0 {
                tracing::error!(
                    receiver = name,
                    deliveries = given_up,
                    why,
                    "deliveries given up"
                );
            }
        }
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

    async fn prune(&self, now_ms: i64) -> Result<(), StoreError> {
        for _ in 0..MAX_PRUNE_STEPS {
            self.report();
            if !self
                .context
                .store
                .prune_step(now_ms, self.retention)
                .await?
            {
                break;
            }
        }
        Ok(())
    }
}
