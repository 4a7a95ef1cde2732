//! The same rows in SQLite and in PostgreSQL give the same answers to everything that can be read. Without `TEST_DATABASE_URL` there is none.

use detection::Minute;
use fastrand::Rng;
use monitoring_service::{
    clock::Clock,
    store::{DatabaseAddress, copy_database},
};
use reqwest::Client;
use serde_json::Value;

use crate::harness::{
    Message, Setup, TestApp, address, broker, client, database, evaluate, folder, minute, post,
    receiver, sample, send, until,
};

/// Starts of both services, and the requests to generate for each: a clock that stands still looks like a task that hangs after a minute.
const ROUNDS: usize = 20;
const REQUESTS: usize = 100;

/// Minutes of the sample in each of the streams; it begins at 13:45.
const MINUTES: usize = 400;
const STREAMS: [&str; 3] = ["default", "acquirer-1", "other"];

/// Answers that depend on the process or on its engine, and not on the rows.
const OF_THE_PROCESS: [&str; 2] = ["/metrics", "/health"];

/// Pages for people.
const PAGES: [&str; 7] = [
    "/",
    "/page/streams/{name}",
    "/page/incidents/{id}",
    "/page/alerts/{id}",
    "/page/policies",
    "/page/deliveries",
    "/page/silences",
];

fn setup(webhook: Option<String>) -> Setup {
    let start: Minute = "2025-07-12T13:45:00Z".parse().expect("a minute");
    let minutes = i64::try_from(MINUTES).expect("small");
    Setup {
        clock: Clock::fixed(start.plus(minutes).start().as_millisecond() + 5_000),
        webhook,
        change: |config| {
            // Rows change only before the copy.
            config.stale_after = std::time::Duration::from_hours(24 * 365);
        },
    }
}

/// Fills the file: three streams, one with late and corrected minutes, submissions, a silence, incidents, deliveries, a dead letter.
async fn fill(folder: &std::path::Path) {
    let (broker, receiver) = (broker().await, receiver(200).await);
    let in_file = Setup {
        change: |config| {
            (setup(None).change)(config);
            config.database_url = None;
        },
        ..setup(Some(receiver.uri()))
    };
    let app = TestApp::start(&broker.bootstrap_servers(), folder, in_file).await;
    let silence = r#"{"status":"failed","until":"2025-07-13T20:00:00Z","reason":"a planned test"}"#;
    post(&format!("{}/silences", app.url), silence).await;
    let mut sent = 0;
    let mut send_all = |messages: Vec<Message>| {
        sent += messages.len() as u64;
        send(&broker, messages);
        sent
    };
    for stream in &STREAMS[..2] {
        let named = |message: Message| {
            let mut counts: Value =
                serde_json::from_slice(&message.payload.unwrap_or_default()).expect("JSON");
            counts["stream"] = (*stream).into();
            Message {
                key: (*stream).to_owned(),
                ..Message::new(counts.to_string())
            }
        };
        send_all(sample(MINUTES).into_iter().map(named).collect());
    }
    let odd = [
        Message::new("{oops"),
        Message::new(minute("2025-07-12T20:00:00Z", &[("denied", 77)])),
        Message::new(minute(
            "2025-07-12T20:01:00Z",
            &[("approved", 1), ("chargeback", 2)],
        )),
        Message::new(
            r#"{"timestamp":"2025-07-12T20:24:00Z","stream":"other","transactions":[{"status":"denied","count":6}]}"#,
        ),
    ];
    let sent = send_all(odd.into());
    app.until_consumed(sent).await;
    for status in ["failed", "denied"] {
        evaluate(&app.url, &format!(r#"{{"status":"{status}","count":900}}"#)).await;
    }
    let id = incidents(&app).await.remove(0);
    post(
        &format!("{}/incidents/{id}/feedback", app.url),
        r#"{"verdict":"real","note":"\"quoted\"\n<b>","by":"on call"}"#,
    )
    .await;
    until("the notifications are delivered", async || {
        let pending = app.get("/deliveries?state=pending").await;
        pending["deliveries"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    app.stop().await.expect("a clean stop");
}

async fn incidents(app: &TestApp) -> Vec<String> {
    ids(&app.get("/incidents?limit=100").await["incidents"])
}

fn ids(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list");
    let id = |entry: &Value| entry["id"].as_str().map(ToOwned::to_owned);
    list.iter().filter_map(id).collect()
}

/// What requests are made of.
struct Generator {
    rng: Rng,
    operations: Vec<(String, Vec<Value>)>,
    schemas: Value,
    /// Ids of alerts and incidents, and some of nothing.
    ids: Vec<String>,
}

impl Generator {
    fn new(document: &Value, ids: Vec<String>) -> Self {
        let paths = document["paths"].as_object().expect("operations");
        let readable = paths.iter().filter_map(|(path, operations)| {
            let parameters = operations.get("get")?["parameters"].as_array();
            Some((path.clone(), parameters.cloned().unwrap_or_default()))
        });
        let pages = PAGES.map(|page| (page.to_owned(), Vec::new()));
        let of_rows = |(path, _): &(String, _)| {
            !OF_THE_PROCESS
                .iter()
                .any(|of_process| path.starts_with(of_process))
        };
        Self {
            rng: Rng::with_seed(14),
            operations: readable.filter(of_rows).chain(pages).collect(),
            schemas: document["components"]["schemas"].clone(),
            ids,
        }
    }

    fn request(&mut self) -> String {
        let (path, parameters) = self.operations[self.rng.usize(..self.operations.len())].clone();
        let name = STREAMS[self.rng.usize(..STREAMS.len())];
        let id = self.ids[self.rng.usize(..self.ids.len())].clone();
        let path = path.replace("{name}", name).replace("{id}", &id);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for parameter in parameters {
            let of_path = parameter["in"] == "path";
            if !of_path && (parameter["required"] == true || self.rng.bool()) {
                let name = parameter["name"].as_str().expect("a name");
                query.append_pair(name, &self.value(name, &parameter["schema"]));
            }
        }
        format!("{path}?{}", query.finish())
    }

    /// A value of this parameter, now and then a wrong one.
    fn value(&mut self, name: &str, schema: &Value) -> String {
        let resolved = schema["$ref"].as_str().map_or(schema, |name| {
            let name = name.rsplit('/').next().unwrap_or(name);
            &self.schemas[name]
        });
        if let Some(allowed) = resolved["enum"].as_array() {
            let value = &allowed[self.rng.usize(..allowed.len())];
            return value.as_str().expect("a text").to_owned();
        }
        match (name, resolved["type"].as_str()) {
            ("stream", _) => {
                ["default", "acquirer-1", "other", "nobody"][self.rng.usize(..4)].into()
            }
            ("status", _) => {
                ["approved", "denied", "failed", "chargeback", "none"][self.rng.usize(..5)].into()
            }
            ("from" | "to" | "minute", _) => {
                let start: Minute = "2025-07-12T13:00:00Z".parse().expect("a minute");
                start.plus(self.rng.i64(..500)).to_string()
            }
            ("cursor", _) => format!("p{:x}", self.rng.u64(..2000)),
            ("step", _) => ["1m", "5m", "7m", "1h", "1d"][self.rng.usize(..5)].into(),
            (_, Some("integer")) => self.rng.i64(0..60).to_string(),
            (_, Some("number")) => format!("{:.2}", self.rng.f64() * 8.0),
            (_, Some("boolean")) => self.rng.bool().to_string(),
            other => panic!("no values of {other:?}"),
        }
    }
}

async fn answer(client: &Client, app: &TestApp, request: &str) -> (u16, String) {
    let asked = client.get(format!("{}{request}", app.url));
    let answer = asked.header("x-request-id", "1").send().await;
    let answer = answer.expect("an answer");
    let status = answer.status().as_u16();
    let body = answer.text().await.expect("a body");
    // The page names the address that it was read from.
    (status, body.replace(&app.url, ""))
}

#[tokio::test(flavor = "multi_thread")]
async fn both_engines_answer_alike() {
    let (in_file, in_server) = (folder(), folder());
    let Some(url) = address(in_server.path()) else {
        return;
    };
    fill(in_file.path()).await;
    let from = DatabaseAddress::File(database(in_file.path()));
    let to = DatabaseAddress::Postgres(url);
    tokio::task::spawn_blocking(move || copy_database(&from, &to, |_| ()))
        .await
        .expect("no panic")
        .expect("copied");
    let of_file = || Setup {
        change: |config| {
            (setup(None).change)(config);
            config.database_url = None;
        },
        ..setup(None)
    };
    let file = TestApp::start("none", in_file.path(), of_file()).await;
    let mut known = incidents(&file).await;
    known.extend(ids(&file.get("/alerts?limit=100").await["alerts"]));
    assert!(known.len() > 50, "{known:?}");
    known.push("0190a7b2-6c1e-7d3f-9a44-5b0e1c2d3f4a".to_owned());
    let mut generator = Generator::new(&file.get("/openapi.json").await, known);
    file.stop().await.expect("a clean stop");
    let client = client();
    let (mut answered, mut refused) = (0, 0);
    for _ in 0..ROUNDS {
        let file = TestApp::start("none", in_file.path(), of_file()).await;
        let server = TestApp::start("none", in_server.path(), setup(None)).await;
        for _ in 0..REQUESTS {
            let request = generator.request();
            let (expected, found) = tokio::join!(
                answer(&client, &file, &request),
                answer(&client, &server, &request)
            );
            assert_eq!(found, expected, "{request}");
            if expected.0 == 200 {
                answered += 1;
            } else {
                refused += 1;
            }
        }
        file.stop().await.expect("a clean stop");
        server.stop().await.expect("a clean stop");
    }
    assert!(answered > refused, "{answered} answered, {refused} refused");
}
