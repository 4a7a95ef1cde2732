//! The real program, asked over raw sockets, and its answers. When it ends, its log and metrics are checked for panics, 5xx and secrets.

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
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

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
    pub(crate) fn start(more: &[(&str, &str)]) -> Self {
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
    pub(crate) fn send(&self, bytes: &[u8]) -> Option<Answer> {
        self.exchange(bytes, |_| Ok(()))
    }

    /// Sends a head that the server refuses with an answer.
    pub(crate) fn send_bad_head(&self, what: &str, bytes: &[u8]) -> Answer {
        self.send(bytes)
            .unwrap_or_else(|| panic!("{what}: closed without an answer"))
    }

    /// The same, but closes the sending side afterwards.
    pub(crate) fn send_and_end(&self, bytes: &[u8]) -> Option<Answer> {
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

pub(crate) const JSON: &str = "content-type: application/json\r\n";

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

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Asserts a complete problem document that no browser shows as a page.
    pub(crate) fn is_problem(&self, status: u16, what: &str) -> Value {
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
    pub(crate) fn is_about(&self, status: u16, field: &str, what: &str) {
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
    pub(crate) fn is_bare(&self, statuses: &[u16], what: &str) {
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
