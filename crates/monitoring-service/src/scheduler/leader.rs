//! What the scheduler of the leader does for all instances: ingest down or up, stale streams, openings that wait, deliveries that are given
//! up, retention. The rules in [`crate::alerts`] decide which findings become alerts.

use std::time::Duration;

use super::report;
use crate::{
    alerts::{
        Alert, Subject,
        incident::{EndReason, IncidentKind},
        incident_record::IncidentRecord,
        incident_text::capitalized,
        incident_update::{IncidentUpdate, Now, opened},
        ingest,
        release::{self, Open},
        stale::{self, StaleRules},
        summary,
    },
    clock::milliseconds,
    context::Context,
    group,
    ingest::status::Acceptance,
    store::{DeadLetterCount, Retention, StoreError},
};

/// Pruning steps of one pass: enough to keep up with ingest, few enough not to delay it.
const MAX_PRUNE_STEPS: usize = 100;

const NOTHING_MONITORED: &str = "nothing is monitored";

const NOT_ALL_MONITORED: &str = "not everything is monitored";

/// The alerts about ingest down.
const DOWN_OR_UP: [Subject; 2] = [Subject::IngestDown, Subject::IngestUp];

/// The checks of the leader.
pub(super) struct Leader {
    /// What the service shares; what it writes is refused when another instance leads.
    pub(super) context: Context,
    /// The retention.
    pub(super) retention: Retention,
    /// Deliveries to a receiver that fails or is not configured are given up after this long.
    pub(super) give_up_after: Duration,
}

impl Leader {
    /// One pass.
    pub(super) async fn pass(&self, now_ms: i64) -> Result<(), StoreError> {
        self.check_ingest(now_ms).await?;
        self.release_incidents().await?;
        self.sum_up_ingest(now_ms).await?;
        self.give_up(now_ms).await?;
        self.prune(now_ms).await
    }

    /// Notifies of openings that have waited long enough, and escalates; true if openings still wait.
    pub(super) async fn release_incidents(&self) -> Result<bool, StoreError> {
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
        if !self.context.whole.get().caught_up {
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
        let status = group::status_of_all(&self.context).await?;
        let stale_after_ms = self.context.stale_after_ms;
        if let Some(standing) = status.standing_longer_than(stale_after_ms, now_ms) {
            let since_ms = standing.partitions[0].since_ms;
            let what = if standing.read == 0 {
                format!("{NOTHING_MONITORED}: {standing}")
            } else {
                format!("{NOT_ALL_MONITORED}: {standing}")
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
                let what = if status.is_partly_read() {
                    format!("{NOT_ALL_MONITORED}: {why}")
                } else {
                    format!("{NOTHING_MONITORED}: {why}")
                };
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

    async fn record_stale(&self, now_ms: i64) -> Result<(), StoreError> {
        let store = &self.context.store;
        let mut rules = StaleRules {
            stale_after_ms: self.context.stale_after_ms,
            silences: self.context.silences.active(now_ms),
            dead_letters: DeadLetterCount::default(),
            policy: self.context.notify.clone(),
        };
        if let Some(since_ms) = stale::missing_since(&store.freshness().await?, &rules, now_ms) {
            rules.dead_letters = store.dead_letters_since(since_ms).await?;
        }
        let policy = rules.policy.clone();
        let change = move |streams: &[_]| stale::change(streams, &rules, now_ms);
        let end = move |incident: &_| {
            let now = Now::without_silences(&policy, now_ms);
            now.ended(incident, EndReason::Recovered, None)
        };
        let (alerts, events) = store.change_stale_streams(now_ms, change, end).await?;
        for alert in alerts {
            self.context.announcer.announce(&alert);
        }
        self.context.announcer.announce_incidents(&events);
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

    async fn prune(&self, now_ms: i64) -> Result<(), StoreError> {
        for _ in 0..MAX_PRUNE_STEPS {
            report(&self.context);
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
