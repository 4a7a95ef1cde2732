//! The line of health: what is wrong, and what to do.

use crate::{
    alerts::{Fallback, NotifyPolicy},
    ingest::status::{Acceptance, StandStill},
    routes::harness::{Api, NOW_MS, now},
};

/// A service that reads from Kafka.
fn reading() -> Api {
    let api = Api::new();
    api.state.ingest.update(NOW_MS, |status| {
        (status.connected, status.consuming, status.caught_up) = (true, true, true);
    });
    api
}

/// The line of health of the overview, without its tags.
async fn line(api: &Api) -> String {
    let text = api.get("/").await.text;
    let (_, rest) = text.split_once("id=\"health\"").expect("a line of health");
    let line = rest.split("<section").next().unwrap_or_default();
    let parts = line.split('<').filter_map(|part| part.split_once('>'));
    let words: Vec<_> = parts.map(|(_, text)| text.trim()).collect();
    words
        .join(" ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[tokio::test]
async fn a_quiet_line_says_that_the_job_is_done() {
    assert_eq!(
        line(&reading()).await,
        "Counts are read as they arrive. Every notification is delivered."
    );
}

#[tokio::test]
async fn without_a_receiver_nobody_is_notified() {
    let api = reading().with(|state| state.context.notify = NotifyPolicy::default());
    assert_eq!(
        line(&api).await,
        "Counts are read as they arrive. Nobody is notified: set ALERT_WEBHOOK_URL to the address of a receiver."
    );
}

#[tokio::test]
async fn a_first_connection_may_take_half_a_minute() {
    let api = Api::new();
    assert_eq!(line(&api).await, "Connecting to Kafka.");
    let api = api.with(|state| {
        state.context.ingest = crate::ingest::status::SharedStatus::new(NOW_MS - 120_000);
    });
    assert!(
        line(&api).await.starts_with(
            "Counts have not been read for 2 min: Kafka is not connected yet. Nothing is evaluated while this lasts."
        ),
        "{}",
        line(&api).await
    );
}

#[tokio::test]
async fn unusable_messages_name_the_reason() {
    let api = reading();
    api.state.ingest.update(NOW_MS, |status| {
        let why = "11 of the newest 20 messages are dead letters, the last one: no JSON";
        status.acceptance = Acceptance::Rejecting(why.to_owned());
    });
    assert!(
        line(&api).await.starts_with(
            "11 of the newest 20 messages are dead letters, the last one: no JSON. Their counts are unknown until the producer is fixed"
        ),
        "{}",
        line(&api).await
    );
}

#[tokio::test]
async fn a_receiver_that_refuses_is_named_with_its_words() {
    let api = reading();
    for (earlier, at_ms) in (0..).zip(NOW_MS - 180_000..NOW_MS - 179_997) {
        let error = "the receiver answered 404 Not Found: no such team".to_owned();
        let board = &api.state.receivers;
        board.failed("default", earlier, error, NOW_MS, at_ms);
    }
    assert_eq!(
        line(&api).await,
        "The receiver default does not accept notifications (first failure 3 min ago): the receiver answered 404 Not Found: no such team. \
         Nothing is pending; POST /alerts/test shows whether it accepts notifications again."
    );
}

#[tokio::test]
async fn a_fallback_that_stands_in_is_named() {
    let api = reading().with(|state| {
        state.context.notify.fallback = Some(Fallback {
            receiver: "spare".to_owned(),
            after_ms: 60_000,
            acknowledgements: false,
        });
    });
    for (earlier, at_ms) in (0..).zip([NOW_MS - 60_000, NOW_MS - 2, NOW_MS - 1]) {
        let error = "the receiver answered 503".to_owned();
        let board = &api.state.receivers;
        board.failed("default", earlier, error, NOW_MS, at_ms);
    }
    let line = line(&api).await;
    assert!(
        line.ends_with("What is new and open goes to spare, too."),
        "{line}"
    );
}

#[tokio::test]
async fn a_partition_that_stands_still_is_named() {
    let api = reading();
    let stands_still = |partitions| {
        api.state.ingest.update(NOW_MS - 300_000, |status| {
            (status.partitions, status.consuming) = (partitions, partitions > 1);
            status.standing_still = vec![StandStill {
                partition: 3,
                offset: 10,
                waiting: 7,
                since_ms: NOW_MS - 240_000,
            }];
        });
    };
    let still =
        "partition 3 stands still at offset 10 since 2025-07-12 14:56 UTC, and 7 messages wait";
    stands_still(4);
    assert!(
        line(&api).await.starts_with(&format!(
            "Not all counts are read: {still}; the other 3 partitions are read. Minutes are missing"
        )),
        "{}",
        line(&api).await
    );
    for partitions in [1, 0] {
        stands_still(partitions);
        let line = line(&api).await;
        assert!(
            line.starts_with("Counts have not been read for 4 min: ")
                && line.contains(&format!("{still}. Nothing is evaluated")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_stream_says_that_counts_are_not_read() {
    let mut api = Api::new();
    api.consume_usual("default", now(), 70);
    let path = "/page/streams/default";
    let text =
        "Counts have not been read for 1 min: no broker. Nothing is evaluated while this lasts.";
    let set = |consuming, error: Option<&str>| {
        api.state.ingest.update(NOW_MS - 60_000, |status| {
            (status.connected, status.consuming) = (consuming, consuming);
            status.error = error.map(str::to_owned);
        });
    };
    set(true, None);
    let read = api.get(path).await.text;
    assert!(!read.contains("Counts have not") && !read.contains("was NORMAL"));
    let overview = api.get("/").await.text;
    assert!(overview.contains("1 NORMAL. A line"), "{overview}");
    set(false, Some("no broker"));
    let shown = api
        .get(path)
        .await
        .text
        .replace("<b>", "")
        .replace("</b>", "");
    assert!(shown.contains(text), "{shown}");
    assert!(shown.contains("was NORMAL"), "{shown}");
    let overview = api.get("/").await.text;
    assert!(
        overview.contains("1 NORMAL when counts were last read. A line"),
        "{overview}"
    );
}
