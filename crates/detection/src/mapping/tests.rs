use proptest::prelude::*;

use super::*;
use crate::message::MinuteCounts;

const AT_MS: i64 = 1_752_327_930_500;

fn pointer(text: &str) -> Pointer {
    text.parse().expect("a pointer")
}

fn transaction(mapping: &Mapping, payload: &str) -> Result<(i64, String, String, u32), String> {
    let read = mapping
        .transaction(payload.as_bytes())
        .map_err(|error| error.to_string())?;
    let status = read
        .status
        .map_or("-".to_owned(), |status| status.to_string());
    Ok((
        read.at_ms,
        read.stream.unwrap_or("-".into()).into_owned(),
        status,
        read.count,
    ))
}

#[test]
fn a_transaction_is_read_by_pointers() {
    let mapping = Mapping {
        timestamp: pointer("/created_at"),
        status: pointer("/payment/states/1"),
        stream: pointer("/a~1b"),
        count: Some(pointer("/n")),
        ..Mapping::default()
    };
    let payload = r#"{"created_at":"2025-07-12T13:45:30.5Z","x":[{"status":1}],"a/b":4711,
        "payment":{"id":{"status":3},"states":["NEW","Backend Reversed"]},"n":"3"}"#;
    let expected = (AT_MS, "4711".to_owned(), "backend_reversed".to_owned(), 3);
    assert_eq!(transaction(&mapping, payload), Ok(expected));
    assert_eq!(
        transaction(
            &mapping,
            r#"{"created_at":0,"payment":{"states":["","denied"]},"n":1}"#
        ),
        Err("there is no /a~1b".to_owned()),
        "a configured stream is required"
    );
}

#[test]
fn the_defaults_read_a_flat_transaction() {
    let payload = r#"{"id":"é\"","timestamp":"2025-07-12 13:45:30.5","status":"denied"}"#;
    let expected = (AT_MS, "-".to_owned(), "denied".to_owned(), 1);
    assert_eq!(transaction(&Mapping::default(), payload), Ok(expected));
}

#[test]
fn epoch_times_are_told_apart_by_size() {
    for time in [
        "1752327930.5",
        "1752327930500",
        "1752327930500000",
        "1752327930500000000",
        "\"1752327930500\"",
    ] {
        let payload = format!(r#"{{"timestamp":{time},"status":"denied"}}"#);
        let read = Mapping::default()
            .transaction(payload.as_bytes())
            .map(|read| read.at_ms);
        assert_eq!(read.ok(), Some(AT_MS), "{time}");
    }
}

#[test]
fn local_times_have_the_zone_of_the_setting() {
    let at = |zone: &str, time: &str| {
        let timezone = jiff::fmt::temporal::DateTimeParser::new()
            .parse_time_zone(zone)
            .expect("a zone");
        let mapping = Mapping {
            timezone,
            ..Mapping::default()
        };
        let payload = format!(r#"{{"timestamp":"{time}","status":"denied"}}"#);
        mapping
            .transaction(payload.as_bytes())
            .map(|read| read.at_ms - AT_MS)
            .ok()
    };
    assert_eq!(at("-03:00", "2025-07-12 10:45:30.5"), Some(0));
    assert_eq!(at("-03:00", "2025-07-12T13:45:30.5Z"), Some(0));
    assert_eq!(at("-03:00", "2025-07-12 13:45:30.5 UTC"), Some(0));
    assert_eq!(at("-03:00", "2025-07-12"), None);
}

#[test]
fn aliases_rename_and_ignore() {
    let aliases = "SUCCEEDED=approved, Declined=denied,*=ignore";
    let mapping = Mapping {
        aliases: aliases.parse().expect("aliases"),
        ..Mapping::default()
    };
    let of = |name: &str| {
        let payload = format!(r#"{{"timestamp":0,"status":"{name}"}}"#);
        transaction(&mapping, &payload).map(|read| read.2)
    };
    for (name, status) in [
        ("succeeded", "approved"),
        ("DECLINED", "denied"),
        ("Failed", "failed"),
        ("pending", "-"),
        ("é", "-"),
    ] {
        assert_eq!(of(name).as_deref(), Ok(status), "{name}");
    }
    for bad in ["approved", "a=É", "*=drop"] {
        assert!(bad.parse::<StatusAliases>().is_err(), "{bad}");
    }
    let minute = mapping
        .minute(br#"{"timestamp":60,"transactions":[{"status":"SUCCEEDED","count":118.0},{"status":"pending","count":"4"}]}"#)
        .expect("read");
    assert_eq!((minute.counts.transactions().len(), minute.ignored), (1, 4));
}

#[test]
fn names_of_one_status_are_added_and_one_name_comes_once() {
    let mapping = Mapping {
        aliases: "EXPIRED=failed,ERROR=failed".parse().expect("aliases"),
        ..Mapping::default()
    };
    let read = |names: [&str; 3]| {
        let [a, b, c] = names.map(|name| format!(r#"{{"status":"{name}","count":2}}"#));
        let payload = format!(r#"{{"timestamp":60,"transactions":[{a},{b},{c}]}}"#);
        mapping.minute(payload.as_bytes())
    };
    let sum = read(["EXPIRED", "failed", "ERROR"]).expect("read");
    let counts = sum.counts.transactions();
    assert_eq!((counts.len(), counts[0].count), (1, 6));
    for twice in [
        ["EXPIRED", "denied", "EXPIRED"],
        ["denied", "failed", "denied"],
    ] {
        let error = read(twice).expect_err("twice").to_string();
        assert!(error.contains("occurs twice"), "{error}");
    }
}

#[test]
fn unknown_fields_are_named_or_refused() {
    let payload = br#"{"timestamp":"2025-07-12T13:45:00Z","merchant":"a","transactions":[{"status":"failed","count":2},{"status":"denied","count":1,"unit":"tx"}]}"#;
    let read = Mapping::default().minute(payload).expect("read");
    assert_eq!(read.unknown_fields, ["merchant", "transactions/unit"]);
    let strict = Mapping {
        strict: true,
        ..Mapping::default()
    };
    let error = strict.minute(payload).expect_err("refused");
    assert_eq!(error.code(), "unknown_fields");
    assert!(
        error.to_string().contains("merchant, transactions/unit"),
        "{error}"
    );
    let merchant = Mapping {
        stream: pointer("/merchant"),
        ..Mapping::default()
    };
    assert_eq!(
        merchant
            .minute(payload)
            .expect("read")
            .counts
            .stream()
            .as_str(),
        "a"
    );
}

#[test]
fn an_error_names_the_field() {
    let mapping = Mapping {
        stream: pointer("/merchant/id"),
        ..Mapping::default()
    };
    let field = |payload: &str| {
        let error = mapping.minute(payload.as_bytes()).expect_err(payload);
        error.field().map(ToOwned::to_owned)
    };
    for (payload, expected) in [
        (
            r#"{"merchant":{"id":1},"transactions":[]}"#,
            Some("/timestamp"),
        ),
        (
            r#"{"timestamp":0,"merchant":{},"transactions":[]}"#,
            Some("/merchant/id"),
        ),
        (
            r#"{"timestamp":0,"merchant":{"id":"é"},"transactions":[]}"#,
            Some("/merchant/id"),
        ),
        (
            r#"{"timestamp":0,"merchant":{"id":1}}"#,
            Some("/transactions"),
        ),
        (
            r#"{"timestamp":0,"merchant":{"id":1},"transactions":[{"status":"a","count":1},{"status":"b","count":-1}]}"#,
            Some("/transactions/1/count"),
        ),
        (
            r#"{"timestamp":0,"merchant":{"id":1},"transactions":[{"count":1}]}"#,
            Some("/transactions/0/status"),
        ),
        ("7", None),
    ] {
        assert_eq!(field(payload).as_deref(), expected, "{payload}");
    }
}

#[test]
fn shapes_are_recognized_with_what_reads_them() {
    let mapping = Mapping::default();
    let count = r#"{"status":"denied","count":"x"}"#;
    for (payload, code, hint) in [
        (
            "\0\0\0\0\u{7}abc",
            "invalid_json",
            "schema registry (schema 7)",
        ),
        (
            r#"{"schema":{},"payload":{"timestamp":0}}"#,
            "invalid_message",
            "/payload/timestamp",
        ),
        (
            r#"[{"status":"denied"},{}]"#,
            "invalid_message",
            "a list of 2",
        ),
        (
            r#"{"timestamp":0,"status":"denied"}"#,
            "invalid_message",
            "KAFKA_INPUT=transactions",
        ),
        (
            r#"{"timestamp":0,"status":"denied","count":7}"#,
            "invalid_message",
            "KAFKA_INPUT=transactions and TRANSACTION_COUNT=/count",
        ),
        (
            r#"{"timestamp":0,"Approved":118,"denied":6}"#,
            "invalid_message",
            r#"send them in a list, "transactions":[{"status":"approved","count":118},...]"#,
        ),
        (
            r#"{"Timestamp":0,"STREAM":"a","transactions":[]}"#,
            "invalid_message",
            "TRANSACTION_TIMESTAMP=/Timestamp TRANSACTION_STREAM=/STREAM",
        ),
        (
            &format!(r#"{{"timestamp":0,"transactions":[{count}]}}"#),
            "invalid_message",
            "/count is \"x\", not a count",
        ),
        ("", "invalid_json", "empty"),
    ] {
        let error = mapping.minute(payload.as_bytes()).expect_err(payload);
        assert_eq!(error.code(), code, "{payload}");
        assert!(error.to_string().contains(hint), "{error}");
    }
    for (payload, hint) in [
        (
            r#"{"timestamp":0,"transactions":[]}"#,
            "KAFKA_INPUT=minutes",
        ),
        (
            r#"{"timestamp":0,"Status":"denied"}"#,
            "TRANSACTION_STATUS=/Status",
        ),
        ("[]", "a list of 0"),
        (
            r#"{"timestamp":true,"status":"denied"}"#,
            "the time is an object, a list, true or false",
        ),
        (
            r#"{"timestamp":"12:34","status":"denied"}"#,
            "the time \"12:34\" has no date",
        ),
        (
            r#"{"timestamp":"00h 01","status":"denied"}"#,
            "send the date, too",
        ),
        (r#"{"timestamp":0,"status":"é"}"#, "\"é\""),
        ("{", "EOF"),
    ] {
        let error = mapping.transaction(payload.as_bytes()).expect_err(payload);
        assert!(error.to_string().contains(hint), "{error}");
    }
}

#[test]
fn a_count_that_is_not_read_is_noticed() {
    let mut mapping = Mapping::default();
    let is_noticed = |mapping: &Mapping, count: &str| {
        let payload = format!(r#"{{"timestamp":0,"status":"denied","count":{count}}}"#);
        let read = mapping.transaction(payload.as_bytes()).expect(count);
        (read.has_unread_count, read.count)
    };
    for (count, expected) in [
        ("7", (true, 1)),
        ("\"7\"", (true, 1)),
        ("1", (false, 1)),
        ("{}", (false, 1)),
    ] {
        assert_eq!(is_noticed(&mapping, count), expected, "{count}");
    }
    mapping.count = Some(pointer("/count"));
    assert_eq!(is_noticed(&mapping, "7"), (false, 7));
}

#[test]
fn the_counts_of_a_minute_are_renamed() {
    let aliases = "declined=denied,expired=failed,*=ignore";
    let aliases: StatusAliases = aliases.parse().expect("aliases");
    let counts = |names: &[(&str, u32)]| {
        let counts = names.iter().map(|(name, count)| crate::StatusCount {
            status: Status::parse(name).expect("a status"),
            count: *count,
        });
        let minute = crate::Minute::from_epoch_minutes(0);
        MinuteCounts::try_new("a".parse().expect("a stream"), minute, counts.collect())
            .expect("counts")
    };
    let given = counts(&[
        ("approved", 5),
        ("declined", 2),
        ("expired", 1),
        ("failed", 3),
        ("pending", 9),
    ]);
    let expected = counts(&[("approved", 5), ("denied", 2), ("failed", 4)]);
    assert_eq!(given.clone().renamed(&aliases), expected);
    assert_eq!(given.clone().renamed(&StatusAliases::default()), given);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(Mapping::default().minute(&bytes));
        drop(Mapping::default().transaction(&bytes));
    }

    #[test]
    fn the_fast_way_reads_what_the_slow_one_reads(minute in 0..40_000_000_i64, counts in prop::collection::vec(any::<u32>(), 0..5)) {
        let names = ["approved", "denied", "failed", "refunded", "x_1"];
        let count = |(count, name): (u32, &str)| crate::StatusCount { status: Status::parse(name).unwrap(), count };
        let counts = counts.into_iter().zip(names).map(count).collect();
        let message = MinuteCounts::try_new("a".parse().unwrap(), crate::Minute::from_epoch_minutes(minute), counts).unwrap();
        let mapping = Mapping::default();
        let slow = mapping.minute_value(&serde_json::from_slice(&message.to_json()).unwrap()).unwrap();
        prop_assert_eq!(mapping.minute(&message.to_json()).unwrap(), slow);
    }
}
