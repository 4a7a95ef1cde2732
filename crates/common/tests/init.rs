//! `init` in a whole process: this test starts itself again as a program and checks its log and its
//! exports.

use std::process::Command;

use anyhow::Context as _;
use common::logging::LogFormat;
use common::{Settings, init};
use serde_json::Value;
use tracing_log::log;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// Address of the collector, for the program.
const COLLECTOR: &str = "COMMON_TEST_COLLECTOR";

#[tokio::test]
async fn a_program_logs_json_and_exports_spans() -> anyhow::Result<()> {
    if let Some(endpoint) = collector() {
        return program(&endpoint);
    }
    let sampled = run(
        200,
        &[
            ("OTEL_SERVICE_NAME", "name-from-environment"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=lesser-name,deployment.environment.name=attribute-from-environment",
            ),
        ],
    )
    .await?;
    let [from_tracing, from_log] = &sampled.records[..] else {
        panic!("not two records: {:?}", sampled.records)
    };
    assert_eq!(
        (&from_tracing["service"], &from_tracing["message"]),
        (&"program".into(), &"inside".into())
    );
    assert_eq!(
        (&from_log["target"], &from_log["message"]),
        (&"librdkafka".into(), &"broker down".into())
    );
    assert!(
        from_log
            .as_object()
            .into_iter()
            .flatten()
            .all(|(name, _)| !name.starts_with("log.")),
        "{from_log}"
    );
    let trace_id = from_tracing["trace_id"].as_str().context("no trace id")?;
    assert_eq!(from_log["trace_id"], trace_id);

    let [export] = &sampled.exports[..] else {
        panic!("not one export")
    };
    let holds = |bytes: &[u8]| export.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(&u128::from_str_radix(trace_id, 16)?.to_be_bytes()));
    assert!(holds(b"name-from-environment") && !holds(b"lesser-name"));
    assert!(holds(b"attribute-from-environment") && holds(b"1.2.3"));

    // Records have ids whether or not spans are exported.
    for (sampler, argument, exports) in [
        ("always_on", "", 1),
        ("always_off", "", 0),
        ("parentbased_always_off", "", 0),
        ("traceidratio", "0", 0),
        ("traceidratio", "1", 1),
        ("parentbased_traceidratio", "0.0", 0),
        // A compose file passes an unset variable like this.
        ("", "", 1),
    ] {
        let outcome = run(
            200,
            &[
                ("OTEL_TRACES_SAMPLER", sampler),
                ("OTEL_TRACES_SAMPLER_ARG", argument),
            ],
        )
        .await?;
        assert_eq!(outcome.exports.len(), exports, "{sampler} {argument}");
        let length = |name: &str| outcome.records[0][name].as_str().map(str::len);
        assert_eq!(
            (length("trace_id"), length("span_id")),
            (Some(32), Some(16)),
            "{sampler} {argument}"
        );
    }

    let refused = run(400, &[]).await?;
    let logged = refused
        .records
        .iter()
        .filter(|record| record["target"] == "common::trace")
        .count();
    assert_eq!((refused.exports.len(), logged), (1, 1));
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test passes the address to itself as a program"
)]
fn collector() -> Option<String> {
    std::env::var(COLLECTOR).ok()
}

/// The program. Its filter is `warn` and its span has level INFO: the log filter keeps the traces.
fn program(endpoint: &str) -> anyhow::Result<()> {
    let settings = || Settings {
        service_name: "program",
        service_version: "1.2.3",
        log_filter: "warn".to_owned(),
        log_format: LogFormat::Json,
        log_webhook: None,
        otlp_endpoint: Some(endpoint.to_owned()),
    };
    let telemetry = init(settings())?;
    assert!(init(settings()).is_err());
    tracing::info_span!("work").in_scope(|| {
        tracing::info!("filtered");
        tracing::warn!("inside");
        log::warn!(target: "librdkafka", "broker down");
    });
    telemetry.shutdown();
    Ok(())
}

struct Outcome {
    records: Vec<Value>,
    exports: Vec<Vec<u8>>,
}

/// Runs the program with a collector that answers `status`.
async fn run(status: u16, environment: &[(&str, &str)]) -> anyhow::Result<Outcome> {
    let server = MockServer::start().await;
    let traces = Mock::given(method("POST"))
        .and(path("/v1/traces"))
        .and(header("content-type", "application/x-protobuf"));
    traces
        .respond_with(ResponseTemplate::new(status))
        .mount(&server)
        .await;
    let output = Command::new(std::env::current_exe()?)
        .args([
            "--exact",
            "a_program_logs_json_and_exports_spans",
            "--nocapture",
            "--quiet",
        ])
        .env(COLLECTOR, server.uri() + "/")
        .envs(environment.iter().copied())
        .output()?;
    let stdout = String::from_utf8(output.stdout)?;
    assert!(
        output.status.success(),
        "{stdout}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = stdout.lines().filter(|line| line.starts_with('{'));
    let records = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
    let requests = server
        .received_requests()
        .await
        .context("the server does not record")?;
    let exports = requests.into_iter().map(|request| request.body).collect();
    Ok(Outcome { records, exports })
}
