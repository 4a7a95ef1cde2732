//! The router over a temporary database, with a fixed clock and minutes stored by hand.

use std::{sync::Arc, thread};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
    response::Response,
};
use common::metrics::MetricsRegistry;
use detection::{
    Mapping, Minute, MinuteCounts, Monitor, MonitorSettings, Status, StatusCount, Stream,
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::{
    alerts::{
        Alert, NotifyPolicy,
        incident_update::{IncidentUpdate, Now},
    },
    clock::Clock,
    context::Context,
    evaluate::Evaluator,
    ingest::{Requests, snapshots::Snapshot},
    metrics::ServiceMetrics,
    page::events::Feed,
    routes::{AppState, router},
    store::{DeadLetter, IngestCommit, OffsetGap, OffsetGapReason},
};

/// 2025-07-12T15:00:00Z.
pub(crate) const NOW_MS: i64 = 1_752_332_400_000;

pub(crate) struct Api {
    pub(crate) router: Router,
    pub(crate) state: AppState,
    monitor: Monitor,
    _directory: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        Self {
            status: parts.status,
            headers: parts.headers,
            json,
            text,
        }
    }
}

impl Api {
    pub(crate) fn new() -> Self {
        Self::judging(MonitorSettings::default())
    }

    /// With these policies.
    pub(crate) fn judging(settings: MonitorSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, writer) = crate::store::tests::open_at(&directory.path().join("monitoring.db"));
        thread::spawn(move || writer.run());
        let registry = MetricsRegistry::new();
        let notify = NotifyPolicy::with_default_receiver(Some(60_000));
        let context = Context::new(
            store,
            Clock::fixed(NOW_MS),
            ServiceMetrics::new(&registry),
            settings,
            notify,
            180_000,
        );
        let state = AppState {
            // Nothing serves it.
            requests: Requests::new(Mapping::default()).0,
            evaluator: Evaluator {
                context: context.clone(),
                cooldown_ms: 300_000,
            },
            context,
            registry,
            draining: CancellationToken::new(),
            api_token: None,
            public_url: None,
            grafana_url: None,
            feed: Feed::new(NOW_MS),
        };
        Self {
            router: router(state.clone()),
            state,
            monitor: Monitor::new(settings),
            _directory: directory,
        }
    }

    /// The same with another state.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut AppState)) -> Self {
        change(&mut self.state);
        self.state.registry = MetricsRegistry::new();
        self.router = router(self.state.clone());
        self
    }

    /// Stores a minute as ingest does, with this time of arrival. Returns the alerts.
    pub(crate) fn consume(
        &mut self,
        stream: &str,
        minute: Minute,
        named: &[(&str, u32)],
        arrived_at_ms: i64,
    ) -> Vec<Alert> {
        let count = |&(status, count): &(&str, u32)| StatusCount {
            status: Status::parse(status).unwrap(),
            count,
        };
        let counts = MinuteCounts::try_new(
            stream.parse().unwrap(),
            minute,
            named.iter().map(count).collect(),
        )
        .unwrap();
        let mut observed = self.monitor.observe(counts, &[]);
        let notify = self.state.notify.clone();
        let alerts: Vec<_> = std::mem::take(&mut observed.alerts)
            .into_iter()
            .map(|raised| Alert::of_stream(raised, &notify, arrived_at_ms))
            .collect();
        let now = Now::without_silences(&notify, arrived_at_ms);
        let step = observed.incident.take();
        let update =
            step.map(|step| IncidentUpdate::of_fold(&step, observed.counts.stream(), &now));
        let commit = IngestCommit {
            observed: vec![observed],
            incidents: update.into_iter().collect(),
            alerts,
            now_ms: arrived_at_ms,
            ..IngestCommit::default()
        };
        self.commit(commit).alerts.clone()
    }

    /// Stores `minutes` usual minutes that end before `end`, arriving one minute after their starts.
    pub(crate) fn consume_usual(&mut self, stream: &str, end: Minute, minutes: i64) {
        for back in (1..=minutes).rev() {
            let minute = end.plus(-back);
            let denied = u32::try_from(minute.epoch_minutes() % 3).unwrap() + 5;
            self.consume(
                stream,
                minute,
                &[("approved", 120), ("denied", denied)],
                minute.plus(1).start().as_millisecond(),
            );
        }
    }

    /// Publishes the newest minutes of a stream, as ingest does after a commit.
    pub(crate) fn publish(&self, stream: &str, arrived_at_ms: i64) {
        let stream: Stream = stream.parse().unwrap();
        let adaptive = self.monitor.adaptive(&stream).cloned().map(Arc::new);
        let history = Arc::new(self.monitor.history(&stream).unwrap().clone());
        let newest = history.newest().unwrap().minute;
        self.state.snapshots.publish([(
            stream,
            Snapshot {
                history,
                adaptive,
                newest,
                arrived_at_ms,
            },
        )]);
    }

    pub(crate) fn dead_letter(&self, offset: i64, payload: &[u8]) {
        let letter = DeadLetter {
            topic: "transactions".into(),
            partition: 0,
            offset,
            reason: "invalid_json",
            detail: "the payload is not JSON".into(),
            hint: None,
            key: Some(b"default".to_vec()),
            payload: Some(payload.to_vec()),
            payload_bytes: payload.len(),
            headers: "{}".into(),
            received_at_ms: NOW_MS,
        };
        self.commit(IngestCommit {
            dead_letters: vec![letter],
            now_ms: NOW_MS,
            ..IngestCommit::default()
        });
    }

    pub(crate) fn gap(&self, from_offset: i64, to_offset: i64) {
        let (topic, reason) = ("transactions".to_owned(), OffsetGapReason::Retention);
        let gap = OffsetGap {
            topic,
            partition: 0,
            from_offset,
            to_offset,
            reason,
            detected_at_ms: NOW_MS,
        };
        self.commit(IngestCommit {
            gaps: vec![gap],
            now_ms: NOW_MS,
            ..IngestCommit::default()
        });
    }

    /// Commits on another thread, since a thread of the runtime must not block.
    fn commit(&self, commit: IngestCommit) -> Arc<IngestCommit> {
        let (store, commit) = (self.state.store.clone(), Arc::new(commit));
        let shared = Arc::clone(&commit);
        thread::spawn(move || store.begin_ingest(&shared).wait())
            .join()
            .unwrap()
            .unwrap();
        commit
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    /// The JSON of a 200.
    pub(crate) async fn ok(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
        answer.json
    }

    pub(crate) async fn evaluate(&self, body: impl Into<Body>) -> Answer {
        let request = Request::post("/alerts/evaluate").header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn method(&self, method: Method, path: &str) -> Answer {
        self.send(
            Request::builder()
                .method(method)
                .uri(path)
                .body(Body::empty())
                .unwrap(),
        )
        .await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.router.clone().oneshot(request).await.unwrap()).await
    }
}

pub(crate) fn minute(text: &str) -> Minute {
    text.parse().unwrap()
}

/// The minute of [`NOW_MS`].
pub(crate) fn now() -> Minute {
    minute("2025-07-12T15:00:00Z")
}

/// An hour of usual minutes, then one with a burst of `denied` at 15:00.
pub(crate) fn after_a_burst() -> Api {
    let mut api = Api::new();
    api.consume_usual("default", now(), 60);
    api.consume(
        "default",
        now(),
        &[("approved", 120), ("denied", 40), ("refunded", 2)],
        NOW_MS + 60_000,
    );
    api
}

pub(crate) fn list<'a>(answer: &'a Value, name: &str) -> &'a Vec<Value> {
    answer[name]
        .as_array()
        .unwrap_or_else(|| panic!("{name} in {answer}"))
}
