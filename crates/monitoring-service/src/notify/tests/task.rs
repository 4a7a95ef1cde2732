//! The task: what is attempted together, its reports, and its stop.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

#[tokio::test]
async fn four_are_tried_at_a_time_and_none_twice() {
    let bench = Bench::new("http://127.0.0.1:9");
    for number in 1..=6 {
        bench.record(number).await;
    }
    let ids = async |in_flight: &[i64]| -> Vec<i64> {
        let due = bench
            .delivery
            .due(
                &bench.delivery.receivers[0],
                &in_flight
                    .iter()
                    .map(|&id| (id, DEFAULT_RECEIVER.to_owned()))
                    .collect(),
            )
            .await
            .expect("the store works");
        due.into_iter().map(|due| due.id).collect()
    };
    // The newest first.
    assert_eq!(ids(&[]).await, [6, 5, 4, 3]);
    assert_eq!(ids(&[5, 6]).await, [4, 3]);
    assert_eq!(ids(&[2, 3, 4, 5]).await, [0; 0]);
}

#[tokio::test]
async fn the_task_delivers_old_and_new_and_reports() {
    let server = receiver([answer(200), answer(500), answer(200)]).await;
    let Bench {
        delivery,
        registry: _,
        clock,
        store,
        _directory,
    } = Bench::new(&server.uri());
    let liveness = delivery.context.liveness.clone();
    store.record_alert(alert(1)).await.expect("recorded");
    let state = async |number, state: &str| {
        loop {
            let (_, deliveries) = store
                .alert(Uuid::from_u128(number))
                .await
                .expect("readable")
                .expect("recorded");
            if deliveries[0].state.name() == state && deliveries[0].attempts > 0 {
                return deliveries[0].next_attempt_at.map(|at| at.0);
            }
        }
    };
    let script = async {
        state(1, "delivered").await;
        store.record_alert(alert(2)).await.expect("recorded");
        let again = state(2, "pending").await.expect("tried again");
        clock.set_ms(again);
        store.outbox_changed().notify_one();
        state(2, "delivered").await;
    };
    while_delivering(delivery, script)
        .await
        .expect("a good end");
    assert_reported(&liveness, clock.now_ms());
}

#[tokio::test]
async fn without_a_receiver_the_task_only_reports() {
    let Bench {
        mut delivery,
        store,
        clock,
        _directory,
        ..
    } = Bench::new("http://127.0.0.1:9");
    delivery.receivers.clear();
    let liveness = delivery.context.liveness.clone();
    store.record_alert(alert(1)).await.expect("recorded");
    while_delivering(delivery, tokio::task::yield_now())
        .await
        .expect("a good end");
    assert_reported(&liveness, clock.now_ms());
    assert_eq!(store.outbox().await.expect("readable").pending, 1);
}

#[tokio::test]
async fn a_stop_finishes_the_attempt_in_flight() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    let Bench {
        delivery,
        store,
        _directory,
        ..
    } = Bench::new(&address);
    store.record_alert(alert(1)).await.expect("recorded");
    let stop = CancellationToken::new();
    let script = async {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        read_head(&mut connection).await;
        stop.cancel();
        let taken = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
        connection.write_all(taken).await.expect("still connected");
        connection
            .read_to_end(&mut Vec::new())
            .await
            .expect("closed by the client");
    };
    let (outcome, ()) = tokio::join!(deliver(delivery, stop.clone()), script);
    outcome.expect("a good end");
    assert_eq!(
        store.outbox().await.expect("readable"),
        OutboxState::default()
    );
}

async fn read_head(connection: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.expect("a request"));
    }
}

#[test]
fn an_unavailable_database_is_logged_once() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    let bench = Bench::new("http://127.0.0.1:9");
    let (recorded, _guard) = testing::record_thread();
    let mut fails = false;
    for _ in 0..3 {
        let full = StoreError::Unavailable("the disk is full".to_owned());
        assert_eq!(
            bench
                .delivery
                .pause_for_store(full, &mut fails)
                .expect("to be waited for"),
            STORE_RETRY_INTERVAL
        );
    }
    assert_eq!(recorded.logs().len(), 1);
    for end in [
        StoreError::Closed,
        StoreError::Broken("a torn page".to_owned()),
    ] {
        bench
            .delivery
            .pause_for_store(end, &mut fails)
            .expect_err("nothing to wait for");
    }
}

fn assert_reported(liveness: &crate::liveness::TaskLiveness, now_ms: i64) {
    let report = (Task::Delivery.name(), now_ms);
    assert!(liveness.last_reports().contains(&report));
}
