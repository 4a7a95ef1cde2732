//! Webhook receivers that misbehave, over real sockets, and the real program killed during a delivery. The retry rules are tested in
//! `notify`.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    rc::Rc,
    sync::mpsc,
    thread,
};

use monitoring_service::clock::Stopwatch;
use serde_json::Value;

use crate::{
    harness::folder,
    program::{PATIENCE, Program},
};

/// The reaction of a receiver to an alert that it has read.
type Behaviour = fn(TcpStream);

/// Sends this and closes.
fn answer(mut stream: TcpStream, answer: &str) {
    stream.write_all(answer.as_bytes()).expect("sent");
}

/// Sends `start`, then `again` until the client closes.
fn answer_endlessly(mut stream: TcpStream, start: &str, again: &str) {
    let mut sent = stream.write_all(start.as_bytes());
    while sent.is_ok() {
        sent = stream.write_all(again.as_bytes());
    }
}

/// Resets the connection.
fn reset(stream: TcpStream) {
    stream.set_nonblocking(true).expect("set");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    tokio::net::TcpStream::from_std(stream)
        .and_then(|stream| stream.set_zero_linger())
        .expect("set");
}

/// Each behaviour, and the resulting delivery: its state, the status of the answer, and a part of the error.
const RECEIVERS: [(&str, Behaviour, &str, Option<u16>, &str); 13] = [
    (
        "accepts it",
        |s| answer(s, "HTTP/1.1 204 No Content\r\n\r\n"),
        "delivered",
        Some(204),
        "",
    ),
    (
        "fails",
        |s| {
            answer(
                s,
                "HTTP/1.1 500 Oops\r\ncontent-length: 24\r\n\r\nno hook-path-secret here",
            );
        },
        "pending",
        Some(500),
        "answered 500: no *** here",
    ),
    (
        "asks for an hour",
        |s| {
            answer(
                s,
                "HTTP/1.1 429 Later\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n",
            );
        },
        "pending",
        Some(429),
        "answered 429",
    ),
    (
        "sends us elsewhere",
        |s| {
            answer(
                s,
                "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
            );
        },
        "pending",
        Some(301),
        "answered 301: a redirect to http://127.0.0.1:9, which is not followed",
    ),
    (
        "is gone for good",
        |s| answer(s, "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"),
        "dead",
        Some(410),
        "410",
    ),
    ("resets", reset, "pending", None, "cannot be reached"),
    ("hangs up", drop, "pending", None, "cannot be reached"),
    (
        "hangs up within its head",
        |s| answer(s, "HTTP/1.1 200 OK\r\ncontent-le"),
        "pending",
        None,
        "cannot be reached",
    ),
    (
        "speaks something else",
        |s| answer(s, "220 mail.example ESMTP\r\n"),
        "pending",
        None,
        "cannot be reached",
    ),
    (
        "never ends its head",
        |s| answer_endlessly(s, "HTTP/1.1 200 OK\r\n", "x-more: of it\r\n"),
        "pending",
        None,
        "cannot be reached",
    ),
    // A 2xx head accepts the alert; the body is not read.
    (
        "hangs up within its body",
        |s| answer(s, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"),
        "delivered",
        Some(200),
        "",
    ),
    (
        "never ends its body",
        |s| {
            answer_endlessly(
                s,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                "4\r\nmore\r\n",
            );
        },
        "delivered",
        Some(200),
        "",
    ),
    (
        "accepts it byte by byte",
        |s| {
            for byte in "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".split_inclusive("") {
                answer(s.try_clone().expect("a second handle"), byte);
                thread::yield_now();
            }
        },
        "delivered",
        Some(200),
        "",
    ),
];

/// Reads one alert and returns its id.
fn read_alert(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let (mut id, mut length, mut line) = (None, 0, String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
        match name {
            "webhook-id" => id = Some(value.to_owned()),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length]).ok()?;
    id
}

/// Starts a receiver that reacts to each alert in this way. Returns its URL.
fn receiver(behaviour: Behaviour) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!(
        "http://user:hunter2@{}/hook-path-secret",
        listener.local_addr().expect("bound")
    );
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                if read_alert(&stream).is_some() {
                    behaviour(stream);
                }
            });
        }
    });
    address
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The delivery of an alert after its first attempt.
fn tried(program: &Program, id: &str) -> Value {
    let since = Stopwatch::start();
    while since.elapsed() < PATIENCE {
        let alert = json(&program.get(format!("/alerts/{id}")).body);
        let delivery = &alert["deliveries"][0];
        if delivery["attempts"] != 0 {
            return delivery.clone();
        }
        thread::yield_now();
    }
    panic!("the alert {id} was not sent");
}

#[test]
fn each_bad_receiver_is_named_in_its_delivery() {
    for (what, behaviour, state, status, error) in RECEIVERS {
        // A receiver that fails is tried less often, so each has a program of its own.
        let program = Program::start_on(Rc::new(folder()), &receiver(behaviour), &[]);
        let alert = json(&program.post("/alerts/test", "").body);
        let delivery = tried(&program, alert["id"].as_str().expect("an id"));
        assert_eq!(
            (&delivery["state"], &delivery["last_status"]),
            (&state.into(), &status.into()),
            "{what}: {delivery}"
        );
        let last_error = delivery["last_error"].as_str().unwrap_or_default();
        assert!(
            last_error.contains(error) && last_error.is_empty() == error.is_empty(),
            "{what}: {delivery}"
        );
        assert!(
            !last_error.contains("hunter2") && !last_error.contains("hook-path"),
            "{what}: {delivery}"
        );
        assert_eq!(
            delivery["next_attempt_at"].is_null(),
            state != "pending",
            "{what}: {delivery}"
        );
        if status == Some(429) {
            let wait = |name: &str| {
                delivery[name]
                    .as_str()
                    .expect("an instant")
                    .parse::<jiff::Timestamp>()
                    .expect("one")
            };
            let wait = wait("next_attempt_at").duration_since(wait("last_attempt_at"));
            assert_eq!(wait.as_secs(), 3600, "{what}: {delivery}");
        }
        let deliveries = json(&program.get("/health").body)["parts"]["deliveries"].clone();
        assert_eq!(deliveries["dead"], u8::from(state == "dead"), "{what}");
        let last_error = &deliveries["receivers"][0]["last_error"];
        assert_eq!(
            last_error.is_null(),
            error.is_empty(),
            "{what}: {deliveries}"
        );
        program.finish("");
    }
}

#[test]
fn a_kill_before_the_answer_sends_the_same_id_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/", listener.local_addr().expect("bound"));
    let folder = Rc::new(folder());
    let program = Program::start_on(Rc::clone(&folder), &address, &[]);
    let id = json(&program.post("/alerts/test", "").body)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let (unanswered, _) = listener.accept().expect("a notification");
    assert_eq!(read_alert(&unanswered).as_ref(), Some(&id));
    // SIGKILL after the receiver has read the alert and before it answers.
    drop(program);
    let (sender, ids) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            sender.send(read_alert(&stream)).expect("received");
            answer(stream, "HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
    let program = Program::start_on(folder, &address, &[]);
    assert_eq!(ids.recv().expect("a notification"), Some(id.clone()));
    let delivery = tried(&program, &id);
    assert_eq!(
        (&delivery["state"], &delivery["attempts"]),
        (&"delivered".into(), &1.into()),
        "{delivery}"
    );
    drop(unanswered);
    program.finish("");
}
