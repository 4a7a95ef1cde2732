use std::time::SystemTime;

use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use super::*;

async fn receiver(answer: ResponseTemplate) -> (MockServer, WebhookClient) {
    let server = MockServer::start().await;
    Mock::given(matchers::method("POST"))
        .respond_with(answer)
        .mount(&server)
        .await;
    let url = format!("http://user:hunter2@{}/secret-path", server.address())
        .parse()
        .expect("an address");
    (server, WebhookClient::new(url).expect("a client"))
}

async fn answer(answer: ResponseTemplate) -> Result<u16, WebhookError> {
    let (_server, client) = receiver(answer).await;
    client.post(Uuid::nil(), 0, b"{}".to_vec()).await
}

fn refused(status: u16, retry_after: Option<RetryAfter>) -> Result<u16, WebhookError> {
    Err(WebhookError::Refused {
        status,
        retry_after,
        words: String::new(),
    })
}

#[tokio::test]
async fn the_reference_library_accepts_both_signatures() {
    let (server, client) = receiver(ResponseTemplate::new(200)).await;
    let keys = [vec![7; 32], vec![9; 24]];
    let now_s = crate::clock::Clock::system().now_ms() / 1000;
    client
        .signing_with(&keys)
        .post(Uuid::from_u128(7), now_s, b"{\"a\":1}".to_vec())
        .await
        .expect("taken");
    let requests = server.received_requests().await.expect("recorded");
    for key in keys {
        let reference = standardwebhooks::Webhook::from_bytes(key).expect("a key");
        reference
            .verify(&requests[0].body, &requests[0].headers)
            .expect("verified");
    }
    let stranger = standardwebhooks::Webhook::from_bytes(vec![1; 32]).expect("a key");
    assert!(
        stranger
            .verify(&requests[0].body, &requests[0].headers)
            .is_err()
    );
}

#[tokio::test]
async fn every_answer_has_its_class() {
    for status in [200, 201, 204, 299] {
        assert_eq!(answer(ResponseTemplate::new(status)).await, Ok(status));
    }
    for status in [400, 401, 404, 408, 409, 429, 500, 503] {
        assert_eq!(
            answer(ResponseTemplate::new(status)).await,
            refused(status, None)
        );
    }
    assert_eq!(
        answer(ResponseTemplate::new(410)).await,
        Err(WebhookError::Gone)
    );
}

#[tokio::test]
async fn a_redirect_is_refused_and_not_followed() {
    let (server, client) =
        receiver(ResponseTemplate::new(301).insert_header("location", "/elsewhere")).await;
    let refusal = client
        .post(Uuid::nil(), 0, Vec::new())
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        refusal.starts_with("the receiver answered 301: a redirect to http://127.0.0.1:")
            && !refusal.contains("elsewhere"),
        "{refusal}"
    );
    assert_eq!(server.received_requests().await.expect("recorded").len(), 1);
}

#[tokio::test]
async fn an_answer_that_repeats_a_secret_hides_it() {
    let repeats = "no hook at secret-path for Bearer hunter22, key routing-key";
    let (server, _) = receiver(ResponseTemplate::new(400).set_body_string(repeats)).await;
    let url = format!("{}/secret-path", server.uri());
    let headers = [("authorization".to_owned(), "Bearer hunter22".to_owned())];
    let client = WebhookClient::with(
        url.parse().expect("an address"),
        TIMEOUT,
        None,
        super::headers(&headers).expect("valid"),
    );
    let client = client.expect("a client").hiding("routing-key");
    let refusal = client.post(Uuid::nil(), 0, Vec::new()).await;
    assert_eq!(
        refusal.expect_err("refused").to_string(),
        "the receiver answered 400: no hook at *** for ***, key ***"
    );
}

#[tokio::test]
async fn a_request_names_sender_alert_and_type() {
    let (server, client) = receiver(ResponseTemplate::new(200)).await;
    client
        .post(Uuid::from_u128(7), 1_752_332_400, b"{\"a\":1}".to_vec())
        .await
        .expect("taken");
    let requests = server.received_requests().await.expect("recorded");
    let header = |name| {
        requests[0]
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(
        header("webhook-id"),
        Some("00000000-0000-0000-0000-000000000007")
    );
    assert_eq!(
        header("user-agent"),
        Some(concat!("transaction-monitor/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(requests[0].body, b"{\"a\":1}");
}

#[tokio::test]
async fn retry_after_is_read_as_seconds_and_as_a_date() {
    let limited = |value: &str| ResponseTemplate::new(429).insert_header("retry-after", value);
    let seconds = RetryAfter::Delay(Duration::from_mins(2));
    assert_eq!(answer(limited("120")).await, refused(429, Some(seconds)));
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    assert_eq!(
        answer(limited("Sun, 06 Nov 1994 08:49:37 GMT")).await,
        refused(429, Some(RetryAfter::At(date)))
    );
    assert_eq!(answer(limited("soon")).await, refused(429, None));
}

#[tokio::test]
async fn an_unreachable_receiver_has_a_cause_and_no_address() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!(
        "http://user:hunter2@{}/secret-path",
        closed.local_addr().expect("bound")
    );
    drop(closed);
    let client = WebhookClient::new(url.parse().expect("an address")).expect("a client");
    let error = client
        .post(Uuid::nil(), 0, Vec::new())
        .await
        .expect_err("nobody listens")
        .to_string();
    assert!(error.contains("refused"), "{error}");
    assert!(
        !error.contains("hunter2") && !error.contains("secret-path"),
        "{error}"
    );
    assert_eq!(client.host(), "127.0.0.1");
}

#[tokio::test]
async fn a_hung_receiver_times_out() {
    // Accepts connections (the backlog does) and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("bound"))
        .parse()
        .expect("an address");
    let client = WebhookClient::with(url, Duration::from_millis(20), None, HeaderMap::new())
        .expect("a client");
    let outcome = client.post(Uuid::nil(), 0, Vec::new()).await;
    assert!(
        matches!(&outcome, Err(WebhookError::NoAnswer { .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_proxy_gets_the_request_with_the_headers_of_the_settings() {
    let (server, _) = receiver(ResponseTemplate::new(204)).await;
    let pairs = [("X-Team", "payments"), ("Content-Type", "text/plain")];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let client = WebhookClient::with(
        "http://receiver.invalid/hook".parse().expect("an address"),
        TIMEOUT,
        Some(server.uri().parse().expect("an address")),
        headers(&pairs).expect("valid"),
    );
    let client = client.expect("a client");
    assert_eq!(client.post(Uuid::nil(), 0, Vec::new()).await, Ok(204));
    let requests = server.received_requests().await.expect("recorded");
    let header = |name: &str| requests[0].headers[name].to_str().expect("text");
    assert_eq!(
        [header("host"), header("x-team"), header("content-type")],
        ["receiver.invalid", "payments", "text/plain"]
    );
}
