use std::{collections::VecDeque, path::Path, sync::Mutex, thread};

use common::{metrics::MetricsRegistry, testing};
use detection::{Minute, MonitorSettings};
use reqwest::header::HeaderMap;
use tempfile::TempDir;
use uuid::Uuid;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers};

use super::{
    client::WebhookClient,
    incident_examples::{escalated, opened, resolved},
    receiver::Format,
    *,
};
use crate::{
    alerts::{Alert, DEFAULT_RECEIVER, NotifyPolicy},
    clock::Clock,
    metrics::ServiceMetrics,
    store::{DeliveryRecord, DeliveryState, OutboxState, Store},
};

mod fallback;
mod spans;
mod summaries;
mod task;

const START_MS: i64 = 1_752_328_800_000;
const DAY_MS: i64 = 24 * 3600 * 1000;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A temporary store, a fixed clock, and a delivery to one address.
struct Bench {
    delivery: Delivery,
    registry: MetricsRegistry,
    clock: Clock,
    store: Store,
    _directory: TempDir,
}

impl Bench {
    fn new(address: &str) -> Self {
        Self::with_timeout(address, Duration::from_secs(10))
    }

    fn with_timeout(address: &str, timeout: Duration) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open(&directory.path().join("test.db"));
        let (clock, registry) = (Clock::fixed(START_MS), MetricsRegistry::new());
        let url = format!(
            "{}/secret-path?token=hunter2",
            address.replace("://", "://user:hunter2@")
        );
        let url = url.parse().expect("an address");
        let client = WebhookClient::with(url, timeout, None, HeaderMap::new()).expect("a client");
        let receiver = Receiver {
            name: DEFAULT_RECEIVER.to_owned(),
            client,
            format: Format::Json,
        };
        let delivery = Delivery {
            context: Context::new(
                store.clone(),
                clock.clone(),
                ServiceMetrics::new(&registry),
                MonitorSettings::default(),
                NotifyPolicy::with_default_receiver(None),
                0,
            ),
            receivers: vec![receiver],
            give_up_after: Duration::from_hours(24),
            public_url: None,
        };
        Self {
            delivery,
            registry,
            clock,
            store,
            _directory: directory,
        }
    }

    /// Attempts what is due now, once each.
    async fn pass(&self) {
        self.delivery.stand_in().await.expect("the store works");
        for receiver in &self.delivery.receivers {
            let due = self.delivery.due(receiver, &InFlight::new()).await;
            for due in due.expect("the store works") {
                let attempt = self.delivery.attempt(receiver, due).await;
                attempt.expect("the store works");
            }
        }
    }

    async fn record(&self, number: u128) {
        self.store
            .record_alert(alert(number))
            .await
            .expect("recorded");
    }

    async fn delivered(&self, number: u128) -> DeliveryRecord {
        let (_, deliveries) = self
            .store
            .alert(Uuid::from_u128(number))
            .await
            .expect("readable")
            .expect("recorded");
        deliveries.into_iter().next().expect("notified")
    }

    async fn outbox(&self) -> OutboxState {
        self.store.outbox().await.expect("readable")
    }

    fn attempts(&self, outcome: &str) -> f64 {
        testing::value(
            &self.registry,
            "monitoring_delivery_attempts_total",
            &[("outcome", outcome)],
        )
    }
}

fn open(path: &Path) -> Store {
    let (store, writer) = crate::store::tests::open_at(path);
    thread::spawn(move || writer.run());
    store
}

fn alert(number: u128) -> Alert {
    let mut alert = json::tests::with(|anomaly| {
        anomaly.key.stream = detection::Stream::default();
        anomaly.minute = Minute::from_epoch_minutes(29_205_480);
    });
    alert.id = Uuid::from_u128(number);
    alert.recipients.receivers = vec![DEFAULT_RECEIVER.to_owned()];
    alert.recorded_at_ms = START_MS;
    alert.message = "CRITICAL: denied = 30".to_owned();
    alert.suppressed_before = 0;
    alert.trace_id = Some(TRACE.to_owned());
    alert.span_id = Some(SPAN.to_owned());
    alert
}

/// A receiver that sends these answers in turn.
async fn receiver(answers: impl IntoIterator<Item = ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
    let next = move |_: &Request| {
        answers
            .lock()
            .expect("no test panics here")
            .pop_front()
            .expect("no more answers")
    };
    Mock::given(matchers::any())
        .respond_with(next)
        .mount(&server)
        .await;
    server
}

fn answer(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status)
}

/// Runs the task while `script` runs, then stops it.
async fn while_delivering(
    delivery: Delivery,
    script: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let script = async {
        script.await;
        stop.cancel();
    };
    tokio::join!(deliver(delivery, stop.clone()), script).0
}

#[tokio::test]
async fn retries_repeat_the_same_id_and_body() {
    let redirect = answer(301).insert_header("location", "/elsewhere");
    let server = receiver([answer(500), answer(429), redirect, answer(404), answer(200)]).await;
    let bench = Bench::new(&server.uri());
    bench.record(7).await;
    for attempts in 1..=4 {
        bench.pass().await;
        let delivery = bench.delivered(7).await;
        assert_eq!(
            (delivery.state.name(), delivery.attempts),
            ("pending", attempts)
        );
        bench
            .clock
            .set_ms(delivery.next_attempt_at.expect("tried again").0);
    }
    bench.pass().await;
    let delivery = bench.delivered(7).await;
    assert_eq!(
        (
            delivery.state.name(),
            delivery.attempts,
            delivery.last_status
        ),
        ("delivered", 5, Some(200))
    );
    bench.pass().await;

    let requests = server.received_requests().await.expect("recorded");
    assert_eq!(requests.len(), 5);
    for request in &requests {
        assert_eq!(
            request.headers.get("webhook-id").expect("there"),
            &*Uuid::from_u128(7).to_string()
        );
        assert_eq!(request.body, requests[0].body);
    }
    assert_eq!(
        (
            bench.attempts("retry"),
            bench.attempts("delivered"),
            bench.attempts("dead")
        ),
        (4.0, 1.0, 0.0)
    );
    assert!(
        (testing::value(&bench.registry, "monitoring_delivery_duration_seconds", &[]) - 5.0).abs()
            < f64::EPSILON
    );
}

#[tokio::test]
async fn slack_gets_its_own_layout_with_the_same_headers() {
    let server = receiver([answer(200)]).await;
    let mut bench = Bench::new(&server.uri());
    let receiver = &mut bench.delivery.receivers[0];
    receiver.format = Format::Slack;
    receiver.client = receiver.client.clone().signing_with(&[vec![7; 32]]);
    bench.record(7).await;
    bench.pass().await;
    let request = server
        .received_requests()
        .await
        .expect("recorded")
        .remove(0);
    let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
    assert_eq!(
        body["blocks"][0]["text"]["text"],
        "CRITICAL: denied above usual in default"
    );
    assert_eq!(
        request.headers.get("webhook-id").expect("there"),
        &*Uuid::from_u128(7).to_string()
    );
    assert!(
        request.headers.contains_key("webhook-timestamp")
            && request.headers.contains_key("webhook-signature")
    );
}

#[tokio::test]
async fn retry_after_delays_the_next_attempt() {
    let server = receiver([answer(429).insert_header("retry-after", "120"), answer(200)]).await;
    let bench = Bench::new(&server.uri());
    bench.record(1).await;
    bench.pass().await;
    assert_eq!(
        bench.delivered(1).await.next_attempt_at.map(|at| at.0),
        Some(START_MS + 120_000)
    );
    bench.clock.set_ms(START_MS + 119_999);
    bench.pass().await;
    assert_eq!(server.received_requests().await.expect("recorded").len(), 1);
    bench.clock.set_ms(START_MS + 120_000);
    bench.pass().await;
    assert_eq!(bench.delivered(1).await.state, DeliveryState::Delivered);
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_not_retried() {
    let server = receiver([answer(410)]).await;
    let bench = Bench::new(&server.uri());
    bench.record(1).await;
    bench.pass().await;
    let delivery = bench.delivered(1).await;
    assert_eq!(
        (
            delivery.state.name(),
            delivery.attempts,
            delivery.last_status
        ),
        ("dead", 1, Some(410))
    );
    assert_eq!(delivery.next_attempt_at, None);
}

#[tokio::test]
async fn a_delivery_that_failed_for_a_day_is_given_up() {
    let server = receiver([answer(500), answer(500)]).await;
    let bench = Bench::new(&server.uri());
    bench.record(1).await;
    bench.clock.set_ms(START_MS + DAY_MS - 1);
    bench.pass().await;
    assert_eq!(bench.outbox().await.pending, 1);
    bench.clock.set_ms(START_MS + DAY_MS + 600_000);
    bench.pass().await;
    let outbox = bench.outbox().await;
    assert_eq!(
        (outbox.pending, outbox.dead, bench.attempts("dead")),
        (0, 1, 1.0)
    );
}

#[tokio::test]
async fn a_hung_receiver_is_retried_and_never_shown() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("bound"));
    let bench = Bench::with_timeout(&address, Duration::from_millis(20));
    let (recorded, _guard) = testing::record_thread();
    bench.record(1).await;
    bench.pass().await;
    let delivery = bench.delivered(1).await;
    assert_eq!(
        (delivery.state.name(), delivery.last_status),
        ("pending", None)
    );
    assert!(
        delivery
            .last_error
            .expect("it failed")
            .contains("connected, no answer within 0.02 s")
    );

    let lines: Vec<_> = recorded
        .logs()
        .into_iter()
        .filter(|line| line["target"] == module_path!().replace("::tests", "::attempt"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(
        (&lines[0]["level"], &lines[0]["trace_id"]),
        (&"WARN".into(), &TRACE.into())
    );
    let everything = format!(
        "{lines:?} {:?} {}",
        recorded.spans(),
        bench.registry.render()
    );
    assert!(
        !everything.contains("hunter2") && !everything.contains("secret-path"),
        "{everything}"
    );
}

/// The sequence numbers of incident messages, in the order in which they arrived.
async fn sequences(server: &MockServer) -> Vec<serde_json::Value> {
    let requests = server.received_requests().await.expect("recorded");
    let body = |request: &Request| -> serde_json::Value {
        serde_json::from_slice(&request.body).expect("JSON")
    };
    requests
        .iter()
        .map(|request| body(request)["sequence"].clone())
        .collect()
}

#[tokio::test]
async fn an_incident_is_sent_in_order_and_a_resolve_overtakes_nothing() {
    let server = receiver([answer(200), answer(200)]).await;
    let bench = Bench::new(&server.uri());
    for message in [opened(), escalated(), resolved()] {
        let is_opening = message.sequence == 1;
        let recorded = bench
            .store
            .record_event(message, &[DEFAULT_RECEIVER], START_MS);
        recorded.await.expect("recorded");
        if is_opening {
            bench.pass().await;
        }
    }
    // The opening was delivered; the resolve supersedes the escalation.
    bench.pass().await;
    bench.pass().await;
    assert_eq!(sequences(&server).await, [1, 3]);
}

#[tokio::test]
async fn a_failing_receiver_is_probed_alone_and_the_rest_follow_at_once() {
    let answers = std::iter::repeat_n(answer(503), 10).chain(std::iter::repeat_n(answer(200), 300));
    let server = receiver(answers).await;
    let bench = Bench::new(&server.uri());
    for number in 1..=200 {
        bench.record(number).await;
    }
    let (recorded, _guard) = testing::record_thread();
    let sent = async || server.received_requests().await.expect("recorded").len();
    let mut now_ms = START_MS;
    while bench.outbox().await.pending == 200 {
        let before = sent().await;
        bench.pass().await;
        let attempted = sent().await - before;
        assert!(attempted <= if before == 0 { 4 } else { 1 }, "{attempted}");
        now_ms += 60_000;
        bench.clock.set_ms(now_ms);
    }
    assert!(sent().await <= 14, "{}", sent().await);
    // No time passes from here on.
    while bench.outbox().await.pending > 0 {
        bench.pass().await;
    }
    let warnings = recorded
        .logs()
        .into_iter()
        .filter(|line| line["level"] == "WARN");
    assert!(warnings.count() <= 10);
    let failing = bench.delivery.context.receivers.all();
    assert_eq!(failing, [(DEFAULT_RECEIVER.to_owned(), None)]);
}
