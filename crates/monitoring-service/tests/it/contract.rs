//! Calls every documented operation on a running service, and compares `docs/api.md`, `docs/openapi.json` and the examples with the
//! answers. `just contract` writes them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs,
    path::Path,
};

use detection::Minute;
use monitoring_service::clock::Clock;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    harness::{
        Message, Setup, TOPIC, TestApp, broker, client, folder, receiver, sample, send, until,
    },
    place,
};

/// Minutes of the sample file up to the second of its first incident.
const MINUTES: usize = 264;

/// Maximum entries of a list in the documents.
const MAX_ENTRIES: usize = 2;

/// The only metric in the documents.
const SHOWN_METRIC: &str = "monitoring_alerts_total";

/// One call of each operation, ordered so that each has data to answer with. `{name}` is an id from an earlier answer.
const CALLS: &[(&str, &str, Option<&str>)] = &[
    (
        "POST /alerts/evaluate",
        "/alerts/evaluate",
        Some(r#"{"status":"failed","count":100}"#),
    ),
    ("GET /alerts/status", "/alerts/status", None),
    (
        "GET /alerts",
        "/alerts?severity=CRITICAL&origin=stream&limit=2",
        None,
    ),
    ("GET /alerts/{id}", "/alerts/{alert}", None),
    (
        "GET /alerts/analyze",
        "/alerts/analyze?from=2025-07-12T17:00:00Z&to=2025-07-12T19:00:00Z&warning=3&critical=5",
        None,
    ),
    (
        "GET /explain",
        "/explain?minute=2025-07-12T18:08:00Z&status=denied",
        None,
    ),
    ("GET /incidents", "/incidents?limit=2", None),
    (
        "POST /incidents/{id}/acknowledge",
        "/incidents/{incident}/acknowledge",
        Some(r#"{"by":"on call"}"#),
    ),
    (
        "POST /incidents/{id}/resolve",
        "/incidents/{incident}/resolve",
        Some(r#"{"by":"on call"}"#),
    ),
    (
        "POST /incidents/{id}/feedback",
        "/incidents/{incident}/feedback",
        Some(r#"{"verdict":"real","note":"the acquirer was down","by":"on call"}"#),
    ),
    ("GET /incidents/{id}", "/incidents/{incident}", None),
    ("GET /streams", "/streams", None),
    (
        "GET /transactions",
        "/transactions?status=denied&limit=2",
        None,
    ),
    (
        "GET /transactions/recent",
        "/transactions/recent?limit=1",
        None,
    ),
    (
        "GET /transactions/summary",
        "/transactions/summary?from=2025-07-12T14:00:00Z&to=2025-07-12T15:00:00Z",
        None,
    ),
    (
        "GET /transactions/status-distribution",
        "/transactions/status-distribution",
        None,
    ),
    (
        "GET /transactions/timeseries",
        "/transactions/timeseries?status=denied&from=2025-07-12T18:06:00Z",
        None,
    ),
    ("POST /alerts/test", "/alerts/test", None),
    (
        "POST /silences",
        "/silences",
        Some(
            r#"{"status":"denied","until":"2025-07-12T20:00:00Z","reason":"the acquirer tests its limits"}"#,
        ),
    ),
    ("GET /silences", "/silences", None),
    ("DELETE /silences/{id}", "/silences/{silence}", None),
    (
        "GET /deliveries",
        "/deliveries?state=delivered&limit=2",
        None,
    ),
    (
        "POST /deliveries/{id}/replay",
        "/deliveries/{delivery}/replay",
        None,
    ),
    ("GET /dead-letters", "/dead-letters", None),
    (
        "POST /dead-letters/{id}/replay",
        "/dead-letters/{dead_letter}/replay",
        None,
    ),
    (
        "POST /transactions",
        "/transactions",
        Some(
            r#"{"timestamp":"2025-07-12T18:09:00Z","transactions":[{"status":"approved","count":118},{"status":"denied","count":75}]}"#,
        ),
    ),
    ("GET /offset-gaps", "/offset-gaps", None),
    ("GET /health", "/health", None),
    ("GET /health/live", "/health/live", None),
    ("GET /health/ready", "/health/ready", None),
    ("GET /metrics", "/metrics", None),
    ("DELETE /streams/{id}", "/streams/{stream}", None),
];

/// An operation with its call and its answer.
struct Example {
    operation: &'static str,
    path: String,
    body: Option<&'static str>,
    status: u16,
    answer: Option<Value>,
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_match_the_service() {
    if place::server().is_some() {
        // The documents are those of a service on a file.
        return;
    }
    let (broker, folder, receiver) = (broker().await, folder(), receiver(200).await);
    let start: Minute = "2025-07-12T13:45:00Z".parse().expect("a minute");
    let minutes = i64::try_from(MINUTES).expect("small");
    let now_ms = start.plus(minutes).start().as_millisecond() + 5_000;
    let setup = || Setup {
        clock: Clock::fixed(now_ms),
        webhook: Some(receiver.uri()),
        ..Setup::default()
    };
    let mut messages = sample(MINUTES);
    for (number, message) in messages.iter_mut().enumerate() {
        message.traceparent = Some(format!(
            "00-{:032x}-{:016x}-01",
            0x4bf9_2f35_77b3_4da6_u64 + number as u64,
            number + 1
        ));
    }
    // A message that is refused now and read with the settings of later; then retention deletes unread records.
    let strict = Setup {
        change: |config| config.input.strict_messages = true,
        ..setup()
    };
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), strict).await;
    let odd = r#"{"timestamp":"2025-07-12T15:24:00Z","stream":"acquirer-7","unit":"tx","transactions":[{"status":"denied","count":6}]}"#;
    let odd = Message {
        key: "acquirer-7".into(),
        ..Message::new(odd)
    };
    send(&broker, messages.drain(..100).chain([odd]));
    app.until_consumed(101).await;
    app.stop().await.expect("a clean stop");
    send(&broker, (0..3).map(|_| Message::new("{oops")));
    broker.delete_records(TOPIC, 0, 103).expect("deleted");
    let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup()).await;
    send(&broker, messages);
    app.until_consumed(u64::try_from(minutes).expect("small") - 100 + 1)
        .await;
    until("the notifications are delivered", async || {
        no_delivery_is_pending(&app).await
    })
    .await;
    until("the topic is consumed", async || {
        app.get("/health").await["parts"]["kafka"]["caught_up"] == true
    })
    .await;

    let examples = examples(&app).await;
    let document = app.get("/openapi.json").await;
    app.stop().await.expect("a clean stop");

    let answers: BTreeMap<_, _> = examples
        .iter()
        .filter_map(|example| Some((example.operation, example.answer.as_ref()?)))
        .collect();
    let stale: Vec<_> = [
        keep(
            "crates/monitoring-service/src/routes/examples.json",
            &pretty(&answers),
        ),
        keep("docs/openapi.json", &pretty(&document)),
        keep("docs/api.md", &page(&document, &examples)),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(
        stale.is_empty(),
        "these differ from the answers of the service; run `just contract`: {stale:?}"
    );
}

async fn no_delivery_is_pending(app: &TestApp) -> bool {
    app.get("/deliveries?state=pending").await["deliveries"]
        .as_array()
        .is_some_and(Vec::is_empty)
}

async fn examples(app: &TestApp) -> Vec<Example> {
    let mut ids: HashMap<&str, String> = HashMap::new();
    let mut names = Names::default();
    let mut examples = Vec::new();
    for (operation, path, body) in CALLS {
        let path = ids.iter().fold((*path).to_owned(), |path, (name, id)| {
            path.replace(&format!("{{{name}}}"), id)
        });
        let (status, text) = call(app, operation, &path, *body).await;
        let answer: Option<Value> = match serde_json::from_str(&text) {
            Ok(answer) => Some(answer),
            Err(_) if text.is_empty() => None,
            Err(_) => {
                let shown = text
                    .lines()
                    .filter(|line| line.contains(SHOWN_METRIC) && !line.ends_with(" 0"));
                Some(
                    shown
                        .fold(String::new(), |text, line| text + line + "\n")
                        .into(),
                )
            }
        };
        if let Some(answer) = &answer {
            for (name, pointer) in [
                ("alert", "/alerts/0/id"),
                ("silence", "/silences/0/id"),
                ("delivery", "/deliveries/0/id"),
                ("dead_letter", "/dead_letters/1/id"),
                ("incident", "/incidents/0/id"),
                ("stream", "/streams/0/id"),
            ] {
                if let Some(id) = answer.pointer(pointer) {
                    ids.insert(
                        name,
                        id.as_str()
                            .map_or_else(|| id.to_string(), ToOwned::to_owned),
                    );
                }
            }
        }
        let answer = answer.map(|answer| names.stable(answer));
        let path = names.stable_text(&path);
        examples.push(Example {
            operation,
            path,
            body: *body,
            status,
            answer,
        });
        if operation.starts_with("POST ") {
            until("the notification is delivered", async || {
                no_delivery_is_pending(app).await
            })
            .await;
        }
    }
    examples
}

async fn call(app: &TestApp, operation: &str, path: &str, body: Option<&str>) -> (u16, String) {
    let (method, _) = operation.split_once(' ').expect("a method");
    let mut request = client().request(
        method.parse().expect("a method"),
        format!("{}{path}", app.url),
    );
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_owned());
    }
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

/// Replaces random ids by stable ones and shortens lists.
#[derive(Default)]
struct Names(Vec<Uuid>);

impl Names {
    fn stable(&mut self, value: Value) -> Value {
        match value {
            Value::Array(mut entries) => {
                entries.truncate(MAX_ENTRIES);
                entries
                    .into_iter()
                    .map(|entry| self.stable(entry))
                    .collect()
            }
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| (name, self.stable(value)))
                .collect::<Map<_, _>>()
                .into(),
            Value::String(text) => self.stable_text(&text).into(),
            other => other,
        }
    }

    fn stable_text(&mut self, text: &str) -> String {
        let id = text.trim_start_matches("/silences/");
        match id.parse::<Uuid>() {
            Ok(random) if random.get_version_num() == 4 => {
                let known = self
                    .0
                    .iter()
                    .position(|known| *known == random)
                    .unwrap_or_else(|| {
                        self.0.push(random);
                        self.0.len() - 1
                    });
                text.replace(
                    id,
                    &Uuid::new_v5(&Uuid::NAMESPACE_OID, &known.to_be_bytes()).to_string(),
                )
            }
            _ => text.to_owned(),
        }
    }
}

/// Writes a document for `just contract`. Returns its name if the committed one differs.
fn keep<'a>(name: &'a str, text: &str) -> Option<&'a str> {
    let written = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("contract")
        .join(name);
    fs::create_dir_all(written.parent().expect("a folder")).expect("a folder");
    fs::write(written, text).expect("written");
    let kept = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(name),
    )
    .unwrap_or_default();
    (kept != text).then_some(name)
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("JSON") + "\n"
}

/// `docs/api.md`.
fn page(document: &Value, examples: &[Example]) -> String {
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("operations").iter();
        item.map(move |(method, operation)| {
            (format!("{} {path}", method.to_uppercase()), operation)
        })
    });
    let operations: BTreeMap<String, &Value> = operations.collect();
    let called: Vec<_> = examples.iter().map(|example| example.operation).collect();
    let uncalled: Vec<_> = operations
        .keys()
        .filter(|name| !called.contains(&name.as_str()))
        .collect();
    assert!(uncalled.is_empty(), "add a call to CALLS: {uncalled:?}");

    let mut page = String::from(PREFACE);
    for example in examples {
        let summary = operations[example.operation]["summary"]
            .as_str()
            .expect("a summary");
        let _ = writeln!(
            page,
            "| [`{}`](#{}) | {summary} |",
            example.operation,
            anchor(example.operation)
        );
    }
    for example in examples {
        section(&mut page, document, operations[example.operation], example);
    }
    page
}

const PREFACE: &str = "# The HTTP API

A test writes this page from the answers of a running service (`just contract`); lists are cut after two entries. The whole contract, with
every limit and every problem, is [openapi.json](openapi.json), which the service serves at `/openapi.json` and, to try out, at `/docs`.

Times are UTC and ranges are [from, to). With `API_TOKEN` set, every route but `/health/live` and `/health/ready` requires
`Authorization: Bearer TOKEN`. A parameter or a member of a body that a route does not know is refused. An error is
`application/problem+json` with the field, the value and the fix.

| route | |
|---|---|
";

/// The anchor that GitHub derives from a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .collect::<String>();
    kept.replace(' ', "-")
}

fn section(page: &mut String, document: &Value, operation: &Value, example: &Example) {
    let summary = operation["summary"].as_str().unwrap_or_default();
    let _ = write!(page, "\n## {}\n\n{summary}\n", example.operation);
    let parameters = operation["parameters"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    if !parameters.is_empty() {
        page.push_str("\n| parameter | | |\n|---|---|---|\n");
    }
    for parameter in parameters {
        let required = if parameter["required"] == true {
            ", required"
        } else {
            ""
        };
        let (name, about) = (
            parameter["name"].as_str().unwrap_or_default(),
            parameter["description"].as_str(),
        );
        let form = form(document, parameter);
        let _ = writeln!(
            page,
            "| `{name}` | {form}{required} | {} |",
            about.unwrap_or_default()
        );
    }
    let (method, _) = example.operation.split_once(' ').expect("a method");
    let method = if method == "GET" {
        String::new()
    } else {
        format!(" -X {method}")
    };
    let _ = write!(
        page,
        "\n```sh\ncurl{method} 'http://127.0.0.1:8000{}'",
        example.path
    );
    if let Some(body) = example.body {
        let _ = write!(
            page,
            " \\\n  -H 'Content-Type: application/json' -d '{body}'"
        );
    }
    let _ = write!(page, "\n```\n\n`{}`\n", example.status);
    match &example.answer {
        Some(Value::String(text)) => drop(write!(page, "\n```\n{text}...\n```\n")),
        Some(answer) => drop(write!(page, "\n```json\n{}```\n", pretty(answer))),
        None => {}
    }
}

/// The schema of a parameter in a few words.
fn form(document: &Value, parameter: &Value) -> String {
    let schema = &parameter["schema"];
    let pointer = schema["$ref"]
        .as_str()
        .map(|name| name.trim_start_matches('#'));
    let schema = pointer
        .and_then(|pointer| document.pointer(pointer))
        .unwrap_or(schema);
    let names = |values: &Value| {
        let values = values
            .as_array()?
            .iter()
            .filter_map(Value::as_str)
            .map(|name| format!("`{name}`"));
        Some(values.collect::<Vec<_>>().join(", "))
    };
    let range = || {
        Some(format!(
            "{} to {}",
            schema["minimum"].as_u64()?,
            schema["maximum"].as_u64()?
        ))
    };
    let example = || {
        let own = parameter["example"].as_str();
        let example = own.or_else(|| schema["examples"][0].as_str())?;
        Some(format!("such as `{example}`"))
    };
    let form = names(&schema["enum"]).or_else(range).or_else(example);
    let form = form.unwrap_or_else(|| schema["type"].as_str().unwrap_or("text").to_owned());
    match &schema["default"] {
        Value::Null => form,
        Value::String(default) => format!("{form}; `{default}` if not given"),
        default => format!("{form}; {default} if not given"),
    }
}
