//! Task liveness: when each background task last reported, for health, the watchdog and the ping of `HEARTBEAT_URL`.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use strum::IntoStaticStr;

/// A task that must report regularly. The writer need not: all three tasks wait for it, so they stop reporting if it hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Task {
    /// Reads Kafka and stores the counts.
    Ingest,
    /// Runs the periodic checks.
    Scheduler,
    /// Sends the outbox to the receiver.
    Delivery,
}

impl Task {
    /// All tasks.
    pub(crate) const ALL: [Self; 3] = [Self::Ingest, Self::Scheduler, Self::Delivery];

    /// The name in health answers and logs.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }
}

/// A task without a report for this long hangs, milliseconds.
pub(crate) const HUNG_TIMEOUT_MS: i64 = 60_000;

/// The time of each task's last report.
#[derive(Clone, Debug)]
pub struct TaskLiveness(Arc<[AtomicI64; Task::ALL.len()]>);

impl TaskLiveness {
    /// All tasks count as reported at `now_ms`.
    pub(crate) fn new(now_ms: i64) -> Self {
        Self(Arc::new(Task::ALL.map(|_| AtomicI64::new(now_ms))))
    }

    /// Records a report of a task.
    pub(crate) fn report(&self, task: Task, now_ms: i64) {
        self.0[task as usize].store(now_ms, Ordering::Relaxed);
    }

    /// The time of each task's last report in milliseconds since 1970, for the watchdog.
    pub(crate) fn last_reports(&self) -> [(&'static str, i64); Task::ALL.len()] {
        Task::ALL.map(|task| (task.name(), self.0[task as usize].load(Ordering::Relaxed)))
    }

    /// The task that hangs, if any, and the milliseconds since its last report.
    pub(crate) fn hung(&self, now_ms: i64) -> Option<(Task, i64)> {
        let (task, unreported_ms) = self.longest_unreported(now_ms);
        (unreported_ms >= HUNG_TIMEOUT_MS).then_some((task, unreported_ms))
    }

    /// The task with the oldest report, and the milliseconds since.
    pub(crate) fn longest_unreported(&self, now_ms: i64) -> (Task, i64) {
        let unreported =
            Task::ALL.map(|task| (task, now_ms - self.0[task as usize].load(Ordering::Relaxed)));
        unreported
            .into_iter()
            .max_by_key(|(_, ms)| *ms)
            .unwrap_or((Task::Ingest, 0))
    }
}
