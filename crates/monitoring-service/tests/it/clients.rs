//! Hostile clients against the real program, over raw sockets. Each gets a precise error; none gets a 5xx, stops the program or sees a
//! secret. No Kafka is needed. Slow clients are tested in `http-listener`, single bad fields in `routes`.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    process::{Child, Command, Stdio},
    rc::Rc,
    time::Duration,
};

use monitoring_service::clock::Stopwatch;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{database_variable, folder};

/// Time limit of a request.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const SECRETS: [&str; 4] = [
    "correct-horse-battery",
    "hunter2",
    "hook-path-secret",
    "a-guess-at-the-token",
];

/// A running program with its own database. Killed when dropped.
pub(crate) struct Program {
    child: Child,
    address: String,
    folder: Rc<TempDir>,
}

impl Program {
    /// Starts it with a secret webhook address and these variables.
    fn start(more: &[(&str, &str)]) -> Self {
        Self::start_on(
            Rc::new(folder()),
            "http://user:hunter2@127.0.0.1:9/hook-path-secret",
            more,
        )
    }

    /// Starts it on the database in this folder, with this webhook address.
    pub(crate) fn start_on(folder: Rc<TempDir>, receiver: &str, more: &[(&str, &str)]) -> Self {
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-service"));
        command
            .env_clear()
            .envs([database_variable(folder.path())])
            .env("HTTP_ADDR", "127.0.0.1:0");
        command
            .env("RUST_LOG", "debug,librdkafka=off")
            .env("LOG_FORMAT", "json");
        // Nothing listens on port 9.
        command
            .env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9")
            .env("ALERT_WEBHOOK_URL", receiver);
        command.envs(more.iter().copied());
        command
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .stdin(Stdio::null());
        let mut program = Self {
            child: command.spawn().expect("started"),
            address: String::new(),
            folder,
        };
        let since = Stopwatch::start();
        while program.address.is_empty() {
            assert!(
                since.elapsed() < PATIENCE,
                "it does not serve: {}",
                program.log()
            );
            assert_eq!(
                program.child.try_wait().expect("known"),
                None,
                "it ended before it served: {}",
                program.log()
            );
            program.address = program
                .log()
                .lines()
                .find_map(served_at)
                .unwrap_or_default();
            std::thread::yield_now();
        }
        program
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.path().join("log")).expect("readable"))
            .into_owned()
    }

    /// Sends bytes and reads until the program closes the connection; `None` if it sends nothing.
    fn send(&self, bytes: &[u8]) -> Option<Answer> {
        self.exchange(bytes, |_| Ok(()))
    }

    /// Sends a head that the server refuses with an answer.
    fn send_bad_head(&self, what: &str, bytes: &[u8]) -> Answer {
        self.send(bytes)
            .unwrap_or_else(|| panic!("{what}: closed without an answer"))
    }

    /// The same, but closes the sending side afterwards.
    fn send_and_end(&self, bytes: &[u8]) -> Option<Answer> {
        self.exchange(bytes, |stream| stream.shutdown(Shutdown::Write))
    }

    fn exchange(
        &self,
        bytes: &[u8],
        then: impl FnOnce(&TcpStream) -> io::Result<()>,
    ) -> Option<Answer> {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        match stream.write_all(bytes).and_then(|()| then(&stream)) {
            Ok(()) => {}
            // The program answered and closed before everything was sent.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected
                ) => {}
            Err(error) => panic!("not sent: {error}"),
        }
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                assert_ne!(answer, b"", "the answer is lost");
            }
            Err(error) => panic!("no answer: {error}"),
        }
        (!answer.is_empty()).then(|| Answer::parse(&answer))
    }

    pub(crate) fn get(&self, target: impl AsRef<[u8]>) -> Answer {
        self.send(
            &[
                b"GET ",
                target.as_ref(),
                b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            ]
            .concat(),
        )
        .expect("an answer")
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{JSON}content-length: {}\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat())
            .expect("an answer")
    }

    /// Stops it, and checks its exit code, log and metrics for panics, 5xx and secrets.
    pub(crate) fn finish(mut self, token: &str) {
        let authorization = format!("authorization: Bearer {token}\r\n");
        let request =
            format!("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{authorization}\r\n");
        let registry = self.send(request.as_bytes()).expect("it still serves");
        assert_eq!(registry.status, 200, "{}", registry.body);
        let fives: Vec<_> = registry
            .body
            .lines()
            .filter(|line| line.contains("status=\"5"))
            .collect();
        assert!(fives.is_empty(), "{fives:#?}");
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::TERM).expect("signalled");
        assert!(
            self.child.wait().expect("ended").success(),
            "{}",
            self.log()
        );
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
        for secret in SECRETS {
            assert!(
                !log.contains(secret) && !registry.body.contains(secret),
                "{secret} is in: {log}"
            );
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

/// The address in the log line `serving`.
fn served_at(line: &str) -> Option<String> {
    serde_json::from_str::<Value>(line).ok()?["address"]
        .as_str()
        .map(ToOwned::to_owned)
}

const JSON: &str = "content-type: application/json\r\n";

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).expect("every answer is text");
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no head: {text}"));
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .and_then(|status| status.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(n, v)| (n.to_lowercase(), v.to_owned()));
        Self {
            status: status.unwrap_or_else(|| panic!("no status: {text}")),
            headers: headers.collect(),
            body: body.to_owned(),
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Asserts a complete problem document that no browser shows as a page.
    fn is_problem(&self, status: u16, what: &str) -> Value {
        assert_eq!(self.status, status, "{what}: {}", self.body);
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{what}"
        );
        assert_eq!(self.header("x-content-type-options"), "nosniff", "{what}");
        assert!(
            self.body.len() < 2000,
            "{what}: an answer repeats little of the request: {}",
            self.body
        );
        let problem: Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(problem["status"], status, "{what}");
        for member in ["type", "title", "detail"] {
            assert!(
                problem[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{what}: {member}: {}",
                self.body
            );
        }
        problem
    }

    /// Asserts a problem that names the field and the fix.
    fn is_about(&self, status: u16, field: &str, what: &str) {
        let problem = self.is_problem(status, what);
        // For malformed JSON the problem may name the field in which the parser failed.
        let elsewhere = status == 400 && problem["field"].is_string();
        assert!(
            elsewhere || problem["field"] == field,
            "{what}: {}",
            self.body
        );
        assert!(problem["fix"].is_string(), "{what}: {}", self.body);
    }

    /// Asserts an answer by hyper itself: a status without a body.
    fn is_bare(&self, statuses: &[u16], what: &str) {
        assert!(
            statuses.contains(&self.status),
            "{what}: {} {}",
            self.status,
            self.body
        );
        assert_eq!(self.body, "", "{what}");
        assert_eq!(self.header("connection"), "close", "{what}");
    }
}

fn start(request: &str, headers: &str) -> Vec<u8> {
    format!("{request} HTTP/1.1\r\nhost: x\r\n{headers}").into_bytes()
}

#[test]
fn too_large_heads_get_a_bare_answer() {
    let program = Program::start(&[]);
    let big = "a".repeat(64 * 1024);
    let get = |headers: &str| start("GET /alerts", headers);
    let parameters = format!("GET /alerts?{}", "a=1&".repeat(100_000));
    for (what, bytes, statuses) in [
        (
            "a header",
            get(&format!("x-big: {big}\r\n\r\n")),
            &[431][..],
        ),
        (
            "headers",
            get(&("x-a: b\r\n".repeat(8192) + "\r\n")),
            &[431],
        ),
        (
            "101 headers",
            get(&("x-a: b\r\n".repeat(101) + "\r\n")),
            &[431],
        ),
        ("a path", start(&format!("GET /{big}"), "\r\n"), &[414, 431]),
        (
            "100,000 parameters",
            start(&parameters, "\r\n"),
            &[414, 431],
        ),
        (
            "a method",
            start(&format!("{big} /alerts"), "\r\n"),
            &[400, 431],
        ),
    ] {
        program.send_bad_head(what, &bytes).is_bare(statuses, what);
    }
    program.finish("");
}

#[test]
fn malformed_heads_get_a_bare_answer() {
    let program = Program::start(&[]);
    let get = |headers: &str| start("GET /alerts", headers);
    let post = |headers: &str| start("POST /alerts/evaluate", headers);
    let hello = [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        &[0; 64],
    ]
    .concat();
    let digits = "9".repeat(40);
    for (what, bytes) in [
        ("a NUL in the path", start("GET /al\0erts", "\r\n")),
        ("a NUL in a header", get("x-a: a\0b\r\n\r\n")),
        ("a header without a name", get(": b\r\n\r\n")),
        ("a space before the colon", get("x-a : b\r\n\r\n")),
        ("a folded line", get("x-a: b\r\n c\r\n\r\n")),
        (
            "two lengths",
            post("content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        ),
        ("a negative length", post("content-length: -1\r\n\r\n")),
        (
            "an endless length",
            post(&format!("content-length: {digits}\r\n\r\n")),
        ),
        (
            "a hidden end",
            post("transfer-encoding: chunked, gzip\r\n\r\n"),
        ),
        ("HTTP/0.9", b"GET /alerts\r\n\r\n".to_vec()),
        (
            "HTTP/3.0",
            b"GET /alerts HTTP/3.0\r\nhost: x\r\n\r\n".to_vec(),
        ),
        ("TLS", hello),
        ("noise", (0..=255).cycle().take(4096).collect()),
    ] {
        program.send_bad_head(what, &bytes).is_bare(&[400], what);
    }
    // HTTP/2 without negotiation: an HTTP/1 answer may not be possible.
    assert!(
        program
            .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .is_none_or(|answer| answer.status == 400)
    );
    program.finish("");
}

#[test]
fn too_large_or_broken_bodies_are_refused_unread() {
    let program = Program::start(&[]);
    let send = |head: &str, body: &[u8]| {
        program
            .send(&[&start("POST /alerts/evaluate", head)[..], body].concat())
            .expect("an answer")
    };
    let declared = format!("{JSON}content-length: 1000000000\r\n\r\n");
    send(&declared, b"").is_about(413, "body", "1 GB declared");
    send(&declared, &vec![b' '; 200_000]).is_about(413, "body", "1 GB declared and begun");
    let expecting = format!("{JSON}expect: 100-continue\r\ncontent-length: 1000000000\r\n\r\n");
    send(&expecting, b"").is_about(413, "body", "1 GB asked for");
    let chunked = format!("{JSON}transfer-encoding: chunked\r\n\r\n");
    let chunk = [&b"4000\r\n"[..], &[b' '; 0x4000], b"\r\n"].concat();
    send(&chunked, &chunk.repeat(40)).is_about(413, "body", "640 KiB in chunks without an end");
    send(&chunked, b"zz\r\nab\r\n0\r\n\r\n").is_problem(400, "chunks without a size");
    send(&chunked, b"ffffffffffffffffff\r\nab").is_problem(400, "a chunk beyond numbers");
    let short = start(
        "POST /alerts/evaluate",
        &format!("{JSON}content-length: 50\r\n\r\n{{\"status\":"),
    );
    if let Some(answer) = program.send_and_end(&short) {
        answer.is_problem(400, "a body that ends early");
    }
    // Both a length and chunks: the rest must not be read as a request.
    let smuggled = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let answer = send(
        &format!("{JSON}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"),
        smuggled,
    );
    assert_eq!(answer.status, 400, "{}", answer.body);
    assert!(!answer.body.contains("HELP"), "{}", answer.body);
    program.finish("");
}

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

#[test]
fn odd_requests_get_their_usual_answer() {
    let program = Program::start(&[]);
    program
        .get("/<script>alert(1)</script>")
        .is_bare(&[400], "markup as it is");
    for target in [
        "/%3Cscript%3E",
        "/alerts%2fstatus",
        "/%61lerts",
        "/alerts/../metrics/..",
        "//alerts",
        "/alerts//status",
        "/Alerts",
        "/alerts;x=1",
        "/..%2f..%2fetc%2fpasswd",
        "/%00",
        "/%ff",
    ] {
        let problem = program.get(target).is_problem(404, target);
        assert!(!problem.to_string().contains("script"), "{problem}");
    }
    // Bytes that are not ASCII: refused by hyper or unknown to the router.
    let answer = program.get(b"/\xff\xfe");
    assert!(matches!(answer.status, 400 | 404), "{}", answer.body);
    for method in [
        "BREW", "get", "TRACE", "PROPFIND", "DELETE", "CONNECT", "OPTIONS",
    ] {
        let answer = program
            .send(&start(
                &format!("{method} /alerts"),
                "connection: close\r\n\r\n",
            ))
            .expect("an answer");
        answer.is_problem(405, method);
        assert_eq!(answer.header("allow"), "GET,HEAD", "{method}");
    }
    for (what, request, status) in [
        ("HTTP/1.0", "GET /health/live HTTP/1.0\r\n\r\n", 200),
        (
            "no host",
            "GET /health/live HTTP/1.1\r\nconnection: close\r\n\r\n",
            200,
        ),
        (
            "absolute form",
            "GET http://elsewhere.example/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            200,
        ),
        (
            "all of the server",
            "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            404,
        ),
        (
            "a proxy",
            "CONNECT elsewhere.example:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            404,
        ),
        (
            "an upgrade",
            "GET /health/live HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade, close\r\n\r\n",
            200,
        ),
        (
            "a body to a GET",
            "GET /health/live HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
            200,
        ),
        (
            "bare line ends",
            "GET /health/live HTTP/1.1\nhost: x\nconnection: close\n\n",
            200,
        ),
        (
            "a strange trace",
            "GET /health/live HTTP/1.1\r\nhost: x\r\ntraceparent: 00-zz-\r\nx-request-id: <b>\r\nconnection: close\r\n\r\n",
            200,
        ),
    ] {
        let answer = program
            .send(request.as_bytes())
            .unwrap_or_else(|| panic!("{what}: no answer"));
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        assert!(!answer.header("x-request-id").contains('<'), "{what}");
    }
    let head = program
        .send(&start("HEAD /alerts", "connection: close\r\n\r\n"))
        .expect("an answer");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    program.finish("");
}

#[test]
fn no_odd_path_or_token_opens_a_guarded_route() {
    let token = "correct-horse-battery";
    let program = Program::start(&[("API_TOKEN", token)]);
    for target in [
        "/alerts",
        "/health",
        "/health/live/",
        "/health/live/../../alerts",
        "/%68ealth/live",
        "/health/live%00",
        "/health/live;x",
        "/HEALTH/LIVE",
        "//health/live",
        "/nothing",
        "http://x/alerts",
        "/alerts?/health/live",
    ] {
        let answer = program.get(target);
        answer.is_about(401, "Authorization", target);
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{target}");
    }
    for shown in [
        "a-guess-at-the-token",
        "correct-horse-batter",
        "correct-horse-battery1",
        "CORRECT-HORSE-BATTERY",
        "",
        "\u{e9}",
        "correct-horse-battery\tx",
    ] {
        for scheme in ["Bearer ", "Basic ", "bearer", "Bearer  Bearer ", ""] {
            let request = start(
                "GET /alerts",
                &format!("authorization: {scheme}{shown}\r\nconnection: close\r\n\r\n"),
            );
            program.send(&request).expect("an answer").is_about(
                401,
                "Authorization",
                &format!("{scheme}{shown}"),
            );
        }
    }
    let twice = format!(
        "authorization: Bearer a-guess-at-the-token\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
    );
    program
        .send(&start("GET /alerts", &twice))
        .expect("an answer")
        .is_about(401, "Authorization", "two tokens");
    // A token in the query would be logged, so it is not accepted.
    program
        .get(format!("/alerts?access_token={token}"))
        .is_about(401, "Authorization", "in the query");
    for open in [
        "/health/live",
        "/health/ready",
        "http://x/health/live",
        "/health/live?x",
    ] {
        assert_eq!(program.get(open).status, 200, "{open}");
    }
    program.finish(token);
}
