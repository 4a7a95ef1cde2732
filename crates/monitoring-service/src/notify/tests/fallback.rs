//! What a failing receiver owes goes to the fallback, too.

use super::*;
use crate::{
    alerts::{
        Fallback, Subject,
        incident::{IncidentEventKind, IncidentMessage},
    },
    notify::board::ReceiverBoard,
};

const MINUTE_MS: i64 = 60_000;
const SPARE: &str = "spare";

impl Bench {
    /// The same with a fallback, which stands in after five minutes.
    fn with_fallback(address: &str, spare: &str) -> Self {
        let mut bench = Self::new(address);
        let context = &mut bench.delivery.context;
        context.notify = NotifyPolicy {
            fallback: Some(Fallback {
                receiver: SPARE.to_owned(),
                after_ms: 5 * MINUTE_MS,
                acknowledgements: false,
            }),
            ..NotifyPolicy::with_default_receiver(Some(30 * MINUTE_MS))
        };
        context.receivers = ReceiverBoard::new(context.notify.all_receivers());
        bench.delivery.receivers.push(Receiver {
            name: SPARE.to_owned(),
            client: WebhookClient::new(spare.parse().expect("an address")).expect("a client"),
            format: Format::Json,
        });
        bench
    }

    /// Attempts what is due this long after the start, until nothing is.
    async fn after(&self, minutes: i64) {
        self.clock.set_ms(START_MS + minutes * MINUTE_MS);
        for _ in 0..4 {
            self.pass().await;
        }
    }

    async fn happens(&self, message: IncidentMessage) {
        let now_ms = self.clock.now_ms();
        let recorded = self
            .store
            .record_event(message, &[DEFAULT_RECEIVER], now_ms);
        recorded.await.expect("recorded");
    }

    async fn raise(&self, number: u128, subject: Option<Subject>) {
        let mut alert = alert(number);
        alert.recorded_at_ms = self.clock.now_ms();
        alert.recipients.fallback = Some(SPARE.to_owned());
        alert.subject = subject.unwrap_or(alert.subject);
        self.store.record_alert(alert).await.expect("recorded");
    }
}

/// Refuses this often, and asks for a minute each time, so that the waits are not random; then accepts.
async fn failing(times: usize) -> MockServer {
    let refusal = || answer(503).insert_header("retry-after", "60");
    let answers = std::iter::repeat_with(refusal).take(times);
    receiver(answers.chain(std::iter::repeat_n(answer(200), 20))).await
}

async fn accepting() -> MockServer {
    failing(0).await
}

/// The texts of the messages that arrived.
async fn texts(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.expect("recorded");
    let text = |request: &Request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        body["message"].as_str().expect("text").to_owned()
    };
    requests.iter().map(text).collect()
}

/// The ids of the messages that arrived.
async fn ids(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.expect("recorded");
    let id = |request: &Request| request.headers["webhook-id"].to_str().map(str::to_owned);
    requests.iter().map(|one| id(one).expect("text")).collect()
}

#[tokio::test]
async fn a_fallback_gets_what_is_open_and_all_that_follows() {
    let (server, spare) = (failing(3).await, accepting().await);
    let bench = Bench::with_fallback(&server.uri(), &spare.uri());
    bench.happens(opened()).await;
    bench.after(0).await;
    bench.after(4).await;
    assert_eq!(
        sequences(&spare).await,
        [0; 0],
        "it has not failed for long"
    );
    bench.after(5).await;
    assert_eq!(sequences(&spare).await, [1]);
    assert_eq!(ids(&spare).await[0], ids(&server).await[0]);
    let why =
        "This is the fallback: the receiver default has not accepted notifications for 5 min.";
    let text = format!("{} {why}", opened().message);
    assert_eq!(texts(&spare).await, [text]);

    bench.happens(escalated()).await;
    bench.after(5).await;
    assert_eq!(sequences(&spare).await, [1, 2], "the receiver still fails");
    bench.after(7).await;
    assert_eq!(sequences(&server).await, [1, 1, 1, 1, 2], "it is back");
    bench.happens(resolved()).await;
    bench.after(8).await;
    assert_eq!(sequences(&server).await, [1, 1, 1, 1, 2, 3]);
    assert_eq!(sequences(&spare).await, [1, 2, 3]);
    assert_eq!(texts(&spare).await[2], resolved().message);
    assert_eq!(bench.outbox().await, OutboxState::default());
}

#[tokio::test]
async fn a_fallback_gets_no_end_without_its_beginning() {
    let answers = [answer(200)].into_iter().chain(std::iter::repeat_n(
        answer(503).insert_header("retry-after", "60"),
        9,
    ));
    let (server, spare) = (receiver(answers).await, accepting().await);
    let bench = Bench::with_fallback(&server.uri(), &spare.uri());
    // Of one, the receiver knows the beginning.
    let other = |message: IncidentMessage| IncidentMessage {
        id: Uuid::from_u128(7),
        ..message
    };
    bench.happens(other(opened())).await;
    bench.after(0).await;
    bench.happens(other(resolved())).await;
    // One is acknowledged, so somebody knows of it.
    let acknowledged = IncidentMessage {
        event: IncidentEventKind::Acknowledged,
        sequence: 2,
        ..opened()
    };
    bench.happens(opened()).await;
    bench.happens(acknowledged).await;
    for minutes in [0, 2, 6, 8] {
        bench.after(minutes).await;
    }
    assert!(ids(&server).await.len() >= 4);
    assert_eq!(ids(&spare).await, [""; 0]);
}

#[tokio::test]
async fn a_fallback_gets_new_alerts_and_the_end_of_a_condition() {
    let (server, spare) = (failing(9).await, accepting().await);
    let bench = Bench::with_fallback(&server.uri(), &spare.uri());
    bench.raise(1, None).await;
    bench.after(0).await;
    bench.clock.set_ms(START_MS + 31 * MINUTE_MS);
    bench.raise(2, None).await;
    bench.raise(3, Some(Subject::IngestDown)).await;
    bench.after(31).await;
    let id = |number| Uuid::from_u128(number).to_string();
    let mut sent = ids(&spare).await;
    sent.sort_unstable();
    assert_eq!(sent, [id(2), id(3)], "the first is older than PAGE_MAX_AGE");
    bench.raise(4, Some(Subject::IngestUp)).await;
    bench.raise(5, Some(Subject::IngestAccepting)).await;
    bench.after(31).await;
    assert_eq!(ids(&spare).await[2..], [id(4)]);
}

#[tokio::test]
async fn a_receiver_is_tried_first_after_a_time_without_messages() {
    let (server, spare) = (failing(1).await, accepting().await);
    let bench = Bench::with_fallback(&server.uri(), &spare.uri());
    bench.happens(opened()).await;
    bench.after(0).await;
    let pending = bench.store.deliveries_of_incident(1).await.expect("stored");
    let ids_of = pending.iter().map(|one| one.id).collect();
    let gone = bench.store.settle_deliveries(ids_of, Vec::new());
    gone.await.expect("stored");
    bench.clock.set_ms(START_MS + 3 * 60 * MINUTE_MS);
    bench.raise(1, None).await;
    bench.after(3 * 60).await;
    assert_eq!(ids(&server).await.len(), 2);
    assert_eq!(ids(&spare).await, [""; 0]);
}

#[tokio::test]
async fn a_fallback_gets_what_a_receiver_refuses_for_good() {
    let gone = std::iter::repeat_with(|| answer(410)).take(3);
    let (server, spare) = (receiver(gone).await, accepting().await);
    let bench = Bench::with_fallback(&server.uri(), &spare.uri());
    bench.happens(opened()).await;
    bench.after(0).await;
    assert_eq!(bench.outbox().await.dead, 1);
    bench.after(4).await;
    assert_eq!(sequences(&spare).await, [0; 0]);
    bench.after(5).await;
    assert_eq!(sequences(&spare).await, [1]);
    bench.happens(resolved()).await;
    bench.after(6).await;
    assert_eq!(sequences(&spare).await, [1, 3]);
    // What was given up longer ago than PAGE_MAX_AGE is not new.
    bench.raise(1, None).await;
    bench.after(40).await;
    assert_eq!(ids(&server).await.len(), 3, "also a summary");
    assert_eq!(ids(&spare).await.len(), 2);
}
