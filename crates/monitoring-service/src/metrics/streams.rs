//! The metrics of each stream. Only the first streams and statuses have label values of their own, so
//! that no sender can create series without limit.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::metrics::MetricsRegistry;
use detection::{
    Baseline, Evidence, Judgement, Minute, MonitoredStatus, Observed, RowChange, Timeliness,
};

/// Streams, and statuses, with a label value of their own.
const MAX_LABEL_VALUES: usize = 32;

/// The label value of all further streams and statuses.
const OTHER: &str = "other";

common::metrics! {
    /// The metrics that have the label `stream`.
    struct Series {
        /// Transactions of new minutes; corrections are not counted
        transactions: IntCounterVec(
            "monitoring_transactions_total",
            labels ["stream", "status"]
        ),
        /// Transactions of the newest minute
        per_minute: IntGaugeVec(
            "monitoring_transactions_per_minute",
            labels ["stream", "status"]
        ),
        /// Size of the alerting policy's score of the newest minute: |z|, or decades; 0 if there is none
        score: GaugeVec("monitoring_anomaly_score", labels ["stream", "status"]),
        /// Severity of the newest minute: 1 learning, 2 normal, 3 warning, 5 critical
        severity: IntGaugeVec("monitoring_severity", labels ["stream", "status"]),
        /// Count expected of the newest minute: the mean of its baseline, or that of the policy adaptive; 0 without one
        baseline_mean: GaugeVec("monitoring_baseline_mean", labels ["stream", "status"]),
        /// Standard deviation that the newest minute was compared with: 1 for a flat baseline, 0
        /// without a baseline
        baseline_stddev: GaugeVec("monitoring_baseline_stddev", labels ["stream", "status"]),
        /// Start of the newest observed minute, in seconds since 1970-01-01T00:00Z
        watermark: GaugeVec("monitoring_watermark_timestamp_seconds", labels ["stream"]),
    }
}

/// The metrics of each stream. A clone counts into the same metrics.
#[derive(Clone, Debug)]
pub(super) struct StreamMetrics {
    series: Series,
    labels: Arc<Mutex<Labels>>,
}

impl StreamMetrics {
    pub(super) fn new(registry: &MetricsRegistry) -> Self {
        let statuses = MonitoredStatus::ALL.map(|status| status.name().to_owned());
        let labels = Labels {
            streams: BTreeSet::new(),
            statuses: statuses.into(),
        };
        Self {
            series: Series::register(registry),
            labels: Arc::new(Mutex::new(labels)),
        }
    }

    pub(super) fn reserve_labels<'a>(&self, streams: impl IntoIterator<Item = &'a String>) {
        let mut labels = self.labels();
        for stream in streams {
            has_own_label(&mut labels.streams, stream);
        }
    }

    pub(super) fn forget(&self, stream: &str) {
        let series = &self.series;
        // A series that does not exist is no error.
        let _ = series.watermark.remove_label_values(&[stream]);
        for status in MonitoredStatus::ALL {
            let labels = [stream, status.name()];
            let _ = series.per_minute.remove_label_values(&labels);
            let _ = series.severity.remove_label_values(&labels);
            for gauge in [
                &series.score,
                &series.baseline_mean,
                &series.baseline_stddev,
            ] {
                let _ = gauge.remove_label_values(&labels);
            }
        }
    }

    pub(super) fn watermarks<'a>(&self, streams: impl IntoIterator<Item = (&'a str, Minute)>) {
        let mut labels = self.labels();
        for (stream, minute) in streams {
            if has_own_label(&mut labels.streams, stream) {
                self.series.show_watermark(stream, minute);
            }
        }
    }

    /// A backlog commits a thousand minutes at a time, so they are summed up first.
    pub(super) fn committed(&self, observed: &[Observed]) {
        let mut totals: HashMap<(&str, &str), u64> = HashMap::new();
        let mut newest: HashMap<&str, &Observed> = HashMap::new();
        for minute in observed {
            let stream = minute.counts.stream().as_str();
            if minute.is_new {
                for counted in minute.counts.transactions() {
                    *totals.entry((stream, counted.status.name())).or_default() +=
                        u64::from(counted.count);
                }
            }
            if matches!(minute.timeliness, Timeliness::Fresh) {
                newest.insert(stream, minute);
            }
        }
        let mut labels = self.labels();
        for ((stream, status), count) in totals {
            let stream = own_label_or_other(&mut labels.streams, stream);
            let status = own_label_or_other(&mut labels.statuses, status);
            self.series
                .transactions
                .with_label_values(&[stream, status])
                .inc_by(count);
        }
        for (stream, minute) in newest {
            if has_own_label(&mut labels.streams, stream) {
                self.series.show_newest(stream, minute);
            }
        }
    }

    fn labels(&self) -> MutexGuard<'_, Labels> {
        self.labels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Series {
    #[expect(
        clippy::cast_precision_loss,
        reason = "exact for the next 285 million years"
    )]
    fn show_watermark(&self, stream: &str, minute: Minute) {
        self.watermark
            .with_label_values(&[stream])
            .set((minute.epoch_minutes() * 60) as f64);
    }

    fn show_newest(&self, stream: &str, minute: &Observed) {
        for row in &minute.rows {
            if let RowChange::Judged { judgement, .. } = &row.change {
                let labels = [stream, row.status.name()];
                self.per_minute
                    .with_label_values(&labels)
                    .set(i64::from(row.count));
                self.show_judgement(labels, judgement);
            }
        }
        self.show_watermark(stream, minute.counts.minute());
    }

    fn show_judgement(&self, labels: [&str; 2], judgement: &Judgement) {
        let evidence = judgement.evidence();
        let mean = evidence.and_then(Evidence::expected).unwrap_or(0.0);
        let std_dev = match evidence.and_then(Evidence::baseline) {
            None | Some(Baseline::Missing { .. }) => 0.0,
            Some(Baseline::Flat { .. }) => 1.0,
            Some(Baseline::Spread { std_dev, .. }) => std_dev,
        };
        let score = judgement.score().map_or(0.0, f64::abs);
        self.score.with_label_values(&labels).set(score);
        self.severity
            .with_label_values(&labels)
            .set(i64::from(judgement.state().code()));
        self.baseline_mean.with_label_values(&labels).set(mean);
        self.baseline_stddev.with_label_values(&labels).set(std_dev);
    }
}

/// The names that have a label value of their own.
#[derive(Debug)]
struct Labels {
    streams: BTreeSet<String>,
    statuses: BTreeSet<String>,
}

/// Whether a name has a label value of its own; it gets one if there is still room.
fn has_own_label(names: &mut BTreeSet<String>, name: &str) -> bool {
    if names.contains(name) {
        return true;
    }
    let has_room = names.len() < MAX_LABEL_VALUES;
    if has_room {
        names.insert(name.to_owned());
    }
    has_room
}

fn own_label_or_other<'a>(names: &mut BTreeSet<String>, name: &'a str) -> &'a str {
    if has_own_label(names, name) {
        name
    } else {
        OTHER
    }
}
