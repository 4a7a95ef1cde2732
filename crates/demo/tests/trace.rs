//! One trace covers both programs, from the producer's message to the alert. The delivery's trace links to it.

use std::{fmt::Write as _, path::PathBuf};

use clap::Parser as _;
use common::testing::{SpanData, attribute, record_process};
use demo::cli::Cli;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::CancellationToken;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

/// An hour of approvals, and a failure in its last minute.
fn csv() -> String {
    let mut rows = String::from("timestamp,status,count\n");
    for minute in 0..60 {
        writeln!(
            rows,
            "2025-07-12 10:{minute:02}:00,approved,{}",
            100 + minute % 7
        )
        .expect("to memory");
    }
    rows + "2025-07-12 10:59:00,failed,9\n"
}

/// The span and its ancestors, nearest first.
fn ancestry<'a>(spans: &'a [SpanData], span: &'a SpanData) -> Vec<&'a SpanData> {
    let parent = |span: &&SpanData| {
        let id = span.parent_span_id;
        spans
            .iter()
            .find(|other| other.span_context.span_id() == id)
    };
    std::iter::successors(Some(span), parent).collect()
}

#[test]
fn a_delivery_links_to_the_trace_of_its_message() {
    let recorded = record_process();
    common::install_tls_provider();
    let folder = tempfile::tempdir().expect("a folder");
    let (file, incidents) = (
        folder.path().join("minutes.csv"),
        folder.path().join("incidents.csv"),
    );
    std::fs::write(&file, csv()).expect("written");
    let incident = "start,end,kind\n2025-07-12 10:59:00,2025-07-12 11:00:00,technical_failure\n";
    std::fs::write(&incidents, incident).expect("written");
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let receiver = MockServer::start().await;
        Mock::given(matchers::method("POST"))
            .respond_with(ResponseTemplate::new(204))
            .mount(&receiver)
            .await;
        let flags = [
            "demo",
            "--once",
            "--speed",
            "max",
            "--webhook-url",
            &receiver.uri(),
            "--file",
        ]
        .map(PathBuf::from);
        let cli = Cli::parse_from(
            flags
                .into_iter()
                .chain([file, "--incidents".into(), incidents]),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let outcome = demo::run(&cli, listener, CancellationToken::new())
            .await
            .expect("a good end");
        assert_eq!(
            outcome.expect("to the end").scorecards[0].1.alerts[0].0,
            1,
            "one notification"
        );
    });
    let spans = recorded.spans();
    let delivery = recorded.span("webhook delivery");
    let link = &delivery.links.links[0].span_context;
    let alert = spans
        .iter()
        .find(|span| span.span_context.span_id() == link.span_id())
        .expect("exported");
    assert_eq!(
        attribute(alert, "monitoring.alert.id"),
        attribute(&delivery, "monitoring.alert.id")
    );
    let ancestry = ancestry(&spans, alert);
    let names: Vec<_> = ancestry
        .iter()
        .map(|span| &*span.name)
        .filter(|name| *name != "judge")
        .collect();
    assert_eq!(
        names,
        ["alert", "process transactions", "send transactions"]
    );
    assert!(
        ancestry
            .iter()
            .all(|span| span.span_context.trace_id() == link.trace_id()),
        "one trace"
    );
    assert_ne!(
        delivery.span_context.trace_id(),
        link.trace_id(),
        "retries may continue for hours after the trace ended"
    );
}
