//! The files that people have: each is read, or refused with the option that reads it.

use std::fmt::Write as _;

use super::*;

const PEAKS: &str = "timestamp,status,count
2025-07-12 13:45,approved,\"1,003\"
2025-07-12 13:45,denied,6
";

const NORMAL: [&str; 1] = [
    r#"{"timestamp":"2025-07-12T13:45:00Z","transactions":[{"status":"approved","count":118},{"status":"backend_reversed","count":2}]}"#,
];

fn columns(names: &str) -> LoadOptions {
    LoadOptions {
        columns: names.parse().unwrap(),
        ..LoadOptions::default()
    }
}

#[test]
fn a_thousands_separator_is_read() {
    let loaded = load(PEAKS.as_bytes(), &LoadOptions::default()).unwrap();
    assert!(json(&loaded)[0].contains(r#""approved","count":1003"#));
}

#[test]
fn a_spreadsheet_is_read() {
    let table = |lines: [&str; 3], delimiter: &str| lines.join("\r\n").replace('|', delimiter);
    let plain = [
        "Timestamp|Status|Count",
        "2025-07-12 13:45|Approved|118.0",
        "2025-07-12 13:45|Backend Reversed|2",
    ];
    for (what, file) in [
        ("comma", table(plain, ",")),
        ("semicolon", table(plain, ";")),
        ("tab", table(plain, "\t")),
        ("byte order mark", format!("\u{feff}{}", table(plain, ";"))),
        ("sep=", format!("sep=|\r\n{}", table(plain, "|"))),
        (
            "mark and sep=",
            format!("\u{feff}sep=;\n{}", table(plain, ";")),
        ),
        (
            "exact duplicate",
            format!("{}\n2025-07-12 13:45|Approved|118", table(plain, "|")).replace('|', ","),
        ),
        (
            "empty rows",
            format!("{}\n||\n\n||\n", table(plain, "|")).replace('|', ","),
        ),
        (
            "empty last column",
            table(plain, ",")
                .replace("118.0", "118.0,")
                .replace("Reversed,2", "Reversed,2,"),
        ),
        ("upper case", table(plain, ",").to_uppercase()),
    ] {
        let loaded = load(file.as_bytes(), &LoadOptions::default()).unwrap();
        assert_eq!(json(&loaded), NORMAL, "{what}");
        assert_eq!(
            (loaded.skipped, loaded.ignored_columns.len()),
            (0, 0),
            "{what}"
        );
    }
}

#[test]
fn an_unknown_column_is_noted_once() {
    let file = "Region;timestamp;status;count;note\nBR;2025-07-12 13:45;approved;118;x\nBR;2025-07-12 13:45;backend_reversed;2;\n";
    let loaded = load(file.as_bytes(), &LoadOptions::default()).unwrap();
    assert_eq!(json(&loaded), NORMAL);
    assert_eq!(loaded.ignored_columns, ["Region", "note"]);
}

#[test]
fn lines_are_counted_from_the_top_of_the_file() {
    for end in ["\n", "\r\n"] {
        for (before, line) in [("", 3), ("sep=;\n", 4)] {
            let rows =
                "timestamp;status;count\n2025-07-12 13:45;denied;1\n2025-07-12 13:46;denied;x";
            let error = refused(&format!("{before}{rows}").replace('\n', end));
            assert!(
                error.starts_with(&format!("line {line}, column count")),
                "{error}"
            );
        }
    }
    assert!(refused("sep=;\ntime;status;count\n").starts_with("line 2 (header)"));
}

#[test]
fn a_header_with_other_names_is_refused_with_advice() {
    for (header, remedy) in [
        (
            "time,status,f0_",
            Remedy::Columns("timestamp=time,count=f0_".into()),
        ),
        (
            "Time;State;Total",
            Remedy::Columns("timestamp=Time,status=State,count=Total".into()),
        ),
        ("timestamp,Approved,Denied", Remedy::Wide),
        ("time,approved,backend reversed", Remedy::Wide),
        ("timestamp,status,amount", Remedy::CountRows(String::new())),
        (
            "id,Created_At,state,amount,currency",
            Remedy::CountRows("timestamp=Created_At,status=state".into()),
        ),
    ] {
        let error = load(format!("{header}\n").as_bytes(), &LoadOptions::default()).unwrap_err();
        assert_eq!(error.remedies(), [remedy], "{header}");
    }
    let error = load(&b"when,status,how_many\n"[..], &LoadOptions::default()).unwrap_err();
    assert_eq!(
        error.remedies(),
        [
            Remedy::Columns("timestamp=NAME,count=NAME".into()),
            Remedy::CountRows("timestamp=NAME".into())
        ]
    );
}

#[test]
fn rows_that_are_transactions_are_counted() {
    let file = "id,created_at,status,amount,merchant\n\
        1,2025-07-12 13:45:07,approved,9.90,a\n\
        2,2025-07-12 13:46:01,denied,120,a\n\
        3,2025-07-12 13:45:09,approved,9.90,a\n\
        4,2025-07-12 13:45:59,approved,120,b\n";
    let options = LoadOptions {
        count_rows: true,
        ..columns("timestamp=created_at,stream=merchant")
    };
    let loaded = load(file.as_bytes(), &options).unwrap();
    assert_eq!(
        json(&loaded),
        [
            r#"{"timestamp":"2025-07-12T13:45:00Z","stream":"a","transactions":[{"status":"approved","count":2}]}"#,
            r#"{"timestamp":"2025-07-12T13:45:00Z","stream":"b","transactions":[{"status":"approved","count":1}]}"#,
            r#"{"timestamp":"2025-07-12T13:46:00Z","stream":"a","transactions":[{"status":"denied","count":1}]}"#,
        ]
    );
    assert_eq!(
        (loaded.repeated, loaded.ignored_columns),
        (0, vec!["id".to_owned(), "amount".to_owned()])
    );
    let no_status = load(
        &b"timestamp,x\n"[..],
        &LoadOptions {
            count_rows: true,
            ..LoadOptions::default()
        },
    );
    let error = no_status.unwrap_err();
    assert_eq!(error.remedies(), [Remedy::Columns("status=x".into())]);
}

#[test]
fn the_days_of_a_file_show_the_form_of_its_times() {
    let of = |days: &[&str]| {
        let rows = days.join("/2025 13:45,denied,1\n") + "/2025 13:45,denied,1\n";
        read(&rows, &LoadOptions::default()).unwrap_err().remedies()
    };
    let (day, month) = ("%d/%m/%Y %H:%M".to_owned(), "%m/%d/%Y %H:%M".to_owned());
    assert_eq!(
        of(&["01/07", "02/07"]),
        [Remedy::DayOrMonthFirst {
            day: day.clone(),
            month: month.clone()
        }]
    );
    assert_eq!(of(&["01/07", "31/07"]), [Remedy::TimeFormat(day)]);
    assert_eq!(of(&["07/31", "08/01"]), [Remedy::TimeFormat(month)]);
}

#[test]
fn two_hours_with_one_local_time_are_refused() {
    let rows = "2025-10-26 02:30,denied,1\n2025-10-26 02:30,denied,2\n";
    let options = LoadOptions {
        timezone: Some(parse_timezone("Europe/Berlin").unwrap()),
        ..LoadOptions::default()
    };
    let error = read(rows, &options).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("write them with their offset from UTC"),
        "{error}"
    );
    assert_eq!(error.remedies(), []);
    let others = format!("{rows}2025-10-26 05:30,denied,1\n2025-10-26 05:30,denied,2\n");
    assert_eq!(
        read(&others, &options).unwrap_err().remedies(),
        [Remedy::OnDuplicate]
    );
}

#[test]
fn named_columns_and_a_date_read_bare_times() {
    let file = "time,status,f0_\r\n00h 01,approved,118\r\n00:01,backend_reversed,2\r\n";
    let mut options = columns("timestamp=TIME,count=f0_");
    let error = load(file.as_bytes(), &options).unwrap_err();
    assert_eq!(error.remedies(), [Remedy::Date]);
    options.date = Some("2026-11-26".parse().unwrap());
    let loaded = load(file.as_bytes(), &options).unwrap();
    assert_eq!(
        json(&loaded),
        [NORMAL[0].replace("2025-07-12T13:45", "2026-11-26T00:01")]
    );
    options.timezone = Some(parse_timezone("America/Sao_Paulo").unwrap());
    let loaded = load(file.as_bytes(), &options).unwrap();
    assert_eq!(
        json(&loaded),
        [NORMAL[0].replace("2025-07-12T13:45", "2026-11-26T03:01")]
    );
}

#[test]
fn column_names_are_checked() {
    for text in [
        "",
        "time",
        "when=time",
        "count=",
        "count=a,count=b",
        "denied=a,Denied=b",
    ] {
        let error = text.parse::<ColumnNames>().unwrap_err().to_string();
        assert!(
            error.contains("such as timestamp=time,count=f0_"),
            "{text}: {error}"
        );
    }
    let file = b"timestamp,status,count\n";
    let error = load(&file[..], &columns("count=f0_"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no column is called \"f0_\""), "{error}");
}

#[test]
fn a_wide_file_has_a_column_for_each_status() {
    let file = "time,merchant,Approved,Backend Reversed,%\n2025-07-12 13:45,a,118,2,0.1\n2025-07-12 13:46,a,119,,\n2025-07-12 13:47,a,,n/a,\n";
    let wide = |on_error| LoadOptions {
        wide: true,
        on_error,
        ..columns("timestamp=time,stream=merchant")
    };
    let error = load(file.as_bytes(), &wide(OnError::Stop))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("line 4, column count: \"n/a\""),
        "{error}"
    );
    let loaded = load(file.as_bytes(), &wide(OnError::Skip)).unwrap();
    let stream = r#""2025-07-12T13:45:00Z","stream":"a""#;
    assert_eq!(
        json(&loaded)[0],
        NORMAL[0].replace(r#""2025-07-12T13:45:00Z""#, stream)
    );
    assert!(json(&loaded)[1].ends_with(r#""transactions":[{"status":"approved","count":119}]}"#));
    assert_eq!((loaded.left_out, minutes(&loaded)), (0, vec![45, 46]));
    assert_eq!(loaded.ignored_columns, ["%"]);
    let long = "timestamp,status,count\n";
    let error = load(long.as_bytes(), &wide(OnError::Stop))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no column is called \"time\""), "{error}");
}

#[test]
fn named_statuses_are_the_only_ones() {
    let file = "time,ok,nok,region,rate\n2025-07-12 13:45,118,2,BR,0.98\n";
    let wide = LoadOptions {
        wide: true,
        ..columns("timestamp=time")
    };
    let error = load(file.as_bytes(), &wide).unwrap_err();
    assert_eq!(error.remedies(), [Remedy::OnlyStatuses]);
    let found = error.to_string();
    assert!(found.contains("(the column of region)"), "{found}");
    let named = columns("timestamp=time,approved=OK,backend_reversed=nok");
    let loaded = load(file.as_bytes(), &named).unwrap();
    assert_eq!(json(&loaded), NORMAL);
    assert_eq!(loaded.ignored_columns, ["region", "rate"]);
    let error = load(file.as_bytes(), &columns("timestamp=time,denied=no")).unwrap_err();
    assert!(
        error.to_string().contains("no column is called \"no\""),
        "{error}"
    );
}

#[test]
fn two_rows_of_a_minute_follow_the_rule() {
    let of = |rows: &str, on_duplicate| {
        let options = LoadOptions {
            on_duplicate,
            ..LoadOptions::default()
        };
        let loaded = read(rows, &options).map_err(|error| error.to_string())?;
        let counts = loaded.counts.iter().next().expect("one");
        Ok::<_, String>((counts.transactions()[0].count, loaded.repeated))
    };
    let seconds = "2025-07-12 13:45:00,denied,5\n2025-07-12 13:45:10,denied,5\n2025-07-12 13:45:20,denied,7\n";
    let same = "2025-07-12 13:45,denied,5\n2025-07-12 13:45,denied,5\n2025-07-12 13:46,denied,1\n2025-07-12 13:45,denied,5\n";
    let too_many = format!("2025-07-12 13:45,denied,{}\n", u32::MAX).repeat(2);
    assert_eq!(of(seconds, OnDuplicate::Sum), Ok((17, 0)));
    assert_eq!(of(seconds, OnDuplicate::Last), Ok((7, 0)));
    let error = of(seconds, OnDuplicate::Stop).unwrap_err();
    assert!(error.contains("first in line 2 (2 such rows)"), "{error}");
    assert_eq!(of(same, OnDuplicate::Stop), Ok((5, 2)));
    assert_eq!(of(same, OnDuplicate::Last), Ok((5, 2)));
    assert_eq!(of(same, OnDuplicate::Sum), Ok((15, 0)));
    let error = of(&too_many, OnDuplicate::Sum).unwrap_err();
    assert!(
        error.contains("denied adds up to more than 4294967295"),
        "{error}"
    );
}

#[test]
fn absent_minutes_are_counted_and_can_be_zeros() {
    let mut file = "timestamp,status,count,stream\n".to_owned();
    for (minute, stream) in [(0, "a"), (1, "a"), (9, "a"), (3, "b")] {
        writeln!(file, "2025-07-12 13:0{minute},denied,1,{stream}").unwrap();
    }
    let of = |fill_minutes, limit| {
        let options = LoadOptions {
            limit,
            fill_minutes,
            ..LoadOptions::default()
        };
        load(file.as_bytes(), &options).unwrap()
    };
    let loaded = of(None, None);
    assert_eq!((loaded.counts.messages(), loaded.counts.absent()), (4, 13));
    let loaded = of(Some(FillMinutes::Zero), None);
    assert_eq!((loaded.counts.messages(), loaded.counts.absent()), (17, 0));
    let zeros = json(&loaded)
        .into_iter()
        .filter(|json| json.ends_with("\"transactions\":[]}"));
    assert_eq!(zeros.count(), 13);
    assert_eq!(minutes(&of(Some(FillMinutes::Zero), Some(3))), [0, 1, 2]);
    let from = loaded.counts.iter_from("2025-07-12 13:08".parse().unwrap());
    assert_eq!(
        from.map(|counts| counts.stream().to_string())
            .collect::<String>(),
        "abab"
    );
}

#[test]
fn a_repeated_hour_is_counted() {
    let rows = "2025-10-26 02:30,denied,1\n2025-10-26 03:30,denied,1\n";
    let options = LoadOptions {
        timezone: Some(parse_timezone("Europe/Berlin").unwrap()),
        ..LoadOptions::default()
    };
    let loaded = read(rows, &options).unwrap();
    assert_eq!((loaded.occurs_twice, loaded.counts.messages()), (1, 2));
    assert_eq!(loaded.counts.first().to_string(), "2025-10-26T00:30:00Z");
}

#[test]
fn a_limit_holds_only_its_minutes() {
    // Newest first, so that each row replaces a later one.
    let mut rows = String::new();
    for minute in (0..20_000).rev() {
        writeln!(rows, "{},denied,1", Minute::from_epoch_minutes(minute)).unwrap();
    }
    let options = LoadOptions {
        limit: Some(3),
        ..LoadOptions::default()
    };
    let loaded = read(&rows, &options).unwrap();
    let found: Vec<_> = loaded
        .counts
        .iter()
        .map(|c| c.minute().epoch_minutes())
        .collect();
    assert_eq!(found, [0, 1, 2]);
}
