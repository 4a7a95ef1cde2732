//! One message instead of many about what is over or old when a receiver accepts deliveries again.

use super::*;
use crate::{
    alerts::incident::IncidentMessage,
    store::{DeliveryFilter, Replay},
};

const MINUTE_MS: i64 = 60_000;

impl Bench {
    /// The same with a maximum age of alerts of 30 minutes.
    fn with_max_age(address: &str) -> Self {
        let mut bench = Self::new(address);
        bench.delivery.context.notify.max_age_ms = Some(30 * MINUTE_MS);
        bench
    }

    async fn happens_to(&self, number: u128, message: IncidentMessage) {
        let message = IncidentMessage {
            id: Uuid::from_u128(number),
            ..message
        };
        let recorded = self
            .store
            .record_event(message, &[DEFAULT_RECEIVER], START_MS);
        recorded.await.expect("recorded");
    }

    async fn in_state(&self, state: DeliveryState) -> Vec<i64> {
        let filter = DeliveryFilter {
            state: Some(state),
            limit: 100,
            ..DeliveryFilter::default()
        };
        let listed = self.store.deliveries(filter).await.expect("readable");
        listed.iter().map(|one| one.delivery.id).collect()
    }
}

/// What arrived: the type of each message, and the text of summaries.
async fn arrived(server: &MockServer) -> Vec<(String, String)> {
    let requests = server.received_requests().await.expect("recorded");
    let body = |request: &Request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let text = |name: &str| body[name].as_str().expect("text").to_owned();
        let kind = text("type");
        let is_summary = kind == "receiver.summary";
        (
            kind,
            if is_summary {
                text("message")
            } else {
                String::new()
            },
        )
    };
    requests.iter().map(body).collect()
}

#[tokio::test]
async fn what_is_over_when_the_receiver_returns_is_one_message() {
    let server = receiver([answer(503), answer(200), answer(200)]).await;
    let bench = Bench::new(&server.uri());
    bench.happens_to(1, opened()).await;
    bench.pass().await;
    bench.happens_to(1, resolved()).await;
    bench.happens_to(2, opened()).await;
    bench.happens_to(2, resolved()).await;
    bench.happens_to(3, opened()).await;
    bench.clock.set_ms(START_MS + 60 * MINUTE_MS);
    bench.pass().await;
    assert_eq!(arrived(&server).await.len(), 2, "what is open goes first");
    bench.pass().await;
    let arrived = arrived(&server).await;
    assert_eq!(arrived[1].0, "incident.opened");
    assert_eq!(arrived[2].0, "receiver.summary");
    assert!(arrived[2].1.contains("2 incidents"), "{arrived:?}");
    assert_eq!(bench.outbox().await, OutboxState::default());
    let summarized = bench.in_state(DeliveryState::Summarized).await;
    assert_eq!(summarized, [4, 3, 2, 1]);
    bench.pass().await;

    // Each can still be sent by itself.
    let replay = bench.store.replay_delivery(1, bench.clock.now_ms());
    assert_eq!(replay.await.expect("stored"), Replay::Begun);
}

#[tokio::test]
async fn old_alerts_are_summed_up_when_the_receiver_returns() {
    let answers = std::iter::repeat_n(answer(503), 4).chain(std::iter::repeat_n(answer(200), 2));
    let server = receiver(answers).await;
    let bench = Bench::with_max_age(&server.uri());
    for number in 1..=5 {
        bench.record(number).await;
    }
    bench.pass().await;
    bench.clock.set_ms(START_MS + 31 * MINUTE_MS);
    let new = Alert {
        recorded_at_ms: bench.clock.now_ms(),
        ..alert(6)
    };
    bench.store.record_alert(new).await.expect("recorded");
    for _ in 0..3 {
        bench.pass().await;
    }
    let arrived = arrived(&server).await;
    assert_eq!(arrived.len(), 6);
    assert_eq!(arrived[4].0, "transaction.anomaly");
    assert!(
        arrived[5]
            .1
            .contains("5 alerts of 1 stream between 2025-07-12T"),
        "{arrived:?}"
    );
    let summarized = bench.in_state(DeliveryState::Summarized).await;
    assert_eq!(summarized, [5, 4, 3, 2, 1]);
    assert_eq!(bench.outbox().await, OutboxState::default());
}

#[tokio::test]
async fn a_summary_that_was_refused_counts_what_follows() {
    let server = receiver([answer(503), answer(503), answer(200)]).await;
    let bench = Bench::new(&server.uri());
    let at = async |minutes: i64| {
        bench.clock.set_ms(START_MS + minutes * MINUTE_MS);
        bench.pass().await;
    };
    bench.happens_to(1, opened()).await;
    at(0).await;
    bench.happens_to(1, resolved()).await;
    at(20).await;
    bench.happens_to(2, opened()).await;
    bench.happens_to(2, resolved()).await;
    at(40).await;
    let arrived = arrived(&server).await;
    assert!(
        arrived[1].1.contains("1 incident (over) between"),
        "{arrived:?}"
    );
    assert!(
        arrived[2].1.contains("2 incidents (all over) between"),
        "{arrived:?}"
    );
    assert_eq!(arrived.len(), 3);
    assert_eq!(bench.outbox().await, OutboxState::default());
    assert_eq!(bench.in_state(DeliveryState::Superseded).await.len(), 1);
}

#[tokio::test]
async fn an_opening_that_is_sent_again_is_followed_by_its_end() {
    let answers = std::iter::repeat_with(|| answer(200)).take(5);
    let server = receiver([answer(410)].into_iter().chain(answers)).await;
    let bench = Bench::new(&server.uri());
    bench.happens_to(1, opened()).await;
    bench.pass().await;
    bench.happens_to(1, resolved()).await;
    let again = async |id, after: i64| {
        bench.clock.set_ms(START_MS + after * MINUTE_MS);
        for _ in 0..3 {
            bench.pass().await;
        }
        let replay = bench.store.replay_delivery(id, bench.clock.now_ms());
        assert_eq!(replay.await.expect("stored"), Replay::Begun);
        for _ in 0..3 {
            bench.pass().await;
        }
    };
    let types = async || arrived(&server).await.into_iter().map(|one| one.0);
    again(1, 20).await;
    let sent: Vec<_> = types().await.skip(1).collect();
    let both = ["incident.opened", "incident.resolved"];
    assert_eq!(sent[0], "receiver.summary", "it was over");
    assert_eq!(sent[1..], both);
    // Also where the end had arrived.
    again(1, 21).await;
    let sent: Vec<_> = types().await.skip(4).collect();
    assert_eq!(sent, both);
    assert_eq!(bench.outbox().await, OutboxState::default());
}

#[tokio::test]
async fn what_was_queued_long_before_the_start_is_one_message() {
    let server = receiver([answer(200), answer(200)]).await;
    let bench = Bench::with_max_age(&server.uri());
    for number in 1..=3 {
        bench.record(number).await;
    }
    bench.clock.set_ms(START_MS + 31 * MINUTE_MS);
    let Bench {
        delivery,
        store,
        _directory,
        ..
    } = bench;
    let delivered = async {
        let pending = async || store.outbox().await.expect("readable").pending;
        while pending().await > 0 || arrived(&server).await.is_empty() {}
    };
    while_delivering(delivery, delivered)
        .await
        .expect("a good end");
    let arrived = arrived(&server).await;
    assert_eq!(arrived.len(), 1);
    assert!(arrived[0].1.contains("3 alerts of 1 stream"), "{arrived:?}");
}
