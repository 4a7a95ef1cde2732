//! The real program, killed at bad moments: totals are right, every alert and incident exists once, every notification arrives, in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Child, Command, Stdio},
};

use wiremock::MockServer;

use crate::harness::{
    Message, Setup, TOPIC, TestApp, broker, database_variable, folder, received, receiver, sample,
    send, substance, until,
};
use crate::sql;

/// Minutes of the sample file to send; the second incident is among them.
const MINUTES: usize = 560;
const ROUNDS: usize = 10;

/// A running program. Dropping it sends SIGKILL.
struct Running(Child);

impl Running {
    /// Starts, with these settings beside the usual ones.
    fn start(brokers: &str, folder: &Path, webhook: &str, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-service"));
        command
            .env_clear()
            .env("KAFKA_BOOTSTRAP_SERVERS", brokers)
            .envs([database_variable(folder)]);
        command
            .env("KAFKA_TOPIC", TOPIC)
            .env("HTTP_ADDR", "127.0.0.1:0")
            .env("RUST_LOG", "off");
        command
            .env("PAGE_MAX_AGE", "36500d")
            .env("ALERT_WEBHOOK_URL", webhook)
            .envs(settings.iter().copied());
        Self(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("started"),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("killed");
    }
}

/// Minutes stored so far.
fn stored(folder: &Path) -> usize {
    sql::count(folder, "SELECT count(DISTINCT minute) FROM minute_counts")
}

/// Every row with the findings of both policies.
fn findings(folder: &Path) -> Vec<Vec<Option<String>>> {
    let all = "SELECT * FROM minute_counts ORDER BY stream_id, minute, status_id";
    sql::rows(folder, all).expect("rows")
}

/// An event of an incident.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    incident: String,
    sequence: u64,
    kind: String,
}

/// What happened to each incident, in order, and with it the end of the minute that ended it.
fn incident_events(folder: &Path, which: &str) -> Vec<(Event, Option<String>)> {
    let query = format!(
        "SELECT incident_id, sequence, kind, message FROM incident_events WHERE {which} ORDER BY 1, 2"
    );
    let event = |row: Vec<Option<String>>| {
        let [Some(incident), Some(sequence), Some(kind), Some(message)] = &row[..] else {
            panic!("{row:?}")
        };
        let message: serde_json::Value = serde_json::from_str(message).expect("JSON");
        let event = Event {
            incident: incident.clone(),
            sequence: sequence.parse().expect("a number"),
            kind: kind.clone(),
        };
        (event, message["ended_at"].as_str().map(str::to_owned))
    };
    let rows = sql::rows(folder, &query).expect("rows");
    rows.into_iter().map(event).collect()
}

/// What the receiver got about incidents, in the order of arrival: each message once or, after a kill, again.
async fn arrivals(receiver: &MockServer) -> Vec<Event> {
    let event = |message: &serde_json::Value| {
        let text = |name: &str| message[name].as_str().expect("a text").to_owned();
        Event {
            incident: text("id"),
            sequence: message["sequence"].as_u64().expect("a number"),
            kind: text("type").replace("incident.", ""),
        }
    };
    received(receiver).await.iter().map(event).collect()
}

/// How many of them each policy found CRITICAL.
fn critical(folder: &Path) -> [usize; 2] {
    ["state", "adaptive_state"].map(|column| {
        let query = format!("SELECT count(*) FROM minute_counts WHERE {column} = 5");
        sql::count(folder, &query)
    })
}

async fn notified_ids(receiver: &MockServer) -> BTreeSet<String> {
    received(receiver)
        .await
        .iter()
        .map(|post| post["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_kills_lose_and_double_nothing() {
    let (messages, webhook) = (sample(MINUTES), receiver(200).await);
    let setup = || Setup {
        webhook: Some(webhook.uri()),
        ..Setup::default()
    };
    let (summary, alerts, undisturbed, events) = {
        let (broker, folder, other) = (broker().await, folder(), receiver(200).await);
        send(&broker, messages.clone());
        let setup = Setup {
            webhook: Some(other.uri()),
            ..Setup::default()
        };
        let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup).await;
        app.until_consumed(MINUTES as u64).await;
        let found = (
            app.get("/transactions/summary").await,
            substance(&app.alerts().await),
        );
        app.stop().await.expect("a clean stop");
        assert!(critical(folder.path()).iter().all(|found| *found > 5));
        let events = incident_events(folder.path(), "true");
        let findings = findings(folder.path());
        (found.0, found.1, findings, events)
    };
    let (broker, folder) = (broker().await, folder());
    for round in messages.chunks(MINUTES / ROUNDS) {
        let before = stored(folder.path());
        let running = Running::start(
            &broker.bootstrap_servers(),
            folder.path(),
            &webhook.uri(),
            &[],
        );
        let (first, second) = round.split_at(round.len() / 2);
        send(&broker, first.to_vec());
        until("some of it is stored", async || {
            stored(folder.path()) > before
        })
        .await;
        // Killed with messages in flight, alerts stored and not sent, or sent and not recorded as delivered.
        send(&broker, second.to_vec());
        drop(running);
    }
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup()).await;
    until("all of it is stored", async || {
        app.get("/transactions/summary").await == summary
    })
    .await;
    assert_eq!(substance(&app.alerts().await), alerts);
    let ids: BTreeSet<_> = alerts
        .iter()
        .filter(|alert| alert.is_notified())
        .map(|alert| alert.id.to_string())
        .collect();
    assert!(ids.len() > 5, "{} notifications", ids.len());
    until("all are notified", async || {
        notified_ids(&webhook).await == ids
    })
    .await;
    app.stop().await.expect("a clean stop");
    assert!(
        findings(folder.path()) == undisturbed,
        "the findings of both policies are those of an undisturbed run"
    );
    let resolved = events.iter().filter(|(event, _)| event.kind == "resolved");
    assert!(resolved.count() > 2, "{events:?}");
    assert_eq!(incident_events(folder.path(), "true"), events);
}

/// Every incident is notified, at once.
const INCIDENTS: [(&str, &str); 3] = [
    ("NOTIFY", "incidents"),
    ("NOTIFY_SEVERITY", "warning"),
    ("GROUP_WAIT", "0s"),
];

/// The notified events of an undisturbed run.
async fn undisturbed(messages: &[Message]) -> Vec<(Event, Option<String>)> {
    let (broker, folder, receiver) = (broker().await, folder(), receiver(200).await);
    send(&broker, messages.to_vec());
    let (brokers, webhook) = (broker.bootstrap_servers(), receiver.uri());
    let running = Running::start(&brokers, folder.path(), &webhook, &INCIDENTS);
    until("all of it is stored", async || {
        stored(folder.path()) == messages.len()
    })
    .await;
    drop(running);
    incident_events(folder.path(), "suppressed IS NULL")
}

/// For each notified end, the event before it and how many messages to send before it: a different one of the five calm minutes each time.
fn cuts(events: &[(Event, Option<String>)], start: jiff::Timestamp) -> Vec<(usize, Event)> {
    let ends = events.iter().enumerate().filter_map(|(at, (_, ended_at))| {
        let ended_at: jiff::Timestamp = ended_at.as_ref()?.parse().expect("a time");
        let minutes = ended_at.duration_since(start).as_secs() / 60;
        Some((
            usize::try_from(minutes).expect("later"),
            events[at - 1].0.clone(),
        ))
    });
    let mut ends: Vec<_> = ends.collect();
    ends.sort();
    let cut =
        |(number, (end, opening)): (usize, (usize, Event))| (end - 1 - number * 2 % 5, opening);
    ends.into_iter().enumerate().map(cut).collect()
}

/// Killed between the opening and the end of each incident, and once more before: while messages are in flight, after the opening is
/// stored, and after it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_kills_keep_incidents_in_order() {
    let messages = sample(MINUTES);
    let expected = undisturbed(&messages).await;
    let cuts = cuts(&expected, "2025-07-12T13:45:00Z".parse().expect("a time"));
    assert!(cuts.len() > 5, "{cuts:?}");
    let (broker, folder, receiver) = (broker().await, folder(), receiver(200).await);
    let (brokers, webhook) = (broker.bootstrap_servers(), receiver.uri());
    let start = || Running::start(&brokers, folder.path(), &webhook, &INCIDENTS);
    let knows = async |opening: &Event| arrivals(&receiver).await.contains(opening);
    let mut sent = 0;
    for (number, (cut, opening)) in cuts.iter().enumerate() {
        let running = start();
        if let Some((_, before)) = number.checked_sub(1).map(|before| &cuts[before]) {
            until("the opening before is known", async || knows(before).await).await;
        }
        let (first, second) = messages[sent..*cut].split_at((cut - sent) / 2);
        send(&broker, first.to_vec());
        drop(running);
        let running = start();
        send(&broker, second.to_vec());
        until("the incident is open", async || {
            if number % 2 == 0 {
                stored(folder.path()) == *cut
            } else {
                knows(opening).await
            }
        })
        .await;
        drop(running);
        sent = *cut;
    }
    send(&broker, messages[sent..].to_vec());
    let running = start();
    let expected: BTreeSet<_> = expected.into_iter().map(|(event, _)| event).collect();
    until("all messages have arrived", async || {
        arrivals(&receiver)
            .await
            .into_iter()
            .collect::<BTreeSet<_>>()
            == expected
    })
    .await;
    drop(running);
    let mut last = BTreeMap::new();
    for Event {
        incident,
        sequence,
        kind,
    } in arrivals(&receiver).await
    {
        let before = last.insert(incident, (sequence, kind.clone()));
        let (number, before) = before.unwrap_or((0, "resolved".to_owned()));
        // The same again, or the next.
        assert!(sequence >= number, "{sequence} after {number}");
        assert!(
            sequence == number || kind != before,
            "{kind} after {before}"
        );
    }
    let events = incident_events(folder.path(), "suppressed IS NULL");
    assert!(events.iter().map(|(event, _)| event).eq(&expected));
}
