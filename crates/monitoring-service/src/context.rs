//! The state that the parts of the service share. Clones are cheap and share it.

use detection::{MonitorSettings, PolicyName};

use crate::{
    alerts::{Announcer, NotifyPolicy, Silences},
    clock::Clock,
    ingest::{retirements::Retirements, snapshots::Snapshots, status::SharedStatus},
    liveness::TaskLiveness,
    metrics::ServiceMetrics,
    notify::board::ReceiverBoard,
    store::{Store, StoreError},
};

/// The state that the parts of the service share.
#[derive(Clone)]
pub struct Context {
    /// The database.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// The metrics.
    pub metrics: ServiceMetrics,
    /// The reports of the tasks.
    pub liveness: TaskLiveness,
    /// The active silences.
    pub silences: Silences,
    /// Announces recorded alerts.
    pub announcer: Announcer,
    /// The history of each stream as of its last commit.
    pub snapshots: Snapshots,
    /// Streams that were retired, until ingest has forgotten them.
    pub retired: Retirements,
    /// The status of reading from Kafka.
    pub ingest: SharedStatus,
    /// The same over all instances on the database.
    pub(crate) whole: SharedStatus,
    /// The settings of the fold.
    pub monitor: MonitorSettings,
    /// The state of each receiver.
    pub receivers: ReceiverBoard,
    /// Which alerts are notified.
    pub notify: NotifyPolicy,
    /// A live stream without a new minute for this long is stale, milliseconds.
    pub stale_after_ms: i64,
}

impl Context {
    /// A context around an open store, before anything runs.
    pub fn new(
        store: Store,
        clock: Clock,
        metrics: ServiceMetrics,
        monitor: MonitorSettings,
        notify: NotifyPolicy,
        stale_after_ms: i64,
    ) -> Self {
        let now_ms = clock.now_ms();
        Self {
            liveness: TaskLiveness::new(now_ms),
            silences: Silences::default(),
            announcer: Announcer::new(metrics.alerts.clone(), metrics.incident_events.clone()),
            snapshots: Snapshots::new(store.is_shared()),
            retired: Retirements::default(),
            ingest: SharedStatus::new(now_ms),
            whole: SharedStatus::new(now_ms),
            receivers: ReceiverBoard::new(notify.all_receivers()),
            store,
            clock,
            metrics,
            monitor,
            notify,
            stale_after_ms,
        }
    }

    /// The policy that alerts.
    pub(crate) const fn alerting(&self) -> PolicyName {
        self.monitor.detector.policy()
    }

    /// The context for what one instance does for all, if this one leads.
    pub(crate) fn as_leader(&self) -> Option<Self> {
        let store = self.store.as_leader()?;
        Some(Self {
            store,
            ..self.clone()
        })
    }

    /// Reads the stored silences again.
    pub(crate) async fn refresh_silences(&self) -> Result<(), StoreError> {
        self.silences
            .refresh(self.store.silences(self.clock.now_ms()))
            .await
    }
}
