//! Files through `load`: how rows are grouped, and the text of each error.

mod cases;
mod skipped;

use std::path::Path;

use detection::Minute;

use super::*;

fn options(on_error: OnError) -> LoadOptions {
    LoadOptions {
        on_error,
        ..LoadOptions::default()
    }
}

fn read(rows: &str, options: &LoadOptions) -> Result<Loaded, LoadError> {
    load(
        format!("timestamp,status,count\n{rows}").as_bytes(),
        options,
    )
}

fn refused(file: &str) -> String {
    load(file.as_bytes(), &LoadOptions::default())
        .unwrap_err()
        .to_string()
}

fn json(loaded: &Loaded) -> Vec<String> {
    loaded
        .counts
        .iter()
        .map(|counts| String::from_utf8(counts.to_json()).unwrap())
        .collect()
}

/// The minutes past 13:00 that are loaded.
fn minutes(loaded: &Loaded) -> Vec<i64> {
    let start: Minute = "2025-07-12 13:00".parse().unwrap();
    loaded
        .counts
        .iter()
        .map(|counts| counts.minute().since(start))
        .collect()
}

#[test]
fn rows_are_grouped_by_minute_in_order_of_time() {
    let file = "\
2025-07-12 13:46:00,approved,118
2025-07-12 13:45:00,approved,116
2025-07-12 13:45:00,denied,6
2025-07-12T13:46:30Z,denied,0
";
    let loaded = read(file, &LoadOptions::default()).unwrap();
    let expected = [
        r#"{"timestamp":"2025-07-12T13:45:00Z","transactions":[{"status":"approved","count":116},{"status":"denied","count":6}]}"#,
        r#"{"timestamp":"2025-07-12T13:46:00Z","transactions":[{"status":"approved","count":118},{"status":"denied","count":0}]}"#,
    ];
    assert_eq!(json(&loaded), expected);
}

#[test]
fn columns_are_found_by_name_and_streams_differ() {
    let file = "\u{feff}stream, count ,status,timestamp\r\nb,1,denied,2025-07-12 13:45\r\na,2,denied,2025-07-12 13:45\r\nb,3,failed,2025-07-12 13:45\r\n";
    let loaded = load(file.as_bytes(), &LoadOptions::default()).unwrap();
    let found: Vec<_> = loaded
        .counts
        .iter()
        .map(|b| (b.stream().to_string(), b.transactions().len()))
        .collect();
    assert_eq!(found, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let whole = LoadOptions {
        stream: Some("acquirer-7".parse().unwrap()),
        ..LoadOptions::default()
    };
    let loaded = read("2025-07-12 13:45,denied,1", &whole).unwrap();
    let counts = loaded.counts.iter().next().unwrap();
    assert_eq!(counts.stream().as_str(), "acquirer-7");
    assert!(
        load(file.as_bytes(), &whole)
            .unwrap_err()
            .to_string()
            .contains("which gives the streams")
    );
}

#[test]
fn the_header_is_required_and_checked() {
    assert!(
        refused("2025-07-12 13:45,approved,116\n")
            .contains("columns timestamp, status, count are missing; expected")
    );
    assert!(refused("timestamp,status\n").contains("column count is missing"));
    assert!(refused("timestamp,status,count,count\n").contains("column count appears twice"));
    assert!(refused("Timestamp,status,count,Count\n").contains("column count appears twice"));
    assert!(refused("").contains("columns timestamp, status, count are missing"));
    assert!(refused("timestamp,status,count\n").contains("no usable row"));
}

#[test]
fn a_bad_row_names_line_column_and_reason() {
    let good = "2025-07-12 13:45,denied,1\n";
    for (row, parts) in [
        (
            "2025-13-12 13:45,denied,1",
            ["line 3", "timestamp", "2025-13-12 13:45"],
        ),
        (
            "2025-07-12 13:46,Dénié,1",
            ["line 3", "status", "\"Dénié\" is not a valid name"],
        ),
        (
            "2025-07-12 13:46,denied,-1",
            [
                "line 3",
                "count",
                "\"-1\" is not a whole number from 0 to 4294967295",
            ],
        ),
        (
            "2025-07-12 13:46,denied,4294967296",
            ["line 3", "count", "4294967296"],
        ),
        (
            "2025-07-12 13:46,denied",
            ["line 3", "2 values", "3 columns"],
        ),
        (
            "2025-07-12 13:45:59,denied,2",
            ["line 3", "denied appears twice", "first in line 2"],
        ),
    ] {
        let error = read(&format!("{good}{row}\n"), &LoadOptions::default())
            .unwrap_err()
            .to_string();
        assert!(
            parts.iter().all(|part| error.contains(part)),
            "{row}: {error}"
        );
    }
    let bytes = [b"timestamp,status,count\n2025-07-12 13:45,\xff,1\n".as_slice()].concat();
    assert!(
        load(&*bytes, &LoadOptions::default())
            .unwrap_err()
            .to_string()
            .contains("line 2, column status: not UTF-8")
    );
}

#[test]
fn the_65th_status_of_a_minute_is_a_bad_row() {
    let rows = (0..65)
        .map(|i| format!("2025-07-12 13:45,s{i},1\n"))
        .collect::<Vec<_>>()
        .concat();
    let error = read(&rows, &LoadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 66") && error.contains("s64 is one status too many"),
        "{error}"
    );
    let loaded = read(&rows, &options(OnError::Skip)).unwrap();
    let counts = loaded.counts.iter().next().unwrap();
    assert_eq!(counts.transactions().len(), 64);
}

#[test]
fn from_to_and_limit_choose_minutes() {
    let rows: String = [9, 3, 5, 7, 1]
        .map(|m| format!("2025-07-12 13:0{m},denied,1\n2025-07-12 13:0{m},failed,1\n"))
        .concat();
    let choose = |from: Option<&str>, to: Option<&str>, limit| {
        let minute = |text: &str| text.parse().unwrap();
        let options = LoadOptions {
            from: from.map(minute),
            to: to.map(minute),
            limit,
            ..LoadOptions::default()
        };
        read(&rows, &options).map(|loaded| minutes(&loaded))
    };
    assert_eq!(choose(None, None, None).unwrap(), [1, 3, 5, 7, 9]);
    assert_eq!(
        choose(Some("2025-07-12 13:03"), Some("2025-07-12 13:09"), None).unwrap(),
        [3, 5, 7]
    );
    assert_eq!(
        choose(Some("2025-07-12 13:02"), None, Some(2)).unwrap(),
        [3, 5]
    );
    assert!(
        choose(Some("2026-01-01 00:00"), None, None)
            .unwrap_err()
            .to_string()
            .contains("in the chosen time range")
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = load_file(Path::new("/no/such.csv"), &LoadOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "/no/such.csv");
    assert!(matches!(error.source, LoadError::Open(_)), "{error:?}");
}
