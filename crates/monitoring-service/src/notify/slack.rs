//! The message for a Slack incoming webhook. Programs that parse alerts use `WEBHOOK_FORMAT=json`.
//!
//! Slack refuses messages beyond its limits, so every text is cut to fit. Limits and escaping: <https://docs.slack.dev/reference/block-kit>.

use detection::{Anomaly, Baseline, Direction, Evidence};
use serde::Serialize;

use crate::alerts::{Alert, Origin, Subject};

/// Characters of a header.
const MAX_HEADER: usize = 150;

/// Characters of any other text, and of the line that notifications show.
const MAX_TEXT: usize = 3000;

/// Characters of a field.
const MAX_FIELD: usize = 2000;

/// The body of the POST for this alert. A link is added where the address of this service is known.
pub(super) fn body(alert: &Alert, public_url: Option<&str>) -> Vec<u8> {
    let header = format!("{}: {}", alert.severity(), headline(&alert.subject));
    // The header has the severity already, so it is removed from the sentence.
    let severity = format!("{}: ", alert.severity());
    let sentence = alert
        .message
        .strip_prefix(&severity)
        .unwrap_or(&alert.message);
    let mut blocks = vec![
        Block::Header {
            text: Text::Plain {
                text: escaped(&header, MAX_HEADER),
                emoji: false,
            },
        },
        Block::Section {
            text: Text::mrkdwn(escaped(sentence, MAX_TEXT)),
        },
    ];
    let fields: Vec<_> = fields(alert)
        .into_iter()
        .map(|(name, value)| field(name, &value))
        .collect();
    if !fields.is_empty() {
        blocks.push(Block::Fields { fields });
    }
    blocks.push(Block::Context {
        elements: context(alert, public_url),
    });
    let message = Message {
        text: escaped(&format!("{header}: {sentence}"), MAX_TEXT),
        blocks,
    };
    serde_json::to_vec(&message).expect("text can always be written")
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
        Subject::IngestDown => "nothing is monitored".to_owned(),
        Subject::IngestUp => "monitoring works again".to_owned(),
        Subject::Test => "test alert".to_owned(),
    }
}

/// Name and value of each field; Slack accepts at most ten.
fn fields(alert: &Alert) -> Vec<(&'static str, String)> {
    let Some(anomaly) = alert.anomaly() else {
        return Vec::new();
    };
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
fn usual(anomaly: &Anomaly) -> String {
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

fn context(alert: &Alert, public_url: Option<&str>) -> Vec<Text> {
    let mut elements = vec![Text::mrkdwn(format!("alert {}", alert.id))];
    if alert.subject.origin() == Origin::Evaluate {
        elements.push(Text::mrkdwn("submitted to /alerts/evaluate".to_owned()));
    }
    if alert.suppressed_before > 0 {
        elements.push(Text::mrkdwn(format!(
            "{} suppressed since the last one",
            alert.suppressed_before
        )));
    }
    // Within a link `|` begins its text.
    let link = public_url.map(|base| {
        format!(
            "{}/alerts/{}",
            escaped(base, usize::MAX).replace('|', "%7C"),
            alert.id
        )
    });
    // Omit a link that is too long; a cut one would not work.
    if let Some(link) = link.filter(|link| link.len() < MAX_FIELD) {
        elements.push(Text::mrkdwn(format!("<{link}|open it>")));
    }
    elements
}

fn field(name: &str, value: &str) -> Text {
    Text::mrkdwn(format!("*{name}*\n{}", escaped(value, MAX_FIELD - 100)))
}

/// The text with Slack's three special characters escaped, cut between characters to at most `max` of them.
fn escaped(text: &str, max: usize) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut length = 0;
    for character in text.chars() {
        let mut buffer = [0; 4];
        let piece = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            other => other.encode_utf8(&mut buffer),
        };
        length += piece.chars().count();
        // Keep room for the ellipsis.
        if length >= max {
            escaped.push('…');
            break;
        }
        escaped.push_str(piece);
    }
    escaped
}

#[derive(Serialize)]
struct Message {
    /// What a notification shows.
    text: String,
    blocks: Vec<Block>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Header {
        text: Text,
    },
    Section {
        text: Text,
    },
    #[serde(rename = "section")]
    Fields {
        fields: Vec<Text>,
    },
    Context {
        elements: Vec<Text>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Text {
    #[serde(rename = "plain_text")]
    Plain { text: String, emoji: bool },
    /// Verbatim: no name in it becomes a link or a mention.
    Mrkdwn { text: String, verbatim: bool },
}

impl Text {
    const fn mrkdwn(text: String) -> Self {
        Self::Mrkdwn {
            text,
            verbatim: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use detection::MonitoredStatus;
    use serde_json::{Value, json};

    use super::*;
    use crate::notify::json::tests::{example, of_monitor, with};

    fn message(alert: &Alert, public_url: Option<&str>) -> Value {
        serde_json::from_slice(&body(alert, public_url)).expect("JSON")
    }

    #[test]
    fn an_anomaly_looks_like_this() {
        let mrkdwn = |text: &str| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
        let expected = json!({
            "text": "CRITICAL: denied above usual in acquirer-7: denied = 30 is 9.6 standard deviations above its mean of 6.0",
            "blocks": [
                {
                    "type": "header",
                    "text": { "type": "plain_text", "text": "CRITICAL: denied above usual in acquirer-7", "emoji": false },
                },
                { "type": "section", "text": mrkdwn("denied = 30 is 9.6 standard deviations above its mean of 6.0") },
                {
                    "type": "section",
                    "fields": [
                        mrkdwn("*Stream*\nacquirer-7"),
                        mrkdwn("*Status*\ndenied"),
                        mrkdwn("*Count*\n30"),
                        mrkdwn("*Usual*\n0.0 to 16.0 (mean 6.0, 60 minutes)"),
                        mrkdwn("*Minute*\n2025-07-12T13:59:00Z"),
                    ],
                },
                {
                    "type": "context",
                    "elements": [
                        mrkdwn("alert 6f1d7ed0-1111-5222-8333-444455556666"),
                        mrkdwn("2 suppressed since the last one"),
                        mrkdwn("<https://monitor.example/alerts/6f1d7ed0-1111-5222-8333-444455556666|open it>"),
                    ],
                },
            ],
        });
        assert_eq!(
            message(&example(), Some("https://monitor.example")),
            expected
        );
    }

    #[test]
    fn alerts_of_the_monitor_have_no_fields() {
        let streams = vec!["a".to_owned()];
        for (subject, header) in [
            (
                Subject::StaleStreams {
                    streams: streams.clone(),
                },
                "CRITICAL: streams without new minutes",
            ),
            (
                Subject::StreamsResumed { streams },
                "CRITICAL: streams have minutes again",
            ),
            (Subject::IngestDown, "CRITICAL: nothing is monitored"),
            (Subject::IngestUp, "CRITICAL: monitoring works again"),
            (Subject::Test, "CRITICAL: test alert"),
        ] {
            let message = message(&of_monitor(subject, "one sentence"), None);
            assert_eq!(message["text"], format!("{header}: one sentence"));
            assert_eq!(message["blocks"][0]["text"]["text"], header);
            assert_eq!(message["blocks"][1]["text"]["text"], "one sentence");
            assert_eq!(
                message["blocks"][2]["elements"].as_array().map(Vec::len),
                Some(1)
            );
            assert_eq!(message["blocks"].as_array().map(Vec::len), Some(3));
        }
    }

    #[test]
    fn a_submission_says_that_it_is_one() {
        let Subject::Anomaly(anomaly) = example().subject else {
            panic!("an anomaly")
        };
        let alert = Alert {
            subject: Subject::Submission(anomaly),
            ..example()
        };
        let message = message(&alert, None);
        assert_eq!(
            message["blocks"][3]["elements"][1]["text"],
            "submitted to /alerts/evaluate"
        );
    }

    #[test]
    fn characters_special_to_slack_are_escaped() {
        let down = of_monitor(Subject::IngestDown, "broker <kafka&co> is away; <!channel>");
        let message = message(&down, Some("https://monitor.example/a&b|c"));
        assert_eq!(
            message["blocks"][1]["text"]["text"],
            "broker &lt;kafka&amp;co&gt; is away; &lt;!channel&gt;"
        );
        let link = message["blocks"][2]["elements"][1]["text"]
            .as_str()
            .expect("a link");
        assert!(
            link.starts_with("<https://monitor.example/a&amp;b%7Cc/alerts/6f1d7ed0"),
            "{link}"
        );
    }

    #[test]
    fn no_text_is_too_long_and_no_escape_is_cut() {
        let mut alert = with(|anomaly| {
            anomaly.key.stream = "s".repeat(128).parse().expect("a name");
            anomaly.key.status = MonitoredStatus::BackendReversed;
        });
        alert.message = "&".repeat(5000);
        let message = message(
            &alert,
            Some(&format!("https://monitor.example/{}", "x".repeat(3000))),
        );
        let length = |value: &Value| value.as_str().expect("text").chars().count();
        assert_eq!(length(&message["blocks"][0]["text"]["text"]), MAX_HEADER);
        let section = message["blocks"][1]["text"]["text"].as_str().expect("text");
        assert!(
            section.chars().count() <= MAX_TEXT && section.ends_with("&amp;…"),
            "{}",
            section.len()
        );
        assert!(length(&message["text"]) <= MAX_TEXT);
        let fields = message["blocks"][2]["fields"].as_array().expect("fields");
        assert!(
            fields.len() <= 10
                && fields
                    .iter()
                    .all(|field| length(&field["text"]) <= MAX_FIELD)
        );
        assert_eq!(
            message["blocks"][3]["elements"].as_array().map(Vec::len),
            Some(2),
            "the link would be cut"
        );
    }

    #[test]
    fn every_baseline_has_a_usual_range() {
        let usual_of = |baseline| {
            let alert = with(|anomaly| anomaly.finding.evidence = Evidence::ZScore { baseline });
            usual(alert.anomaly().expect("it has one"))
        };
        assert_eq!(
            usual_of(Baseline::Missing { minutes: 60 }),
            "none in 60 observed minutes"
        );
        let flat = Baseline::Flat {
            mean: 10.0,
            minutes: 60,
        };
        assert_eq!(usual_of(flat), "6.0 to 14.0 (mean 10.0, 60 minutes)");
    }
}
