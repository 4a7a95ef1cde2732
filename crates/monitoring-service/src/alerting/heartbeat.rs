//! The dead man's switch: a call each minute to somebody outside, who raises the alarm when it stays away. It tells that
//! the service watches, not how things stand: whatever no alert could tell of (a machine that is gone, a process that
//! will not start) ends the calls.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    metrics::ServiceMetrics,
    state::TaskLiveness,
    webhook::{WebhookClient, WebhookError},
};

/// Between two calls, and before the first: a service that dies again and again within a minute must not look alive.
const PING_INTERVAL: Duration = Duration::from_mins(1);

/// What the calls are made with.
pub struct Heartbeat {
    /// Knows the address.
    pub client: WebhookClient,
    /// Tells the time.
    pub clock: Clock,
    /// Counts the calls.
    pub metrics: ServiceMetrics,
    /// The signs of life of the tasks.
    pub liveness: TaskLiveness,
}

/// How a call ended.
enum Call {
    Answered,
    Failed(WebhookError),
    /// A task hangs: it is not made.
    Withheld {
        task: &'static str,
        still_s: i64,
    },
}

impl Call {
    const fn name(&self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed(_) => "failed",
            Self::Withheld { .. } => "withheld",
        }
    }
}

/// Calls each minute, until the stop.
pub async fn run(heartbeat: Heartbeat, stop: CancellationToken) -> anyhow::Result<()> {
    let mut silent = false;
    while tokio::time::timeout(PING_INTERVAL, stop.cancelled())
        .await
        .is_err()
    {
        tokio::select! {
            call = heartbeat.call() => heartbeat.tell(&call, &mut silent),
            // A call that hangs must not hold up the stop; nobody is told of it.
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

impl Heartbeat {
    /// One call, unless a task hangs.
    async fn call(&self) -> Call {
        if let Some((task, still_ms)) = self.liveness.hung(self.clock.now_ms()) {
            return Call::Withheld {
                task: task.name(),
                still_s: still_ms / 1000,
            };
        }
        self.client
            .get()
            .await
            .map_or_else(Call::Failed, |_| Call::Answered)
    }

    /// Counts a call, and logs the first that is not answered and the first that is again.
    fn tell(&self, call: &Call, silent: &mut bool) {
        self.metrics
            .heartbeat_calls
            .with_label_values(&[call.name()])
            .inc();
        let silent_before = std::mem::replace(silent, !matches!(call, Call::Answered));
        match call {
            Call::Answered if silent_before => tracing::info!("HEARTBEAT_URL is called again"),
            Call::Failed(error) if !silent_before => {
                tracing::warn!(%error, "HEARTBEAT_URL does not take the call; tried again each minute");
            }
            Call::Withheld { task, still_s } if !silent_before => {
                tracing::error!(
                    task,
                    still_s,
                    "HEARTBEAT_URL is not called: a task shows no sign of life"
                );
            }
            Call::Answered | Call::Failed(_) | Call::Withheld { .. } => {}
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
    use crate::state::Task;

    const START_MS: i64 = 1_752_328_800_000;

    /// Calls this address; its tasks beat last at the start.
    fn heartbeat(address: &str) -> (Heartbeat, MetricsRegistry) {
        let registry = MetricsRegistry::new();
        let url = format!(
            "{}/ping/hunter2",
            address.replace("://", "://user:hunter2@")
        );
        let heartbeat = Heartbeat {
            client: WebhookClient::new(url.parse().expect("an address")).expect("a client"),
            clock: Clock::fixed(START_MS),
            metrics: ServiceMetrics::new(&registry),
            liveness: TaskLiveness::new(START_MS),
        };
        (heartbeat, registry)
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
            "monitoring_heartbeat_calls_total",
            &[("outcome", outcome)],
        )
    }

    #[tokio::test]
    async fn it_calls_while_every_task_beats_and_not_once_one_is_still_for_a_minute() {
        let server = server(200).await;
        let (heartbeat, registry) = heartbeat(&server.uri());
        let mut silent = false;
        for (now_ms, called) in [
            (START_MS, 1),
            (START_MS + 59_999, 2),
            (START_MS + 60_000, 2),
        ] {
            heartbeat.clock.set_ms(now_ms);
            heartbeat.tell(&heartbeat.call().await, &mut silent);
            assert_eq!(
                server.received_requests().await.expect("recorded").len(),
                called,
                "at {now_ms}"
            );
        }
        for task in [Task::Ingest, Task::Delivery] {
            heartbeat.liveness.report(task, START_MS + 60_000);
        }
        heartbeat.tell(&heartbeat.call().await, &mut silent);
        heartbeat
            .liveness
            .report(Task::Scheduler, START_MS + 60_000);
        heartbeat.tell(&heartbeat.call().await, &mut silent);
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
    async fn a_failure_is_logged_once_until_it_works_again_and_never_with_the_address() {
        let (recorded, _guard) = testing::record_thread();
        let failing = server(500).await;
        let (mut heartbeat, registry) = heartbeat(&failing.uri());
        let mut silent = false;
        for _ in 0..3 {
            heartbeat.tell(&heartbeat.call().await, &mut silent);
        }
        let working = server(204).await;
        heartbeat.client =
            WebhookClient::new(working.uri().parse().expect("an address")).expect("a client");
        for _ in 0..2 {
            heartbeat.tell(&heartbeat.call().await, &mut silent);
        }
        let ours =
            |line: &serde_json::Value| line["target"] == "monitoring_service::alerting::heartbeat";
        let lines: Vec<_> = recorded.logs().into_iter().filter(ours).collect();
        let levels: Vec<_> = lines.iter().map(|line| &line["level"]).collect();
        assert_eq!(levels, ["WARN", "INFO"], "{lines:?}");
        assert_eq!(lines[0]["error"], "the receiver answered 500");
        assert_value(
            &registry,
            "monitoring_heartbeat_calls_total",
            &[("outcome", "failed")],
            3.0,
        );
        assert_value(
            &registry,
            "monitoring_heartbeat_calls_total",
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
    async fn it_looks_each_minute_first_after_one_and_ends_with_the_stop() {
        // Its tasks hang, so that nothing real is waited for while time is not.
        let (heartbeat, registry) = heartbeat("http://127.0.0.1:9");
        heartbeat.clock.set_ms(START_MS + 3_600_000);
        let stop = CancellationToken::new();
        let script = async {
            tokio::time::sleep(Duration::from_secs(59)).await;
            assert!(calls(&registry, "withheld") < 1.0);
            tokio::time::sleep(Duration::from_mins(5)).await;
            stop.cancel();
        };
        let (outcome, ()) = tokio::join!(run(heartbeat, stop.clone()), script);
        outcome.expect("a good end");
        assert_value(
            &registry,
            "monitoring_heartbeat_calls_total",
            &[("outcome", "withheld")],
            5.0,
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_does_not_hold_up_the_stop() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let (heartbeat, registry) =
            heartbeat(&format!("http://{}", silent.local_addr().expect("bound")));
        let stop = CancellationToken::new();
        let script = async {
            tokio::time::sleep(PING_INTERVAL + Duration::from_secs(1)).await;
            stop.cancel();
        };
        let (outcome, ()) = tokio::join!(run(heartbeat, stop.clone()), script);
        outcome.expect("a good end");
        assert_value(
            &registry,
            "monitoring_heartbeat_calls_total",
            &[("outcome", "failed")],
            0.0,
        );
    }
}
