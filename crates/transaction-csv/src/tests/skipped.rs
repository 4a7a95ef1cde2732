//! Rows that cannot be used: what one run reports, and which minutes skipped rows leave out.

use super::*;

/// Three minutes with approved and denied; the first row of `line` is replaced.
fn three_minutes(replace: &str, with: &str) -> String {
    let minute =
        |m: i32| format!("2025-07-12 13:0{m},approved,96{m}\n2025-07-12 13:0{m},denied,{m}\n");
    let rows: String = (1..4).map(minute).collect();
    assert!(rows.contains(replace), "{replace}");
    rows.replace(replace, with)
}

#[test]
fn one_run_reports_all_kinds_of_errors() {
    let rows = "\
00h 01,approved,1
x,approved,1
00h 02,approved,1
2025-07-12 13:45,Dénié,1
2025-07-12 13:45,denied,many
2025-07-12 13:45,denied,1
2025-07-12 13:45,denied,2
2025-07-12 13:46
2025-07-12 13:45,denied,3
";
    let error = read(rows, &LoadOptions::default()).unwrap_err();
    let expected = "\
line 2, column timestamp: \"00h 01\" is a time without a date (2 such rows)
  line 3, column timestamp: timestamp \"x\" is not a date and time such as 2025-07-12T13:45:00Z or \"2025-07-12 13:45\"
  line 5, column status: status \"Dénié\" is not a valid name: 1 to 64 characters of a-z, 0-9 and _, starting with a letter
  line 6, column count: \"many\" is not a whole number from 0 to 4294967295
  line 8, column status: denied appears twice in minute 2025-07-12T13:45:00Z of stream default, first in line 7 (2 such rows)
  line 9: 1 values, but the header has 3 columns; correct the file";
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.remedies(), [Remedy::Date, Remedy::OnDuplicate]);
}

#[test]
fn skipped_rows_are_counted_by_kind() {
    let rows = "x,denied,1\n2025-07-12 13:45,denied,1\n2025-07-12 13:46\n2025-07-12 13:45,failed,3\ny,denied,1\n";
    let loaded = read(rows, &options(OnError::Skip)).unwrap();
    assert_eq!((loaded.skipped, loaded.left_out), (3, 0));
    let faults: Vec<_> = loaded
        .faults
        .iter()
        .map(|f| (f.first.line, f.rows))
        .collect();
    assert_eq!(faults, [(2, 2), (4, 1)]);
    assert_eq!(json(&loaded).len(), 1);
    let bad = "x,denied,1\n".repeat(99);
    let error = read(&bad, &options(OnError::Skip)).unwrap_err().to_string();
    assert!(error.contains("no usable row"), "{error}");
}

#[test]
fn a_skipped_count_never_becomes_a_zero() {
    for (what, replace, with, left) in [
        (
            "a count",
            "13:02,approved,962",
            "13:02,approved,n/a",
            &[1, 3][..],
        ),
        (
            "a status",
            "13:02,approved,962",
            "13:02,Approuvé,962",
            &[1, 3],
        ),
        ("a short row", "13:02,approved,962", "13:02", &[1, 3]),
        (
            "a row with an unquoted comma",
            "approved,962",
            "approved,9,62",
            &[1, 3],
        ),
        (
            "a time: the minute without that status",
            "2025-07-12 13:02,approved",
            "13h 02:xx,approved",
            &[1, 3],
        ),
        (
            "all but the count",
            "2025-07-12 13:02,approved,962",
            "?,?,962",
            &[1, 3],
        ),
        (
            "a status that is never 0 by default",
            "13:02,denied,2",
            "13:02,denied,2\n2025-07-12 13:02,refunded,n/a",
            &[1, 2, 3],
        ),
        (
            "two counts of which either may be right",
            "13:02,denied,2",
            "13:02,denied,2\n2025-07-12 13:02,denied,5",
            &[1, 3],
        ),
        (
            "a good file",
            "13:02,denied,2",
            "13:02,denied,0",
            &[1, 2, 3],
        ),
    ] {
        let rows = three_minutes(replace, with);
        let loaded = read(&rows, &options(OnError::Skip)).unwrap();
        assert_eq!(minutes(&loaded), left, "{what}");
        assert_eq!(loaded.left_out, 3 - left.len() as u64, "{what}");
    }
}

#[test]
fn a_skipped_row_leaves_out_its_own_stream() {
    let file = "timestamp,status,count,stream
2025-07-12 13:01,approved,x,a
2025-07-12 13:01,denied,1,a
2025-07-12 13:01,denied,1,b
2025-07-12 13:01,denied,1,no name
2025-07-12 13:02,denied,1,a
";
    let loaded = load(file.as_bytes(), &options(OnError::Skip)).unwrap();
    let found: Vec<_> = loaded
        .counts
        .iter()
        .map(|c| c.stream().to_string())
        .collect();
    assert_eq!(
        (found, loaded.skipped),
        (vec!["b".to_owned(), "a".to_owned()], 2)
    );
    let only_bad = "timestamp,status,count\n2025-07-12 13:01,denied,1\n2025-07-12 13:01,failed,x\n";
    let error = load(only_bad.as_bytes(), &options(OnError::Skip)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("every minute may miss the count of a skipped row")
    );
}

#[test]
fn a_skipped_minute_is_not_filled_with_zeros() {
    let fill = |rows: &str| {
        let options = LoadOptions {
            fill_minutes: Some(FillMinutes::Zero),
            ..options(OnError::Skip)
        };
        minutes(&read(rows, &options).unwrap())
    };
    let rows = "2025-07-12 13:01,denied,1\n2025-07-12 13:05,denied,1\n";
    assert_eq!(fill(rows), [1, 2, 3, 4, 5]);
    assert_eq!(
        fill(&format!("{rows}2025-07-12 13:03,denied,x\n")),
        [1, 2, 4, 5]
    );
    // Its time may be any, so no minute is known to be zero.
    assert_eq!(fill(&format!("{rows}13:03,denied,7\n")), [1, 5]);
}
