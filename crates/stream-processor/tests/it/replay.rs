//! Files through `run`: which messages arrive, and which errors are returned.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use common::clock::Clock;
use common::testing::{attribute, record_process, value};
use embedded_kafka::{ApiKey, EmbeddedKafka, ErrorCode};
use opentelemetry::trace::{SpanId, SpanKind};
use stream_processor::{Command, Shape, Timeline};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::harness::{Replay, TWO_STREAMS, consume, file, minute, options};

/// No broker listens there.
const NO_BROKER: &str = "127.0.0.1:9";

#[tokio::test]
async fn two_streams_arrive_keyed_and_in_order_of_time() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let replay = Replay::new();
    let registry = replay.registry.clone();
    let before = Clock::system().now_ms();
    let summary = replay
        .run(
            &file(TWO_STREAMS),
            &options(kafka.bootstrap_servers(), "max", ""),
        )
        .await
        .unwrap();
    assert_eq!(
        (
            summary.minutes,
            summary.messages,
            summary.rows,
            summary.stopped_at
        ),
        (3, 5, 10, None)
    );

    let found = consume(&kafka, 5);
    let order: Vec<_> = found
        .iter()
        .map(|f| (f.key.as_str(), f.counts().minute().to_string()))
        .collect();
    let expected = [
        ("a", "45"),
        ("b", "45"),
        ("a", "46"),
        ("a", "47"),
        ("b", "47"),
    ];
    assert_eq!(
        order,
        expected.map(|(key, past)| (key, format!("2025-07-12T13:{past}:00Z")))
    );
    assert!(found.iter().all(|f| f.counts().stream().as_str() == f.key));
    assert_eq!(
        found[4].payload,
        r#"{"timestamp":"2025-07-12T13:47:00Z","stream":"b","transactions":[{"status":"approved","count":203},{"status":"denied","count":6}]}"#
    );
    let sending = before..=Clock::system().now_ms();
    assert!(
        found.iter().all(|f| sending.contains(&f.sent_at_ms)),
        "the time of sending, not the event time"
    );

    for (name, expected) in [
        ("messages_produced_total", 5.0),
        ("rows_produced_total", 10.0),
        ("delivery_errors_total", 0.0),
        ("in_flight_messages", 0.0),
        ("delivery_duration_seconds", 5.0),
        ("event_timestamp_seconds", 1_752_328_020.0),
    ] {
        let found = value(&registry, &format!("stream_processor_{name}"), &[]);
        assert!((found - expected).abs() < 0.5, "{name} is {found}");
    }
}

#[tokio::test]
async fn more_than_fits_in_flight_arrives_in_order() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let first = minute("2025-07-12 13:45");
    let row = |m: i64| format!("{},denied,{m}\n", first.plus(m));
    let rows = (0..12_000).rev().map(row).collect::<Vec<_>>().concat();
    let loaded = file(&format!("timestamp,status,count\n{rows}"));
    let summary = Replay::new()
        .run(&loaded, &options(kafka.bootstrap_servers(), "max", ""))
        .await
        .unwrap();
    assert_eq!((summary.messages, summary.minutes), (12_000, 12_000));
    assert!(
        consume(&kafka, 12_000)
            .iter()
            .map(|f| f.counts().minute().since(first))
            .eq(0..12_000)
    );
}

#[tokio::test]
async fn each_message_starts_a_trace() {
    let recorded = record_process();
    let kafka = EmbeddedKafka::start().await.unwrap();
    Replay::new()
        .run(
            &file(TWO_STREAMS),
            &options(kafka.bootstrap_servers(), "max", ""),
        )
        .await
        .unwrap();
    let found = consume(&kafka, 5);
    let traces: HashSet<_> = found.iter().map(|f| f.parent.trace_id()).collect();
    assert_eq!(traces.len(), 5);
    let spans = recorded.spans();
    for message in &found {
        assert!(message.parent.is_valid() && message.parent.is_sampled());
        let span = spans
            .iter()
            .find(|span| span.span_context.span_id() == message.parent.span_id())
            .expect("exported");
        assert_eq!(
            (span.span_context.trace_id(), span.parent_span_id),
            (message.parent.trace_id(), SpanId::INVALID)
        );
        assert_eq!(
            (&*span.name, &span.span_kind),
            ("send transactions", &SpanKind::Producer)
        );
        for (name, value) in [
            ("messaging.system", "kafka"),
            ("messaging.operation.name", "send"),
            ("messaging.operation.type", "send"),
            ("messaging.destination.name", "transactions"),
            ("messaging.kafka.message.key", &*message.key),
        ] {
            assert_eq!(attribute(span, name).as_deref(), Some(value), "{name}");
        }
    }
}

#[tokio::test]
async fn an_early_stop_reports_its_minute() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let replay = Replay::new();
    let (mut handle, shutdown) = (replay.handle.clone(), replay.shutdown.clone());
    // So slow that the second minute never comes.
    let (loaded, options) = (
        file(TWO_STREAMS),
        options(kafka.bootstrap_servers(), "0.001", ""),
    );
    let stop_after_two = async {
        handle
            .progress
            .wait_for(|progress| progress.sent == 2)
            .await
            .unwrap();
        shutdown.cancel();
    };
    let (summary, ()) = tokio::join!(replay.run(&loaded, &options), stop_after_two);
    let summary = summary.unwrap();
    assert_eq!(
        (summary.messages, summary.stopped_at),
        (2, Some(minute("2025-07-12 13:46")))
    );
    assert_eq!(
        stream_processor::resume(summary.stopped_at.unwrap(), &options),
        "continue with --from 2025-07-12T13:46:00Z"
    );
    consume(&kafka, 2);
}

#[tokio::test]
async fn commands_reach_the_replay() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let replay = Replay::new();
    let (mut handle, shutdown) = (replay.handle.clone(), replay.shutdown.clone());
    handle.commands.send(Command::TogglePause).await.unwrap();
    let (loaded, options) = (
        file(TWO_STREAMS),
        options(kafka.bootstrap_servers(), "max", ""),
    );
    let keys = async {
        assert_eq!(
            handle
                .progress
                .wait_for(|progress| progress.paused)
                .await
                .unwrap()
                .sent,
            0
        );
        handle.commands.send(Command::TogglePause).await.unwrap();
        handle
            .progress
            .wait_for(|progress| progress.sent == 5 && progress.expected == Some(5))
            .await
            .unwrap();
        assert!(!shutdown.is_cancelled());
    };
    let (summary, ()) = tokio::join!(replay.run(&loaded, &options), keys);
    assert_eq!(summary.unwrap().messages, 5);
}

#[tokio::test]
async fn a_rebased_file_ends_with_the_last_closed_minute() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let mut options = options(kafka.bootstrap_servers(), "max", "");
    options.timeline = Timeline::Rebased;
    let summary = Replay::new()
        .run(&file(TWO_STREAMS), &options)
        .await
        .unwrap();
    assert_eq!((summary.messages, summary.rows), (5, 10));
    for message in consume(&kafka, 5) {
        let closed_at = message.counts().minute().plus(1).start().as_millisecond();
        assert!(
            (closed_at..closed_at + 5 * 60_000).contains(&message.sent_at_ms),
            "{message:?}"
        );
        let in_file =
            stream_processor::file_minute(message.counts().minute(), minute("2025-07-12 13:45"), 3);
        let past = in_file.since(minute("2025-07-12 13:44"));
        let base = if message.key == "a" { 100 } else { 200 };
        assert_eq!(
            i64::from(message.counts().transactions()[0].count),
            base + past
        );
    }
}

#[tokio::test]
async fn a_broker_started_later_gets_everything() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = options(front.local_addr().unwrap().to_string(), "max", "");
    let broker_later = async {
        // The first connection is closed, as if the broker were still down.
        drop(front.accept().await.unwrap());
        loop {
            let (mut client, _) = front.accept().await.unwrap();
            let mut broker = TcpStream::connect(kafka.bootstrap_servers()).await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut broker).await;
        }
    };
    let loaded = file(TWO_STREAMS);
    let summary = tokio::select! {
        summary = Replay::new().run(&loaded, &options) => summary.unwrap(),
        () = broker_later => unreachable!(),
    };
    assert_eq!(summary.messages, 5);
    consume(&kafka, 5);
}

#[tokio::test]
async fn retried_requests_deliver_nothing_twice() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    kafka.refuse_produces(2);
    kafka.lose_answers(ApiKey::Produce, 1);
    let options = options(kafka.bootstrap_servers(), "max", "retry.backoff.ms=1");
    let summary = Replay::new()
        .run(&file(TWO_STREAMS), &options)
        .await
        .unwrap();
    assert_eq!(summary.messages, 5);
    consume(&kafka, 5);
}

#[tokio::test]
async fn a_refused_message_is_an_error_with_advice() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    kafka.fail(ApiKey::Produce, 9, ErrorCode::TopicAuthorizationFailed);
    let replay = Replay::new();
    let registry = replay.registry.clone();
    let options = options(kafka.bootstrap_servers(), "0.001", "");
    let error = replay
        .run(&file(TWO_STREAMS), &options)
        .await
        .unwrap_err()
        .to_string();
    for part in [
        "of 2 messages were not acknowledged",
        "may not write to the topic transactions",
        "--from 2025-07-12T13:45:00Z",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert!(value(&registry, "stream_processor_delivery_errors_total", &[]) >= 1.0);
}

#[tokio::test]
async fn without_a_broker_the_error_names_the_address() {
    let options = options(NO_BROKER.to_owned(), "max", "message.timeout.ms=50");
    let error = Replay::new()
        .run(&file(TWO_STREAMS), &options)
        .await
        .unwrap_err()
        .to_string();
    for part in [
        "5 of 5 messages",
        "no broker at 127.0.0.1:9 accepted it",
        "message.timeout.ms",
        "--from 2025-07-12T13:45:00Z",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[tokio::test]
async fn an_advertised_name_that_is_unknown_is_named() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    kafka.advertise("broker.invalid");
    let options = options(kafka.bootstrap_servers(), "max", "message.timeout.ms=500");
    let error = Replay::new().run(&file(TWO_STREAMS), &options).await;
    let error = error.unwrap_err().to_string();
    for part in [
        "the broker advertises broker.invalid:",
        "advertised.listeners",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_ten_seconds_for_the_broker() {
    let replay = Replay::new();
    let (mut handle, shutdown) = (replay.handle.clone(), replay.shutdown.clone());
    let (loaded, options) = (file(TWO_STREAMS), options(NO_BROKER.to_owned(), "max", ""));
    let stop = async {
        handle
            .progress
            .wait_for(|progress| progress.sent == 5)
            .await
            .unwrap();
        shutdown.cancel();
    };
    let started = Instant::now();
    let (outcome, ()) = tokio::join!(replay.run(&loaded, &options), stop);
    assert_eq!(
        started.elapsed().as_secs(),
        Duration::from_secs(10).as_secs()
    );
    let error = outcome.unwrap_err().to_string();
    assert!(
        error.contains("5 of 5 messages") && error.contains("within 10 s of the stop"),
        "{error}"
    );
}

#[tokio::test]
async fn refused_properties_are_named_without_values() {
    for (properties, part) in [
        ("no.such.thing=hunter2", "no property \"no.such.thing\""),
        (
            "compression.codec=hunter2",
            "value of \"compression.codec\"",
        ),
    ] {
        let options = options(NO_BROKER.to_owned(), "max", properties);
        let error = Replay::new()
            .run(&file(TWO_STREAMS), &options)
            .await
            .unwrap_err();
        let error = format!("{error:?}");
        assert!(
            error.contains(part) && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn transactions_arrive_keyed_by_stream() {
    let kafka = EmbeddedKafka::start().await.unwrap();
    let replay = Replay::new();
    let handle = replay.handle.clone();
    let mut options = options(kafka.bootstrap_servers(), "max", "");
    options.shape = Shape::Transactions;
    let summary = replay.run(&file(TWO_STREAMS), &options).await.unwrap();
    let total = 101 + 102 + 103 + 201 + 203 + 1 + 2 + 3 + 4 + 6;
    let found = (summary.minutes, summary.messages, summary.rows);
    assert_eq!(found, (3, total, total));
    let totals: Vec<_> = summary.totals.values().copied().collect();
    assert_eq!(totals, [710, 16]);
    assert_eq!(handle.progress.borrow().expected, Some(total));

    let found = consume(&kafka, usize::try_from(total).unwrap());
    let mut counts = BTreeMap::<(String, String), u32>::new();
    for message in &found {
        let transaction: serde_json::Value = serde_json::from_str(&message.payload).unwrap();
        assert_eq!(transaction["stream"], *message.key);
        let minute = transaction["timestamp"].as_str().unwrap()[..16].to_owned();
        let status = transaction["status"].as_str().unwrap();
        *counts
            .entry((minute, format!("{} {status}", message.key)))
            .or_default() += 1;
    }
    let of = |minute: &str, what: &str| counts[&(format!("2025-07-12T13:{minute}"), what.into())];
    assert_eq!(counts.len(), 10);
    assert_eq!(
        [
            of("45", "a approved"),
            of("46", "a denied"),
            of("47", "b denied")
        ],
        [101, 2, 6]
    );
}

#[tokio::test]
async fn a_file_of_zeros_has_no_transactions() {
    let mut options = options(NO_BROKER.to_owned(), "max", "");
    options.shape = Shape::Transactions;
    options.timeline = Timeline::RebasedForEver;
    let zeros = file("timestamp,status,count\n2025-07-12 13:45,denied,0\n");
    let error = Replay::new().run(&zeros, &options).await.unwrap_err();
    assert!(
        error.to_string().contains("no transaction to send"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn live_transactions_are_sent_as_they_happen() {
    let clock = Clock::fixed(90_000);
    let replay = Replay::at(clock.clone());
    let (mut handle, shutdown) = (replay.handle.clone(), replay.shutdown.clone());
    let mut options = options(NO_BROKER.to_owned(), "max", "");
    options.shape = Shape::Transactions;
    options.timeline = Timeline::RebasedForEver;
    // One a second, for ever; the loop begins at 00:00.
    let loaded = file("timestamp,status,count\n2025-07-12 13:45,denied,60\n");
    let ticking = async {
        for second in [90_u64, 100, 130, 200] {
            clock.set_ms(i64::try_from(second).unwrap() * 1000);
            // At most 8 s late, and a transaction is anywhere in its second.
            let reached = handle.progress.wait_for(|now| now.sent >= second - 9);
            assert!(reached.await.unwrap().sent <= second, "{second}");
        }
        shutdown.cancel();
    };
    let (outcome, ()) = tokio::join!(replay.run(&loaded, &options), ticking);
    let error = outcome.unwrap_err().to_string();
    assert!(
        error.contains("transactions that are sent again count again"),
        "{error}"
    );
}
