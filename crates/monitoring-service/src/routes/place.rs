//! The places of requests: a limit of those that are worked on, and a small one of those whose bodies are still to come. So
//! clients that send their bodies slowly do not keep out the others.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The limits. A clone shares them.
#[derive(Clone)]
pub(super) struct Places {
    requests: Arc<Semaphore>,
    bodies: Arc<Bodies>,
}

/// Why a request has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// Too many requests are worked on.
    Full,
    /// Its body was awaited for longest when a further one needed its place.
    SlowBody,
}

impl Places {
    /// So many requests that are worked on, and so many whose bodies are awaited.
    pub(super) fn new(max_requests: usize, max_bodies: usize) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(max_requests)),
            bodies: Arc::new(Bodies {
                max: max_bodies,
                awaited: Mutex::default(),
            }),
        }
    }

    /// The place of a request, until every clone is dropped.
    pub(super) fn take(&self) -> Result<Place, NoPlace> {
        let held = Arc::new(Mutex::new(Some(self.permit()?)));
        let places = self.clone();
        Ok(Place { places, held })
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, NoPlace> {
        let permit = Arc::clone(&self.requests).try_acquire_owned();
        permit.map_err(|_| NoPlace::Full)
    }
}

/// The place of one request.
#[derive(Clone)]
pub(super) struct Place {
    places: Places,
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Place {
    /// Awaits the body of the request, which has no place among the requests meanwhile unless the body is there already.
    pub(super) async fn during<T>(&self, body: impl Future<Output = T>) -> Result<T, NoPlace> {
        let mut body = pin!(body);
        if let Some(body) = body.as_mut().now_or_never() {
            return Ok(body);
        }
        drop(self.hold(None));
        let awaited = Awaited::new(&self.places.bodies);
        let body = tokio::select! {
            biased;
            body = body => body,
            () = awaited.given_up.cancelled() => return Err(NoPlace::SlowBody),
        };
        drop(awaited);
        drop(self.hold(Some(self.places.permit()?)));
        Ok(body)
    }

    fn hold(&self, permit: Option<OwnedSemaphorePermit>) -> Option<OwnedSemaphorePermit> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *held, permit)
    }
}

/// The bodies that are awaited, by age.
struct Bodies {
    max: usize,
    awaited: Mutex<(u64, BTreeMap<u64, CancellationToken>)>,
}

/// One of them.
struct Awaited {
    bodies: Arc<Bodies>,
    number: u64,
    given_up: CancellationToken,
}

impl Awaited {
    /// Takes the place of the oldest one if there is no other.
    fn new(bodies: &Arc<Bodies>) -> Self {
        let mut awaited = bodies
            .awaited
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (number, tokens) = &mut *awaited;
        if tokens.len() >= bodies.max
            && let Some((_, oldest)) = tokens.pop_first()
        {
            oldest.cancel();
        }
        *number += 1;
        let given_up = CancellationToken::new();
        tokens.insert(*number, given_up.clone());
        Self {
            bodies: Arc::clone(bodies),
            number: *number,
            given_up,
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let awaited = &self.bodies.awaited;
        let mut awaited = awaited.lock().unwrap_or_else(PoisonError::into_inner);
        awaited.1.remove(&self.number);
    }
}
