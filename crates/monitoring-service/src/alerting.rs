//! Alerts on their way out: the log line of each, and the delivery task that takes them from the outbox to the
//! receiver. What is an alert, and which are paged, was decided and stored before.
//!
//! At least once: an alert counts as delivered when that is on disk, so after a crash in between it comes again, with
//! the same id.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream::FuturesUnordered};
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Level, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{
    clock::Clock,
    config::WebhookFormat,
    metrics::ServiceMetrics,
    state::{Task, TaskLiveness},
    store::{AlertRecord, Attempt, DeliveryOutcome, DueDelivery, Store, StoreError},
    webhook::{WebhookClient, WebhookError},
};

pub mod heartbeat;
mod payload;
mod retry;
mod slack;

/// Tries at a time.
const MAX_PARALLEL_ATTEMPTS: u32 = 4;

/// The longest that the task waits for anything before it shows a sign of life.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(10);

/// How often the outbox is looked at while tries are under way: a receiver that hangs must not hide what falls due.
const OUTBOX_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Between tries to use a database that cannot be used now.
const STORE_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// How long tries under way may go on after a stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes the one log line of an alert that goes out, for people and for log collectors: CRITICAL as an error,
/// WARNING as a warning.
pub fn log_alert(alert: &AlertRecord) {
    // A macro and not a function because the level of a log line is a constant.
    macro_rules! line {
        ($level:expr) => {{
            let anomaly = alert.anomaly.as_ref();
            tracing::event!(
                target: "monitoring_service::alerting",
                $level,
                alert_id = %alert.id,
                "type" = alert.alert_type.name(),
                origin = alert.origin.name(),
                severity = alert.severity.name(),
                stream = anomaly.map(|anomaly| anomaly.stream.as_str()),
                status = anomaly.map(|anomaly| anomaly.status.name()),
                direction = anomaly.map(|anomaly| anomaly.direction.name()),
                count = anomaly.map(|anomaly| anomaly.count),
                minute = anomaly.map(|anomaly| tracing::field::display(anomaly.minute)),
                z_score = anomaly.and_then(|anomaly| anomaly.z_score),
                mean = anomaly.and_then(|anomaly| anomaly.baseline.mean()),
                std_dev = anomaly.and_then(|anomaly| anomaly.baseline.std_dev()),
                threshold = anomaly.map(|anomaly| anomaly.threshold),
                late = anomaly.map(|anomaly| anomaly.late),
                streams = (!alert.streams.is_empty()).then(|| alert.streams.join(",")),
                suppressed_before = alert.suppressed_before,
                trace_id = alert.trace_id.as_deref(),
                "{}",
                alert.message
            );
        }};
    }
    if alert.severity == detection::Severity::Critical {
        line!(Level::ERROR);
    } else {
        line!(Level::WARN);
    }
}

/// What the delivery task works with.
pub struct Delivery {
    /// Holds the outbox.
    pub store: Store,
    /// The receiver; without one nothing is delivered, and what an earlier configuration left in the outbox stays.
    pub client: Option<WebhookClient>,
    /// Tells the time.
    pub clock: Clock,
    /// Counts tries.
    pub metrics: ServiceMetrics,
    /// Takes the signs of life.
    pub liveness: TaskLiveness,
    /// A delivery that failed for this long is given up.
    pub give_up_after: Duration,
    /// What a receiver gets.
    pub format: WebhookFormat,
    /// Base of the links in alerts.
    pub public_url: Option<String>,
}

/// Delivers what the outbox holds until the stop, which gives tries under way five more seconds.
///
/// # Errors
/// Only if the database is damaged or closed; one that cannot be used now is tried again.
pub async fn deliver(delivery: Delivery, stop: CancellationToken) -> anyhow::Result<()> {
    let Some(client) = &delivery.client else {
        return delivery.idle(&stop).await;
    };
    let mut tries = FuturesUnordered::new();
    let mut in_flight = HashSet::new();
    let mut store_fails = false;
    while !stop.is_cancelled() {
        delivery.report();
        let pause = async {
            let due = delivery.due(&in_flight).await?;
            in_flight.extend(due.iter().map(|due| due.id));
            tries.extend(due.into_iter().map(|due| delivery.attempt(client, due)));
            if tries.is_empty() {
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
            Some(ended) = tries.next() => { in_flight.remove(&ended?); }
            () = delivery.store.outbox_changed().notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    let rest = tries.try_for_each(|_| std::future::ready(Ok(())));
    Ok(tokio::time::timeout(DRAIN_TIMEOUT, rest)
        .await
        .unwrap_or(Ok(()))?)
}

impl Delivery {
    fn report(&self) {
        self.liveness.report(Task::Delivery, self.clock.now_ms());
    }

    async fn idle(&self, stop: &CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            self.report();
            // Either ending is right: the loop looks which it was.
            let _ = tokio::time::timeout(LIVENESS_INTERVAL, stop.cancelled()).await;
        }
        Ok(())
    }

    /// What is due and not under way, as much as may be tried now.
    async fn due(&self, in_flight: &HashSet<i64>) -> Result<Vec<DueDelivery>, StoreError> {
        if in_flight.len() >= MAX_PARALLEL_ATTEMPTS as usize {
            return Ok(Vec::new());
        }
        let mut due = in_time(
            self.store
                .due_deliveries(self.clock.now_ms(), MAX_PARALLEL_ATTEMPTS),
        )
        .await?;
        due.retain(|due| !in_flight.contains(&due.id));
        due.truncate(MAX_PARALLEL_ATTEMPTS as usize - in_flight.len());
        Ok(due)
    }

    /// How long until a delivery falls due, as far as a sign of life can wait.
    async fn until_next(&self) -> Result<Duration, StoreError> {
        let next_ms = in_time(self.store.next_delivery_at()).await?;
        let wait = |at_ms: i64| {
            Duration::from_millis(u64::try_from(at_ms - self.clock.now_ms()).unwrap_or(0))
        };
        Ok(next_ms
            .map_or(LIVENESS_INTERVAL, wait)
            .min(LIVENESS_INTERVAL))
    }

    /// One try: POST, judge the answer, tell of it, store it. Gives the delivery's number.
    async fn attempt(&self, client: &WebhookClient, due: DueDelivery) -> Result<i64, StoreError> {
        let answer = self.post(client, &due).await;
        let now_ms = self.clock.now_ms();
        let attempt = retry::conclude(&due, &answer, now_ms, self.give_up_after, fastrand::f64());
        self.metrics
            .delivery_attempts
            .with_label_values(&[outcome_name(&attempt.outcome)])
            .inc();
        if let Err(error) = &answer {
            log_failure(&due, error, &attempt.outcome, now_ms);
        }
        self.record(due.id, attempt).await?;
        Ok(due.id)
    }

    async fn post(&self, client: &WebhookClient, due: &DueDelivery) -> Result<u16, WebhookError> {
        let span = delivery_span(client, due);
        let timer = self.metrics.delivery_duration.start_timer();
        let body = self.body(&due.alert);
        let answer = client
            .post(due.alert.id, self.clock.now_ms().div_euclid(1000), body)
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

    fn body(&self, alert: &AlertRecord) -> Vec<u8> {
        match self.format {
            WebhookFormat::Json => payload::json(alert, self.public_url.as_deref()),
            WebhookFormat::Slack => slack::json(alert, self.public_url.as_deref()),
        }
    }

    /// Stores how a try ended, however long the database cannot be used: going on without it would send the alert
    /// again at once, for as long as that lasts.
    async fn record(&self, id: i64, attempt: Attempt) -> Result<(), StoreError> {
        let mut store_fails = false;
        loop {
            match self.store.finish_attempt(id, attempt.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tokio::time::sleep(self.pause_for_store(error, &mut store_fails)?).await
                }
            }
        }
    }

    /// How long to leave a database alone that cannot be used now, which is logged once. Any other error is given back.
    fn pause_for_store(
        &self,
        error: StoreError,
        fails_already: &mut bool,
    ) -> Result<Duration, StoreError> {
        match error {
            StoreError::Unavailable(reason) => {
                self.metrics
                    .store_errors
                    .with_label_values(&["delivery"])
                    .inc();
                if !std::mem::replace(fails_already, true) {
                    tracing::warn!(
                        error = reason,
                        "deliveries wait: the database cannot be used now"
                    );
                }
                Ok(STORE_RETRY_INTERVAL)
            }
            error @ (StoreError::OffsetMoved { .. }
            | StoreError::Broken(_)
            | StoreError::Closed) => Err(error),
        }
    }
}

/// Readers of the database take turns: a long queue must not look like a task that hangs.
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
                alert_id = %due.alert.id,
                delivery_id = due.id,
                attempt = due.attempts + 1,
                http_status = error.status(),
                error = %error,
                retry_in_ms = $retry_in_ms,
                trace_id = due.alert.trace_id.as_deref(),
                $message
            )
        };
    }
    match outcome {
        DeliveryOutcome::Retry { at_ms } => line!(
            Level::WARN,
            Some(at_ms - now_ms),
            "an alert was not delivered"
        ),
        DeliveryOutcome::Dead => line!(
            Level::ERROR,
            None::<i64>,
            "an alert was not delivered and is given up"
        ),
        DeliveryOutcome::Delivered => {}
    }
}

const fn outcome_name(outcome: &DeliveryOutcome) -> &'static str {
    match outcome {
        DeliveryOutcome::Delivered => "delivered",
        DeliveryOutcome::Retry { .. } => "retry",
        DeliveryOutcome::Dead => "dead",
    }
}

/// The span of one try: a trace of its own, since tries go on long after the message's trace ended, with a link to the
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
        monitoring.alert.id = %due.alert.id,
    );
    if let Some(cause) = cause(&due.alert) {
        span.add_link(cause);
    }
    span
}

/// The span that recorded the alert, where it was sampled.
fn cause(alert: &AlertRecord) -> Option<SpanContext> {
    let trace_id = TraceId::from_hex(alert.trace_id.as_deref()?).ok()?;
    let span_id = SpanId::from_hex(alert.span_id.as_deref()?).ok()?;
    Some(SpanContext::new(
        trace_id,
        span_id,
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    ))
}

#[cfg(test)]
mod tests;
