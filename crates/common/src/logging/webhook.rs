//! Sends severe log records to a URL, through a bounded queue and a thread.
//!
//! The caller of a log macro never waits: if the queue is full, the record is dropped and counted,
//! and the next queued record says how many were dropped. It does not retry or store: alerts,
//! which must arrive, have an outbox. Records about the sending itself are never sent, so no loop
//! can arise.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Url;
use reqwest::blocking::{Client, Response};
use reqwest::header::CONTENT_TYPE;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::record::{self, Record, Recorder};

/// Records that can wait for a slow receiver.
const MAX_QUEUED: usize = 256;

/// Time limit for one record.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Prefixes of the targets that log while a record is sent: this file, the HTTP client and its libraries.
const SENDER_TARGETS: [&str; 6] = [module_path!(), "hyper", "reqwest", "rustls", "h2", "mio"];

/// A receiver of log records, one POST of one JSON object each.
#[derive(Clone)]
pub struct LogWebhook {
    /// The address; a secret, because it often holds a token.
    pub url: String,
    /// The lowest level that is sent.
    pub level: Level,
    /// Prefixes of targets that are never sent, such as those that log about this receiver.
    pub excluded_targets: &'static [&'static str],
}

impl fmt::Debug for LogWebhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWebhook")
            .field("level", &self.level)
            .field("excluded_targets", &self.excluded_targets)
            .finish_non_exhaustive()
    }
}

/// The layer that queues records, and the thread that sends them.
pub(crate) fn layer<S>(
    service: &'static str,
    webhook: &LogWebhook,
) -> anyhow::Result<(impl Layer<S> + use<S>, WebhookThread)>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let url = parse(&webhook.url)?;
    let (sender, records) = sync_channel(MAX_QUEUED);
    let queue = Arc::new(Queue {
        sender: Mutex::new(Some(sender)),
        dropped: AtomicU64::new(0),
    });
    let thread = spawn(url, records, Arc::clone(&queue))?;
    let layer = WebhookLayer {
        recorder: Recorder::new(service),
        excluded: webhook.excluded_targets,
        queue: Arc::clone(&queue),
    };
    Ok((
        layer.with_filter(LevelFilter::from_level(webhook.level)),
        WebhookThread { queue, thread },
    ))
}

/// The error does not repeat the URL, which is a secret.
fn parse(url: &str) -> anyhow::Result<Url> {
    let url = Url::parse(url).context(
        "the URL of the log webhook is not valid; give the whole address, such as \"https://example.org/logs\"",
    )?;
    anyhow::ensure!(
        matches!(url.scheme(), "http" | "https"),
        "the URL of the log webhook begins with {}; use http or https",
        url.scheme()
    );
    Ok(url)
}

struct WebhookLayer {
    recorder: Recorder,
    excluded: &'static [&'static str],
    queue: Arc<Queue>,
}

impl<S: Subscriber> Layer<S> for WebhookLayer {
    fn on_register_dispatch(&self, dispatch: &tracing::Dispatch) {
        self.recorder.register(dispatch);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = record::target(event);
        if !SENDER_TARGETS
            .iter()
            .chain(self.excluded)
            .any(|excluded| target.starts_with(excluded))
        {
            self.queue.push(self.recorder.record(event));
        }
    }
}

/// The queue between the layer and the thread; closed once the sender is taken.
struct Queue {
    sender: Mutex<Option<SyncSender<Vec<u8>>>>,
    /// Records dropped or not accepted since the last queued one.
    dropped: AtomicU64,
}

impl Queue {
    fn push(&self, mut record: Record<'_>) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            record.set("dropped_records", dropped);
        }
        let queued = self
            .sender()
            .as_ref()
            .is_some_and(|sender| sender.try_send(record.to_json()).is_ok());
        if !queued {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }

    fn sender(&self) -> MutexGuard<'_, Option<SyncSender<Vec<u8>>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that sends.
pub(crate) struct WebhookThread {
    queue: Arc<Queue>,
    thread: JoinHandle<()>,
}

impl WebhookThread {
    /// Accepts no more records. The thread ends when the queue is empty, or at the first failure.
    pub(crate) fn close(self) -> JoinHandle<()> {
        self.queue.sender().take();
        self.thread
    }
}

impl fmt::Debug for WebhookThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookThread").finish_non_exhaustive()
    }
}

fn spawn(
    url: Url,
    records: Receiver<Vec<u8>>,
    queue: Arc<Queue>,
) -> anyhow::Result<JoinHandle<()>> {
    let (built, outcome) = sync_channel(1);
    let run = move || match client() {
        Ok(client) => {
            let _ = built.send(Ok(()));
            send_all(&client, &url, &records, &queue);
        }
        Err(error) => drop(built.send(Err(error))),
    };
    // The blocking client owns a runtime, which must not be created or dropped on a thread of
    // another runtime.
    let thread = thread::Builder::new()
        .name("log-webhook".to_owned())
        .spawn(run)
        .context("cannot start the thread of the log webhook")?;
    outcome
        .recv()
        .context("the thread of the log webhook died")??;
    Ok(thread)
}

fn client() -> anyhow::Result<Client> {
    let builder = Client::builder()
        .timeout(SEND_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    builder
        .build()
        .context("cannot build the HTTP client of the log webhook")
}

/// Sends until the queue is closed and empty. A failing receiver is logged once, and once more when
/// it accepts records again.
fn send_all(client: &Client, url: &Url, records: &Receiver<Vec<u8>>, queue: &Queue) {
    let mut failing = false;
    for record in records {
        let outcome = send(client, url, record);
        match &outcome {
            Ok(()) if failing => tracing::info!("log webhook accepts records again"),
            Ok(()) => {}
            Err(error) => {
                queue.dropped.fetch_add(1, Ordering::Relaxed);
                if !failing {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "log webhook failed; records are dropped"
                    );
                }
                if queue.sender().is_none() {
                    return;
                }
            }
        }
        failing = outcome.is_err();
    }
}

fn send(client: &Client, url: &Url, record: Vec<u8>) -> anyhow::Result<()> {
    let request = client
        .post(url.clone())
        .header(CONTENT_TYPE, "application/json")
        .body(record);
    // Its message would show the URL.
    request
        .send()
        .and_then(Response::error_for_status)
        .map_err(reqwest::Error::without_url)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use serde_json::Value;
    use tracing::subscriber::DefaultGuard;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt as _;
    use wiremock::matchers::{header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    /// Another target, since that of this file is never sent.
    const APP: &str = "app";

    /// Forwards what this thread logs at WARN or above.
    fn forward_to(url: String) -> (WebhookThread, DefaultGuard) {
        crate::install_tls_provider();
        let webhook = LogWebhook {
            url,
            level: Level::WARN,
            excluded_targets: &["notifier"],
        };
        let (layer, thread) = layer::<Registry>("test", &webhook).unwrap();
        (
            thread,
            tracing::subscriber::set_default(Registry::default().with(layer)),
        )
    }

    /// A layer whose queue the test reads.
    fn queue_of(places: usize) -> (Receiver<Vec<u8>>, DefaultGuard) {
        let (sender, records) = sync_channel(places);
        let queue = Arc::new(Queue {
            sender: Mutex::new(Some(sender)),
            dropped: AtomicU64::new(0),
        });
        let layer = WebhookLayer {
            recorder: Recorder::new("test"),
            excluded: &["notifier"],
            queue,
        };
        (
            records,
            tracing::subscriber::set_default(Registry::default().with(layer)),
        )
    }

    fn next(records: &Receiver<Vec<u8>>) -> Value {
        serde_json::from_slice(&records.try_recv().unwrap()).unwrap()
    }

    async fn receiver(status: u16) -> MockServer {
        let server = MockServer::start().await;
        let logs = Mock::given(method("POST"))
            .and(path("/logs"))
            .and(header("content-type", "application/json"));
        logs.respond_with(ResponseTemplate::new(status))
            .mount(&server)
            .await;
        server
    }

    async fn received(server: &MockServer) -> Vec<Value> {
        let requests = server.received_requests().await.unwrap();
        requests
            .iter()
            .map(|request| request.body_json().unwrap())
            .collect()
    }

    #[tokio::test]
    async fn records_at_or_above_the_level_arrive() {
        let server = receiver(204).await;
        let (thread, _guard) = forward_to(format!("{}/logs", server.uri()));
        tracing::error!(target: APP, code = 7, "worse");
        tracing::warn!(target: APP, "bad");
        tracing::info!(target: APP, "fine");
        let queue = Arc::clone(&thread.queue);
        thread.close().join().unwrap();
        let records = received(&server).await;
        assert_eq!(
            records
                .iter()
                .map(|record| &record["message"])
                .collect::<Vec<_>>(),
            ["worse", "bad"]
        );
        assert_eq!(
            (&records[0]["code"], &records[0]["service"]),
            (&7.into(), &"test".into())
        );
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_refused_record_counts_as_dropped() {
        let server = receiver(500).await;
        let (thread, _guard) = forward_to(format!("{}/logs", server.uri()));
        tracing::error!(target: APP, "refused");
        let queue = Arc::clone(&thread.queue);
        thread.close().join().unwrap();
        assert_eq!(received(&server).await.len(), 1);
        assert_eq!(queue.dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_hung_receiver_does_not_block_the_caller() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (thread, _guard) =
            forward_to(format!("http://{}/logs", listener.local_addr().unwrap()));
        // A queue that waits would take 5 seconds for each record after the first 257.
        for n in 0..2000 {
            tracing::error!(target: APP, n, "unheard");
        }
        let dropped = thread.queue.dropped.load(Ordering::Relaxed);
        assert!(dropped > 0);
        let closed = thread.close();
        // Resets the connection, which ends the only request in flight.
        drop(listener);
        closed.join().unwrap();
    }

    #[test]
    fn the_next_record_counts_the_dropped_ones() {
        let (records, _guard) = queue_of(2);
        for n in 0..5 {
            tracing::error!(target: APP, n, "many");
        }
        assert!(next(&records).get("dropped_records").is_none());
        tracing::error!(target: APP, "after");
        tracing::error!(target: APP, "dropped again");
        assert_eq!(next(&records)["n"], 1);
        assert_eq!(next(&records)["dropped_records"], 3);
        tracing::error!(target: APP, "at last");
        assert_eq!(next(&records)["dropped_records"], 1);
    }

    #[test]
    fn excluded_and_http_client_targets_are_skipped() {
        let (records, _guard) = queue_of(8);
        tracing::error!(target: "notifier::delivery", "excluded");
        tracing::error!(target: "hyper_util::client", "built in");
        tracing::error!(target: "reqwest::connect", "built in");
        tracing::error!(target: module_path!(), "this file");
        tracing::error!(target: "notify", "sent");
        assert_eq!(next(&records)["target"], "notify");
        assert!(records.try_recv().is_err());
    }

    #[test]
    fn no_error_repeats_the_url() {
        let error = parse("//example.org/secret").unwrap_err();
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        let error = parse("ftp://example.org/secret").unwrap_err();
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");

        crate::install_tls_provider();
        let unused = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let url = parse(&format!("http://{unused}/secret")).unwrap();
        let error = send(&client().unwrap(), &url, Vec::new()).unwrap_err();
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
    }

    #[test]
    fn debug_output_does_not_show_the_url() {
        let webhook = LogWebhook {
            url: "https://example.org/secret".into(),
            level: Level::WARN,
            excluded_targets: &[],
        };
        assert!(!format!("{webhook:?}").contains("secret"));
    }
}
