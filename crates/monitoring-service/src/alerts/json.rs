//! The JSON of an alert, the same in answers, webhooks and events.

use std::fmt;

use detection::{
    Baseline, Direction, Evidence, Minute, PolicyName, Severity,
    detector::adaptive::{AdaptiveEvidence, Test},
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Alert, Origin};
use crate::routes::schema;

/// An instant in milliseconds since 1970, written as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At(pub i64);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::MAX);
        write!(f, "{instant:.3}")
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let instant: Timestamp = text.parse().map_err(D::Error::custom)?;
        Ok(Self(instant.as_millisecond()))
    }
}

/// The mean and deviation of the compared window.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BaselineView {
    #[schema(value_type = schema::BaselineKind)]
    kind: &'static str,
    mean: Option<f64>,
    std_dev: Option<f64>,
    minutes: u32,
}

impl From<Baseline> for BaselineView {
    fn from(baseline: Baseline) -> Self {
        Self {
            kind: baseline.kind(),
            mean: baseline.mean(),
            std_dev: baseline.std_dev(),
            minutes: baseline.minutes(),
        }
    }
}

/// What the policy `adaptive` compared a count with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AdaptiveView {
    /// Decades: 5 is a chance of at most 1 in 100,000. Negative below the expected count. Null while learning.
    score: Option<f64>,
    /// The count that was expected of this minute.
    expected: f64,
    /// The lowest and the highest usual count of a minute.
    usual: Band,
    /// The score that CRITICAL needs. WARNING needs `heat` less.
    bar: f64,
    /// 1, and more where the status was in more than two episodes in about a day.
    heat: f64,
    /// `minute`: the score is that of the minute; `window`: that of the newest ten minutes together.
    #[schema(value_type = schema::AdaptiveTest)]
    test: Test,
    /// The count of the newest minutes, at most ten.
    window_count: u64,
    /// The count that was expected of them.
    window_expected: f64,
}

/// A range of counts, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Band {
    /// The lowest.
    pub(crate) low: f64,
    /// The highest.
    pub(crate) high: f64,
}

impl AdaptiveView {
    fn new(evidence: &AdaptiveEvidence, score: Option<f64>) -> Self {
        let usual = evidence.usual_range();
        Self {
            score,
            expected: evidence.expected,
            usual: Band {
                low: f64::from(*usual.start()),
                high: f64::from(*usual.end()),
            },
            bar: evidence.bar,
            heat: evidence.heat,
            test: evidence.test,
            window_count: evidence.window_count,
            window_expected: evidence.window_expected,
        }
    }
}

/// What a count was judged by: `z_score` and `baseline` of the policy `zscore`, `adaptive` of the policy `adaptive`.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct EvidenceView {
    z_score: Option<f64>,
    baseline: Option<BaselineView>,
    adaptive: Option<AdaptiveView>,
}

impl EvidenceView {
    /// The evidence and the score that follows from it.
    pub(crate) fn new(evidence: Option<&Evidence>, score: Option<f64>) -> Self {
        match evidence {
            None => Self::default(),
            Some(Evidence::ZScore { baseline }) => Self {
                z_score: score,
                baseline: Some((*baseline).into()),
                adaptive: None,
            },
            Some(Evidence::Adaptive(evidence)) => Self {
                adaptive: Some(AdaptiveView::new(evidence, score)),
                ..Self::default()
            },
        }
    }
}

/// An alert. Members that do not apply are `null`, never absent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertView {
    #[schema(value_type = schema::Id)]
    id: Uuid,
    #[serde(rename = "type")]
    #[schema(value_type = schema::AlertTypeName)]
    kind: &'static str,
    #[schema(value_type = schema::OriginName)]
    origin: Origin,
    /// Alerts of one key belong together.
    key: String,
    stream: Option<String>,
    #[schema(value_type = Option<schema::MonitoredStatus>)]
    status: Option<&'static str>,
    /// The policy of the finding: `zscore` or `adaptive`.
    #[schema(value_type = Option<String>)]
    policy: Option<PolicyName>,
    #[schema(value_type = schema::AlertSeverity)]
    severity: Severity,
    #[schema(value_type = Option<schema::DirectionName>)]
    direction: Option<Direction>,
    count: Option<u32>,
    #[schema(value_type = Option<schema::Minute>)]
    minute: Option<Minute>,
    #[serde(flatten)]
    evidence: EvidenceView,
    /// The limit that was exceeded.
    threshold: Option<f64>,
    late: bool,
    message: String,
    /// The streams that an alert of the monitor itself names.
    streams: Vec<String>,
    /// The reason why it is not notified; null if it is.
    #[schema(value_type = Option<schema::SuppressionReason>)]
    suppressed: Option<&'static str>,
    /// The id of the alert or the silence that suppresses.
    #[schema(value_type = Option<schema::Id>)]
    suppressed_by: Option<Uuid>,
    /// Alerts of the same key suppressed since the last one that was not.
    suppressed_before: u32,
    trace_id: Option<String>,
    #[schema(value_type = schema::Instant)]
    recorded_at: At,
}

impl From<&Alert> for AlertView {
    fn from(alert: &Alert) -> Self {
        let anomaly = alert.anomaly();
        let key = anomaly.map(|anomaly| &anomaly.key);
        let finding = anomaly.map(|anomaly| &anomaly.finding);
        Self {
            id: alert.id,
            kind: alert.subject.kind(),
            origin: alert.subject.origin(),
            key: alert.subject.key(),
            stream: key.map(|key| key.stream.to_string()),
            status: key.map(|key| key.status.name()),
            policy: key.map(|key| key.policy),
            severity: alert.severity(),
            direction: key.map(|key| key.direction),
            count: anomaly.map(|anomaly| anomaly.count),
            minute: anomaly.map(|anomaly| anomaly.minute),
            evidence: EvidenceView::new(
                finding.map(|finding| &finding.evidence),
                finding.and_then(|finding| finding.score),
            ),
            threshold: finding.and_then(|finding| finding.threshold),
            late: anomaly.is_some_and(|anomaly| anomaly.late),
            message: alert.message.clone(),
            streams: alert.subject.streams().to_vec(),
            suppressed: alert.suppression.map(detection::Suppression::reason),
            suppressed_by: alert.suppression.and_then(detection::Suppression::by),
            suppressed_before: alert.suppressed_before,
            trace_id: alert.trace_id.clone(),
            recorded_at: At(alert.recorded_at_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use detection::Suppression;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        alerts::Subject,
        notify::json_examples::{example, of_monitor},
    };

    fn json(alert: &Alert) -> Value {
        serde_json::to_value(AlertView::from(alert)).expect("JSON")
    }

    #[test]
    fn an_anomaly_shows_everything_it_was_judged_by() {
        let alert = Alert {
            suppression: Some(Suppression::NoReceiver),
            ..example()
        };
        let expected = json!({
            "id": "6f1d7ed0-1111-5222-8333-444455556666", "type": "transaction.anomaly", "origin": "stream",
            "key": "acquirer-7/denied/up", "stream": "acquirer-7", "status": "denied", "policy": "zscore",
            "severity": "CRITICAL", "direction": "up", "count": 30, "minute": "2025-07-12T13:59:00Z", "z_score": 9.6,
            "baseline": {"kind": "spread", "mean": 6.0, "std_dev": 2.5, "minutes": 60}, "adaptive": null, "threshold": 4.0, "late": false,
            "message": alert.message, "streams": [], "suppressed": "no_receiver", "suppressed_by": null,
            "suppressed_before": 2, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "recorded_at": "2025-07-12T14:00:05.250Z",
        });
        assert_eq!(json(&alert), expected);
    }

    #[test]
    fn an_alert_of_the_monitor_names_its_streams() {
        let streams = vec!["a".to_owned(), "b".to_owned()];
        let by = Uuid::from_u128(1);
        let alert = Alert {
            recorded_at_ms: 1,
            suppression: Some(Suppression::Cooldown { by }),
            ..of_monitor(Subject::StaleStreams { streams }, "stale")
        };
        let view = json(&alert);
        assert_eq!(
            (&view["stream"], &view["count"], &view["baseline"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        assert_eq!(
            (
                &view["streams"],
                &view["suppressed"],
                &view["suppressed_by"]
            ),
            (&json!(["a", "b"]), &json!("cooldown"), &json!(by))
        );
        assert_eq!(view["recorded_at"], "1970-01-01T00:00:00.001Z");
    }
}
