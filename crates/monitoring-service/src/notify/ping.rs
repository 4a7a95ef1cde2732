//! The dead man's switch: a ping of `HEARTBEAT_URL` each minute, while every task reports. If the process or host dies, or a
//! task hangs, the pings stop and the external service alerts.

use std::time::Duration;

use strum::IntoStaticStr;
use tokio_util::sync::CancellationToken;

use super::client::{WebhookClient, WebhookError};
use crate::{clock::Clock, liveness::TaskLiveness, metrics::ServiceMetrics};

/// Interval of the pings, and the wait before the first, so that a service in a crash loop does not look alive.
const PING_INTERVAL: Duration = Duration::from_mins(1);

/// The ping of one address.
pub(crate) struct Ping {
    /// The address.
    pub(crate) client: WebhookClient,
    /// The time.
    pub(crate) clock: Clock,
    /// The metrics.
    pub(crate) metrics: ServiceMetrics,
    /// The reports of the tasks.
    pub(crate) liveness: TaskLiveness,
}

/// The outcome of a ping.
#[derive(IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Outcome {
    Answered,
    Failed(WebhookError),
    /// A task hangs, so no ping is sent.
    Withheld {
        task: &'static str,
        unreported_seconds: i64,
    },
}

/// Pings each minute, until the stop.
pub(crate) async fn run(ping: Ping, stop: CancellationToken) -> anyhow::Result<()> {
    let mut failing = false;
    while tokio::time::timeout(PING_INTERVAL, stop.cancelled())
        .await
        .is_err()
    {
        tokio::select! {
            outcome = ping.send() => ping.note(&outcome, &mut failing),
            // A hung ping must not delay the stop; it is not counted.
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

impl Ping {
    /// One ping, unless a task hangs.
    async fn send(&self) -> Outcome {
        if let Some((task, unreported_ms)) = self.liveness.hung(self.clock.now_ms()) {
            return Outcome::Withheld {
                task: task.name(),
                unreported_seconds: unreported_ms / 1000,
            };
        }
        self.client
            .get()
            .await
            .map_or_else(Outcome::Failed, |_| Outcome::Answered)
    }

    /// Counts a ping, and logs the first that failed and the first that is answered again.
    fn note(&self, outcome: &Outcome, failing: &mut bool) {
        self.metrics
            .heartbeat_pings
            .with_label_values(&[<&str>::from(outcome)])
            .inc();
        let failed_before = std::mem::replace(failing, !matches!(outcome, Outcome::Answered));
        match outcome {
            Outcome::Answered if failed_before => tracing::info!("HEARTBEAT_URL answers again"),
            Outcome::Failed(error) if !failed_before => {
                tracing::warn!(%error, "HEARTBEAT_URL does not answer; retried each minute");
            }
            Outcome::Withheld {
                task,
                unreported_seconds,
            } if !failed_before => {
                tracing::error!(
                    task,
                    unreported_seconds,
                    "HEARTBEAT_URL not pinged: a task does not report"
                );
            }
            Outcome::Answered | Outcome::Failed(_) | Outcome::Withheld { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use common::{
        metrics::MetricsRegistry,
        testing::{self, assert_value},
    };
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

    use super::*;
    use crate::liveness::Task;

    const START_MS: i64 = 1_752_328_800_000;

    /// Calls this address; its tasks reported last at the start.
    fn pinging(address: &str) -> (Ping, MetricsRegistry) {
        let registry = MetricsRegistry::new();
        let url = format!(
            "{}/ping/hunter2",
            address.replace("://", "://user:hunter2@")
        );
        let ping = Ping {
            client: WebhookClient::new(url.parse().expect("an address")).expect("a client"),
            clock: Clock::fixed(START_MS),
            metrics: ServiceMetrics::new(&registry),
            liveness: TaskLiveness::new(START_MS),
        };
        (ping, registry)
    }

    async fn server(status: u16) -> MockServer {
        let server = MockServer::start().await;
        Mock::given(matchers::method("GET"))
            .respond_with(ResponseTemplate::new(status))
            .mount(&server)
            .await;
        server
    }

    fn calls(registry: &MetricsRegistry, outcome: &str) -> f64 {
        testing::value(
            registry,
            "monitoring_heartbeat_pings_total",
            &[("outcome", outcome)],
        )
    }

    #[tokio::test]
    async fn it_pings_while_every_task_reports() {
        let server = server(200).await;
        let (ping, registry) = pinging(&server.uri());
        let mut failing = false;
        for (now_ms, called) in [
            (START_MS, 1),
            (START_MS + 59_999, 2),
            (START_MS + 60_000, 2),
        ] {
            ping.clock.set_ms(now_ms);
            ping.note(&ping.send().await, &mut failing);
            assert_eq!(
                server.received_requests().await.expect("recorded").len(),
                called,
                "at {now_ms}"
            );
        }
        for task in [Task::Ingest, Task::Delivery] {
            ping.liveness.report(task, START_MS + 60_000);
        }
        ping.note(&ping.send().await, &mut failing);
        ping.liveness.report(Task::Scheduler, START_MS + 60_000);
        ping.note(&ping.send().await, &mut failing);
        let request = server
            .received_requests()
            .await
            .expect("recorded")
            .remove(2);
        assert_eq!(
            (request.method.as_str(), request.url.path()),
            ("GET", "/ping/hunter2")
        );
        assert_eq!(
            (calls(&registry, "answered"), calls(&registry, "withheld")),
            (3.0, 2.0)
        );
    }

    #[tokio::test]
    async fn a_failure_is_logged_once_without_the_address() {
        let (recorded, _guard) = testing::record_thread();
        let failing = server(500).await;
        let (mut ping, registry) = pinging(&failing.uri());
        let mut failing = false;
        for _ in 0..3 {
            ping.note(&ping.send().await, &mut failing);
        }
        let working = server(204).await;
        ping.client =
            WebhookClient::new(working.uri().parse().expect("an address")).expect("a client");
        for _ in 0..2 {
            ping.note(&ping.send().await, &mut failing);
        }
        let ours = |line: &serde_json::Value| line["target"] == "monitoring_service::notify::ping";
        let lines: Vec<_> = recorded.logs().into_iter().filter(ours).collect();
        let levels: Vec<_> = lines.iter().map(|line| &line["level"]).collect();
        assert_eq!(levels, ["WARN", "INFO"], "{lines:?}");
        assert_eq!(lines[0]["error"], "the receiver answered 500");
        assert_value(
            &registry,
            "monitoring_heartbeat_pings_total",
            &[("outcome", "failed")],
            3.0,
        );
        assert_value(
            &registry,
            "monitoring_heartbeat_pings_total",
            &[("outcome", "answered")],
            2.0,
        );
        let everything = format!(
            "{:?} {:?} {}",
            recorded.logs(),
            recorded.spans(),
            registry.render()
        );
        assert!(!everything.contains("hunter2"), "{everything}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_pings_each_minute_until_the_stop() {
        // Its tasks hang, so no real request is sent while time is paused.
        let (ping, registry) = pinging("http://127.0.0.1:9");
        ping.clock.set_ms(START_MS + 3_600_000);
        let stop = CancellationToken::new();
        let script = async {
            tokio::time::sleep(Duration::from_secs(59)).await;
            assert!(calls(&registry, "withheld") < 1.0);
            tokio::time::sleep(Duration::from_mins(5)).await;
            stop.cancel();
        };
        let (outcome, ()) = tokio::join!(run(ping, stop.clone()), script);
        outcome.expect("a good end");
        assert_value(
            &registry,
            "monitoring_heartbeat_pings_total",
            &[("outcome", "withheld")],
            5.0,
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_that_hangs_does_not_hold_up_the_stop() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let (ping, registry) = pinging(&format!("http://{}", silent.local_addr().expect("bound")));
        let stop = CancellationToken::new();
        let script = async {
            tokio::time::sleep(PING_INTERVAL + Duration::from_secs(1)).await;
            stop.cancel();
        };
        let (outcome, ()) = tokio::join!(run(ping, stop.clone()), script);
        outcome.expect("a good end");
        assert_value(
            &registry,
            "monitoring_heartbeat_pings_total",
            &[("outcome", "failed")],
            0.0,
        );
    }
}
