//! Observability shared by the programs: structured logs, traces, propagation, metrics.
//!
//! It knows nothing of transactions, reads no environment of its own (the OpenTelemetry SDK reads its standard
//! variables) and starts no task: a program hands over its [`Settings`] once and keeps the [`ServiceMetrics`] until it
//! ends.

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

pub mod kafka;
pub mod logging;
pub mod metrics;
pub mod middleware;
pub mod probe;
pub mod propagation;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace;

/// How long [`ServiceMetrics::shutdown`] waits, in all, for spans and log records to leave.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(3);

/// What a program wants of its telemetry. The program owns the variables and flags; this crate takes their values.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `service` of every log record and `service.name` of every span (`OTEL_SERVICE_NAME` overrides the latter).
    pub service_name: &'static str,
    /// `service.version` of every span.
    pub service_version: &'static str,
    /// Which records are logged, in the syntax of `RUST_LOG`. Spans are not affected: `warn` here must not end the
    /// traces.
    pub log_filter: String,
    /// How records are written.
    pub log_format: LogFormat,
    /// Where chosen records are sent besides.
    pub log_webhook: Option<LogWebhook>,
    /// Base address of an OTLP/HTTP collector, such as `http://localhost:4318`. Without it spans have ids and go
    /// nowhere.
    pub otlp_endpoint: Option<String>,
}

/// Installs the subscriber, the tracer provider, the W3C propagator and the TLS provider, each for the whole process.
///
/// # Errors
/// A filter or an address that cannot be parsed, or a subscriber that is installed already.
pub fn init(settings: Settings) -> anyhow::Result<ServiceMetrics> {
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
            "a log subscriber is installed already: call `common::init` once, before anything logs",
        )?;
    Ok(ServiceMetrics { provider, webhook })
}

/// Makes ring the TLS provider of the process unless one is chosen already. `reqwest` is built without one and panics
/// where none is installed.
pub fn install_tls_provider() {
    // An error only says that a provider is there, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// What [`init`] started. Dropping it without [`ServiceMetrics::shutdown`] loses the spans and records that are still
/// queued.
#[must_use = "spans and log records still queued are lost unless `shutdown` is called"]
#[derive(Debug)]
pub struct ServiceMetrics {
    provider: SdkTracerProvider,
    webhook: Option<WebhookThread>,
}

impl ServiceMetrics {
    /// Sends what is queued. Blocks for at most three seconds, whatever the receivers do; what they did not take by
    /// then is lost.
    pub fn shutdown(self) {
        let (done, finished) = mpsc::channel::<()>();
        // The SDK's own timeout cannot be relied on (it joins its thread), so the whole of it runs where it can be
        // left behind.
        thread::spawn(move || {
            // Closed first, so that both queues drain side by side.
            let webhook = self.webhook.map(WebhookThread::close);
            let _ = self.provider.shutdown_with_timeout(SHUTDOWN_DEADLINE);
            let _ = webhook.map(thread::JoinHandle::join);
            drop(done);
        });
        let _ = finished.recv_timeout(SHUTDOWN_DEADLINE);
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
    #[expect(
        clippy::disallowed_methods,
        reason = "the bound on the shutdown is what is tested"
    )]
    async fn a_collector_that_hangs_delays_the_shutdown_by_its_deadline_and_costs_no_log_record() {
        install_tls_provider();
        let collector = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", collector.local_addr().unwrap());
        let provider = trace::provider("test", "0", Some(&endpoint)).unwrap();
        drop(provider.tracer("test").start("never taken"));

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
            tracing::error!("last words")
        });

        let start = Instant::now();
        ServiceMetrics {
            provider,
            webhook: Some(thread),
        }
        .shutdown();
        assert!(
            start.elapsed() < SHUTDOWN_DEADLINE * 3,
            "{:?}",
            start.elapsed()
        );
        assert_eq!(logs.received_requests().await.unwrap().len(), 1);
    }
}
