//! Receivers of alerts that misbehave, and the real program killed while one thinks. What each answer means in time is tested
//! where it is decided (`alerting`); here it is what comes over the wire.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    rc::Rc,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use monitoring_service::clock::Stopwatch;
use serde_json::Value;

use crate::{
    clients::{PATIENCE, Program},
    harness::folder,
};

/// What a receiver does once it has read an alert.
type Behaviour = fn(TcpStream);

/// Says this and closes.
fn say(mut stream: TcpStream, answer: &str) {
    stream.write_all(answer.as_bytes()).expect("heard");
}

/// Says this for as long as anybody listens.
fn say_for_ever(mut stream: TcpStream, start: &str, again: &str) {
    let mut said = stream.write_all(start.as_bytes());
    while said.is_ok() {
        said = stream.write_all(again.as_bytes());
    }
}

/// Closes without a farewell.
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

/// Each behaviour, and how the delivery then stands: its state, the status of the answer, and a part of what went wrong.
const RECEIVERS: [(&str, Behaviour, &str, Option<u16>, &str); 13] = [
    (
        "takes it",
        |s| say(s, "HTTP/1.1 204 No Content\r\n\r\n"),
        "delivered",
        Some(204),
        "",
    ),
    (
        "fails",
        |s| say(s, "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"),
        "pending",
        Some(500),
        "answered 500",
    ),
    (
        "asks for an hour",
        |s| {
            say(
                s,
                "HTTP/1.1 429 Later\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n",
            )
        },
        "pending",
        Some(429),
        "answered 429",
    ),
    (
        "sends us elsewhere",
        |s| {
            say(
                s,
                "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
            )
        },
        "pending",
        Some(301),
        "answered 301",
    ),
    (
        "is gone for good",
        |s| say(s, "HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n"),
        "dead",
        Some(410),
        "410",
    ),
    ("resets", reset, "pending", None, "cannot be reached"),
    ("hangs up", drop, "pending", None, "cannot be reached"),
    (
        "hangs up within its head",
        |s| say(s, "HTTP/1.1 200 OK\r\ncontent-le"),
        "pending",
        None,
        "cannot be reached",
    ),
    (
        "speaks something else",
        |s| say(s, "220 mail.example ESMTP\r\n"),
        "pending",
        None,
        "cannot be reached",
    ),
    (
        "never ends its head",
        |s| say_for_ever(s, "HTTP/1.1 200 OK\r\n", "x-more: of it\r\n"),
        "pending",
        None,
        "cannot be reached",
    ),
    // The head has said that it took the alert: what follows does not matter, and is not read.
    (
        "hangs up within its body",
        |s| say(s, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"),
        "delivered",
        Some(200),
        "",
    ),
    (
        "never ends its body",
        |s| {
            say_for_ever(
                s,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                "4\r\nmore\r\n",
            )
        },
        "delivered",
        Some(200),
        "",
    ),
    (
        "takes it bit by bit",
        |s| {
            for byte in "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".split_inclusive("") {
                say(s.try_clone().expect("a second handle"), byte);
                thread::yield_now();
            }
        },
        "delivered",
        Some(200),
        "",
    ),
];

/// Reads one alert; gives its id.
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

/// Behaves to each new alert as the next of [`RECEIVERS`], and to a known one as before. Gives its address.
fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!(
        "http://user:hunter2@{}/hook-path-secret",
        listener.local_addr().expect("bound")
    );
    let known = Arc::new(Mutex::new(Vec::new()));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let known = Arc::clone(&known);
            thread::spawn(move || {
                let Some(id) = read_alert(&stream) else {
                    return;
                };
                let mut known = known.lock().expect("no thread panics with it");
                let at = known
                    .iter()
                    .position(|seen| *seen == id)
                    .unwrap_or_else(|| {
                        known.push(id);
                        known.len() - 1
                    });
                drop(known);
                RECEIVERS[at].1(stream);
            });
        }
    });
    address
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The delivery of an alert once it was tried.
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
    panic!("the alert {id} is not tried");
}

#[test]
fn whatever_a_receiver_does_its_delivery_says_so_and_the_others_go_on() {
    let program = Program::start_on(Rc::new(folder()), &receiver(), &[]);
    for (what, _, state, status, error) in RECEIVERS {
        let alert = json(&program.post("/alerts/test", "").body);
        let delivery = tried(&program, alert["id"].as_str().expect("an id"));
        assert_eq!(
            (&delivery["state"], &delivery["last_status"]),
            (&state.into(), &status.into()),
            "{what}: {delivery}"
        );
        let told = delivery["last_error"].as_str().unwrap_or_default();
        assert!(
            told.contains(error) && told.is_empty() == error.is_empty(),
            "{what}: {delivery}"
        );
        assert!(
            !told.contains("hunter2") && !told.contains("hook-path"),
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
    }
    let count = |state: &str| {
        let listed = json(&program.get(format!("/deliveries?state={state}")).body);
        listed["deliveries"].as_array().expect("a list").len()
    };
    let expected = |state: &str| {
        RECEIVERS
            .iter()
            .filter(|receiver| receiver.2 == state)
            .count()
    };
    for state in ["delivered", "pending", "dead"] {
        assert_eq!(count(state), expected(state), "{state}");
    }
    assert_eq!(
        json(&program.get("/health").body)["parts"]["deliveries"]["dead"],
        1
    );
    program.finish("");
}

#[test]
fn a_program_killed_between_a_page_and_its_answer_pages_again_with_the_same_id() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/", listener.local_addr().expect("bound"));
    let folder = Rc::new(folder());
    let program = Program::start_on(Rc::clone(&folder), &address, &[]);
    let id = json(&program.post("/alerts/test", "").body)["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let (thinking, _) = listener.accept().expect("a page");
    assert_eq!(read_alert(&thinking).as_ref(), Some(&id));
    // SIGKILL, while the receiver has the page and has not said so.
    drop(program);
    let (sender, pages) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            sender.send(read_alert(&stream)).expect("heard");
            say(stream, "HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
    let program = Program::start_on(folder, &address, &[]);
    assert_eq!(pages.recv().expect("a page"), Some(id.clone()));
    let delivery = tried(&program, &id);
    assert_eq!(
        (&delivery["state"], &delivery["attempts"]),
        (&"delivered".into(), &1.into()),
        "{delivery}"
    );
    drop(thinking);
    program.finish("");
}
