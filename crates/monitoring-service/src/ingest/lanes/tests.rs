//! The order of messages over partitions.

use super::*;

const NOW: Duration = Duration::from_secs(100);

/// A message is its minute.
fn lanes(partitions: i32, end: i64) -> Lanes<i64> {
    let mut lanes = Lanes::new((0..partitions).map(|partition| (partition, 0, end)), 5);
    lanes.reopen(NOW);
    lanes
}

fn push(lanes: &mut Lanes<i64>, partition: i32, minutes: &[i64]) {
    for &minute in minutes {
        let offset = lanes.partitions[&partition].next_offset;
        lanes.push(partition, offset, minute);
    }
}

/// Reads until more must be fetched.
fn read(lanes: &mut Lanes<i64>, now: Duration) -> Vec<i64> {
    let mut read = Vec::new();
    lanes.find_slow(now);
    while let Next::Take(partition, limit) = lanes.next(now) {
        let message = lanes.take(partition).expect("one waits");
        let minute = Minute::from_epoch_minutes(message);
        if limit.is_some_and(|limit| minute > limit) {
            lanes.put_back(partition, message, minute, now);
        } else {
            lanes.note_read(partition, Some(minute), now);
            read.push(message);
        }
    }
    read
}

#[test]
fn a_backlog_is_read_by_event_time() {
    let mut lanes = lanes(3, 4);
    push(&mut lanes, 0, &[1, 4, 4, 90]);
    assert!(read(&mut lanes, NOW).is_empty(), "the others may be older");
    push(&mut lanes, 1, &[2, 3]);
    push(&mut lanes, 2, &[1, 2, 5, 6]);
    assert_eq!(read(&mut lanes, NOW), [1, 1, 2, 2, 3]);
    push(&mut lanes, 1, &[7, 8]);
    lanes.end(1);
    assert_eq!(read(&mut lanes, NOW), [4, 4, 5, 6]);
    lanes.end(2);
    lanes.note_dry();
    assert_eq!(read(&mut lanes, NOW), [7, 8, 90]);
    assert!(lanes.is_at_end(1) && lanes.is_at_end(2) && !lanes.is_at_end(0));
}

#[test]
fn what_was_fetched_together_is_read_in_order() {
    let mut lanes = lanes(2, 0);
    (0..2).for_each(|partition| lanes.end(partition));
    push(&mut lanes, 0, &[20, 21]);
    assert!(read(&mut lanes, NOW).is_empty(), "more was fetched");
    push(&mut lanes, 1, &[1, 2]);
    assert_eq!(read(&mut lanes, NOW), [1, 2]);
    lanes.end(1);
    lanes.note_dry();
    assert_eq!(read(&mut lanes, NOW), [20, 21]);
}

#[test]
fn a_partition_that_stands_still_is_not_waited_for() {
    let mut lanes = lanes(2, 2);
    push(&mut lanes, 0, &[1]);
    lanes.note_dry();
    assert!(read(&mut lanes, NOW + MAX_DRY / 2).is_empty());
    assert_eq!(read(&mut lanes, NOW + MAX_DRY), [1]);
    push(&mut lanes, 1, &[1]);
    assert_eq!(read(&mut lanes, NOW + MAX_DRY), [1], "it goes on");
}

#[test]
fn without_a_backlog_the_order_has_slack() {
    let mut lanes = lanes(2, 0);
    push(&mut lanes, 0, &[1]);
    push(&mut lanes, 1, &[6, 7]);
    assert_eq!(read(&mut lanes, NOW), [1], "more may be fetched");
    lanes.note_dry();
    assert_eq!(read(&mut lanes, NOW), [6], "at most 5 minutes ahead");
}

#[test]
fn a_slow_partition_is_read_last_until_it_catches_up() {
    let mut lanes = lanes(2, 0);
    push(&mut lanes, 0, &[1, 1, 1]);
    push(&mut lanes, 1, &[500, 501]);
    assert_eq!(read(&mut lanes, NOW), [1, 1, 1]);
    let later = NOW + MAX_HELD;
    lanes.reopen(later);
    assert_eq!(read(&mut lanes, later), [500, 501], "it is not waited for");
    push(&mut lanes, 0, &[1]);
    push(&mut lanes, 1, &[501]);
    assert_eq!(read(&mut lanes, later), [501, 1], "it is read last");
    push(&mut lanes, 1, &[502]);
    push(&mut lanes, 0, &[2]);
    assert_eq!(read(&mut lanes, later), [502, 2]);
    push(&mut lanes, 0, &[502]);
    assert_eq!(read(&mut lanes, later), [502]);
    push(&mut lanes, 1, &[504, 505]);
    push(&mut lanes, 0, &[503, 504]);
    assert_eq!(read(&mut lanes, later), [503, 504, 504], "it has caught up");
}

#[test]
fn a_backlog_is_waited_for_longer() {
    let mut lanes = lanes(2, 100);
    push(&mut lanes, 0, &[1]);
    push(&mut lanes, 1, &[500]);
    assert_eq!(read(&mut lanes, NOW), [1]);
    let later = NOW + MAX_HELD;
    lanes.reopen(later);
    assert!(read(&mut lanes, later).is_empty(), "99 messages are known");
    let later = NOW + MAX_HELD_BY_BACKLOG;
    lanes.reopen(later);
    assert_eq!(read(&mut lanes, later), [500]);
}

#[test]
fn a_partition_with_enough_messages_pauses() {
    let mut lanes = lanes(2, 50_000);
    let full = (0..10_000).map(|offset| lanes.push(0, offset, 7));
    assert_eq!(full.filter(|full| *full).count(), 1);
    assert_eq!(lanes.paused().collect::<Vec<_>>(), [0]);
    push(&mut lanes, 1, &[7]);
    let mut resumed = Vec::new();
    for at in 0..10_000 {
        lanes.take(0).expect("one waits");
        if lanes.note_read(0, Some(Minute::from_epoch_minutes(7)), NOW) {
            resumed.push(at);
        }
    }
    assert_eq!(resumed, [4999]);
    assert_eq!(lanes.paused().count(), 0);
    assert!(!lanes.push(0, 9999, 7), "fetched again");
    assert_eq!(lanes.take(0), None);
}

#[test]
fn after_an_error_what_waits_is_read() {
    let mut lanes = lanes(3, 50);
    push(&mut lanes, 0, &[3, 9]);
    push(&mut lanes, 1, &[5]);
    assert!(read(&mut lanes, NOW).is_empty());
    lanes.release();
    assert_eq!(read(&mut lanes, NOW).len(), 3);
    assert!(!lanes.is_at_end(0), "the rest is unknown");
}
