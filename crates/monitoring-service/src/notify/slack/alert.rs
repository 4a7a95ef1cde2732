//! What Slack shows of an alert.

use detection::{Anomaly, Baseline, Direction, Evidence};

use super::Layout;
use crate::alerts::{Alert, Origin, Subject};

pub(super) fn layout(alert: &Alert) -> Layout {
    // The header has the severity already, so it is removed from the sentence.
    let severity = format!("{}: ", alert.severity());
    let sentence = alert.message.strip_prefix(&severity);
    Layout {
        header: format!("{severity}{}", headline(&alert.subject)),
        sentence: sentence.unwrap_or(&alert.message).to_owned(),
        fields: alert.anomaly().map(fields).unwrap_or_default(),
        context: context(alert),
        colour: None,
    }
}

/// The subject of the alert in a few words.
fn headline(subject: &Subject) -> String {
    match subject {
        Subject::Anomaly(Anomaly { key, .. }) | Subject::Submission(Anomaly { key, .. }) => {
            let side = match key.direction {
                Direction::Up => "above",
                Direction::Down => "below",
            };
            format!("{} {side} usual in {}", key.status, key.stream)
        }
        Subject::StaleStreams { .. } => "streams without new minutes".to_owned(),
        Subject::StreamsResumed { .. } => "streams have minutes again".to_owned(),
        Subject::IngestDown => "counts are not read".to_owned(),
        Subject::IngestUp => "monitoring works again".to_owned(),
        Subject::IngestRejecting => "most messages are dead letters".to_owned(),
        Subject::IngestAccepting => "messages can be used again".to_owned(),
        Subject::IngestSummary => "summary of what was too old".to_owned(),
        Subject::ReceiverSummary => "summary of what was not sent".to_owned(),
        Subject::Test => "test alert".to_owned(),
    }
}

fn fields(anomaly: &Anomaly) -> Vec<(&'static str, String)> {
    let late = if anomaly.late { " (late)" } else { "" };
    vec![
        ("Stream", anomaly.key.stream.to_string()),
        ("Status", anomaly.key.status.to_string()),
        ("Count", anomaly.count.to_string()),
        ("Usual", usual(anomaly)),
        ("Minute", format!("{}{late}", anomaly.minute)),
    ]
}

/// The range of counts without this alert.
pub(super) fn usual(anomaly: &Anomaly) -> String {
    let baseline = match anomaly.finding.evidence {
        Evidence::ZScore { baseline } => baseline,
        Evidence::Adaptive(evidence) => {
            let range = evidence.usual_range();
            return format!("{} to {}", range.start(), range.end());
        }
    };
    let threshold = anomaly.finding.threshold.unwrap_or(0.0);
    let range = |mean: f64, deviation: f64, minutes| {
        let (low, high) = (mean - threshold * deviation, mean + threshold * deviation);
        format!(
            "{:.1} to {high:.1} (mean {mean:.1}, {minutes} minutes)",
            low.max(0.0)
        )
    };
    match baseline {
        Baseline::Missing { minutes } => format!("none in {minutes} observed minutes"),
        // A flat baseline is evaluated with a deviation of 1.
        Baseline::Flat { mean, minutes } => range(mean, 1.0, minutes),
        Baseline::Spread {
            mean,
            std_dev,
            minutes,
        } => range(mean, std_dev, minutes),
    }
}

fn context(alert: &Alert) -> Vec<String> {
    let mut context = vec![format!("alert {}", alert.id)];
    if alert.subject.origin() == Origin::Evaluate {
        context.push("submitted to /alerts/evaluate".to_owned());
    }
    if alert.suppressed_before > 0 {
        let suppressed = alert.suppressed_before;
        context.push(format!("{suppressed} suppressed since the last one"));
    }
    context
}
