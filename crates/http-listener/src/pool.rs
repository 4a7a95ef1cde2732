//! The open connections, and which of them to close when a new one needs room.
//!
//! It reads and writes no socket.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::response::Response;
use http_body_util::BodyExt as _;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// Open connections: a thousand may listen to events, and the others must not wait for them. A new one evicts the one that has been idle for longest; if none is idle, it
/// waits, and further ones wait in the backlog of the kernel.
pub(crate) const MAX_CONNECTIONS: usize = 2048;

/// [`Activity::idle_turn`] of a connection with a request in flight.
const IN_USE: u64 = u64::MAX;

/// The open connections. Idle and silent ones make room for new ones, so that they cannot lock out
/// a health check.
#[derive(Default)]
pub(crate) struct Pool {
    tasks: JoinSet<()>,
    connections: Vec<(Arc<Activity>, AbortHandle)>,
    turns: Arc<AtomicU64>,
}

impl Pool {
    /// The state of a new connection, which is idle until its first request.
    pub(crate) fn activity(&self) -> Arc<Activity> {
        let activity = Activity {
            turns: Arc::clone(&self.turns),
            idle_turn: AtomicU64::new(IN_USE),
            fully_read: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            idle_began: Mutex::new(Instant::now()),
        };
        activity.become_idle();
        Arc::new(activity)
    }

    /// Runs a connection until it ends or is evicted.
    pub(crate) fn spawn(
        &mut self,
        activity: Arc<Activity>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        if self.connections.len() >= 2 * MAX_CONNECTIONS {
            self.connections.retain(|(_, task)| !task.is_finished());
        }
        let task = self.tasks.spawn(connection);
        self.connections.push((activity, task));
    }

    /// Waits until there is room for one more connection; evicts an idle one if necessary. Safe to
    /// cancel.
    pub(crate) async fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        if self.tasks.len() >= MAX_CONNECTIONS {
            self.evict_idle();
            self.tasks.join_next().await;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    fn evict_idle(&self) {
        let open = self
            .connections
            .iter()
            .filter(|(_, task)| !task.is_finished());
        let oldest = open.min_by_key(|(activity, _)| activity.idle_turn.load(Ordering::Relaxed));
        if let Some((activity, task)) = oldest
            && activity.idle_turn.swap(IN_USE, Ordering::Relaxed) != IN_USE
        {
            task.abort();
        }
    }
}

/// What a connection is doing.
pub(crate) struct Activity {
    /// Counts the idle times of all connections, so that they have an order without a clock.
    turns: Arc<AtomicU64>,
    /// The turn in which it became idle.
    idle_turn: AtomicU64,
    fully_read: AtomicBool,
    requests: AtomicU64,
    idle_began: Mutex<Instant>,
}

impl Activity {
    /// Whether all that the client sent was read and answered. A refusal can precede the rest of
    /// its request.
    pub(crate) fn is_fully_read(&self) -> bool {
        self.fully_read.load(Ordering::Relaxed)
    }

    /// Whether a request is in flight.
    pub(crate) fn is_in_use(&self) -> bool {
        self.idle_turn.load(Ordering::Relaxed) == IN_USE
    }

    /// How many requests have begun.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// When the connection became idle; while a request is in flight, when it was idle before.
    pub(crate) fn idle_since(&self) -> Instant {
        *self.idle_began()
    }

    fn idle_began(&self) -> MutexGuard<'_, Instant> {
        self.idle_began
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.idle_turn.store(IN_USE, Ordering::Relaxed);
        self.fully_read.store(false, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    fn become_idle(&self) {
        *self.idle_began() = Instant::now();
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        self.idle_turn.store(turn, Ordering::Relaxed);
    }
}

/// A request from its head until its response is sent or given up; then the connection is idle.
pub(crate) struct RequestGuard(Arc<Activity>);

impl RequestGuard {
    /// Ties the guard to the body of the response.
    pub(crate) fn until_sent(self, response: Response) -> Response {
        let fully_read = response.status().as_u16() < 400;
        self.0.fully_read.store(fully_read, Ordering::Relaxed);
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _until_sent = &self;
                frame
            }))
        })
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.become_idle();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn the_connection_idle_for_longest_is_evicted() {
        let mut pool = Pool::default();
        for _ in 0..3 {
            pool.spawn(pool.activity(), pending());
        }
        pool.connections[0].0.become_idle();
        let _in_flight = pool.connections[1].0.begin_request();
        for evicted in [2, 0] {
            pool.evict_idle();
            assert!(pool.tasks.join_next().await.unwrap().is_err());
            assert!(pool.connections[evicted].1.is_finished());
        }
        pool.evict_idle();
        assert!(pool.tasks.try_join_next().is_none());
        assert_eq!(pool.len(), 1);
    }
}
