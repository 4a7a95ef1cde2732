//! Incidents of the monitor itself, through the HTTP API and at the receiver: each opens, ends once, and is notified in order.

use std::time::Duration;

use embedded_kafka::EmbeddedKafka;
use monitoring_service::{
    clock::Clock,
    config::{Config, Notify},
};
use serde_json::Value;
use tempfile::TempDir;
use wiremock::MockServer;

use crate::harness::{
    Message, NOW_MS, Setup, TestApp, broker, folder, minute, received, receiver, send, until, usual,
};

const MINUTE_MS: i64 = 60_000;

/// Incidents are notified at once, and the scheduler runs often.
fn incidents(config: &mut Config) {
    config.notify = Some(Notify::Incidents);
    config.group_wait = Duration::ZERO;
    config.alert_check_interval = Duration::from_millis(20);
}

/// A service with a receiver that accepts everything.
struct Watched {
    app: TestApp,
    broker: EmbeddedKafka,
    clock: Clock,
    receiver: MockServer,
    _folder: TempDir,
}

impl Watched {
    async fn start() -> Self {
        let (broker, folder, clock) = (broker().await, folder(), Clock::fixed(NOW_MS));
        let receiver = receiver(200).await;
        let setup = Setup {
            clock: clock.clone(),
            webhook: Some(receiver.uri()),
            change: incidents,
        };
        let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup).await;
        Self {
            app,
            broker,
            clock,
            receiver,
            _folder: folder,
        }
    }

    fn after(&self, ms: i64) {
        self.clock.set_ms(NOW_MS + ms);
    }

    /// Sends a minute of approvals that begins this many minutes after [`NOW_MS`], and waits until `consumed` messages are consumed.
    async fn feed(&self, after: i64, consumed: u64) {
        let start = detection::Minute::from_epoch_minutes(NOW_MS / MINUTE_MS + after);
        let counts = minute(&start.to_string(), &[("approved", 101)]);
        send(&self.broker, [Message::new(counts)]);
        self.app.until_consumed(consumed).await;
    }

    /// The incidents of a kind, oldest first.
    async fn of(&self, kind: &str) -> Vec<Value> {
        let listed = self.app.get(&format!("/incidents?kind={kind}")).await;
        let mut listed = listed["incidents"].as_array().expect("a list").clone();
        listed.reverse();
        listed
    }

    /// Waits until the newest of `count` incidents of a kind is in this state and the receiver has as many messages.
    async fn until(&self, kind: &str, state: &str, count: usize, messages: usize) -> Value {
        until(&format!("{kind} is {state}"), async || {
            let incidents = self.of(kind).await;
            incidents.len() == count
                && incidents[count - 1]["state"] == state
                && received(&self.receiver).await.len() == messages
        })
        .await;
        self.of(kind).await.remove(count - 1)
    }

    /// What happened to an incident, in order.
    async fn story(&self, incident: &Value) -> Vec<Value> {
        let id = incident["id"].as_str().expect("an id");
        let story = self.app.get(&format!("/incidents/{id}")).await;
        let events = story["events"].as_array().expect("events").iter();
        events.map(|event| event["event"].clone()).collect()
    }

    /// What the receiver got: type, incident and number of each message.
    async fn messages(&self) -> Vec<(String, String, u64)> {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let messages = received(&self.receiver).await;
        let message = |message: &Value| {
            let number = message["sequence"].as_u64().expect("a number");
            (text(&message["type"]), text(&message["id"]), number)
        };
        messages.iter().map(message).collect()
    }

    async fn stop(self) {
        self.app.stop().await.expect("a clean stop");
    }
}

/// The two messages of an incident.
fn both(incident: &Value) -> [(String, String, u64); 2] {
    let id = incident["id"].as_str().expect("an id");
    let message = |kind: &str, number| (kind.to_owned(), id.to_owned(), number);
    [
        message("incident.opened", 1),
        message("incident.resolved", 2),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_stream_is_an_incident_until_its_next_minute() {
    let watched = Watched::start().await;
    send(&watched.broker, usual(40, NOW_MS));
    watched.app.until_consumed(40).await;
    watched.after(3 * MINUTE_MS + 1);
    let stale = watched.until("stale_stream", "open", 1, 1).await;
    assert_eq!(
        (&stale["title"], &stale["stream"], &stale["opened_at"]),
        (
            &Value::from("default: no new minutes"),
            &Value::from("default"),
            &Value::from("2026-01-01T00:00:00.000Z")
        )
    );
    watched.feed(2, 41).await;
    let over = watched.until("stale_stream", "resolved", 1, 2).await;
    assert_eq!(
        (&over["id"], &over["end_reason"]),
        (&stale["id"], &Value::from("recovered"))
    );
    // The next one proves that passes in between have repeated nothing.
    watched.after(7 * MINUTE_MS);
    let again = watched.until("stale_stream", "open", 2, 3).await;
    assert_ne!(again["id"], stale["id"]);
    assert_eq!(watched.story(&stale).await, ["opened", "resolved"]);
    assert_eq!(watched.messages().await[..2], both(&stale));
    let alerts = watched.app.get("/alerts?origin=monitor").await;
    let alerts = alerts["alerts"].as_array().expect("a list");
    assert!(
        alerts.iter().all(|alert| alert["suppressed"] == "incident"),
        "{alerts:?}"
    );
    watched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ingest_down_is_an_incident_until_kafka_is_read() {
    let watched = Watched::start().await;
    watched.feed(-1, 1).await;
    for round in 1..=2 {
        watched.broker.go_down();
        until("the connection is lost", async || {
            watched.app.get("/health").await["parts"]["kafka"]["consuming"] == false
        })
        .await;
        watched.after(i64::try_from(round).expect("small") * 60 * MINUTE_MS);
        let down = watched
            .until("ingest_down", "open", round, 2 * round - 1)
            .await;
        assert_eq!(down["title"], "ingest: counts are not read");
        assert_eq!(down["stream"], Value::Null);
        watched.broker.come_back();
        let over = watched
            .until("ingest_down", "resolved", round, 2 * round)
            .await;
        assert_eq!(over["id"], down["id"]);
        assert_eq!(watched.story(&down).await, ["opened", "resolved"]);
        let from = 2 * (round - 1);
        assert_eq!(watched.messages().await[from..], both(&down));
    }
    watched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_messages_are_an_incident_until_they_are_accepted() {
    let watched = Watched::start().await;
    let rejected = |count| vec![Message::new("no JSON"); count];
    send(&watched.broker, rejected(6));
    let rejecting = watched.until("ingest_rejecting", "open", 1, 1).await;
    assert_eq!(rejecting["title"], "ingest: most messages are dead letters");
    let message = rejecting["message"].as_str().expect("a text");
    let how = ". GET /dead-letters lists them.";
    assert!(message.ends_with(how), "{message}");
    send(&watched.broker, usual(40, NOW_MS));
    let over = watched.until("ingest_rejecting", "resolved", 1, 2).await;
    assert_eq!(
        (&over["id"], &over["end_reason"]),
        (&rejecting["id"], &Value::from("recovered"))
    );
    watched.after(MINUTE_MS);
    send(&watched.broker, rejected(20));
    let again = watched.until("ingest_rejecting", "open", 2, 3).await;
    assert_ne!(again["id"], rejecting["id"]);
    assert_eq!(watched.story(&rejecting).await, ["opened", "resolved"]);
    assert_eq!(watched.messages().await[..2], both(&rejecting));
    watched.stop().await;
}
