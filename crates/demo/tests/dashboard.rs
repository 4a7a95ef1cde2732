//! Checks the queries of the dashboard and of the Prometheus rules against a running demo: every metric and label of a query, every route and
//! column of a table, every link to the service, every label of a log query. It does not test what Grafana draws.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::Duration,
};

use clap::Parser as _;
use demo::cli::Cli;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Metrics that Prometheus itself adds.
const PROMETHEUS_METRICS: [&str; 2] = ["up", "ALERTS"];
/// Labels that Prometheus adds to scraped series, rules and histogram buckets.
const PROMETHEUS_LABELS: [&str; 5] = ["job", "instance", "le", "alertstate", "alertname"];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("grafana/dashboards/monitoring-overview.json")).expect("JSON")
}

/// Queries of panels and annotations for a data source, with their titles.
fn targets<'a>(dashboard: &'a Value, uid: &str) -> Vec<(&'a str, &'a Value)> {
    let panels = dashboard["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .filter(|panel| panel["type"] != "row");
    let of_panels = panels.flat_map(|panel| {
        let targets = panel["targets"]
            .as_array()
            .unwrap_or_else(|| panic!("panel {} has no queries", panel["title"]));
        targets
            .iter()
            .map(|target| (panel["title"].as_str().expect("a title"), target))
    });
    let annotations = dashboard["annotations"]["list"]
        .as_array()
        .expect("annotations");
    let of_annotations = annotations
        .iter()
        .map(|it| (it["name"].as_str().expect("a name"), it));
    of_panels
        .chain(of_annotations)
        .filter(|(_, target)| target["datasource"]["uid"] == uid)
        .collect()
}

/// The words of a query outside quotes, each with the character after it: `(` after a function.
fn words(query: &str) -> Vec<(String, Option<char>)> {
    let unquoted: String = query.split('"').step_by(2).collect();
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '$');
    let mut found = Vec::new();
    let mut rest = unquoted.as_str();
    while let Some(start) = rest.find(is_part) {
        let word = &rest[start..];
        let (word, behind) = word.split_at(word.find(|c| !is_part(c)).unwrap_or(word.len()));
        found.push((word.to_owned(), behind.trim_start().chars().next()));
        rest = behind;
    }
    found
}

/// Metrics of a PromQL query, each with the labels of its matchers; labels of groupings are under "".
fn used(query: &str) -> BTreeMap<String, BTreeSet<String>> {
    let (mut used, mut rest): (BTreeMap<String, BTreeSet<String>>, String) =
        (BTreeMap::new(), query.to_owned());
    // Groupings first: their labels look like metrics.
    for keyword in [" by (", " on (", " ignoring (", " without ("] {
        while let Some(start) = rest.find(keyword) {
            let end = start + rest[start..].find(')').expect("a closed bracket");
            let labels = rest[start + keyword.len()..end]
                .split(',')
                .map(|label| label.trim().to_owned());
            used.entry(String::new()).or_default().extend(labels);
            rest.replace_range(start..=end, " ");
        }
    }
    let mut range = false;
    let mut outside = String::new();
    let (mut inside, mut last) = (None::<String>, String::new());
    for c in rest.chars() {
        match (c, inside.as_mut()) {
            ('{', None) => inside = Some(String::new()),
            ('}', Some(matchers)) => {
                let keys = matchers
                    .split(',')
                    .filter_map(|part| part.split(['=', '!']).next());
                let keys = keys
                    .map(|key| key.trim().to_owned())
                    .filter(|key| !key.is_empty());
                used.entry(last.clone()).or_default().extend(keys);
                inside = None;
                outside.push(' ');
            }
            (c, Some(matchers)) => matchers.push(c),
            ('[', None) => range = true,
            (']', None) => range = false,
            (_, None) if range => {}
            (c, None) => {
                outside.push(c);
                let word = outside
                    .rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .next();
                word.unwrap_or_default().clone_into(&mut last);
            }
        }
    }
    let keywords = ["or", "and", "unless", "bool", "offset"];
    for (word, next) in words(&outside) {
        let is_name = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if is_name && next != Some('(') && !keywords.contains(&word.as_str()) {
            used.entry(word).or_default();
        }
    }
    used
}

/// Metrics of the Prometheus text, with the labels of their series.
fn exposed(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut exposed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let labels = line
            .split_once('{')
            .map_or("", |(_, rest)| rest.split_once('}').expect("closed").0);
        let keys = labels
            .split("\",")
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, _)| key.to_owned());
        exposed.entry(name.to_owned()).or_default().extend(keys);
    }
    exposed
}

/// The reason why a query cannot return anything; `None` if it can.
fn refused(query: &str, exposed: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let used = used(query);
    let all: BTreeSet<_> = exposed
        .values()
        .flatten()
        .map(String::as_str)
        .chain(PROMETHEUS_LABELS)
        .collect();
    used.iter().find_map(|(name, labels)| {
        if name.is_empty() {
            return labels
                .iter()
                .find(|label| !all.contains(label.as_str()))
                .map(|label| format!("no label {label}"));
        }
        if PROMETHEUS_METRICS.contains(&name.as_str()) {
            return None;
        }
        let Some(known) = exposed.get(name) else {
            return Some(format!("no metric {name}"));
        };
        let strange = |label: &&String| {
            !known.contains(*label) && !PROMETHEUS_LABELS.contains(&label.as_str())
        };
        labels
            .iter()
            .find(strange)
            .map(|label| format!("{name} has no label {label}"))
    })
}

/// A demo that has replayed two hours and raised an alert for a burst of failures.
struct Running {
    url: String,
    stop: CancellationToken,
    demo: tokio::task::JoinHandle<anyhow::Result<Option<demo::Outcome>>>,
    _folder: tempfile::TempDir,
}

impl Running {
    #[expect(clippy::disallowed_methods, reason = "a task of this test alone")]
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, incidents) = (
            folder.path().join("minutes.csv"),
            folder.path().join("incidents.csv"),
        );
        let minutes = (0..120).map(|minute| {
            let time = format!("2025-07-12 {:02}:{:02}:00", 10 + minute / 60, minute % 60);
            let failed = if minute >= 110 { 9 } else { minute % 2 };
            format!(
                "{time},approved,{}\n{time},failed,{failed}\n{time},refunded,1\n",
                100 + minute % 7
            )
        });
        fs::write(
            &file,
            format!("timestamp,status,count\n{}", minutes.collect::<String>()),
        )
        .expect("written");
        fs::write(&incidents, "start,end,kind\n").expect("written");
        let flags = ["demo", "--speed", "max", "--file"]
            .map(Into::into)
            .into_iter();
        // A receiver that refuses every connection has the metrics of a receiver.
        let receiver = ["--webhook-url", "http://127.0.0.1:9/"].map(Into::into);
        let files = [file, "--incidents".into(), incidents];
        let cli = Cli::parse_from(flags.chain(files).chain(receiver));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let stop = CancellationToken::new();
        let token = stop.clone();
        let demo = tokio::spawn(async move { demo::run(&cli, listener, token).await });
        let running = Self {
            url,
            stop,
            demo,
            _folder: folder,
        };
        let found = async {
            // Connections are refused until the service listens.
            while running
                .try_json("/alerts")
                .await
                .is_none_or(|it| it["alerts"].as_array().is_none_or(Vec::is_empty))
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), found)
            .await
            .expect("an alert within a minute");
        running
    }

    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let client = reqwest::Client::builder().build().expect("a client");
        let answer = client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    async fn try_json(&self, path: &str) -> Option<Value> {
        let (status, text) = self.get(path).await?;
        (status == 200).then(|| serde_json::from_str(&text).expect("JSON"))
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.demo.await??;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_names_existing_metrics_and_fields() -> anyhow::Result<()> {
    common::install_tls_provider();
    let running = Running::start().await;
    let dashboard = dashboard();
    let (status, text) = running.get("/metrics").await.expect("an answer");
    assert_eq!(status, 200);
    let exposed = exposed(&text);
    let mut wrong = Vec::new();
    for (title, target) in targets(&dashboard, "prometheus") {
        let query = target["expr"].as_str().expect("an expression");
        wrong.extend(refused(query, &exposed).map(|why| format!("{title}: {why}: {query}")));
    }
    for variable in dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
    {
        let query = variable["definition"].as_str().unwrap_or_default();
        let parts = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.trim_end_matches(')').split_once(", "));
        let Some((metric, label)) = parts else {
            continue;
        };
        if exposed
            .get(metric)
            .is_none_or(|labels| !labels.contains(label))
        {
            wrong.push(format!("variable {}: {query}", variable["name"]));
        }
    }
    for query in rules(&read("prometheus-rules.yml")) {
        wrong.extend(refused(&query, &exposed).map(|why| format!("a rule: {why}: {query}")));
    }
    for (title, target) in targets(&dashboard, "monitoring-api") {
        let path = target["url"]
            .as_str()
            .expect("a path")
            .replace("${stream}", "default");
        let Some(answer) = running.try_json(&path).await else {
            wrong.push(format!("{title}: GET {path} does not answer 200"));
            continue;
        };
        let root = target["root_selector"].as_str().expect("a root");
        let rows = answer
            .pointer(&format!("/{}", root.replace('.', "/")))
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        if rows.is_empty() {
            wrong.push(format!("{title}: {path} has no rows"));
        }
        for column in target["columns"].as_array().expect("columns") {
            let pointer = format!(
                "/{}",
                column["selector"]
                    .as_str()
                    .expect("a selector")
                    .replace('.', "/")
            );
            if !rows.iter().any(|row| row.pointer(&pointer).is_some()) {
                wrong.push(format!("{title}: no row has {pointer}"));
            }
        }
    }
    wrong.extend(dead_links(&running, &dashboard).await);
    assert!(wrong.is_empty(), "{wrong:#?}");
    running.stop().await
}

/// The links to the service that are not answered 200, where a value of the first row stands for that of a click.
async fn dead_links(running: &Running, dashboard: &Value) -> Vec<String> {
    let each = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut links = each(&dashboard["links"]);
    for panel in each(&dashboard["panels"]) {
        for of_column in each(&panel["fieldConfig"]["overrides"]) {
            let properties = each(&of_column["properties"]).into_iter();
            let of_links = properties.filter(|property| property["id"] == "links");
            let mut found: Vec<_> = of_links.flat_map(|it| each(&it["value"])).collect();
            let value = first_value(running, &panel["targets"][0], &of_column).await;
            for link in &mut found {
                let url = link["url"].as_str().expect("a url");
                link["url"] = url.replace("${__value.raw}", &value).into();
            }
            links.extend(found);
        }
    }
    let mut dead = Vec::new();
    for link in links {
        let url = link["url"].as_str().expect("a url");
        let Some(path) = url.strip_prefix("${api_url}") else {
            continue;
        };
        let path = path
            .replace("${stream}", "default")
            .replace("${__from:date:iso}", "2025-07-12T10:00:03.004Z")
            .replace("${__to:date:iso}", "2025-07-12T12:00:03.004Z");
        let status = running.get(&path).await.map(|(status, _)| status);
        if path.contains('$') || status != Some(200) {
            dead.push(format!("{}: GET {path}: {status:?}", link["title"]));
        }
    }
    dead
}

/// The value of a column in the first row of a table; empty for a column without values.
async fn first_value(running: &Running, target: &Value, of_column: &Value) -> String {
    let columns = target["columns"].as_array().into_iter().flatten();
    let name = &of_column["matcher"]["options"];
    let Some(column) = columns.into_iter().find(|column| column["text"] == *name) else {
        return String::new();
    };
    let path = target["url"].as_str().expect("a path");
    let answer = running
        .try_json(&path.replace("${stream}", "default"))
        .await;
    let [root, selector] = [&target["root_selector"], &column["selector"]]
        .map(|it| it.as_str().expect("a selector").replace('.', "/"));
    let value = answer.and_then(|it| it.pointer(&format!("/{root}/0/{selector}")).cloned());
    value.map_or_else(String::new, |value| {
        value.as_str().unwrap_or_default().to_owned()
    })
}

/// The expressions of a rule file.
fn rules(text: &str) -> Vec<String> {
    let (mut found, mut lines) = (Vec::new(), text.lines().peekable());
    while let Some(line) = lines.next() {
        let Some(expression) = line.trim().strip_prefix("expr:") else {
            continue;
        };
        let mut expression = expression.trim().to_owned();
        if expression == "|" {
            let indent = line.len() - line.trim_start().len();
            expression.clear();
            while let Some(more) =
                lines.next_if(|more| more.len() - more.trim_start().len() > indent)
            {
                expression += more.trim();
                expression.push(' ');
            }
        }
        found.push(expression);
    }
    assert_eq!(found.len(), 8, "{found:#?}");
    found
}

#[test]
fn every_log_query_uses_labels_of_the_shipper() {
    let shipper = read("promtail-config.yml");
    let dashboard = dashboard();
    let queries = targets(&dashboard, "loki");
    assert!(queries.len() >= 5, "panels and annotations");
    for (title, target) in queries {
        let query = target["expr"].as_str().expect("an expression");
        let selector = query
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
            .expect("a selector")
            .0;
        for label in selector
            .split(',')
            .filter_map(|part| part.split(['=', '!']).next())
            .map(str::trim)
        {
            let given = [format!("target_label: {label}\n"), format!("  {label}:\n")];
            assert!(
                given.iter().any(|line| shipper.contains(line)),
                "{title}: the log shipper sets no label {label}"
            );
        }
    }
}

#[test]
fn every_query_names_a_provisioned_data_source() {
    let provisioned = read("grafana/provisioning/datasources/datasources.yml");
    let dashboard = dashboard();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let uid = target["datasource"]["uid"].as_str().expect("a uid");
            assert!(
                provisioned.contains(&format!("uid: {uid}\n")),
                "{}: {uid}",
                panel["title"]
            );
        }
    }
}

#[test]
fn a_query_is_parsed_into_metrics_and_labels() {
    let query = r#"histogram_quantile(0.99, sum by (le, route) (rate(a_bucket{x="1",y!~"z"}[5m]))) or vector(0)"#;
    let found = used(query);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["", "a_bucket"]);
    assert_eq!(
        found["a_bucket"],
        BTreeSet::from(["x".to_owned(), "y".to_owned()])
    );
    assert_eq!(
        found[""],
        BTreeSet::from(["le".to_owned(), "route".to_owned()])
    );
    let exposed = exposed("# HELP a b\na_bucket{x=\"1\",y=\"2\",le=\"1\",route=\"/\"} 3\n");
    assert_eq!(refused(query, &exposed), None);
    assert!(refused("sum(b_total)", &exposed).is_some_and(|why| why.contains("b_total")));
    assert!(refused("a_bucket{q=\"1\"}", &exposed).is_some_and(|why| why.contains("no label q")));
    assert!(
        refused("sum by (q) (a_bucket)", &exposed).is_some_and(|why| why.contains("no label q"))
    );
}
