//! Bodies, members and parameters with bad values, sent to the real program: each is refused with its name and its fix.

use crate::program::Program;

#[test]
fn a_body_that_is_not_json_is_refused_as_a_whole() {
    let program = Program::start(&[]);
    let cut_short = format!(r#"{{"status":{}"#, "[".repeat(60_000));
    for (what, body) in [
        ("deep lists cut short", cut_short.as_bytes()),
        (
            "deep objects cut short",
            r#"{"status":"#.repeat(6_000).as_bytes(),
        ),
        ("not UTF-8", b"{\"status\":\"\xff\xfe\",\"count\":1}"),
        ("half a surrogate", br#"{"status":"\ud800","count":1}"#),
        ("NULs", &[0; 1000]),
        (
            "a byte order mark",
            b"\xef\xbb\xbf{\"status\":\"failed\",\"count\":1}",
        ),
        ("not a number", br#"{"status":"failed","count":NaN}"#),
        (
            "two values",
            br#"{"status":"failed","count":0}{"status":"failed","count":0}"#,
        ),
    ] {
        let answer = program.post("/alerts/evaluate", body);
        answer.is_about(400, "body", what);
    }
    let deep = format!(r#"{{"x":{}"#, "[".repeat(60_000));
    let answer = program.post("/silences", deep);
    answer.is_about(400, "body", "a deep silence");
    program.finish("");
}

#[test]
fn a_bad_member_is_named_with_its_fix() {
    let program = Program::start(&[]);
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let count = |count: &str| format!(r#"{{"status":"failed","count":{count}}}"#);
    let status = |status: &str| format!(r#"{{"status":{status},"count":1}}"#);
    let long = status(&format!(r#""{}""#, "a".repeat(60_000)));
    let with = |more: &str| format!(r#"{{"status":"failed","count":1,{more}}}"#);
    for (what, body, field) in [
        ("deep lists", format!(r#"{{"status":{deep}}}"#), "status"),
        ("an unknown field", with(r#""streem":"a""#), "streem"),
        ("a NUL in a name", with(r#""stream":"a\u0000b""#), "stream"),
        ("a negative count", count("-1"), "count"),
        ("a huge count", count(&"9".repeat(400)), "count"),
        ("a count like 1e3", count("1e3"), "count"),
        ("a field twice", with(r#""status":"denied""#), "status"),
        ("markup", status(r#""<script>alert(1)</script>""#), "status"),
        ("a long name", long, "status"),
    ] {
        let answer = program.post("/alerts/evaluate", body);
        answer.is_about(422, field, what);
    }
    let endless = br#"{"until":"9999-12-30T00:00:00Z","reason":"<b>"}"#;
    let answer = program.post("/silences", endless);
    answer.is_about(422, "until", "an endless silence");
    assert!(
        program.get("/alerts").body.contains(r#""alerts":[]"#),
        "nothing was recorded"
    );
    program.finish("");
}

/// Every route with instants; `@` is replaced by one.
const TIMED: [&str; 10] = [
    "/transactions?from=@",
    "/transactions?to=@",
    "/transactions/summary?from=@",
    "/transactions/summary?to=@",
    "/transactions/status-distribution?from=@&to=9999-12-30T22:00Z",
    "/transactions/timeseries?from=@&to=9999-12-30T22:00Z&step=1d",
    "/transactions/timeseries?to=@",
    "/alerts/analyze?from=@&to=@",
    "/alerts/analyze?from=@&to=2025-07-12T13:45Z&window=2",
    "/explain?minute=@&status=denied",
];

#[test]
fn every_instant_is_read_or_refused_with_the_fix() {
    let program = Program::start(&[]);
    let store = |timestamp: &str| {
        program.post(
            "/alerts/evaluate",
            format!(r#"{{"status":"failed","count":0,"timestamp":"{timestamp}"}}"#),
        )
    };
    for route in TIMED {
        for known in [
            "0000-01-01T00:00Z",
            "1970-01-01T00:00Z",
            "9999-12-30T21:59Z",
            "2025-06-30T23:59:60Z",
        ] {
            let (target, year) = (route.replace('@', known), known);
            let answer = program.get(&target);
            // The instant is valid, but the range may still be empty, too long or reversed.
            match answer.status {
                200 => assert_eq!(
                    answer.header("content-type"),
                    "application/json",
                    "{target}"
                ),
                404 if route.starts_with("/explain") => drop(answer.is_problem(404, &target)),
                _ => assert!(
                    answer.is_problem(422, &target)["detail"]
                        .as_str()
                        .is_some_and(|text| text.contains("range")),
                    "{year} {target}: {}",
                    answer.body
                ),
            }
        }
        for unknown in [
            "10000-01-01T00:00Z",
            "%2B010000-01-01T00:00Z",
            "-1-01-01T00:00Z",
            "-000001-12-31T23:59Z",
            "2025-02-30T00:00Z",
            "2025-07-12T24:00Z",
            "2025-07-12T13:45%2B99:00",
            "99999999999999999999",
            "NaN",
            "%00",
            "%ff%fe%fd%fc%fb%fa%f9%f8%f7%f6%f5",
            "%3Cb%3E2025-07-12T13:45Z%3C/b%3E",
            "",
        ] {
            let field = if route.contains("minute=") {
                "minute"
            } else if route.contains("from=@") {
                "from"
            } else {
                "to"
            };
            program.get(route.replace('@', unknown)).is_about(
                422,
                field,
                &route.replace('@', unknown),
            );
        }
    }
    for known in ["0000-01-01T00:00Z", "1969-12-31T23:59Z"] {
        assert_eq!(store(known).status, 200, "{known}");
    }
    for unknown in [
        "9999-12-30T21:59Z",
        "10000-01-01T00:00Z",
        "-1-01-01T00:00Z",
        "",
        "2025-02-30T00:00Z",
    ] {
        store(unknown).is_about(422, "timestamp", unknown);
    }
    for until in [
        "0000-01-01T00:00:00Z",
        "-000001-06-01T00:00:00Z",
        "9999-12-30T21:59:00Z",
        "10000-01-01T00:00:00Z",
        "",
        "NaN",
    ] {
        let body = format!(r#"{{"until":"{until}","reason":"a test"}}"#);
        program
            .post("/silences", body)
            .is_about(422, "until", until);
    }
    program.finish("");
}

#[test]
fn every_bad_parameter_names_the_field_and_the_fix() {
    let program = Program::start(&[]);
    for (target, field) in [
        ("/alerts?limit=-1", "limit"),
        ("/alerts?limit=99999999999999999999999999", "limit"),
        ("/alerts?limit=1e2", "limit"),
        ("/alerts?limit=%D9%A3", "limit"),
        ("/alerts?limit=5&limit=6", "limit"),
        ("/alerts?stream=a&stream=b", "stream"),
        ("/alerts?cursor=pffffffffffffffffffffffffffffffff", "cursor"),
        ("/alerts?cursor=p-7fffffffffffffff", "cursor"),
        (
            "/transactions?stream=%3Cscript%3Ealert(1)%3C/script%3E",
            "stream",
        ),
        ("/transactions?status=%3Cimg%20src=x%3E", "status"),
        ("/transactions?status=%00", "status"),
        ("/transactions?stream=%ff", "stream"),
        ("/transactions?stream=..%2f..%2fetc%2fpasswd", "stream"),
        ("/transactions?stream='%20OR%201=1--", "stream"),
        ("/transactions/timeseries?step=0m", "step"),
        ("/transactions/timeseries?step=-1m", "step"),
        (
            "/transactions/timeseries?step=99999999999999999999d",
            "step",
        ),
        ("/transactions/timeseries?step=1ns", "step"),
        ("/transactions/recent?limit=501", "limit"),
        (
            "/alerts/analyze?from=2025-07-12T13:45Z&to=2025-07-12T14:45Z&warning=NaN",
            "warning",
        ),
        (
            "/alerts/analyze?from=2025-07-12T13:45Z&to=2025-07-12T14:45Z&warning=inf",
            "warning",
        ),
        (
            "/alerts/analyze?from=2025-07-12T13:45Z&to=2025-07-12T14:45Z&critical=-1e308",
            "critical",
        ),
        (
            "/alerts/analyze?from=2025-07-12T13:45Z&to=2025-07-12T14:45Z&window=-1",
            "window",
        ),
        (
            "/alerts/analyze?from=2025-07-12T13:45Z&to=2025-07-12T14:45Z&window=18446744073709551616",
            "window",
        ),
        ("/deliveries?state=%3Cb%3E", "state"),
        ("/offset-gaps?cursor=%00", "cursor"),
        ("/alerts/%ff", "id"),
        ("/alerts/%00", "id"),
        ("/alerts/..%2fmetrics", "id"),
        ("/alerts/%3Cscript%3E", "id"),
    ] {
        program.get(target).is_about(422, field, target);
    }
    for (id, status) in [
        ("%ff", 422),
        ("-1", 404),
        ("99999999999999999999999", 422),
        ("%00", 422),
        ("%3Cb%3E", 422),
    ] {
        program
            .post(&format!("/deliveries/{id}/replay"), "")
            .is_about(status, "id", id);
    }
    for cursor in ["p0", "p7ffffffffffffff"] {
        for route in [
            "/alerts",
            "/transactions",
            "/deliveries",
            "/offset-gaps",
            "/dead-letters",
        ] {
            assert_eq!(
                program.get(format!("{route}?cursor={cursor}")).status,
                200,
                "{route} {cursor}"
            );
        }
    }
    // As many parameters as fit into a head.
    assert_eq!(
        program
            .get(format!("/alerts?{}", "&".repeat(30_000)))
            .status,
        200
    );
    program
        .get(format!("/alerts?{}", "a[]=1&".repeat(5_000)))
        .is_about(422, "a[]", "an unknown parameter");
    program.finish("");
}
