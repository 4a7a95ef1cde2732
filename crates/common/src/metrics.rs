//! Metric factories over one Prometheus registry, and its text.
//!
//! No globals: a program makes one [`MetricsRegistry`] and registers everything it has at the start. A name used twice is an
//! error of the programmer and panics with the name.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Content type of [`MetricsRegistry::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The metrics of one program. A clone is the same registry.
#[derive(Debug, Clone, Default)]
pub struct MetricsRegistry {
    registry: Registry,
}

impl MetricsRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// A count that only grows.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(name, IntCounter::new(name, help))
    }

    /// A count that only grows, for each combination of label values.
    pub fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(name, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.register(name, Gauge::new(name, help))
    }

    /// A number that goes up and down, for each combination of label values.
    pub fn gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(name, GaugeVec::new(Opts::new(name, help), labels))
    }

    /// A whole number that goes up and down.
    pub fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(name, IntGauge::new(name, help))
    }

    /// A whole number that goes up and down, for each combination of label values.
    pub fn int_gauge_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(name, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A distribution over the upper bounds `buckets`, in ascending order and in the unit of the name.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(
            name,
            Histogram::with_opts(histogram_opts(name, help, buckets)),
        )
    }

    /// A distribution for each combination of label values.
    pub fn histogram_vec(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> HistogramVec {
        self.register(
            name,
            HistogramVec::new(histogram_opts(name, help, buckets), labels),
        )
    }

    /// Everything in the Prometheus text format; serve it as [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("what a registry gathers can be encoded")
    }

    /// The registry, for collectors that are not made here.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    fn register<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        collector: prometheus::Result<C>,
    ) -> C {
        collector
            .and_then(|collector| {
                self.registry
                    .register(Box::new(collector.clone()))
                    .map(|()| collector)
            })
            .unwrap_or_else(|error| panic!("metric {name:?} cannot be registered: {error}"))
    }
}

fn histogram_opts(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(name, help).buckets(buckets.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_is_rendered() {
        let registry = MetricsRegistry::new();
        registry
            .counter_vec("jobs_total", "Jobs done.", &["kind"])
            .with_label_values(&["a\"b\n"])
            .inc_by(3);
        registry.gauge("depth_ratio", "How full.").set(0.5);
        registry
            .histogram("wait_seconds", "Waits.", &[0.1, 1.0])
            .observe(0.2);
        let text = registry.clone().render();
        for line in [
            "# HELP jobs_total Jobs done.",
            "# TYPE jobs_total counter",
            r#"jobs_total{kind="a\"b\n"} 3"#,
            "depth_ratio 0.5",
            r#"wait_seconds_bucket{le="0.1"} 0"#,
            r#"wait_seconds_bucket{le="1"} 1"#,
            "wait_seconds_count 1",
        ] {
            assert!(
                text.lines().any(|rendered| rendered == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn a_registry_without_values_renders_as_nothing() {
        let registry = MetricsRegistry::new();
        registry.int_gauge_vec("empty", "No children yet.", &["kind"]);
        assert_eq!(registry.render(), "");
    }

    #[test]
    #[should_panic(expected = "\"twice_total\"")]
    fn a_name_used_twice_panics_with_the_name() {
        let registry = MetricsRegistry::new();
        registry.counter("twice_total", "Once.");
        registry.counter("twice_total", "Once.");
    }

    #[test]
    #[should_panic(expected = "\"not a name\"")]
    fn a_name_that_prometheus_refuses_panics_with_the_name() {
        MetricsRegistry::new().gauge("not a name", "Spaces.");
    }
}
