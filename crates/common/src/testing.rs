//! Finished spans, log records and metric values, for tests of the other crates. Never part of a
//! program.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use opentelemetry::trace::TracerProvider as _;
pub use opentelemetry_sdk::trace::SpanData;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracer, SdkTracerProvider};
use prometheus::proto::{Metric, MetricType};
use serde_json::Value;
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::Registry;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use crate::logging::JsonLayer;
use crate::metrics::MetricsRegistry;
use crate::trace;

/// Everything that its subscriber traced and logged. A clone reads the same recording.
#[derive(Debug, Clone)]
pub struct Recorded {
    spans: InMemorySpanExporter,
    log: LogBuffer,
    provider: SdkTracerProvider,
}

/// Records what this thread traces and logs while the guard lives. It misses other threads,
/// worker threads of a runtime included: use [`record_process`] for them.
pub fn record_thread() -> (Recorded, DefaultGuard) {
    let (recorded, dispatch) = recorder();
    (recorded, tracing::dispatcher::set_default(&dispatch))
}

/// Records what the whole process traces and logs, from now to its end. All callers share one
/// recording, so tests tell their spans apart by trace id.
///
/// # Panics
/// If another subscriber is installed for the process.
pub fn record_process() -> Recorded {
    static PROCESS: OnceLock<Recorded> = OnceLock::new();
    let install = || {
        let (recorded, dispatch) = recorder();
        opentelemetry::global::set_tracer_provider(recorded.provider.clone());
        tracing::dispatcher::set_global_default(dispatch)
            .expect("no other subscriber is installed for this process");
        recorded
    };
    PROCESS.get_or_init(install).clone()
}

fn recorder() -> (Recorded, Dispatch) {
    // `tracing` caches for each callsite whether any subscriber wants it. While it knows at most one
    // subscriber, a callsite first reached on another thread can miss a new one and stay disabled.
    // So two subscribers that want everything are always registered.
    static KNOWN: OnceLock<[Dispatch; 2]> = OnceLock::new();
    KNOWN.get_or_init(|| [Registry::default().into(), Registry::default().into()]);
    let spans = InMemorySpanExporter::default();
    let log = LogBuffer::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(spans.clone())
        .build();
    let json =
        JsonLayer::new("test", log.clone()).with_filter(tracing::level_filters::LevelFilter::DEBUG);
    let dispatch = Registry::default()
        .with(trace::layer(&provider))
        .with(json)
        .into();
    (
        Recorded {
            spans,
            log,
            provider,
        },
        dispatch,
    )
}

impl Recorded {
    /// The spans that ended so far, in the order of their ends.
    pub fn spans(&self) -> Vec<SpanData> {
        self.spans
            .get_finished_spans()
            .expect("the exporter's lock is not poisoned")
    }

    /// The one finished span of this name.
    ///
    /// # Panics
    /// If there is none, or more than one.
    pub fn span(&self, name: &str) -> SpanData {
        let spans = self.spans();
        let mut named = spans.iter().filter(|span| span.name == name);
        match (named.next(), named.next()) {
            (Some(span), None) => span.clone(),
            _ => panic!(
                "not exactly one span {name:?} among {:?}",
                spans.iter().map(|span| &span.name).collect::<Vec<_>>()
            ),
        }
    }

    /// A tracer whose spans are recorded, for spans that are not made through `tracing`.
    pub fn tracer(&self) -> SdkTracer {
        self.provider.tracer("test")
    }

    /// The log records so far, as stdout would show them.
    pub fn logs(&self) -> Vec<Value> {
        let bytes = self
            .log
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        serde_json::Deserializer::from_slice(&bytes)
            .into_iter()
            .map(|record| record.expect("each record is JSON"))
            .collect()
    }
}

/// An attribute of a span as text; `None` if the span does not have it.
pub fn attribute(span: &SpanData, name: &str) -> Option<String> {
    span.attributes
        .iter()
        .find(|attribute| attribute.key.as_str() == name)
        .map(|attribute| attribute.value.to_string())
}

/// The value of a metric with these labels, in any order; for a histogram, its number of
/// observations. 0 if there is no such series yet.
pub fn value(registry: &MetricsRegistry, name: &str, labels: &[(&str, &str)]) -> f64 {
    let families = registry.gather();
    let Some(family) = families.iter().find(|family| family.name() == name) else {
        return 0.0;
    };
    let metric = family
        .get_metric()
        .iter()
        .find(|metric| has_labels(metric, labels));
    metric.map_or(0.0, |metric| metric_value(metric, family.get_field_type()))
}

/// Asserts a [`value`], and shows all metrics if it differs.
///
/// # Panics
/// If the value is not `expected`.
#[track_caller]
#[expect(clippy::float_cmp, reason = "counts and what a test sets are exact")]
pub fn assert_value(
    registry: &MetricsRegistry,
    name: &str,
    labels: &[(&str, &str)],
    expected: f64,
) {
    let found = value(registry, name, labels);
    assert!(
        found == expected,
        "{name}{labels:?} is {found}, not {expected}, in\n{}",
        registry.render()
    );
}

fn has_labels(metric: &Metric, labels: &[(&str, &str)]) -> bool {
    let own = metric.get_label();
    own.len() == labels.len()
        && own
            .iter()
            .all(|pair| labels.contains(&(pair.name(), pair.value())))
}

#[expect(clippy::cast_precision_loss, reason = "no test observes 2^53 times")]
fn metric_value(metric: &Metric, kind: MetricType) -> f64 {
    match kind {
        MetricType::COUNTER => metric.get_counter().get_value(),
        MetricType::GAUGE => metric.get_gauge().get_value(),
        MetricType::HISTOGRAM => metric.get_histogram().get_sample_count() as f64,
        MetricType::SUMMARY | MetricType::UNTYPED => {
            panic!("no metric of kind {kind:?} is expected here")
        }
    }
}

/// A writer into memory that all its clones share.
#[derive(Debug, Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogBuffer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
