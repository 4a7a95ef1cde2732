use std::collections::BTreeMap;

use detection::mapping::Mapping;
use detection::open_minutes::{Merge, OpenMinutes, Settings};
use detection::{StatusCount, Stream};
use proptest::prelude::*;

use super::transactions::MAX_DELAY_MS;
use super::*;

const SETTINGS: Settings = Settings {
    close_after_ms: 10_000,
    max_pause_minutes: 3,
};

fn minute_counts(stream: &str, minute: i64, counts: &[(&str, u32)]) -> MinuteCounts {
    let counts = counts.iter().map(|&(status, count)| StatusCount {
        status: Status::parse(status).unwrap(),
        count,
    });
    let minute = Minute::from_epoch_minutes(minute);
    MinuteCounts::try_new(stream.parse().unwrap(), minute, counts.collect()).unwrap()
}

fn messages(shape: Shape, minutes: &[MinuteCounts]) -> Vec<Message> {
    shape.messages(minutes.iter().cloned()).collect()
}

fn json(message: &Message) -> String {
    String::from_utf8(message.body.to_json()).unwrap()
}

/// Due second and payload.
fn lines(shape: Shape, minutes: &[MinuteCounts]) -> Vec<String> {
    let line = |message: &Message| format!("{} {}", message.due_ms / 1000, json(message));
    messages(shape, minutes).iter().map(line).collect()
}

#[test]
fn a_minute_is_sent_when_it_has_closed() {
    let minutes = [minute_counts("a", 0, &[("denied", 3)])];
    assert_eq!(
        lines(Shape::Minutes, &minutes),
        [
            r#"60 {"timestamp":"1970-01-01T00:00:00Z","stream":"a","transactions":[{"status":"denied","count":3}]}"#
        ]
    );
}

#[test]
fn updates_grow_and_end_with_each_status_alone() {
    let minutes = [
        minute_counts("a", 0, &[("approved", 100), ("denied", 2)]),
        minute_counts("b", 0, &[]),
    ];
    let of = |due: u32, stream: &str, named: &str| {
        format!(
            r#"{due} {{"timestamp":"1970-01-01T00:00:00Z","stream":"{stream}","transactions":[{named}]}}"#
        )
    };
    let approved = |count: u32| format!(r#"{{"status":"approved","count":{count}}}"#);
    let denied = |count: u32| format!(r#"{{"status":"denied","count":{count}}}"#);
    let both = |first: u32, second: u32| format!("{},{}", approved(first), denied(second));
    assert_eq!(
        lines(Shape::Updates, &minutes),
        [
            of(20, "a", &both(33, 0)),
            of(20, "b", ""),
            of(40, "a", &both(66, 1)),
            of(40, "b", ""),
            of(60, "a", &approved(100)),
            of(60, "b", ""),
            of(60, "a", &denied(2)),
        ]
    );
}

#[test]
fn a_transaction_has_time_stream_and_status() {
    let minutes = [minute_counts("acquirer-7", 1, &[("denied", 1)])];
    let [message] = &messages(Shape::Transactions, &minutes)[..] else {
        panic!("one message")
    };
    let text = json(message);
    let transaction = Mapping::default().transaction(text.as_bytes()).unwrap();
    assert_eq!(transaction.stream.as_deref(), Some("acquirer-7"));
    assert!((60_000..120_000).contains(&transaction.at_ms));
    let expected = format!(
        r#"{{"timestamp":"{}","stream":"acquirer-7","status":"denied"}}"#,
        Timestamp::from_millisecond(transaction.at_ms).unwrap()
    );
    assert_eq!(text, expected);
    let minutes = [minute_counts(Stream::DEFAULT, 1, &[("denied", 1)])];
    assert!(!json(&messages(Shape::Transactions, &minutes)[0]).contains("stream"));
}

#[test]
fn transactions_are_spread_over_their_minute_and_out_of_order() {
    let minutes = [minute_counts("a", 0, &[("approved", 600)])];
    let times: Vec<_> = messages(Shape::Transactions, &minutes)
        .iter()
        .map(|message| match &message.body {
            Body::Transaction(transaction) => transaction.timestamp.0,
            other => panic!("{other:?}"),
        })
        .collect();
    let mut in_tenths = [0; 10];
    for at_ms in &times {
        in_tenths[usize::try_from(at_ms / 6_000).unwrap()] += 1;
    }
    assert_eq!(in_tenths, [60; 10]);
    let newest = times.iter().scan(0, |newest, at_ms| {
        *newest = at_ms.max(newest).to_owned();
        Some(*newest)
    });
    let furthest = newest.zip(&times).map(|(newest, at_ms)| newest - at_ms);
    let furthest = furthest.max().unwrap();
    assert!((6_000..MAX_DELAY_MS).contains(&furthest), "{furthest}");
}

#[test]
fn times_do_not_depend_on_where_the_file_starts() {
    let minutes: Vec<_> = (0..3)
        .map(|minute| minute_counts("a", minute, &[("approved", 9), ("denied", 2)]))
        .collect();
    let of_last = |minutes: &[MinuteCounts]| {
        let all = messages(Shape::Transactions, minutes);
        let last = all.iter().filter(|m| m.body.minute().epoch_minutes() == 2);
        let mut last: Vec<_> = last.map(json).collect();
        last.sort();
        last
    };
    assert_eq!(of_last(&minutes), of_last(&minutes[1..]));
    assert_eq!(
        messages(Shape::Transactions, &minutes),
        messages(Shape::Transactions, &minutes)
    );
}

#[test]
fn a_large_minute_is_not_held_in_memory() {
    let minutes = [minute_counts("a", 0, &[("approved", 300_000)])];
    let mut transactions = transactions::Transactions::new(minutes.into_iter());
    let (mut sent, mut most, mut due_ms) = (0, 0, 0);
    while let Some(message) = transactions.next() {
        assert!(message.due_ms >= due_ms);
        (sent, most, due_ms) = (sent + 1, most.max(transactions.held()), message.due_ms);
    }
    assert_eq!(sent, 300_000);
    assert_eq!(most, transactions::MAX_HELD - 1);
}

/// The counts that the service would have, and whether any message came too late.
fn fold(
    messages: &[Message],
    merge: Merge,
) -> (BTreeMap<(Minute, Stream), Vec<StatusCount>>, bool) {
    let mut open = OpenMinutes::new(SETTINGS, merge);
    let (mapping, mut closed, mut late) = (Mapping::default(), Vec::new(), false);
    for message in messages {
        let payload = message.body.to_json();
        match merge {
            Merge::Add => {
                let read = mapping.transaction(&payload).unwrap();
                let stream = read.stream.as_deref().unwrap_or(Stream::DEFAULT);
                let (stream, status) = (stream.parse().unwrap(), read.status.unwrap());
                open.add(0, read.at_ms, &stream, &status, read.count)
                    .unwrap();
            }
            Merge::Replace => open
                .add_minute(0, &MinuteCounts::from_json(&payload).unwrap())
                .unwrap(),
        }
        closed.extend(open.close(i64::MIN / 2, |_| false));
        late |= !open.take_late().is_empty();
    }
    closed.extend(open.close(i64::MAX / 2, |_| true));
    let named = |counts: &MinuteCounts| {
        let mut named = counts.transactions().to_vec();
        named.retain(|counted| counted.count > 0);
        named.sort_by(|a, b| a.status.cmp(&b.status));
        ((counts.minute(), counts.stream().clone()), named)
    };
    let mut counts: BTreeMap<_, _> = closed.iter().map(named).collect();
    counts.retain(|_, named| !named.is_empty());
    (counts, late)
}

fn file() -> impl Strategy<Value = Vec<MinuteCounts>> {
    let counts = prop::collection::btree_map(
        prop::sample::select(vec!["approved", "denied", "refunded"]),
        0..40_u32,
        0..3,
    );
    let key = (0..12_i64, prop::sample::select(vec!["a", "b", "default"]));
    prop::collection::btree_map(key, counts, 1..20).prop_map(|file| {
        let minute = |((minute, stream), counts): ((i64, &str), BTreeMap<&str, u32>)| {
            let counts: Vec<_> = counts.into_iter().collect();
            minute_counts(stream, minute, &counts)
        };
        file.into_iter().map(minute).collect()
    })
}

proptest! {
    #[test]
    fn every_shape_folds_to_the_counts_of_the_file(file in file()) {
        let expected: BTreeMap<_, _> = file
            .iter()
            .map(|counts| {
                let mut named = counts.transactions().to_vec();
                named.retain(|counted| counted.count > 0);
                ((counts.minute(), counts.stream().clone()), named)
            })
            .filter(|(_, named)| !named.is_empty())
            .collect();
        for (shape, merge) in [
            (Shape::Minutes, Merge::Replace),
            (Shape::Updates, Merge::Replace),
            (Shape::Transactions, Merge::Add),
        ] {
            let messages = messages(shape, &file);
            let (counts, late) = fold(&messages, merge);
            prop_assert_eq!(&counts, &expected, "{}", shape);
            prop_assert!(!late, "{}", shape);
            prop_assert!(messages.is_sorted_by_key(|message| message.due_ms), "{}", shape);
            let sizes = file.iter().map(|counts| shape.size(counts));
            let size = sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
            let rows: u64 = messages.iter().map(|message| message.body.rows()).sum();
            prop_assert_eq!(size, (messages.len() as u64, rows), "{}", shape);
        }
    }

    #[test]
    fn a_transaction_is_sent_within_eight_seconds(file in file()) {
        for message in messages(Shape::Transactions, &file) {
            let Body::Transaction(transaction) = &message.body else {
                panic!("{message:?}")
            };
            let delay_ms = message.due_ms - transaction.timestamp.0;
            prop_assert!((0..MAX_DELAY_MS).contains(&delay_ms), "{}", delay_ms);
        }
    }
}
