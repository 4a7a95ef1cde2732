//! One declaration for each metric, one registry for each program, and its text for Prometheus.
//!
//! There is no global registry: a program creates one [`MetricsRegistry`] and registers all its
//! metrics at the start. A name used twice is a bug and panics with the name.

use prometheus::core::Collector;
use prometheus::{Registry, TextEncoder};

#[doc(hidden)]
pub use prometheus;

/// Content type of [`MetricsRegistry::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Declares the metrics of a program as a struct, each once: the field, its type (one of the crate
/// `prometheus`), the metric's name, its labels and its buckets. The doc comment is the help text.
/// A private `register` registers them all. A clone counts into the same metrics.
///
/// Fields after `with` are groups of metrics: types that have `fn new(&MetricsRegistry) -> Self`.
///
/// ```
/// common::metrics! {
///     /// The metrics of a bakery.
///     pub struct BakeryMetrics {
///         /// Loaves baked
///         pub loaves: IntCounterVec("bakery_loaves_total", labels ["kind"]),
///         /// Seconds that a loaf was in the oven
///         oven: Histogram("bakery_oven_seconds", buckets &[60.0, 600.0, 3600.0]),
///     }
/// }
/// let registry = common::metrics::MetricsRegistry::new();
/// BakeryMetrics::register(&registry).loaves.with_label_values(&["rye"]).inc();
/// assert!(registry.render().contains("# HELP bakery_loaves_total Loaves baked"));
/// ```
#[macro_export]
macro_rules! metrics {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $Metrics:ident {
            $(
                $(#[doc = $help:literal])+
                $field_vis:vis $field:ident: $Kind:ident($name:literal $(, $option:ident $value:expr)*),
            )+
        }
        $(with {
            $(
                $(#[$group_attribute:meta])*
                $group_vis:vis $group:ident: $Group:ty,
            )+
        })?
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Debug)]
        $vis struct $Metrics {
            $(
                $(#[doc = $help])+
                #[doc = ""]
                #[doc = concat!("Metric: `", $name, "`.")]
                $field_vis $field: $crate::metrics::prometheus::$Kind,
            )+
            $($(
                $(#[$group_attribute])*
                $group_vis $group: $Group,
            )+)?
        }

        impl $Metrics {
            /// Registers every metric; once per registry.
            ///
            /// # Panics
            /// If a metric of the same name is registered already.
            fn register(registry: &$crate::metrics::MetricsRegistry) -> Self {
                Self {
                    $(
                        $field: registry.register(
                            $name,
                            $crate::metrics!(@new $Kind, $name, concat!($($help),+).trim() $(, $option $value)*),
                        ),
                    )+
                    $($($group: <$Group>::new(registry),)+)?
                }
            }
        }
    };
    (@new $Kind:ident, $name:expr, $help:expr) => {
        $crate::metrics::prometheus::$Kind::new($name, $help)
    };
    (@new $Kind:ident, $name:expr, $help:expr, labels $labels:expr) => {
        $crate::metrics::prometheus::$Kind::new(
            $crate::metrics::prometheus::Opts::new($name, $help),
            &$labels,
        )
    };
    (@new $Kind:ident, $name:expr, $help:expr, buckets $buckets:expr) => {
        $crate::metrics::prometheus::$Kind::with_opts(
            $crate::metrics::prometheus::HistogramOpts::new($name, $help).buckets($buckets.to_vec()),
        )
    };
    (@new $Kind:ident, $name:expr, $help:expr, labels $labels:expr, buckets $buckets:expr) => {
        $crate::metrics::prometheus::$Kind::new(
            $crate::metrics::prometheus::HistogramOpts::new($name, $help).buckets($buckets.to_vec()),
            &$labels,
        )
    };
}

/// The metrics of one program. A clone is the same registry.
#[derive(Debug, Clone, Default)]
pub struct MetricsRegistry(Registry);

impl MetricsRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every metric in the Prometheus text format; serve it as [`CONTENT_TYPE`].
    pub fn render(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.0.gather())
            .expect("gathered metrics can be encoded")
    }

    /// Registers one metric, for [`metrics!`](crate::metrics!).
    #[doc(hidden)]
    pub fn register<C>(&self, name: &str, metric: prometheus::Result<C>) -> C
    where
        C: Collector + Clone + 'static,
    {
        let registered = metric.and_then(|metric| {
            self.0.register(Box::new(metric.clone()))?;
            Ok(metric)
        });
        registered.unwrap_or_else(|error| panic!("metric {name:?} cannot be registered: {error}"))
    }

    #[cfg(feature = "testing")]
    pub(crate) fn gather(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.0.gather()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::metrics! {
        /// Every kind of metric.
        struct Example {
            /// Jobs done,
            /// by kind
            jobs: IntCounterVec("jobs_total", labels ["kind"]),
            /// How full
            depth: Gauge("depth_ratio"),
            /// Waits
            wait: Histogram("wait_seconds", buckets [0.1, 1.0]),
            /// Waits by kind
            wait_by_kind: HistogramVec("wait_by_kind_seconds", labels ["kind"], buckets [1.0]),
        }
        with {
            /// Others.
            inner: Inner,
        }
    }

    crate::metrics! {
        /// A group.
        struct Inner {
            /// Inner
            one: IntGauge("inner"),
        }
    }

    impl Inner {
        fn new(registry: &MetricsRegistry) -> Self {
            Self::register(registry)
        }
    }

    #[test]
    fn declared_metrics_are_rendered() {
        let registry = MetricsRegistry::new();
        let metrics = Example::register(&registry);
        metrics.jobs.with_label_values(&["a\"b\n"]).inc_by(3);
        metrics.depth.set(0.5);
        metrics.wait.observe(0.2);
        metrics.wait_by_kind.with_label_values(&["x"]).observe(2.0);
        metrics.inner.one.set(7);
        let text = registry.clone().render();
        for line in [
            "# HELP jobs_total Jobs done, by kind",
            "# TYPE jobs_total counter",
            r#"jobs_total{kind="a\"b\n"} 3"#,
            "depth_ratio 0.5",
            r#"wait_seconds_bucket{le="0.1"} 0"#,
            r#"wait_seconds_bucket{le="1"} 1"#,
            "wait_seconds_count 1",
            r#"wait_by_kind_seconds_bucket{kind="x",le="1"} 0"#,
            "inner 7",
        ] {
            assert!(
                text.lines().any(|rendered| rendered == line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn a_metric_without_series_is_not_rendered() {
        let registry = MetricsRegistry::new();
        let _metrics = Example::register(&registry);
        assert!(!registry.render().contains("jobs_total"));
    }

    #[test]
    #[should_panic(expected = "\"inner\"")]
    fn a_name_used_twice_panics_with_the_name() {
        let registry = MetricsRegistry::new();
        let _first = Inner::register(&registry);
        let _second = Inner::register(&registry);
    }

    #[test]
    #[should_panic(expected = "\"not a name\"")]
    fn an_invalid_name_panics_with_the_name() {
        let gauge = prometheus::Gauge::new("not a name", "Spaces.");
        MetricsRegistry::new().register("not a name", gauge);
    }
}
