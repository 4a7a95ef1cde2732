//! Every metric of the service on one screen. The help texts are the documentation; label values are bounded.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use common::metrics::MetricsRegistry;
use detection::{
    Baseline, Judged, Minute, MonitoredStatus, RowChange, Severity, Thresholds, Timeliness,
};
use prometheus::{Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::store::{AlertRecord, NotPaged, SuppressedBy};

/// Streams and statuses with label values of their own; the rest is `other`.
const MAX_LABELS: usize = 32;

/// What names beyond [`MAX_LABELS`] are counted under.
const OTHER: &str = "other";

/// The metrics of the service. A clone is the same metrics.
#[derive(Clone)]
pub struct ServiceMetrics {
    /// `monitoring_messages_consumed_total{result}`: stored, dead_letter.
    pub messages_consumed: IntCounterVec,
    /// `monitoring_ingest_batch_duration_seconds`: reading, judging and committing the messages of one transaction.
    pub batch_duration: Histogram,
    /// `monitoring_store_insert_duration_seconds`: the transaction of a batch.
    pub insert_duration: Histogram,
    /// `monitoring_transactions_total{stream,status}`: each minute counts once, when it is first known; corrections are in the database.
    transactions: IntCounterVec,
    /// How the newest minute of each stream and status stands.
    newest: Newest,
    /// `monitoring_threshold_deviations{severity}`: how many deviations from the mean are a warning, and how many critical.
    thresholds: GaugeVec,
    /// `monitoring_alerts_total{origin,status,severity,disposition,page}`: recorded alerts: dispatched, or held back by cooldown or
    /// silence; and whether a page was queued, or why not: too_old, no_webhook, warning, held_back.
    alerts: IntCounterVec,
    /// `monitoring_evaluations_total{severity}`: counts judged for `POST /alerts/evaluate`.
    pub evaluations: IntCounterVec,
    /// `monitoring_late_batches_total{result}`: minutes that came late: judged, corrected, too_late.
    late_batches: IntCounterVec,
    /// `monitoring_dead_letters_total{reason}`: messages that could not be used.
    pub dead_letters: IntCounterVec,
    /// `monitoring_offset_gaps_total{reason}`: losses of Kafka offsets: retention, recreated.
    pub offset_gaps: IntCounterVec,
    /// `monitoring_offsets_missing_total`: offsets that are missing inside the log, which is no fault (markers, compaction).
    pub offsets_missing: IntCounter,
    /// `monitoring_kafka_connected`: 1 while the brokers answer.
    pub kafka_connected: IntGauge,
    /// `monitoring_consumer_lag_messages`: messages not yet read.
    pub consumer_lag: IntGauge,
    /// `monitoring_quiet_streams`: live streams without a new minute for `STALE_AFTER`.
    pub stale_streams: IntGauge,
    /// `monitoring_streams`: known streams.
    pub streams: IntGauge,
    /// `monitoring_outbox_pending`: deliveries on their way.
    pub outbox_pending: IntGauge,
    /// `monitoring_outbox_dead`: deliveries given up.
    pub outbox_dead: IntGauge,
    /// `monitoring_outbox_oldest_age_seconds`: age of the oldest delivery on its way.
    pub outbox_oldest_age: Gauge,
    /// `monitoring_delivery_attempts_total{outcome}`: tries to deliver an alert: delivered, retry, dead.
    pub delivery_attempts: IntCounterVec,
    /// `monitoring_delivery_duration_seconds`: one try, until the receiver's answer or its timeout.
    pub delivery_duration: Histogram,
    /// `monitoring_heartbeat_calls_total{outcome}`: calls of `HEARTBEAT_URL`: answered, failed, withheld (a task hangs).
    pub heartbeat_calls: IntCounterVec,
    /// `monitoring_store_errors_total{operation}`: the database could not be used.
    pub store_errors: IntCounterVec,
    labels: Arc<Mutex<Labels>>,
}

/// How the newest minute of each stream and status stands.
#[derive(Clone)]
struct Newest {
    /// `monitoring_transactions_per_minute{stream,status}`: the count of the newest minute.
    per_minute: IntGaugeVec,
    /// `monitoring_anomaly_score{stream,status}`: |z| of the newest minute; 0 where no z-score exists.
    score: GaugeVec,
    /// `monitoring_anomaly_score_max{stream}`: the largest of them.
    score_max: GaugeVec,
    /// `monitoring_severity{stream,status}`: 0 not judged, 1 learning, 2 normal, 3 warning, 5 critical.
    severity: IntGaugeVec,
    /// `monitoring_baseline_mean{stream,status}`: what was usual for the newest minute; 0 where no baseline is established.
    baseline_mean: GaugeVec,
    /// `monitoring_baseline_deviation{stream,status}`: what its distance from the mean was measured in: the standard deviation, 1 where
    /// every count is the same, 0 where no baseline is established and any occurrence counts.
    baseline_deviation: GaugeVec,
    /// `monitoring_watermark_timestamp_seconds{stream}`: start of the newest observed minute, seconds since 1970.
    watermark: GaugeVec,
}

impl Newest {
    fn new(registry: &MetricsRegistry) -> Self {
        Self {
            per_minute: registry.int_gauge_vec(
                "monitoring_transactions_per_minute",
                "Transactions of the newest minute",
                &["stream", "status"],
            ),
            score: registry.gauge_vec(
                "monitoring_anomaly_score",
                "|z| of the newest minute, 0 where none exists",
                &["stream", "status"],
            ),
            score_max: registry.gauge_vec(
                "monitoring_anomaly_score_max",
                "The largest |z| of the newest minute",
                &["stream"],
            ),
            severity: registry.int_gauge_vec(
                "monitoring_severity",
                "Verdict of the newest minute: 1 learning, 2 normal, 3 warning, 5 critical",
                &["stream", "status"],
            ),
            baseline_mean: registry.gauge_vec(
                "monitoring_baseline_mean",
                "Mean count of the window that the newest minute was judged against, 0 without a baseline",
                &["stream", "status"],
            ),
            baseline_deviation: registry.gauge_vec(
                "monitoring_baseline_deviation",
                "Deviation that the newest minute was judged with: 1 for a flat baseline, 0 without one",
                &["stream", "status"],
            ),
            watermark: registry.gauge_vec(
                "monitoring_watermark_timestamp_seconds",
                "Start of the newest observed minute, seconds since 1970",
                &["stream"],
            ),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 are exact in a double for ages to come"
    )]
    fn watermark(&self, stream: &str, minute: Minute) {
        self.watermark
            .with_label_values(&[stream])
            .set((minute.epoch_minutes() * 60) as f64);
    }

    fn show(&self, stream: &str, judged: &Judged) {
        let mut score_max: f64 = 0.0;
        for row in &judged.rows {
            let RowChange::Judged { verdict, .. } = row.change else {
                continue;
            };
            let labels = [stream, row.status.name()];
            let score = verdict.z_score.map_or(0.0, |z| z.get().abs());
            score_max = score_max.max(score);
            self.score.with_label_values(&labels).set(score);
            self.per_minute
                .with_label_values(&labels)
                .set(i64::from(row.count));
            self.severity
                .with_label_values(&labels)
                .set(i64::from(verdict.severity.code()));
            let (mean, deviation) = match verdict.baseline {
                Baseline::Missing { .. } => (0.0, 0.0),
                Baseline::Flat { mean, .. } => (mean, 1.0),
                Baseline::Spread { mean, std_dev, .. } => (mean, std_dev),
            };
            self.baseline_mean.with_label_values(&labels).set(mean);
            self.baseline_deviation
                .with_label_values(&labels)
                .set(deviation);
        }
        self.score_max.with_label_values(&[stream]).set(score_max);
        self.watermark(stream, judged.batch.minute());
    }
}

/// Which names have label values of their own.
#[derive(Default)]
struct Labels {
    streams: BTreeSet<String>,
    statuses: BTreeSet<String>,
}

fn own_label(names: &mut BTreeSet<String>, name: &str) -> bool {
    if names.contains(name) {
        return true;
    }
    let room = names.len() < MAX_LABELS;
    if room {
        names.insert(name.to_owned());
    }
    room
}

impl ServiceMetrics {
    /// Registers every metric.
    pub fn new(registry: &MetricsRegistry) -> Self {
        let counters = |name, help, labels: &[&str]| registry.counter_vec(name, help, labels);
        let build = registry.int_gauge_vec(
            "monitoring_build_info",
            "1, with the version that runs",
            &["version"],
        );
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let statuses = MonitoredStatus::ALL
            .map(|status| status.name().to_owned())
            .into();
        let metrics = Self {
            messages_consumed: counters(
                "monitoring_messages_consumed_total",
                "Messages consumed from Kafka",
                &["result"],
            ),
            batch_duration: registry.histogram(
                "monitoring_ingest_batch_duration_seconds",
                "Reading, judging and committing the messages of one transaction",
                &[
                    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
                ],
            ),
            insert_duration: registry.histogram(
                "monitoring_store_insert_duration_seconds",
                "The database transaction of one batch",
                &[
                    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
                ],
            ),
            transactions: counters(
                "monitoring_transactions_total",
                "Transactions of minutes when first known",
                &["stream", "status"],
            ),
            newest: Newest::new(registry),
            thresholds: registry.gauge_vec(
                "monitoring_threshold_deviations",
                "Deviations from the mean beyond which a count is a warning or critical",
                &["severity"],
            ),
            alerts: counters(
                "monitoring_alerts_total",
                "Alerts recorded: dispatched, or held back by cooldown or silence; page: queued, or why not",
                &["origin", "status", "severity", "disposition", "page"],
            ),
            evaluations: counters(
                "monitoring_evaluations_total",
                "Counts judged for POST /alerts/evaluate",
                &["severity"],
            ),
            late_batches: counters(
                "monitoring_late_batches_total",
                "Minutes that came late",
                &["result"],
            ),
            dead_letters: counters(
                "monitoring_dead_letters_total",
                "Messages that could not be used",
                &["reason"],
            ),
            offset_gaps: counters(
                "monitoring_offset_gaps_total",
                "Losses of Kafka offsets",
                &["reason"],
            ),
            offsets_missing: registry.counter(
                "monitoring_offsets_missing_total",
                "Offsets missing inside the log (transaction markers, compaction)",
            ),
            kafka_connected: registry.int_gauge(
                "monitoring_kafka_connected",
                "1 while the Kafka brokers answer",
            ),
            consumer_lag: registry
                .int_gauge("monitoring_consumer_lag_messages", "Messages not yet read"),
            stale_streams: registry
                .int_gauge("monitoring_quiet_streams", "Live streams that went quiet"),
            streams: registry.int_gauge("monitoring_streams", "Known streams"),
            outbox_pending: registry
                .int_gauge("monitoring_outbox_pending", "Deliveries on their way"),
            outbox_dead: registry.int_gauge("monitoring_outbox_dead", "Deliveries given up"),
            outbox_oldest_age: registry.gauge(
                "monitoring_outbox_oldest_age_seconds",
                "Age of the oldest delivery on its way",
            ),
            delivery_attempts: counters(
                "monitoring_delivery_attempts_total",
                "Tries to deliver an alert",
                &["outcome"],
            ),
            delivery_duration: registry.histogram(
                "monitoring_delivery_duration_seconds",
                "One try to deliver an alert",
                &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
            ),
            heartbeat_calls: counters(
                "monitoring_heartbeat_calls_total",
                "Calls of HEARTBEAT_URL: answered, failed, or withheld because a task hangs",
                &["outcome"],
            ),
            store_errors: counters(
                "monitoring_store_errors_total",
                "The database could not be used",
                &["operation"],
            ),
            labels: Arc::new(Mutex::new(Labels {
                streams: BTreeSet::new(),
                statuses,
            })),
        };
        metrics.start_at_zero();
        metrics
    }

    /// Makes the series whose labels are known, so that the first event is a rise: a series that begins at 1 shows none.
    fn start_at_zero(&self) {
        let known: [(&IntCounterVec, &[&str]); 6] = [
            (&self.messages_consumed, &["stored", "dead_letter"]),
            (&self.evaluations, &["NORMAL", "WARNING", "CRITICAL"]),
            (&self.late_batches, &["judged", "corrected", "too_late"]),
            (&self.offset_gaps, &["retention", "recreated"]),
            (&self.delivery_attempts, &["delivered", "retry", "dead"]),
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
        for status in MonitoredStatus::ALL {
            for severity in [Severity::Warning, Severity::Critical] {
                let page = if severity == Severity::Critical {
                    "queued"
                } else {
                    NotPaged::Warning.name()
                };
                for (disposition, page) in [
                    ("dispatched", page),
                    ("cooldown", "held_back"),
                    ("silence", "held_back"),
                ] {
                    self.alerts.with_label_values(&[
                        "stream",
                        status.name(),
                        severity.name(),
                        disposition,
                        page,
                    ]);
                }
            }
        }
    }

    /// Shows the limits that counts are judged by.
    pub fn judges_by(&self, thresholds: &Thresholds) {
        for (name, severity) in [
            ("warning", Severity::Warning),
            ("critical", Severity::Critical),
        ] {
            self.thresholds
                .with_label_values(&[name])
                .set(thresholds.limit(severity));
        }
    }

    /// Shows how far streams are known, those too that nothing has come for since the start.
    pub fn watermarks<'a>(&self, streams: impl IntoIterator<Item = (&'a str, Minute)>) {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        for (stream, minute) in streams {
            if own_label(&mut labels.streams, stream) {
                self.newest.watermark(stream, minute);
            }
        }
    }

    /// Gives these streams label values of their own before any other, in this order.
    pub fn know_streams<'a>(&self, streams: impl IntoIterator<Item = &'a String>) {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in streams {
            own_label(&mut labels.streams, stream);
        }
    }

    /// Counts minutes that were committed, in their order.
    pub fn committed(&self, judged: &[Judged]) {
        let mut labels = self.labels.lock().unwrap_or_else(PoisonError::into_inner);
        // A backlog brings a thousand minutes at a time: they are added up first.
        let mut totals: HashMap<(&str, &str), u64> = HashMap::new();
        let mut newest: HashMap<&str, &Judged> = HashMap::new();
        for judged in judged {
            let stream = judged.batch.stream().as_str();
            if judged.is_new {
                for transaction in judged.batch.transactions() {
                    *totals
                        .entry((stream, transaction.status.name()))
                        .or_default() += u64::from(transaction.count);
                }
            }
            match judged.timeliness {
                Timeliness::Fresh => drop(newest.insert(stream, judged)),
                // A repeated minute changes nothing.
                _ if judged.rows.is_empty() => {}
                Timeliness::Late if judged.is_new => {
                    self.late_batches.with_label_values(&["judged"]).inc()
                }
                Timeliness::Late => self.late_batches.with_label_values(&["corrected"]).inc(),
                Timeliness::TooLate => self.late_batches.with_label_values(&["too_late"]).inc(),
            }
        }
        for ((stream, status), count) in totals {
            let stream = if own_label(&mut labels.streams, stream) {
                stream
            } else {
                OTHER
            };
            let status = if own_label(&mut labels.statuses, status) {
                status
            } else {
                OTHER
            };
            self.transactions
                .with_label_values(&[stream, status])
                .inc_by(count);
        }
        for (stream, judged) in newest {
            if own_label(&mut labels.streams, stream) {
                self.newest.show(stream, judged);
            }
        }
    }

    /// Counts an alert that was recorded.
    pub fn alert(&self, alert: &AlertRecord) {
        let status = alert
            .anomaly
            .as_ref()
            .map_or("none", |anomaly| anomaly.status.name());
        let disposition = alert
            .suppressed_by
            .map_or("dispatched", SuppressedBy::reason);
        let page = match alert.not_paged {
            _ if !alert.is_dispatched() => "held_back",
            Some(why) => why.name(),
            None => "queued",
        };
        self.alerts
            .with_label_values(&[
                alert.origin.name(),
                status,
                alert.severity.name(),
                disposition,
                page,
            ])
            .inc();
    }
}
