use detection::{Baseline, Evidence, MonitoredStatus};
use serde_json::{Value, json};

use super::alert::usual;
use super::*;
use crate::{
    alerts::{
        Alert, Subject,
        incident::{IncidentEventKind, IncidentMessage},
    },
    notify::{
        incident_examples::{escalated, group, opened, resolved},
        json::tests::{example, of_monitor, with},
    },
};

fn of(content: &Content, public_url: Option<&str>) -> Value {
    serde_json::from_slice(&body(content, public_url)).expect("JSON")
}

fn message(alert: &Alert, public_url: Option<&str>) -> Value {
    of(&Content::Alert(Box::new(alert.clone())), public_url)
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
                    mrkdwn("<https://monitor.example/page/alerts/6f1d7ed0-1111-5222-8333-444455556666|open it>"),
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
        (Subject::IngestDown, "CRITICAL: counts are not read"),
        (Subject::IngestUp, "CRITICAL: monitoring works again"),
        (
            Subject::IngestRejecting,
            "CRITICAL: most messages are dead letters",
        ),
        (
            Subject::IngestAccepting,
            "CRITICAL: messages can be used again",
        ),
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
        link.starts_with("<https://monitor.example/a&amp;b%7Cc/page/alerts/6f1d7ed0"),
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

fn incident(message: IncidentMessage) -> Value {
    of(
        &Content::Incident(Box::new(message)),
        Some("https://monitor.example"),
    )
}

#[test]
fn an_opened_incident_looks_like_this() {
    let mrkdwn = |text: &str| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
    let expected = json!({
        "text": "CRITICAL: acquirer-7: denied up: 30 of 106 payments were denied at 13:59, 6.0 were expected.",
        "attachments": [{
            "color": "#d40e0d",
            "blocks": [
                {
                    "type": "header",
                    "text": { "type": "plain_text", "text": "CRITICAL: acquirer-7: denied up", "emoji": false },
                },
                { "type": "section", "text": mrkdwn("30 of 106 payments were denied at 13:59, 6.0 were expected.") },
                {
                    "type": "section",
                    "fields": [
                        mrkdwn("*Stream*\nacquirer-7"),
                        mrkdwn("*Since*\n2025-07-12T13:59:00.000Z"),
                        mrkdwn("*denied*\n30 (expected 6.0; 28.3 % of payments)"),
                        mrkdwn("*Estimated loss*\n1240 approvals fewer than expected, 310 problems more than expected"),
                    ],
                },
                {
                    "type": "context",
                    "elements": [
                        mrkdwn("incident 0f8fad5b-d9cb-569f-a165-70867728950e, message 1"),
                        mrkdwn("<https://monitor.example/page/incidents/0f8fad5b-d9cb-569f-a165-70867728950e|open it>"),
                    ],
                },
            ],
        }],
    });
    assert_eq!(incident(opened()), expected);
}

#[test]
fn each_event_has_its_colour_in_the_same_layout() {
    let of_event = |message: IncidentMessage| {
        let message = incident(message);
        let attachment = &message["attachments"][0];
        let title = attachment["blocks"][0]["text"]["text"].clone();
        (title, attachment["color"].clone())
    };
    let acknowledged = IncidentMessage {
        event: IncidentEventKind::Acknowledged,
        ..opened()
    };
    for (message, title, colour) in [
        (escalated(), "ESCALATED: acquirer-7: denied up", "#d40e0d"),
        (
            acknowledged,
            "ACKNOWLEDGED: acquirer-7: denied up",
            "#1264a3",
        ),
        (resolved(), "RESOLVED: acquirer-7: denied up", "#2eb67d"),
        (group(), "CRITICAL: 57 of 60 streams: denied up", "#d40e0d"),
    ] {
        assert_eq!(of_event(message), (title.into(), colour.into()));
    }
}
