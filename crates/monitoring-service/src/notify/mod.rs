//! Notifications: the task that delivers alerts from the outbox to the receiver, and the ping of the dead man's switch.
//! The alerts to notify are decided and stored before.
//!
//! Delivery is at least once: an alert counts as delivered when that is on disk. After a crash before that it is sent again
//! with the same id.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream::FuturesUnordered};
use opentelemetry::trace::Status;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Level, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use self::client::{WebhookClient, WebhookError};
use crate::{
    config::WebhookFormat,
    context::Context,
    liveness::Task,
    store::{Attempt, Content, DeliveryOutcome, DueDelivery, StoreError},
};

pub(crate) mod client;
mod content;
mod json;
pub(crate) mod ping;
mod retry;
mod slack;

/// Maximum concurrent attempts.
const MAX_PARALLEL_ATTEMPTS: u32 = 4;

/// The longest wait between two reports of the task.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(10);

/// Interval of reading the outbox while attempts are in flight: a hung receiver must not delay other deliveries.
const OUTBOX_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Interval of retries while the database is unavailable.
const STORE_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// Time limit for attempts in flight after a stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The delivery task.
pub(crate) struct Delivery {
    /// What the service shares.
    pub context: Context,
    /// The receiver; without one, nothing is delivered and the outbox is not changed.
    pub client: Option<WebhookClient>,
    /// A delivery that failed for this long is given up.
    pub give_up_after: Duration,
    /// The format of the receiver.
    pub format: WebhookFormat,
    /// Base of the links in alerts.
    pub public_url: Option<String>,
}

/// Delivers from the outbox until the stop; attempts in flight may then take five more seconds.
///
/// # Errors
/// Only if the database is damaged or closed; a temporary failure is retried.
pub(crate) async fn deliver(delivery: Delivery, stop: CancellationToken) -> anyhow::Result<()> {
    let Some(client) = &delivery.client else {
        return delivery.idle(&stop).await;
    };
    let mut attempts = FuturesUnordered::new();
    let mut in_flight = HashSet::new();
    let mut store_fails = false;
    while !stop.is_cancelled() {
        delivery.report();
        let pause = async {
            let due = delivery.due(&in_flight).await?;
            in_flight.extend(due.iter().map(|due| due.id));
            attempts.extend(due.into_iter().map(|due| delivery.attempt(client, due)));
            if attempts.is_empty() {
                delivery.until_next().await
            } else {
                Ok(OUTBOX_POLL_INTERVAL)
            }
        };
        let pause = match pause.await {
            Ok(pause) => {
                store_fails = false;
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
    Ok(tokio::time::timeout(DRAIN_TIMEOUT, rest)
        .await
        .unwrap_or(Ok(()))?)
}

impl Delivery {
    fn report(&self) {
        self.context
            .liveness
            .report(Task::Delivery, self.context.clock.now_ms());
    }

    async fn idle(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            self.report();
            // The loop checks which of the two ended it.
            let _ = tokio::time::timeout(LIVENESS_INTERVAL, stop.cancelled()).await;
        }
        Ok(())
    }

    /// The due deliveries that are not in flight, up to the limit of attempts.
    async fn due(&self, in_flight: &HashSet<i64>) -> Result<Vec<DueDelivery>, StoreError> {
        if in_flight.len() >= MAX_PARALLEL_ATTEMPTS as usize {
            return Ok(Vec::new());
        }
        let mut due = in_time(
            self.context
                .store
                .due_deliveries(self.context.clock.now_ms(), MAX_PARALLEL_ATTEMPTS),
        )
        .await?;
        due.retain(|due| !in_flight.contains(&due.id));
        due.truncate(MAX_PARALLEL_ATTEMPTS as usize - in_flight.len());
        Ok(due)
    }

    /// How long until a delivery falls due, at most until the next report.
    async fn until_next(&self) -> Result<Duration, StoreError> {
        let next_ms = in_time(self.context.store.next_delivery_at()).await?;
        let wait = |at_ms: i64| {
            Duration::from_millis(u64::try_from(at_ms - self.context.clock.now_ms()).unwrap_or(0))
        };
        Ok(next_ms
            .map_or(LIVENESS_INTERVAL, wait)
            .min(LIVENESS_INTERVAL))
    }

    /// One attempt: POST, classify the answer, log and store it. Returns the delivery's number.
    async fn attempt(&self, client: &WebhookClient, due: DueDelivery) -> Result<i64, StoreError> {
        let answer = self.post(client, &due).await;
        let now_ms = self.context.clock.now_ms();
        let attempt = retry::conclude(&due, &answer, now_ms, self.give_up_after, fastrand::f64());
        self.context
            .metrics
            .delivery_attempts
            .with_label_values(&[attempt.outcome.name()])
            .inc();
        if let Err(error) = &answer {
            log_failure(&due, error, &attempt.outcome, now_ms);
        }
        self.record(due.id, attempt).await?;
        Ok(due.id)
    }

    async fn post(&self, client: &WebhookClient, due: &DueDelivery) -> Result<u16, WebhookError> {
        let span = delivery_span(client, due);
        let timer = self.context.metrics.delivery_duration.start_timer();
        let body = self.body(&due.content);
        let answer = client
            .post(
                due.content.id(),
                self.context.clock.now_ms().div_euclid(1000),
                body,
            )
            .instrument(span.clone())
            .await;
        timer.observe_duration();
        let status = answer
            .as_ref()
            .map_or_else(WebhookError::status, |status| Some(*status));
        span.record("http.response.status_code", status);
        if let Err(error) = &answer {
            span.record("error.type", error.class());
            span.set_status(Status::error(error.to_string()));
        }
        answer
    }

    fn body(&self, content: &Content) -> Vec<u8> {
        match self.format {
            WebhookFormat::Json => json::body(content, self.public_url.as_deref()),
            WebhookFormat::Slack => slack::body(content, self.public_url.as_deref()),
        }
    }

    /// Stores the outcome of an attempt, waiting while the database is unavailable. Otherwise the alert would be sent again and
    /// again meanwhile.
    async fn record(&self, id: i64, attempt: Attempt) -> Result<(), StoreError> {
        let mut store_fails = false;
        loop {
            match self.context.store.finish_attempt(id, attempt.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tokio::time::sleep(self.pause_for_store(error, &mut store_fails)?).await;
                }
            }
        }
    }

    /// The wait for an unavailable database, which is logged once. Any other error is returned.
    fn pause_for_store(
        &self,
        error: StoreError,
        fails_already: &mut bool,
    ) -> Result<Duration, StoreError> {
        match error {
            StoreError::Unavailable(reason) => {
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

fn log_failure(due: &DueDelivery, error: &WebhookError, outcome: &DeliveryOutcome, now_ms: i64) {
    // A macro because the level of a log line is a constant.
    macro_rules! line {
        ($level:expr, $retry_in_ms:expr, $message:literal) => {
            tracing::event!(
                $level,
                alert_id = due.content.alert_id().map(tracing::field::display),
                incident_id = due.content.incident_id().map(tracing::field::display),
                delivery_id = due.id,
                attempt = due.attempts + 1,
                http_status = error.status(),
                error = %error,
                retry_in_ms = $retry_in_ms,
                trace_id = due.content.trace_id(),
                $message
            )
        };
    }
    match outcome {
        DeliveryOutcome::Retry { at_ms } => {
            line!(Level::WARN, Some(at_ms - now_ms), "delivery failed");
        }
        DeliveryOutcome::Dead => line!(Level::ERROR, None::<i64>, "delivery failed; given up"),
        DeliveryOutcome::Delivered => {}
    }
}

/// The span of one attempt: a trace of its own, since attempts may continue long after the message's trace ended. It links to the
/// span that recorded the alert.
fn delivery_span(client: &WebhookClient, due: &DueDelivery) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "webhook delivery",
        otel.kind = "client",
        http.request.method = "POST",
        http.response.status_code = Empty,
        http.request.resend_count = (due.attempts > 0).then_some(due.attempts),
        server.address = client.host(),
        server.port = client.port(),
        "error.type" = Empty,
        monitoring.alert.id = due.content.alert_id().map(tracing::field::display),
        monitoring.incident.id = due.content.incident_id().map(tracing::field::display),
    );
    if let Some(cause) = due.content.cause() {
        span.add_link(cause);
    }
    span
}

#[cfg(test)]
pub(crate) mod incident_examples;
#[cfg(test)]
pub(crate) use json::tests as json_examples;
#[cfg(test)]
mod tests;
