//! Clients during the whole round: they submit counts and probe health.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::{report::Checks, site::Site};

const SUBMIT_INTERVAL: Duration = Duration::from_millis(100);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// Dropping them ends them.
pub(crate) struct Clients {
    accepted: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Clients {
    pub(crate) fn start(site: &Arc<Site>, checks: &Arc<Checks>, stream: &'static str) -> Self {
        let (mut tasks, accepted) = (JoinSet::new(), Arc::default());
        tasks.spawn(submit(Arc::clone(site), stream, Arc::clone(&accepted)));
        tasks.spawn(probe(Arc::clone(site), Arc::clone(checks)));
        Self {
            accepted,
            _tasks: tasks,
        }
    }

    /// Ends them: the ids of the submissions that were accepted.
    pub(crate) fn stop(self) -> Vec<String> {
        std::mem::take(&mut self.accepted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn submit(site: Arc<Site>, stream: &str, accepted: Arc<Mutex<Vec<String>>>) {
    let mut again = interval(SUBMIT_INTERVAL);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for count in 1_000.. {
        again.tick().await;
        // Without an answer it may have been recorded or not.
        if let Ok((200, Some(id))) = site.submit(stream, count).await {
            accepted
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(id);
        }
    }
}

/// Checks the probes, where nothing changed meanwhile.
async fn probe(site: Arc<Site>, checks: Arc<Checks>) {
    let mut again = interval(PROBE_INTERVAL);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        again.tick().await;
        for (name, path) in [
            ("alive at each probe", "/health/live"),
            ("ready at each probe", "/health/ready"),
        ] {
            let before = site.expected();
            if before.url.is_none() || before.may_be_unready {
                continue;
            }
            let status = site.status(path).await;
            if site.expected().generation == before.generation {
                checks.that(name, matches!(status, Ok(200)), || {
                    format!("{path}: {status:?}")
                });
            }
        }
    }
}
