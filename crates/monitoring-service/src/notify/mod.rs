//! Notifications: the task that delivers alerts and events of incidents from the outbox to their receivers, and the ping of the dead
//! man's switch. What is notified, and whom, is decided and stored before.
//!
//! Delivery is at least once: a message counts as delivered when that is on disk. After a crash before that it is sent again with the
//! same id.

use std::{collections::HashMap, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream::FuturesUnordered};
use tokio_util::sync::CancellationToken;

use self::board::Gate;
use crate::{
    alerts::{Subject, summary},
    context::Context,
    liveness::Task,
    store::{Content, DueDelivery, Store, StoreError},
};

mod alertmanager;
mod attempt;
pub(crate) mod board;
pub(crate) mod client;
mod content;
mod json;
mod order;
mod pagerduty;
pub(crate) mod ping;
pub(crate) mod receiver;
mod retry;
mod slack;
mod stand_in;
pub(crate) mod template;

pub(crate) use receiver::Receiver;

/// Maximum concurrent attempts at one receiver.
const MAX_PARALLEL_ATTEMPTS: usize = 4;

/// The longest wait between two reports of the task.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(10);

/// Interval of reading the outbox while attempts are in flight: a hung receiver must not delay other deliveries.
const OUTBOX_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest wait where nothing can be attempted: a delivery that is due may wait for another one.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// Interval of retries while the database is unavailable.
const STORE_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Time limit for attempts in flight after a stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The delivery task.
pub(crate) struct Delivery {
    /// What the service shares.
    pub(crate) context: Context,
    /// The receivers; without one, nothing is delivered and the outbox is not changed.
    pub(crate) receivers: Vec<Receiver>,
    /// A delivery that failed for this long is given up.
    pub(crate) give_up_after: Duration,
    /// Base of the links in messages.
    pub(crate) public_url: Option<String>,
}

/// The numbers of the deliveries in flight, with the receiver of each.
type InFlight = HashMap<i64, String>;

/// Delivers from the outbox until the stop, while this instance leads; attempts in flight may then take five more seconds.
///
/// # Errors
/// Only if the database is damaged or closed; a temporary failure is retried.
pub(crate) async fn deliver(mut delivery: Delivery, stop: CancellationToken) -> anyhow::Result<()> {
    if delivery.receivers.is_empty() {
        return delivery.idle(&stop).await;
    }
    let all = delivery.context.store.clone();
    while let Some(store) = delivery.lead(&all, &stop).await? {
        delivery.context.store = store;
        match deliver_as_leader(&delivery, &stop).await {
            Err(StoreError::NotLeader) => {
                tracing::info!("another instance leads; it delivers from now on");
            }
            ended => return Ok(ended?),
        }
    }
    Ok(())
}

/// Delivers until the stop. What is in flight when another instance leads is dropped: that one sends it again.
async fn deliver_as_leader(
    delivery: &Delivery,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let mut attempts = FuturesUnordered::new();
    let mut in_flight = InFlight::new();
    let (mut store_fails, mut starts) = (false, true);
    while !stop.is_cancelled() {
        delivery.report();
        let pause = async {
            if starts {
                delivery.set_old_aside().await?;
            }
            delivery.stand_in().await?;
            for receiver in &delivery.receivers {
                for due in delivery.due(receiver, &in_flight).await? {
                    in_flight.insert(due.id, receiver.name.clone());
                    attempts.extend([delivery.attempt(receiver, due)]);
                }
            }
            if attempts.is_empty() {
                delivery.until_next().await
            } else {
                Ok(OUTBOX_POLL_INTERVAL)
            }
        };
        let pause = match pause.await {
            Ok(pause) => {
                (store_fails, starts) = (false, false);
                pause
            }
            Err(error) => delivery.pause_for_store(error, &mut store_fails)?,
        };
        tokio::select! {
            Some(ended) = attempts.next() => { in_flight.remove(&ended?); }
            () = delivery.context.store.outbox_changed().notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    let rest = attempts.try_for_each(|_| std::future::ready(Ok(())));
    tokio::time::timeout(DRAIN_TIMEOUT, rest)
        .await
        .unwrap_or(Ok(()))
}

impl Delivery {
    fn report(&self) {
        self.context
            .liveness
            .report(Task::Delivery, self.context.clock.now_ms());
    }

    /// Waits until this instance leads, and returns the store of its term; none after the stop.
    async fn lead(
        &self,
        store: &Store,
        stop: &CancellationToken,
    ) -> Result<Option<Store>, StoreError> {
        loop {
            self.report();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                store = store.lead() => return store.map(Some),
                () = tokio::time::sleep(LIVENESS_INTERVAL) => {}
            }
        }
    }

    async fn idle(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            self.report();
            // The loop checks which of the two ended it.
            let _ = tokio::time::timeout(LIVENESS_INTERVAL, stop.cancelled()).await;
        }
        Ok(())
    }

    /// Sets aside, for a summary, the alerts that are too old at the start: their receiver failed, or the service was down.
    async fn set_old_aside(&self) -> Result<(), StoreError> {
        let (now_ms, store) = (self.context.clock.now_ms(), &self.context.store);
        for receiver in &self.receivers {
            if let Some(age_ms) = self.context.notify.max_age_ms {
                let name = &receiver.name;
                store.set_aside_alerts(name, now_ms - age_ms).await?;
            }
        }
        Ok(())
    }

    /// The deliveries to attempt at a receiver now. Those that are not sent any more are recorded, and the outbox is read again. When
    /// nothing else is due, a summary counts them.
    async fn due(
        &self,
        receiver: &Receiver,
        in_flight: &InFlight,
    ) -> Result<Vec<DueDelivery>, StoreError> {
        let now_ms = self.context.clock.now_ms();
        let busy = in_flight.values().filter(|name| **name == receiver.name);
        let busy = busy.count();
        let gate = self.context.receivers.gate(&receiver.name, now_ms);
        let room = match gate {
            Gate::Open => MAX_PARALLEL_ATTEMPTS.saturating_sub(busy),
            Gate::Probe if busy == 0 => 1,
            Gate::Probe | Gate::ClosedUntil(_) => 0,
        };
        if room == 0 {
            return Ok(Vec::new());
        }
        loop {
            let limit = u32::try_from(room + busy).unwrap_or(u32::MAX);
            let probe = gate == Gate::Probe;
            let store = &self.context.store;
            let mut due =
                in_time(store.due_deliveries(&receiver.name, probe, now_ms, limit)).await?;
            due.retain(|due| !in_flight.contains_key(&due.id));
            due.truncate(room);
            if self.settle(&due).await? {
                continue;
            }
            let is_summary = |due: &DueDelivery| match &due.content {
                Content::Alert(alert) => alert.subject == Subject::ReceiverSummary,
                Content::Incident(_) => false,
            };
            let nothing_else = busy == 0 && due.iter().all(is_summary);
            if !(nothing_else && self.sum_up(receiver, now_ms).await?) {
                return Ok(due);
            }
        }
    }

    /// Records what the order within an incident no longer sends; true if there was something.
    async fn settle(&self, due: &[DueDelivery]) -> Result<bool, StoreError> {
        let (mut superseded, mut summarized) = (Vec::new(), Vec::new());
        for due in due {
            if matches!(due.content, Content::Incident(_)) {
                let messages = self.context.store.deliveries_of_incident(due.id);
                let step = order::next(&in_time(messages).await?);
                superseded.extend(step.superseded);
                summarized.extend(step.summarized);
            }
        }
        if superseded.is_empty() && summarized.is_empty() {
            return Ok(false);
        }
        let store = &self.context.store;
        store.settle_deliveries(superseded, summarized).await?;
        Ok(true)
    }

    /// Records the summary of what the receiver was not sent; true if there was something.
    async fn sum_up(&self, receiver: &Receiver, now_ms: i64) -> Result<bool, StoreError> {
        let name = receiver.name.clone();
        let summary = move |tally: &_| summary::of_receiver(tally, &name, now_ms);
        let recorded = self
            .context
            .store
            .sum_up_deliveries(&receiver.name, summary)
            .await?;
        if let Some(summary) = &recorded {
            self.context.announcer.announce(summary);
        }
        Ok(recorded.is_some())
    }

    /// How long until a delivery can be attempted, at most until the next report.
    async fn until_next(&self) -> Result<Duration, StoreError> {
        let now_ms = self.context.clock.now_ms();
        // Other instances record deliveries, too.
        let mut pause = if self.context.store.is_shared() {
            OUTBOX_POLL_INTERVAL
        } else {
            LIVENESS_INTERVAL
        };
        for receiver in &self.receivers {
            let next = self.context.store.next_delivery_to(&receiver.name);
            let Some(due_ms) = in_time(next).await? else {
                continue;
            };
            let at_ms = match self.context.receivers.gate(&receiver.name, now_ms) {
                Gate::ClosedUntil(retry_at_ms) => due_ms.max(retry_at_ms),
                Gate::Open | Gate::Probe => due_ms,
            };
            let wait = Duration::from_millis(u64::try_from(at_ms - now_ms).unwrap_or(0));
            pause = pause.min(wait.max(MIN_PAUSE));
        }
        Ok(pause)
    }

    /// The wait for an unavailable database, which is logged once. Any other error is returned.
    fn pause_for_store(
        &self,
        error: StoreError,
        fails_already: &mut bool,
    ) -> Result<Duration, StoreError> {
        match error {
            StoreError::Unavailable(reason) | StoreError::Conflict(reason) => {
                self.context
                    .metrics
                    .store_errors
                    .with_label_values(&["delivery"])
                    .inc();
                if !std::mem::replace(fails_already, true) {
                    tracing::warn!(error = reason, "database unavailable; deliveries wait");
                }
                Ok(STORE_RETRY_INTERVAL)
            }
            error @ (StoreError::OffsetMoved { .. }
            | StoreError::Outdated(_)
            | StoreError::NotLeader
            | StoreError::StreamRetired(_)
            | StoreError::Broken(_)
            | StoreError::Closed) => Err(error),
        }
    }
}

/// Limits a query, since waiting in a long queue of queries must not look like a hung task.
async fn in_time<T>(query: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let answer = tokio::time::timeout(LIVENESS_INTERVAL, query).await;
    answer.unwrap_or_else(|_| {
        Err(StoreError::Unavailable(format!(
            "no answer within {LIVENESS_INTERVAL:?}"
        )))
    })
}

#[cfg(test)]
pub(crate) mod incident_examples;
#[cfg(test)]
pub(crate) use json::tests as json_examples;
#[cfg(test)]
mod tests;
