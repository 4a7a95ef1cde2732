//! Code of both programs: logs, traces, metrics, health checks, Kafka properties, signals, the clock
//! and command-line rules.
//!
//! It knows nothing of transactions and starts no task. Of the environment it reads only whether a
//! variable is empty; the OpenTelemetry SDK reads its own standard variables. A program calls
//! [`init`] once with its [`Settings`] and keeps the [`TelemetryGuard`] until it ends.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::logging::{LogFormat, LogWebhook, WebhookThread};

pub mod clock;
pub mod command_line;
pub mod kafka;
pub mod logging;
pub mod metrics;
pub mod middleware;
pub mod probe;
pub mod propagation;
pub mod signals;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;

/// Time limit of [`TelemetryGuard::shutdown`].
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// The telemetry settings of a program. The program defines their variables and flags.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `service` of every log record and `service.name` of every span (`OTEL_SERVICE_NAME` overrides the latter).
    pub service_name: &'static str,
    /// `service.version` of every span.
    pub service_version: &'static str,
    /// Which records are logged, in the syntax of `RUST_LOG`. Spans are not filtered: `warn` here
    /// keeps the traces.
    pub log_filter: String,
    /// How records are written.
    pub log_format: LogFormat,
    /// Receiver of severe records, besides the log.
    pub log_webhook: Option<LogWebhook>,
    /// Base address of an OTLP/HTTP collector, such as `http://localhost:4318`. Without it spans
    /// have ids but are not exported.
    pub otlp_endpoint: Option<String>,
}

/// Installs the subscriber, the tracer provider, the W3C propagator and the TLS provider for the
/// whole process.
///
/// # Errors
/// A filter or an address is not valid, or a subscriber is installed already.
pub fn init(settings: Settings) -> anyhow::Result<TelemetryGuard> {
    let Settings {
        service_name,
        service_version,
        log_filter,
        log_format,
        log_webhook,
        otlp_endpoint,
    } = settings;
    install_tls_provider();
    let provider = trace::provider(service_name, service_version, otlp_endpoint.as_deref())?;
    opentelemetry::global::set_tracer_provider(provider.clone());
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let webhook = log_webhook
        .map(|webhook| logging::webhook_layer(service_name, &webhook))
        .transpose()?;
    let (webhook_layer, webhook) = webhook.unzip();
    Registry::default()
        .with(trace::layer(&provider))
        .with(logging::layer(service_name, log_format, &log_filter)?)
        .with(webhook_layer)
        .try_init()
        .context(
            "a log subscriber is installed already; call `common::init` once, before anything logs",
        )?;
    Ok(TelemetryGuard { provider, webhook })
}

/// Makes ring the TLS provider of the process unless it has one. `reqwest` is built without a
/// provider and panics if none is installed.
pub fn install_tls_provider() {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Flushes spans and log records when the program ends.
#[must_use = "queued spans and log records are lost unless `shutdown` is called"]
#[derive(Debug)]
pub struct TelemetryGuard {
    provider: SdkTracerProvider,
    webhook: Option<WebhookThread>,
}

impl TelemetryGuard {
    /// Sends all queued spans and records. Blocks for at most three seconds, even if a receiver
    /// hangs; the rest is lost then.
    pub fn shutdown(self) {
        let (done, finished) = mpsc::channel::<()>();
        // The SDK does not keep its timeout (it joins its thread), so all of this runs on a thread
        // that can be abandoned.
        thread::spawn(move || {
            // Closed first, so that both queues drain at the same time.
            let webhook = self.webhook.map(WebhookThread::close);
            let _ = self.provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
            let _ = webhook.map(thread::JoinHandle::join);
            drop(done);
        });
        let _ = finished.recv_timeout(SHUTDOWN_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use tracing::Level;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

    use super::*;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the time limit is tested")]
    async fn a_hung_collector_costs_time_but_no_log_record() {
        install_tls_provider();
        let collector = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", collector.local_addr().unwrap());
        let provider = trace::provider("test", "0", Some(&endpoint)).unwrap();
        drop(provider.tracer("test").start("never accepted"));

        let logs = MockServer::start().await;
        Mock::given(matchers::any())
            .respond_with(ResponseTemplate::new(204))
            .mount(&logs)
            .await;
        let webhook = LogWebhook {
            url: logs.uri(),
            level: Level::ERROR,
            excluded_targets: &[],
        };
        let (layer, thread) = logging::webhook_layer("test", &webhook).unwrap();
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            tracing::error!("the last record");
        });

        let start = Instant::now();
        TelemetryGuard {
            provider,
            webhook: Some(thread),
        }
        .shutdown();
        assert!(
            start.elapsed() < SHUTDOWN_TIMEOUT * 3,
            "{:?}",
            start.elapsed()
        );
        assert_eq!(logs.received_requests().await.unwrap().len(), 1);
    }
}
