//! Every metric of the service. The doc comment of a metric is its help text, and the values of every
//! label are bounded.

use common::metrics::MetricsRegistry;
use detection::{
    Judgement, Minute, MonitorSettings, MonitoredStatus, Observed, PolicyName, RowChange, Severity,
    Suppression, Timeliness,
};
use prometheus::IntCounterVec;

use crate::alerts::incident::IncidentKind;

mod streams;

use streams::StreamMetrics;

const BATCH_BUCKETS: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

const INSERT_BUCKETS: [f64; 12] = [
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

const DELIVERY_BUCKETS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

common::metrics! {
    /// The metrics of the service.
    pub struct ServiceMetrics {
        /// 1, with the version of this program
        build_info: IntGaugeVec("monitoring_build_info", labels ["version"]),
        /// Messages consumed from Kafka: stored or dead_letter
        pub messages_consumed: IntCounterVec(
            "monitoring_messages_consumed_total",
            labels ["result"]
        ),
        /// Minutes stored by POST /transactions and by replays of dead letters
        pub minutes_posted: IntCounter("monitoring_posted_minute_counts_total"),
        /// Seconds to read, evaluate and commit a batch of messages
        pub batch_duration: Histogram(
            "monitoring_ingest_batch_duration_seconds",
            buckets BATCH_BUCKETS
        ),
        /// Seconds of the database transaction of a batch
        pub insert_duration: Histogram(
            "monitoring_store_insert_duration_seconds",
            buckets INSERT_BUCKETS
        ),
        /// |z| above which a count is a warning or critical
        thresholds: GaugeVec("monitoring_threshold_zscore", labels ["severity"]),
        /// Alerts recorded; suppressed: the reason for no notification, or none
        pub alerts: IntCounterVec(
            "monitoring_alerts_total",
            labels ["origin", "policy", "status", "severity", "suppressed"]
        ),
        /// Events of incidents recorded; suppressed: the reason for no notification, or none
        pub incident_events: IntCounterVec(
            "monitoring_incident_events_total",
            labels ["kind", "event", "severity", "suppressed"]
        ),
        /// Counts of consumed minutes with a WARNING or CRITICAL finding, of the alerting policy and of the one in shadow
        findings: IntCounterVec(
            "monitoring_findings_total",
            labels ["policy", "status", "severity"]
        ),
        /// Counts evaluated for POST /alerts/evaluate
        pub evaluations: IntCounterVec("monitoring_evaluations_total", labels ["severity"]),
        /// Minutes that arrived late: evaluated, corrected or too_late
        late_minutes: IntCounterVec("monitoring_late_minute_counts_total", labels ["result"]),
        /// Messages that were read although something about them is odd: unknown_field, other_key, ignored_status, ambiguous_time, split_stream or overwritten_minute
        pub messages_noted: IntCounterVec("monitoring_messages_noted_total", labels ["note"]),
        /// Messages that cannot be used
        pub dead_letters: IntCounterVec("monitoring_dead_letters_total", labels ["reason"]),
        /// Gaps in the Kafka offsets: messages were deleted (retention), the topic was recreated, another cluster answers, or the database lost commits
        pub offset_gaps: IntCounterVec("monitoring_offset_gaps_total", labels ["reason"]),
        /// Offsets without a message inside the log (transaction markers, compaction); no messages
        /// are lost
        pub offsets_missing: IntCounter("monitoring_offsets_missing_total"),
        /// 1 while the Kafka brokers answer; absent without Kafka
        pub kafka_connected: IntGaugeVec("monitoring_kafka_connected", labels []),
        /// Kafka messages not yet read
        pub consumer_lag: IntGauge("monitoring_consumer_lag_messages"),
        /// Live streams without a new minute for STALE_AFTER
        pub stale_streams: IntGauge("monitoring_stale_streams"),
        /// Streams whose minutes come whole hours behind the clock: local times without a zone
        pub streams_hours_off: IntGauge("monitoring_streams_behind_clock"),
        /// Streams that send names which are not judged, and never named a problem status
        pub streams_with_names_not_judged: IntGauge("monitoring_streams_with_names_not_judged"),
        /// Streams with stored minutes
        pub streams: IntGauge("monitoring_streams"),
        /// Deliveries that are not finished
        pub deliveries_pending: IntGauge("monitoring_deliveries_pending"),
        /// Deliveries given up
        pub deliveries_dead: IntGauge("monitoring_deliveries_dead"),
        /// Seconds since the oldest pending delivery to a receiver was queued
        pub deliveries_oldest_age: GaugeVec(
            "monitoring_deliveries_oldest_age_seconds",
            labels ["receiver"]
        ),
        /// 1 while the fallback gets what this receiver owes, because it fails
        pub fallback_in_use: IntGaugeVec(
            "monitoring_fallback_in_use",
            labels ["receiver"]
        ),
        /// Attempts to deliver a message: delivered, retry or dead
        pub delivery_attempts: IntCounterVec(
            "monitoring_delivery_attempts_total",
            labels ["outcome"]
        ),
        /// Seconds of an attempt to deliver an alert
        pub delivery_duration: Histogram(
            "monitoring_delivery_duration_seconds",
            buckets DELIVERY_BUCKETS
        ),
        /// Pings to HEARTBEAT_URL: answered, failed, or withheld because a task hangs
        pub heartbeat_pings: IntCounterVec("monitoring_heartbeat_pings_total", labels ["outcome"]),
        /// Failed database operations
        pub store_errors: IntCounterVec("monitoring_store_errors_total", labels ["operation"]),
    }
    with {
        /// The metrics of each stream.
        by_stream: StreamMetrics,
    }
}

impl ServiceMetrics {
    /// Registers every metric; once per registry.
    pub fn new(registry: &MetricsRegistry) -> Self {
        let metrics = Self::register(registry);
        let version = metrics
            .build_info
            .with_label_values(&[env!("CARGO_PKG_VERSION")]);
        version.set(1);
        metrics.start_at_zero();
        metrics
    }

    /// Creates the series whose labels are known. `increase()` does not count the first event of a
    /// series that begins at 1.
    fn start_at_zero(&self) {
        let known: [(&IntCounterVec, &[&str]); 8] = [
            (&self.messages_consumed, &["stored", "dead_letter"]),
            (&self.evaluations, &["NORMAL", "WARNING", "CRITICAL"]),
            (&self.late_minutes, &["evaluated", "corrected", "too_late"]),
            (
                &self.offset_gaps,
                &["retention", "recreated", "new_cluster", "commits_lost"],
            ),
            (&self.delivery_attempts, &["delivered", "retry", "dead"]),
            (
                &self.dead_letters,
                &[
                    "null_payload",
                    "too_large",
                    "invalid_json",
                    "invalid_message",
                    "unknown_fields",
                    "future",
                    "too_many_streams",
                ],
            ),
            (
                &self.messages_noted,
                &[
                    "unknown_field",
                    "other_key",
                    "ignored_status",
                    "ambiguous_time",
                    "split_stream",
                    "overwritten_minute",
                ],
            ),
            (
                &self.store_errors,
                &["ingest", "scheduler", "delivery", "evaluate"],
            ),
        ];
        for (counter, values) in known {
            for value in values {
                counter.with_label_values(&[value]);
            }
        }
        let critical = Severity::Critical.name();
        for kind in IncidentKind::ALL {
            for event in ["opened", "escalated", "resolved"] {
                let labels = [kind.into(), event, critical, "none"];
                self.incident_events.with_label_values(&labels);
            }
        }
        for status in MonitoredStatus::ALL {
            for severity in [Severity::Warning, Severity::Critical] {
                let first = match severity {
                    Severity::Critical => "none",
                    _ => Suppression::BelowCritical.reason(),
                };
                for policy in PolicyName::ALL {
                    let (policy, status, severity) =
                        (policy.name(), status.name(), severity.name());
                    self.findings.with_label_values(&[policy, status, severity]);
                    for suppressed in [first, "cooldown", "silence"] {
                        self.alerts
                            .with_label_values(&["stream", policy, status, severity, suppressed]);
                    }
                }
            }
        }
    }

    /// Shows the thresholds of the policy `zscore`, where it judges.
    pub(crate) fn show_thresholds(&self, settings: &MonitorSettings) {
        let Some(detector) = settings.zscore() else {
            return;
        };
        for (name, severity) in [
            ("warning", Severity::Warning),
            ("critical", Severity::Critical),
        ] {
            self.thresholds
                .with_label_values(&[name])
                .set(detector.thresholds.limit(severity));
        }
    }

    /// Shows the newest minute of streams, including those without a message since the start.
    pub(crate) fn watermarks<'a>(&self, streams: impl IntoIterator<Item = (&'a str, Minute)>) {
        self.by_stream.watermarks(streams);
    }

    /// Removes the metrics of the newest minute of a stream that was retired.
    pub(crate) fn forget_stream(&self, stream: &str) {
        self.by_stream.forget(stream);
    }

    /// Reserves label values for these streams, in this order, before those of any other stream.
    pub(crate) fn reserve_stream_labels<'a>(&self, streams: impl IntoIterator<Item = &'a String>) {
        self.by_stream.reserve_labels(streams);
    }

    /// Counts committed minutes, in their order.
    pub(crate) fn committed(&self, observed: &[Observed]) {
        for minute in observed {
            self.count_late(minute);
            self.count_findings(minute);
        }
        self.by_stream.committed(observed);
    }

    fn count_findings(&self, observed: &Observed) {
        for row in &observed.rows {
            let RowChange::Judged {
                judgement, shadow, ..
            } = &row.change
            else {
                continue;
            };
            let judgements = std::iter::once(judgement).chain(shadow);
            for finding in judgements.filter_map(Judgement::finding) {
                if finding.severity.is_anomalous() {
                    let (policy, severity) = (finding.policy().name(), finding.severity.name());
                    self.findings
                        .with_label_values(&[policy, row.status.name(), severity])
                        .inc();
                }
            }
        }
    }

    fn count_late(&self, minute: &Observed) {
        let result = match minute.timeliness {
            Timeliness::Fresh => return,
            // A minute sent again with the same counts changes nothing.
            _ if minute.rows.is_empty() => return,
            Timeliness::Late if minute.is_new => "evaluated",
            Timeliness::Late => "corrected",
            Timeliness::TooLate => "too_late",
        };
        self.late_minutes.with_label_values(&[result]).inc();
    }
}
