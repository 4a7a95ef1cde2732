//! `/events`: server-sent events that say what changed. A page then loads itself again and swaps its parts, so an event is only a hint:
//! a lost one costs freshness, never truth.

mod news;

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream as Events, StreamExt as _, stream};
use serde_json::Value;
use strum::IntoStaticStr;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::routes::{AppState, error::Problem, guard::overloaded};

pub(crate) use news::run;

/// Listeners at most; a further one is refused.
const MAX_LISTENERS: usize = 1000;

/// Events that are kept for listeners that come back, and that a slow listener may lag behind.
const MAX_KEPT: usize = 256;

/// A dropped listener waits for this long.
const RETRY: Duration = Duration::from_secs(5);

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
enum Kind {
    /// An alert was recorded.
    Alert,
    /// An incident changed.
    Incident,
    /// Minutes were stored.
    Minute,
    /// The health changed.
    Health,
    /// Events were missed: everything may have changed.
    Reset,
}

#[derive(Debug)]
struct Record {
    number: u64,
    kind: Kind,
    data: String,
}

/// The events and their listeners. A clone shares them.
#[derive(Clone)]
pub(crate) struct Feed {
    /// Tells events of another run of the service apart.
    run: i64,
    kept: Arc<Mutex<VecDeque<Arc<Record>>>>,
    live: broadcast::Sender<Arc<Record>>,
    permits: Arc<Semaphore>,
}

impl Feed {
    /// A feed without events. `now_ms`: the start of the service.
    pub(crate) fn new(now_ms: i64) -> Self {
        Self {
            run: now_ms,
            kept: Arc::default(),
            live: broadcast::channel(MAX_KEPT).0,
            permits: Arc::new(Semaphore::new(MAX_LISTENERS)),
        }
    }

    fn publish(&self, kind: Kind, data: &Value) {
        // One lock for both: a listener that subscribes in between neither misses nor repeats an event.
        let mut kept = self.kept();
        let number = kept.back().map_or(1, |last| last.number + 1);
        let data = data.to_string();
        let record = Arc::new(Record { number, kind, data });
        kept.push_back(Arc::clone(&record));
        if kept.len() > MAX_KEPT {
            kept.pop_front();
        }
        // An error means that there is no listener.
        let _ = self.live.send(record);
    }

    /// The events after the last one that the listener has seen, and those from now on. Without a last one, or if it is no longer kept,
    /// the first is `reset`.
    fn listen(&self, last: Option<u64>) -> (Vec<Arc<Record>>, broadcast::Receiver<Arc<Record>>) {
        let kept = self.kept();
        let newest = kept.back().map_or(0, |record| record.number);
        let oldest = kept.front().map_or(1, |record| record.number);
        let missed = match last {
            Some(last) if last <= newest && last + 1 >= oldest => kept
                .iter()
                .filter(|record| record.number > last)
                .cloned()
                .collect(),
            _ => vec![Arc::new(Record {
                number: newest,
                kind: Kind::Reset,
                data: "{}".to_owned(),
            })],
        };
        (missed, self.live.subscribe())
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Record>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last event that a listener has seen in this run.
    fn last_seen(&self, headers: &HeaderMap) -> Option<u64> {
        let id = headers.get("last-event-id")?.to_str().ok()?;
        let (run, number) = id.split_once('-')?;
        (run.parse() == Ok(self.run)).then(|| number.parse().ok())?
    }

    fn event(&self, record: &Record) -> Event {
        Event::default()
            .id(format!("{}-{}", self.run, record.number))
            .event(<&str>::from(record.kind))
            .data(&record.data)
    }
}

/// The stream of events, until the service stops or the listener is too slow.
pub(super) async fn events(
    State(state): State<Arc<AppState>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let feed = state.feed.clone();
    let permit = Arc::clone(&feed.permits).try_acquire_owned();
    let permit = permit.map_err(|_| overloaded())?;
    let (missed, receiver) = feed.listen(feed.last_seen(&headers));
    let events = until_slow(feed, missed, receiver, permit);
    let events = events.take_until(state.draining.clone().cancelled_owned());
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Proxies must pass each event on at once.
    Ok(([("x-accel-buffering", "no")], sse).into_response())
}

fn until_slow(
    feed: Feed,
    missed: Vec<Arc<Record>>,
    receiver: broadcast::Receiver<Arc<Record>>,
    permit: OwnedSemaphorePermit,
) -> impl Events<Item = Result<Event, Infallible>> + Send {
    let first = stream::iter(missed);
    let live = stream::unfold((receiver, permit), |(mut receiver, permit)| async {
        // An error: it lagged behind too far. It comes back, and is sent `reset`.
        let record = receiver.recv().await.ok()?;
        Some((record, (receiver, permit)))
    });
    let retry = Event::default().retry(RETRY);
    let records = first.chain(live).map(move |record| Ok(feed.event(&record)));
    stream::iter([Ok(retry)]).chain(records)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn numbers(records: &[Arc<Record>]) -> Vec<(u64, Kind)> {
        records
            .iter()
            .map(|record| (record.number, record.kind))
            .collect()
    }

    #[test]
    fn a_listener_resumes_after_its_last_event() {
        let feed = Feed::new(7);
        for _ in 0..3 {
            feed.publish(Kind::Minute, &json!({}));
        }
        assert_eq!(
            numbers(&feed.listen(Some(1)).0),
            [(2, Kind::Minute), (3, Kind::Minute)]
        );
        assert_eq!(numbers(&feed.listen(Some(3)).0), []);
        assert_eq!(numbers(&feed.listen(None).0), [(3, Kind::Reset)]);
    }

    #[test]
    fn an_event_that_is_not_kept_is_a_reset() {
        let feed = Feed::new(7);
        for _ in 0..=MAX_KEPT {
            feed.publish(Kind::Minute, &json!({}));
        }
        let newest = MAX_KEPT as u64 + 1;
        assert_eq!(numbers(&feed.listen(Some(0)).0), [(newest, Kind::Reset)]);
        assert_eq!(feed.listen(Some(1)).0.len(), MAX_KEPT);
        assert_eq!(
            numbers(&feed.listen(Some(newest + 1)).0),
            [(newest, Kind::Reset)]
        );
    }

    #[test]
    fn an_event_of_another_run_is_unknown() {
        let feed = Feed::new(7);
        let last_seen = |id: &'static str| {
            let header = ("last-event-id".parse().unwrap(), id.parse().unwrap());
            feed.last_seen(&HeaderMap::from_iter([header]))
        };
        assert_eq!(last_seen("7-12"), Some(12));
        assert_eq!(last_seen("6-12"), None);
        assert_eq!(last_seen("7"), None);
    }

    #[tokio::test]
    async fn a_slow_listener_is_dropped() {
        let feed = Feed::new(7);
        let (missed, receiver) = feed.listen(None);
        let permit = Arc::clone(&feed.permits).try_acquire_owned().unwrap();
        for _ in 0..=MAX_KEPT {
            feed.publish(Kind::Minute, &json!({}));
        }
        let events = until_slow(feed.clone(), missed, receiver, permit);
        assert_eq!(
            events.collect::<Vec<_>>().await.len(),
            2,
            "the retry hint and the reset"
        );
        assert_eq!(feed.permits.available_permits(), MAX_LISTENERS);
    }
}
