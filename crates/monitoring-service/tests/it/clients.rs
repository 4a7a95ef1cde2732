//! Hostile clients at the real program, byte by byte over a socket: each is told clearly what is wrong, none gets a 5xx, ends
//! anything or learns a secret. Without Kafka: what is asked here needs none. Not here: clients that are merely slow
//! (`server`), and each wrong field in turn (`routes`).

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

use crate::harness::{database, folder};

/// A request that is not answered within this has hung.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const SECRETS: [&str; 4] = [
    "correct-horse-battery",
    "hunter2",
    "hook-path-secret",
    "a-guess-at-the-token",
];

/// The program on a database of its own. Killed when dropped.
pub(crate) struct Program {
    child: Child,
    address: String,
    folder: Rc<TempDir>,
}

impl Program {
    /// Starts it with a receiver of alerts whose address is secret, and with these variables.
    fn start(more: &[(&str, &str)]) -> Self {
        Self::start_on(
            Rc::new(folder()),
            "http://user:hunter2@127.0.0.1:9/hook-path-secret",
            more,
        )
    }

    /// Starts it on the database in this folder, with this receiver of alerts.
    pub(crate) fn start_on(folder: Rc<TempDir>, receiver: &str, more: &[(&str, &str)]) -> Self {
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_monitoring-service"));
        command
            .env_clear()
            .env("DATABASE_PATH", database(folder.path()))
            .env("HTTP_ADDR", "127.0.0.1:0");
        command
            .env("RUST_LOG", "debug,librdkafka=off")
            .env("LOG_FORMAT", "json");
        // Nothing listens on port 9 of this machine.
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

    /// Sends bytes and reads until the program closes; none where it closes without a word.
    fn send(&self, bytes: &[u8]) -> Option<Answer> {
        self.exchange(bytes, |_| Ok(()))
    }

    /// The same from a client that then says that it has sent everything.
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
            // It had answered and closed before it was sent everything.
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
                assert_ne!(answer, b"", "the answer is lost")
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

    /// Asks it to stop, and looks at what it said and counted all the while.
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
        // Already gone is as good.
        drop(self.child.kill().and_then(|()| self.child.wait()));
    }
}

/// The address in the log line that says where it serves.
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

    /// A problem that says what is wrong and what to do, and that no browser takes for a page.
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

    /// A problem with a value: it names the field and the fix as well.
    fn is_about(&self, status: u16, field: &str, what: &str) {
        let problem = self.is_problem(status, what);
        // What is no JSON may be blamed on the field where it ends to be.
        let elsewhere = status == 400 && problem["field"].is_string();
        assert!(
            elsewhere || problem["field"] == field,
            "{what}: {}",
            self.body
        );
        assert!(problem["fix"].is_string(), "{what}: {}", self.body);
    }

    /// One of hyper's own, from before the router: a status and nothing else.
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
fn heads_that_are_no_http_or_too_large_get_a_bare_answer() {
    let program = Program::start(&[]);
    let big = "a".repeat(64 * 1024);
    for (what, bytes, statuses) in [
        (
            "64 KiB in a header",
            start("GET /alerts", &format!("x-big: {big}\r\n\r\n")),
            &[431][..],
        ),
        (
            "64 KiB in many headers",
            start("GET /alerts", &("x-a: b\r\n".repeat(8 * 1024) + "\r\n")),
            &[431],
        ),
        (
            "a hundred and one headers",
            start("GET /alerts", &("x-a: b\r\n".repeat(101) + "\r\n")),
            &[431],
        ),
        (
            "a path of 64 KiB",
            start(&format!("GET /{big}"), "\r\n"),
            &[414, 431],
        ),
        (
            "100,000 parameters",
            start(&format!("GET /alerts?{}", "a=1&".repeat(100_000)), "\r\n"),
            &[414, 431],
        ),
        (
            "a method of 64 KiB",
            start(&format!("{big} /alerts"), "\r\n"),
            &[400, 431],
        ),
        ("a NUL in the path", start("GET /al\0erts", "\r\n"), &[400]),
        (
            "a NUL in a header",
            start("GET /alerts", "x-a: a\0b\r\n\r\n"),
            &[400],
        ),
        (
            "a header without a name",
            start("GET /alerts", ": b\r\n\r\n"),
            &[400],
        ),
        (
            "a space before the colon",
            start("GET /alerts", "x-a : b\r\n\r\n"),
            &[400],
        ),
        (
            "a line that folds",
            start("GET /alerts", "x-a: b\r\n c\r\n\r\n"),
            &[400],
        ),
        (
            "two lengths",
            start(
                "POST /alerts/evaluate",
                "content-length: 1\r\ncontent-length: 2\r\n\r\nab",
            ),
            &[400],
        ),
        (
            "a negative length",
            start("POST /alerts/evaluate", "content-length: -1\r\n\r\n"),
            &[400],
        ),
        (
            "a length beyond numbers",
            start(
                "POST /alerts/evaluate",
                &format!("content-length: {}\r\n\r\n", "9".repeat(40)),
            ),
            &[400],
        ),
        (
            "an encoding that hides the end",
            start(
                "POST /alerts/evaluate",
                "transfer-encoding: chunked, gzip\r\n\r\n",
            ),
            &[400],
        ),
        ("HTTP/0.9", b"GET /alerts\r\n\r\n".to_vec(), &[400]),
        (
            "HTTP/3.0",
            b"GET /alerts HTTP/3.0\r\nhost: x\r\n\r\n".to_vec(),
            &[400],
        ),
        (
            "TLS",
            [
                &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
                &[0; 64],
            ]
            .concat(),
            &[400],
        ),
        ("noise", (0..=255).cycle().take(4096).collect(), &[400]),
    ] {
        program
            .send(&bytes)
            .unwrap_or_else(|| panic!("{what}: closed without an answer"))
            .is_bare(statuses, what);
    }
    // HTTP/2 without negotiation: there is no common tongue to say no in.
    assert!(
        program
            .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .is_none_or(|answer| answer.status == 400)
    );
    program.finish("");
}

#[test]
fn bodies_that_are_too_large_or_broken_are_refused_before_they_are_read() {
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
    // Both a length and chunks: what comes after must not be taken for a request.
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
fn bodies_of_every_bad_kind_name_the_field_and_the_fix() {
    let program = Program::start(&[]);
    for (what, body, status, field) in [
        (
            "deep lists",
            format!(r#"{{"status":{}"#, "[".repeat(60_000)).into_bytes(),
            422,
            "status",
        ),
        (
            "deep objects",
            r#"{"status":"#.repeat(6_000).into_bytes(),
            422,
            "status",
        ),
        (
            "deep where it is ignored",
            format!(r#"{{"x":{}"#, "[".repeat(60_000)).into_bytes(),
            400,
            "body",
        ),
        (
            "not UTF-8",
            b"{\"status\":\"\xff\xfe\",\"count\":1}".to_vec(),
            400,
            "body",
        ),
        (
            "half a surrogate",
            br#"{"status":"\ud800","count":1}"#.to_vec(),
            400,
            "body",
        ),
        ("NULs", vec![0; 1000], 400, "body"),
        (
            "a NUL in a name",
            br#"{"status":"failed","count":1,"stream":"a\u0000b"}"#.to_vec(),
            422,
            "stream",
        ),
        (
            "a byte order mark",
            b"\xef\xbb\xbf{\"status\":\"failed\",\"count\":1}".to_vec(),
            400,
            "body",
        ),
        (
            "a negative count",
            br#"{"status":"failed","count":-1}"#.to_vec(),
            422,
            "count",
        ),
        (
            "a count beyond numbers",
            format!(r#"{{"status":"failed","count":{}}}"#, "9".repeat(400)).into_bytes(),
            400,
            "body",
        ),
        (
            "a count like 1e3",
            br#"{"status":"failed","count":1e3}"#.to_vec(),
            422,
            "count",
        ),
        (
            "not a number",
            br#"{"status":"failed","count":NaN}"#.to_vec(),
            400,
            "body",
        ),
        (
            "a field twice",
            br#"{"status":"failed","status":"denied","count":1}"#.to_vec(),
            422,
            "body",
        ),
        (
            "markup",
            br#"{"status":"<script>alert(1)</script>","count":1}"#.to_vec(),
            422,
            "status",
        ),
        (
            "a long name",
            format!(r#"{{"status":"{}","count":1}}"#, "a".repeat(60_000)).into_bytes(),
            422,
            "status",
        ),
        (
            "two values",
            br#"{"status":"failed","count":0}{"status":"failed","count":0}"#.to_vec(),
            400,
            "body",
        ),
    ] {
        program
            .post("/alerts/evaluate", body)
            .is_about(status, field, what);
    }
    program
        .post(
            "/silences",
            br#"{"until":"9999-12-30T00:00:00Z","reason":"<b>"}"#,
        )
        .is_about(422, "until", "for ever");
    program
        .post("/silences", format!(r#"{{"x":{}"#, "[".repeat(60_000)))
        .is_about(400, "body", "deep");
    assert!(
        program.get("/alerts").body.contains(r#""alerts":[]"#),
        "nothing was recorded"
    );
    program.finish("");
}

/// Every route that takes instants, with `@` where one goes.
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
fn every_instant_is_understood_or_refused_with_the_fix() {
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
            // Understood; a range may all the same be empty, too long or the wrong way round.
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
        ("/gaps?cursor=%00", "cursor"),
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
            "/gaps",
            "/dead-letters",
        ] {
            assert_eq!(
                program.get(format!("{route}?cursor={cursor}")).status,
                200,
                "{route} {cursor}"
            );
        }
    }
    // As many parameters as a head holds; those that are unknown do not count.
    assert_eq!(
        program
            .get(format!("/alerts?{}", "&".repeat(30_000)))
            .status,
        200
    );
    assert_eq!(
        program
            .get(format!("/alerts?{}", "a[]=1&".repeat(5_000)))
            .status,
        200
    );
    program.finish("");
}

#[test]
fn odd_requests_are_answered_as_what_they_are() {
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
        "/",
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
fn no_trick_with_a_path_or_a_token_opens_a_guarded_route() {
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
    // A token in the query is one that ends in logs: it opens nothing.
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
