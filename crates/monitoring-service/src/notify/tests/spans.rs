//! The span of each attempt.

use opentelemetry::trace::Status;

use super::*;

#[tokio::test]
async fn each_attempt_is_a_span_linked_to_its_alert() {
    let server = receiver([answer(503), answer(200)]).await;
    let bench = Bench::new(&server.uri());
    let (recorded, _guard) = testing::record_thread();
    bench.record(1).await;
    bench.pass().await;
    let span = recorded.span("webhook delivery");
    assert_eq!(span.span_kind, opentelemetry::trace::SpanKind::Client);
    let link = &span.links.links[0].span_context;
    assert_eq!(
        (link.trace_id().to_string(), link.span_id().to_string()),
        (TRACE.to_owned(), SPAN.to_owned())
    );
    assert_ne!(span.span_context.trace_id().to_string(), TRACE);
    let attribute = |name| {
        span.attributes
            .iter()
            .find(|pair| pair.key.as_str() == name)
            .map(|pair| pair.value.to_string())
    };
    assert_eq!(attribute("http.request.method").as_deref(), Some("POST"));
    assert_eq!(
        attribute("http.response.status_code").as_deref(),
        Some("503")
    );
    assert_eq!(attribute("server.address").as_deref(), Some("127.0.0.1"));
    assert_eq!(
        attribute("server.port"),
        server.uri().rsplit(':').next().map(ToOwned::to_owned)
    );
    assert_eq!(attribute("error.type").as_deref(), Some("503"));
    assert_eq!(attribute("http.request.resend_count"), None);
    assert_eq!(
        attribute("monitoring.alert.id"),
        Some(Uuid::from_u128(1).to_string())
    );
    assert_eq!(span.status, Status::error("the receiver answered 503"));

    bench.clock.set_ms(
        bench
            .delivered(1)
            .await
            .next_attempt_at
            .map(|at| at.0)
            .expect("tried again"),
    );
    bench.pass().await;
    let again = recorded
        .spans()
        .into_iter()
        .rfind(|span| span.name == "webhook delivery")
        .expect("a second try");
    let resent = again
        .attributes
        .iter()
        .find(|pair| pair.key.as_str() == "http.request.resend_count");
    assert_eq!(
        resent.map(|pair| pair.value.to_string()).as_deref(),
        Some("1")
    );
}

#[tokio::test]
async fn an_alert_without_a_span_has_no_link() {
    let server = receiver([answer(200)]).await;
    let bench = Bench::new(&server.uri());
    let (recorded, _guard) = testing::record_thread();
    bench
        .store
        .record_alert(Alert {
            span_id: None,
            ..alert(1)
        })
        .await
        .expect("recorded");
    bench.pass().await;
    assert!(recorded.span("webhook delivery").links.links.is_empty());
}
