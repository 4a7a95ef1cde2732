//! One attempt to deliver: POST, classify the answer, log and store it.

use std::time::SystemTime;

use opentelemetry::trace::Status;
use tracing::{Instrument as _, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::{Delivery, Receiver, board::Failing, client::WebhookError, retry};
use crate::store::{Content, DeliveryOutcome, DueDelivery, StoreError};

impl Delivery {
    /// Returns the delivery's number.
    pub(super) async fn attempt(
        &self,
        receiver: &Receiver,
        due: DueDelivery,
    ) -> Result<i64, StoreError> {
        let failures = self.context.receivers.failures(&receiver.name);
        // The order within an incident depends on whether a message may have arrived, also after a crash.
        if matches!(due.content, Content::Incident(_)) {
            self.stored(|| self.context.store.begin_attempt(due.id))
                .await?;
        }
        let answer = self.post(receiver, &due).await;
        let now_ms = self.context.clock.now_ms();
        let random = fastrand::f64();
        let attempt = retry::conclude(&due, &answer, now_ms, self.give_up_after, random);
        let outcome = attempt.outcome.name();
        let attempts = &self.context.metrics.delivery_attempts;
        attempts.with_label_values(&[outcome]).inc();
        let error = answer.as_ref().err();
        if let Some(error) = error {
            if attempt.outcome == DeliveryOutcome::Dead {
                log_given_up(receiver, &due, error);
            }
            self.note_failure(receiver, &due, error, failures, random);
        }
        let store = &self.context.store;
        self.stored(|| store.finish_attempt(due.id, attempt.clone()))
            .await?;
        if error.is_none() {
            self.accepted(receiver, now_ms).await?;
        }
        Ok(due.id)
    }

    /// Opens the gate of a receiver that accepted a delivery. Of what it owes, the alerts that are too old by now are set aside for a
    /// summary, and the rest follows at once.
    async fn accepted(&self, receiver: &Receiver, now_ms: i64) -> Result<(), StoreError> {
        let (board, store) = (&self.context.receivers, &self.context.store);
        if board.failures(&receiver.name) == 0 {
            return Ok(());
        }
        if let Some(age_ms) = self.context.notify.max_age_ms {
            self.stored(|| store.set_aside_alerts(&receiver.name, now_ms - age_ms))
                .await?;
        }
        let ended = board.accepted(&receiver.name);
        self.stored(|| store.release_deliveries(&receiver.name, now_ms))
            .await?;
        if let Some(failing) = ended {
            tracing::info!(
                receiver = receiver.name,
                failed_attempts = failing.attempts,
                failed_for_s = (now_ms - failing.since_ms) / 1000,
                "receiver accepts deliveries again"
            );
        }
        Ok(())
    }

    /// Closes the gate of the receiver, which had failed `earlier` times in a row when the attempt began, and logs its first failure,
    /// then one line a minute.
    fn note_failure(
        &self,
        receiver: &Receiver,
        due: &DueDelivery,
        error: &WebhookError,
        earlier: u32,
        random: f64,
    ) {
        let (board, now_ms) = (&self.context.receivers, self.context.clock.now_ms());
        let wait = retry::wait(
            earlier,
            error,
            SystemTime::UNIX_EPOCH + millis(now_ms),
            random,
        );
        let retry_at_ms = now_ms + crate::clock::milliseconds(wait);
        let name = &receiver.name;
        let failing = board.failed(name, earlier, error.to_string(), retry_at_ms, now_ms);
        if let Some(failing) = failing {
            log_failing(receiver, due, error, &failing, now_ms);
        }
    }

    async fn post(&self, receiver: &Receiver, due: &DueDelivery) -> Result<u16, WebhookError> {
        let span = delivery_span(receiver, due);
        let timer = self.context.metrics.delivery_duration.start_timer();
        let content = self.explained(receiver, &due.content);
        let body = receiver.body(&content, self.public_url.as_deref());
        let sent_at_s = self.context.clock.now_ms().div_euclid(1000);
        let answer = match body {
            Ok(body) => {
                let post = receiver.client.post(due.content.id(), sent_at_s, body);
                post.instrument(span.clone()).await
            }
            Err(error) => Err(error),
        };
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

    /// Stores something, waiting while the database is unavailable. Otherwise the message would be sent again and again meanwhile.
    async fn stored<F: Future<Output = Result<(), StoreError>>>(
        &self,
        write: impl Fn() -> F,
    ) -> Result<(), StoreError> {
        let mut store_fails = false;
        loop {
            let written = write().await;
            match written {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tokio::time::sleep(self.pause_for_store(error, &mut store_fails)?).await;
                }
            }
        }
    }
}

fn millis(ms: i64) -> std::time::Duration {
    std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn log_given_up(receiver: &Receiver, due: &DueDelivery, error: &WebhookError) {
    tracing::error!(
        receiver = receiver.name,
        alert_id = due.content.alert_id().map(tracing::field::display),
        incident_id = due.content.incident_id().map(tracing::field::display),
        delivery_id = due.id,
        attempt = due.attempts + 1,
        http_status = error.status(),
        error = %error,
        trace_id = due.content.trace_id(),
        "delivery failed; given up"
    );
}

fn log_failing(
    receiver: &Receiver,
    due: &DueDelivery,
    error: &WebhookError,
    failing: &Failing,
    now_ms: i64,
) {
    tracing::warn!(
        receiver = receiver.name,
        alert_id = due.content.alert_id().map(tracing::field::display),
        incident_id = due.content.incident_id().map(tracing::field::display),
        delivery_id = due.id,
        failed_attempts = failing.attempts,
        failed_for_s = (now_ms - failing.since_ms) / 1000,
        http_status = error.status(),
        error = %error,
        retry_in_ms = failing.retry_at_ms - now_ms,
        trace_id = due.content.trace_id(),
        "delivery failed"
    );
}

/// The span of one attempt: a trace of its own, since attempts may continue long after the message's trace ended. It links to the
/// span that recorded the alert or the opening.
fn delivery_span(receiver: &Receiver, due: &DueDelivery) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "webhook delivery",
        otel.kind = "client",
        http.request.method = "POST",
        http.response.status_code = Empty,
        http.request.resend_count = (due.attempts > 0).then_some(due.attempts),
        server.address = receiver.client.host(),
        server.port = receiver.client.port(),
        "error.type" = Empty,
        monitoring.receiver = receiver.name,
        monitoring.alert.id = due.content.alert_id().map(tracing::field::display),
        monitoring.incident.id = due.content.incident_id().map(tracing::field::display),
    );
    if let Some(cause) = due.content.cause() {
        span.add_link(cause);
    }
    span
}
