//! Every metric of this program, and the two addresses that show it is alive. Decides nothing.

use std::{future::pending, net::SocketAddr};

use anyhow::Context;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use common::metrics::MetricsRegistry;
use prometheus::{Gauge, Histogram, IntCounter, IntGauge};
use tokio::net::TcpListener;

/// From a broker on the same host to one that is away for minutes, in seconds.
const DELIVERY_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0,
];

/// The metrics of this program.
#[derive(Clone, Debug)]
pub struct ProcessorMetrics {
    /// Messages acknowledged by Kafka.
    pub messages_produced: IntCounter,
    /// Rows inside acknowledged messages.
    pub rows_produced: IntCounter,
    /// Messages given up without an acknowledgement.
    pub delivery_errors: IntCounter,
    /// Messages sent and not acknowledged yet.
    pub in_flight_messages: IntGauge,
    /// Seconds from sending to acknowledgement.
    pub delivery_seconds: Histogram,
    /// The newest minute sent, in seconds since 1970-01-01T00:00Z.
    pub event_time_seconds: Gauge,
}

impl ProcessorMetrics {
    /// Registers them; once per registry.
    pub fn new(registry: &MetricsRegistry) -> Self {
        let name = |name: &str| format!("stream_processor_{name}");
        let build = registry.int_gauge_vec(
            &name("build_info"),
            "1, with the version that runs.",
            &["version"],
        );
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Self {
            messages_produced: registry.counter(
                &name("messages_produced_total"),
                "Messages acknowledged by Kafka.",
            ),
            rows_produced: registry.counter(
                &name("rows_produced_total"),
                "Rows inside acknowledged messages.",
            ),
            delivery_errors: registry.counter(
                &name("delivery_errors_total"),
                "Messages given up without an acknowledgement.",
            ),
            in_flight_messages: registry.int_gauge(
                &name("in_flight_messages"),
                "Messages sent and not acknowledged yet.",
            ),
            delivery_seconds: registry.histogram(
                &name("delivery_duration_seconds"),
                "Seconds from sending to acknowledgement.",
                &DELIVERY_BUCKETS,
            ),
            event_time_seconds: registry.gauge(
                &name("event_timestamp_seconds"),
                "The newest minute sent, in seconds since 1970-01-01T00:00Z.",
            ),
        }
    }
}

/// Opens the port at once, so that a taken one is known before anything is sent.
pub(crate) async fn bind(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await;
    listener
        .map(Some)
        .with_context(|| format!("METRICS_ADDR: cannot listen on {address}; choose a free address"))
}

/// Serves `/metrics` and `/health/live` for ever; without a listener it only waits.
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
        .context("serving /metrics")
}
