//! Open minutes through their public API: what closes, when, and with which zeros, in any order of the transactions.

use std::collections::BTreeMap;

use detection::{
    Minute, MinuteCounts, Status, StatusCount, Stream,
    open_minutes::{Merge, OpenMinutes, Settings, StoredOpenMinutes, StreamChange},
};
use proptest::prelude::*;

const SETTINGS: Settings = Settings {
    close_after_ms: 10_000,
    max_pause_minutes: 3,
};
const MINUTE_MS: i64 = 60_000;
const NEVER: i64 = i64::MIN / 2;

fn stream(name: &str) -> Stream {
    name.parse().expect("a valid name")
}

fn status(name: &str) -> Status {
    Status::parse(name).expect("a valid name")
}

/// One transaction: partition, seconds, stream, status.
type Transaction = (i32, i64, &'static str, &'static str);

fn open() -> OpenMinutes {
    OpenMinutes::new(SETTINGS, Merge::Add)
}

fn add(open: &mut OpenMinutes, transactions: &[Transaction]) {
    for &(partition, second, name, of) in transactions {
        let (stream, status) = (stream(name), status(of));
        open.add(partition, second * 1000, &stream, &status, 1)
            .expect("few statuses");
    }
}

/// The counts as text: `minute stream status=count ...`.
fn shown(closed: &[MinuteCounts]) -> Vec<String> {
    let line = |counts: &MinuteCounts| {
        let minute = counts.minute().epoch_minutes();
        let mut words = vec![minute.to_string(), counts.stream().to_string()];
        let named = counts.transactions().iter();
        words.extend(named.map(|of| format!("{}={}", of.status, of.count)));
        words.join(" ")
    };
    closed.iter().map(line).collect()
}

/// Closes by the watermark alone.
fn close(open: &mut OpenMinutes) -> Vec<String> {
    shown(&open.close(NEVER, |_| false))
}

#[test]
fn a_minute_closes_when_the_watermark_passed_its_end() {
    let mut open = open();
    add(
        &mut open,
        &[
            (0, 5, "a", "approved"),
            (0, 59, "a", "denied"),
            (0, 69, "a", "approved"),
        ],
    );
    assert_eq!(close(&mut open), [""; 0]);
    add(
        &mut open,
        &[(0, 30, "a", "approved"), (0, 70, "a", "approved")],
    );
    assert_eq!(close(&mut open), ["0 a approved=2 denied=1"]);
    assert_eq!(close(&mut open), [""; 0]);
}

#[test]
fn the_clock_closes_only_at_the_end_of_a_partition() {
    let mut open = open();
    add(&mut open, &[(0, 5, "a", "approved")]);
    assert!(open.close(5_000, |_| true).is_empty());
    assert!(open.close(70_000, |_| false).is_empty());
    assert!(open.close(69_999, |_| true).is_empty());
    assert_eq!(shown(&open.close(70_000, |_| true)), ["0 a approved=1"]);
    assert!(
        open.close(9_000_000, |_| true).is_empty(),
        "no message: stale, not zero"
    );
}

#[test]
fn the_clock_waits_as_long_as_the_feed_is_behind() {
    // Old transactions are sent again, sixty times as fast.
    let mut open = open();
    let start = 9_000_000;
    for second in 0..60 {
        add(&mut open, &[(0, second * 10, "a", "approved")]);
        let closed = shown(&open.close(start + second * 166, |_| true));
        let end = second >= 7 && second % 6 == 1;
        assert_eq!(closed.len(), usize::from(end), "{second}: {closed:?}");
    }
    let end = start + 59 * 166;
    assert!(open.close(end + 19_999, |_| true).is_empty());
    let last = shown(&open.close(end + 20_000, |_| true));
    assert_eq!(last, ["9 a approved=6"]);
}

#[test]
fn updates_close_by_the_clock_when_their_minute_has_ended() {
    let minute = |number| {
        let minute = Minute::from_epoch_minutes(number);
        MinuteCounts::try_new(stream("a"), minute, Vec::new()).expect("valid")
    };
    let mut open = OpenMinutes::new(SETTINGS, Merge::Replace);
    open.add_minute(0, &minute(0)).expect("few statuses");
    for (now_ms, closed) in [(40_000, 0), (69_999, 0), (70_000, 1)] {
        assert_eq!(open.close(now_ms, |_| true).len(), closed, "{now_ms}");
    }
    // A replay: the minute ended long ago, and its next update may still come.
    open.add_minute(0, &minute(2)).expect("few statuses");
    for (now_ms, closed) in [(9_000_000, 1), (9_009_999, 0), (9_010_000, 1)] {
        assert_eq!(open.close(now_ms, |_| true).len(), closed, "{now_ms}");
    }
}

#[test]
fn a_stream_that_stops_while_others_go_on_has_zeros() {
    let mut open = open();
    add(
        &mut open,
        &[
            (0, 5, "a", "approved"),
            (0, 6, "b", "approved"),
            (0, 65, "b", "approved"),
        ],
    );
    let closed = [65_000, 130_000].map(|now_ms| shown(&open.close(now_ms, |_| true)));
    assert_eq!(
        closed.concat(),
        [
            "0 a approved=1",
            "0 b approved=1",
            "1 a approved=0",
            "1 b approved=1"
        ]
    );
}

#[test]
fn a_short_pause_of_a_partition_is_zeros_a_long_one_unknown() {
    for (pause, zeros) in [(2, 2), (3, 0), (500, 0)] {
        let mut open = open();
        let back = (pause + 1) * 60;
        add(
            &mut open,
            &[
                (0, 0, "a", "approved"),
                (0, back, "a", "approved"),
                (0, back + 70, "a", "approved"),
            ],
        );
        assert_eq!(close(&mut open).len(), 2 + zeros, "a pause of {pause}");
    }
}

#[test]
fn zeros_name_the_statuses_that_were_named_before() {
    let mut open = open();
    add(
        &mut open,
        &[
            (0, 0, "a", "denied"),
            (0, 60, "a", "approved"),
            (0, 130, "a", "refunded"),
        ],
    );
    assert_eq!(
        close(&mut open),
        ["0 a denied=1", "1 a approved=1 denied=0"]
    );
}

#[test]
fn a_stream_is_dormant_after_a_day_of_zeros() {
    let mut open = open();
    add(&mut open, &[(0, 0, "a", "approved")]);
    for minute in 0..=1500 {
        add(&mut open, &[(0, minute * 60 + 30, "b", "approved")]);
    }
    let of_a = close(&mut open)
        .iter()
        .filter(|line| line.contains(" a "))
        .count();
    assert_eq!(of_a, 1 + 1440);
    assert!(open.stream("a").is_none());
    add(
        &mut open,
        &[
            (0, 1501 * 60, "a", "denied"),
            (0, 1502 * 60 + 10, "b", "approved"),
        ],
    );
    assert_eq!(
        close(&mut open)[1..],
        ["1501 a denied=1", "1501 b approved=0"]
    );
}

#[test]
fn what_comes_after_closing_is_late() {
    let mut open = open();
    add(
        &mut open,
        &[
            (0, 0, "a", "approved"),
            (0, 70, "a", "approved"),
            (0, 59, "a", "denied"),
            (0, 58, "a", "denied"),
        ],
    );
    let [((minute, of), counts)] = &open.take_late()[..] else {
        panic!("one late minute")
    };
    assert_eq!(
        (minute.epoch_minutes(), of.as_str(), counts[0].count),
        (0, "a", 2)
    );
    assert_eq!(close(&mut open), ["0 a approved=1"]);
    assert!(open.take_late().is_empty());
}

#[test]
fn a_stream_on_two_partitions_closes_with_the_slower() {
    let mut open = open();
    add(
        &mut open,
        &[
            (0, 0, "a", "approved"),
            (1, 1, "a", "approved"),
            (0, 500, "b", "approved"),
        ],
    );
    assert_eq!(open.take_split(), [stream("a")]);
    assert_eq!(close(&mut open), [""; 0]);
    add(
        &mut open,
        &[(1, 2, "a", "denied"), (1, 70, "a", "approved")],
    );
    assert_eq!(close(&mut open)[0], "0 a approved=2 denied=1");
    // A partition without more to read holds nothing back.
    let closed = open.close(500_000, |partition| partition == 1);
    assert_eq!(shown(&closed)[0], "1 a approved=1 denied=0");
    assert!(open.take_split().is_empty(), "reported once");
}

#[test]
fn updates_replace_what_they_name() {
    let mut open = OpenMinutes::new(SETTINGS, Merge::Replace);
    let update = |second: i64, named: &[(&str, u32)]| {
        let count = |&(of, count): &(&str, u32)| StatusCount {
            status: status(of),
            count,
        };
        let minute = Minute::from_epoch_minutes(second / 60);
        MinuteCounts::try_new(stream("a"), minute, named.iter().map(count).collect())
            .expect("valid")
    };
    for counts in [
        update(0, &[("approved", 5), ("denied", 1)]),
        update(0, &[("approved", 40)]),
        update(60, &[("approved", 1)]),
        update(0, &[("approved", 100)]),
        update(120, &[]),
    ] {
        open.add_minute(0, &counts).expect("few statuses");
    }
    assert_eq!(close(&mut open), ["0 a approved=100 denied=1"]);
    assert_eq!(
        shown(&open.close(190_000, |_| true)),
        ["1 a approved=1 denied=0", "2 a approved=0 denied=0"]
    );
}

#[test]
fn streams_of_partitions_that_are_gone_close_at_once() {
    let mut before = open();
    add(&mut before, &[(0, 0, "a", "approved")]);
    let mut stored = stored_after(&mut before, StoredOpenMinutes::default());
    stored.partitions.clear();
    let mut open = OpenMinutes::restore(SETTINGS, Merge::Add, stored);
    assert_eq!(close(&mut open), ["0 a approved=1"]);
    assert!(open.stream("a").is_none());
}

#[test]
fn a_stream_dropped_from_the_store_starts_again() {
    let mut before = open();
    let both = [(0, 0, "a", "approved"), (0, 1, "b", "approved")];
    add(&mut before, &both);
    let mut stored = stored_after(&mut before, StoredOpenMinutes::default());
    stored.streams.retain(|(name, _)| name.as_str() == "b");
    stored.minutes.retain(|(name, ..)| name.as_str() == "b");
    let mut open = OpenMinutes::restore(SETTINGS, Merge::Add, stored.clone());
    add(&mut open, &[(0, 130, "b", "approved")]);
    assert_eq!(close(&mut open), ["0 b approved=1", "1 b approved=0"]);
    let stored = stored_after(&mut open, stored);
    let again = [(0, 190, "a", "denied"), (0, 250, "b", "approved")];
    add(&mut open, &again);
    let closed = ["2 b approved=1", "3 a denied=1", "3 b approved=0"];
    assert_eq!(close(&mut open), closed);
    assert_eq!(stored_after(&mut open, stored).streams.len(), 2);
}

/// What is stored after the changes of `open`, as the store does it.
fn stored_after(open: &mut OpenMinutes, stored: StoredOpenMinutes) -> StoredOpenMinutes {
    let mut partitions: BTreeMap<_, _> = stored.partitions.into_iter().collect();
    let mut streams: BTreeMap<_, _> = stored.streams.into_iter().collect();
    let minute = |(stream, minute, counts)| ((stream, minute), counts);
    let mut minutes: BTreeMap<_, _> = stored.minutes.into_iter().map(minute).collect();
    let changes = open.take_changes();
    partitions.extend(changes.partitions);
    for (stream, state) in changes.streams {
        match state {
            StreamChange::Begin(state) => {
                assert!(streams.insert(stream, state).is_none(), "it is new");
            }
            StreamChange::Continue(state) => {
                assert!(streams.insert(stream, state).is_some(), "it is stored");
            }
            StreamChange::End => {
                minutes.retain(|(of, _), _| *of != stream);
                streams.remove(&stream);
            }
        }
    }
    for (stream, minute, counts) in changes.minutes {
        match counts {
            Some(counts) => drop(minutes.insert((stream, minute), counts)),
            None => drop(minutes.remove(&(stream, minute))),
        }
    }
    StoredOpenMinutes {
        partitions: partitions.into_iter().collect(),
        streams: streams.into_iter().collect(),
        minutes: minutes
            .into_iter()
            .map(|((stream, minute), counts)| (stream, minute, counts))
            .collect(),
    }
}

fn transactions() -> impl Strategy<Value = Vec<Transaction>> {
    let streams = prop::sample::select(vec!["a", "b", "c"]);
    let statuses = prop::sample::select(vec!["approved", "denied", "refunded"]);
    prop::collection::vec((0..2_i32, 0..1200_i64, streams, statuses), 1..200).prop_map(|mut all| {
        all.sort_by_key(|transaction| transaction.1);
        // A stream has one partition.
        for transaction in &mut all {
            transaction.0 = i32::from(transaction.2 == "c");
        }
        all.extend([(0, 5000, "a", "approved"), (1, 5000, "c", "approved")]);
        all
    })
}

/// Everything that closes if minutes are closed after every `every` transactions, with a restart each time.
fn closed_in_steps(transactions: &[Transaction], every: usize) -> Vec<String> {
    let mut stored = StoredOpenMinutes::default();
    let mut closed = Vec::new();
    for step in transactions.chunks(every) {
        let mut open = OpenMinutes::restore(SETTINGS, Merge::Add, stored.clone());
        add(&mut open, step);
        closed.extend(open.close(NEVER, |_| false));
        assert!(open.take_late().is_empty());
        stored = stored_after(&mut open, stored);
    }
    let mut lines = shown(&closed);
    lines.sort();
    lines
}

proptest! {
    #[test]
    fn any_order_within_the_bound_closes_the_same(
        (ordered, shifts, every) in transactions().prop_flat_map(|all| {
            let shifts = prop::collection::vec(0..10_000_i64, all.len());
            (Just(all), shifts, 1..40_usize)
        })
    ) {
        // Each transaction is read up to 10 s later than it happened.
        let mut read: Vec<_> = ordered.iter().zip(&shifts).collect();
        read.sort_by_key(|(transaction, shift)| transaction.1 * 1000 + **shift);
        let read: Vec<_> = read.into_iter().map(|(transaction, _)| *transaction).collect();
        let expected = closed_in_steps(&ordered, usize::MAX);
        prop_assert_eq!(&closed_in_steps(&read, every), &expected);
        prop_assert_eq!(&closed_in_steps(&ordered, 1), &expected);
        let named = |line: &String| -> u32 {
            line.split('=').skip(1).map(|rest| rest.split(' ').next().unwrap().parse::<u32>().unwrap()).sum()
        };
        let total: u32 = expected.iter().map(named).sum();
        prop_assert_eq!(total as usize, ordered.len() - 2, "all but the two that close the rest");
    }

    #[test]
    fn nothing_is_lost_or_doubled_in_any_order(
        all in transactions().prop_shuffle(), every in 1..40_usize
    ) {
        let mut open = open();
        let mut total = 0;
        let mut closed = Vec::new();
        for step in all.chunks(every) {
            add(&mut open, step);
            closed.extend(open.close(NEVER, |_| false));
            let late = open.take_late();
            total += late.iter().flat_map(|(_, counts)| counts).map(|of| of.count).sum::<u32>();
        }
        closed.extend(open.close(10_000 * MINUTE_MS, |_| true));
        let mut minutes = std::collections::BTreeSet::new();
        for counts in &closed {
            prop_assert!(minutes.insert((counts.stream().clone(), counts.minute())), "closed twice");
            total += counts.transactions().iter().map(|of| of.count).sum::<u32>();
        }
        prop_assert_eq!(total as usize, all.len());
    }
}
