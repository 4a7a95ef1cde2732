//! Traces: the tracer provider, its OTLP/HTTP exporter, and the layer that turns `tracing` spans into OpenTelemetry
//! spans.
//!
//! There is always a provider, so every span has ids to log and to propagate; only the exporter is
//! optional. The SDK reads sampling, batching, headers and resource attributes from the standard
//! `OTEL_*` variables.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::SdkProvidedResourceDetector;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

/// Name of the instrumentation scope of every span.
const SCOPE: &str = "common";

/// A tracer, for paths that make a span for each message: about a third of the cost of a `tracing`
/// span. Keep it, as each call creates a new one.
pub fn tracer() -> BoxedTracer {
    opentelemetry::global::tracer(SCOPE)
}

/// The provider, with an exporter if there is an endpoint.
pub(crate) fn provider(
    name: &'static str,
    version: &'static str,
    otlp_endpoint: Option<&str>,
) -> anyhow::Result<SdkTracerProvider> {
    let builder = SdkTracerProvider::builder().with_resource(resource(name, version));
    Ok(match otlp_endpoint {
        Some(endpoint) => builder.with_batch_exporter(exporter(endpoint)?).build(),
        None => builder.build(),
    })
}

fn exporter(endpoint: &str) -> anyhow::Result<ReportingExporter> {
    let hint = || {
        format!(
            "OTLP endpoint {endpoint:?} is not valid; \
             give the base address of a collector, such as \"http://localhost:4318\""
        )
    };
    anyhow::ensure!(
        endpoint.starts_with("http://") || endpoint.starts_with("https://"),
        hint()
    );
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let inner = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(url)
        .build()
        .with_context(hint)?;
    Ok(ReportingExporter {
        inner,
        failing: AtomicBool::new(false),
    })
}

/// Logs once when the collector fails, and once when it accepts spans again. The SDK would log every
/// failure, or none, as its logs are disabled in this build.
#[derive(Debug)]
struct ReportingExporter {
    inner: opentelemetry_otlp::SpanExporter,
    failing: AtomicBool,
}

impl SpanExporter for ReportingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.inner.export(batch).await;
        let failed_before = self.failing.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Err(error) if !failed_before => {
                tracing::warn!(spans, error = %error, "OTLP collector failed; spans are dropped");
            }
            Ok(()) if failed_before => tracing::info!("OTLP collector accepts spans again"),
            _ => {}
        }
        outcome
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// The program's name and version; `OTEL_RESOURCE_ATTRIBUTES` overrides both, and `OTEL_SERVICE_NAME`
/// overrides the name everywhere.
fn resource(name: &'static str, version: &'static str) -> Resource {
    // The detector is added a second time because the default order lets OTEL_RESOURCE_ATTRIBUTES win
    // over OTEL_SERVICE_NAME, against the specification.
    let detected = Resource::builder()
        .with_detector(Box::new(SdkProvidedResourceDetector))
        .build();
    let configured = detected.iter().filter(|(key, value)| {
        key.as_str() != "service.name" || !value.as_str().starts_with("unknown_service")
    });
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", name),
            KeyValue::new("service.version", version),
        ])
        .with_attributes(
            configured.map(|(key, value)| KeyValue::new(Key::clone(key), value.clone())),
        )
        .build()
}

/// The least level of an exported span. As a hint it also lets records below it be skipped at once, where no log filter asks for them.
const EXPORTED: LevelFilter = LevelFilter::INFO;

/// Turns spans of level INFO and above into OpenTelemetry spans.
pub(crate) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SCOPE))
        // Each of these costs time on every span and repeats what the span's name says.
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_level(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(is_exported).with_max_level_hint(EXPORTED))
}

/// Spans only: a log record has its trace id and need not be copied into the trace. Spans below INFO
/// come from the HTTP libraries; exporting those of the exporter would create new ones forever.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && *metadata.level() <= EXPORTED
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::{Registry, layer::SubscriberExt as _};

    use super::*;
    use crate::LogFormat;

    #[test]
    fn records_below_every_layer_are_skipped_at_once() {
        let provider = SdkTracerProvider::builder().build();
        let hint = |filter| {
            let logs = crate::logging::layer("test", LogFormat::Json, filter).unwrap();
            let layers = Registry::default().with(layer(&provider)).with(logs);
            layers.max_level_hint()
        };
        assert_eq!(hint("error"), Some(LevelFilter::INFO));
        assert_eq!(hint("info,rdkafka=debug"), Some(LevelFilter::DEBUG));
    }

    #[test]
    fn an_endpoint_without_a_scheme_is_refused() {
        let error = exporter("localhost:4318").unwrap_err().to_string();
        assert!(error.contains("\"localhost:4318\""), "{error}");
    }
}
