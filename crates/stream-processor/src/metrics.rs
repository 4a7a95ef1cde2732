//! Every metric of this program, and the two paths that show it is alive.

use std::future::pending;
use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use common::metrics::MetricsRegistry;
use tokio::net::TcpListener;

/// From a broker on the same host to one that is down for minutes, in seconds.
const DELIVERY_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0,
];

common::metrics! {
    /// The metrics of a replay.
    pub struct ProcessorMetrics {
        /// 1, with the version of this program
        build_info: IntGaugeVec("stream_processor_build_info", labels ["version"]),
        /// Messages acknowledged by Kafka
        pub messages_produced: IntCounter("stream_processor_messages_produced_total"),
        /// Rows in acknowledged messages
        pub rows_produced: IntCounter("stream_processor_rows_produced_total"),
        /// Messages given up without an acknowledgement
        pub delivery_errors: IntCounter("stream_processor_delivery_errors_total"),
        /// Messages sent and not yet acknowledged
        pub in_flight_messages: IntGauge("stream_processor_in_flight_messages"),
        /// Seconds from sending to acknowledgement
        pub delivery_duration: Histogram(
            "stream_processor_delivery_duration_seconds",
            buckets DELIVERY_BUCKETS
        ),
        /// Newest minute sent, in seconds since 1970-01-01T00:00Z
        pub event_time_seconds: Gauge("stream_processor_event_timestamp_seconds"),
    }
}

impl ProcessorMetrics {
    /// Registers the metrics; once per registry.
    pub fn new(registry: &MetricsRegistry) -> Self {
        let metrics = Self::register(registry);
        let version = metrics
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")]);
        version.set(1);
        metrics
    }
}

/// Opens the port before anything is sent, so that a port in use is reported at once.
pub(crate) async fn bind(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await;
    listener
        .map(Some)
        .with_context(|| format!("METRICS_ADDR: cannot listen on {address}; choose a free address"))
}

/// Serves `/metrics` and `/health/live` forever; without a listener it only waits.
pub(crate) async fn serve(
    listener: Option<TcpListener>,
    registry: MetricsRegistry,
) -> anyhow::Result<()> {
    let Some(listener) = listener else {
        return pending().await;
    };
    let text = move || async move {
        (
            [(CONTENT_TYPE, common::metrics::CONTENT_TYPE)],
            registry.render(),
        )
    };
    let router = Router::new()
        .route("/metrics", get(text))
        .route("/health/live", get(async || "ok"));
    axum::serve(listener, router)
        .await
        .context("cannot serve /metrics")
}
