//! Faults that tests inject, and the hook that every request passes through.
//!
//! `FakeBroker` takes its hooks from a queue, where a permanent hook blocks those behind it. This one is permanent because it also bounds the
//! memory, so faults wait in a separate queue. A fault applies to a kind of request, for every topic.

use std::collections::{HashMap, VecDeque};
use std::iter::repeat_n;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use krafka::error::ErrorCode;
use krafka::testing::{ApiKey, Control, FakeBroker};

use crate::retention::Bound;
use crate::{EmbeddedKafka, NODE};

/// The requests of an idempotent producer and of a consumer without a subscription.
const APIS: [ApiKey; 9] = [
    ApiKey::ApiVersions,
    ApiKey::Metadata,
    ApiKey::InitProducerId,
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::FindCoordinator,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
];

/// Faults that are not injected yet.
#[derive(Default)]
pub(crate) struct Faults(Mutex<State>);

#[derive(Default)]
struct State {
    mode: Mode,
    queued: HashMap<ApiKey, VecDeque<Control>>,
}

#[derive(Default, Clone, Copy)]
enum Mode {
    #[default]
    Up,
    Down,
    Silent,
}

impl Faults {
    fn queue(&self, api: ApiKey, times: usize, fault: Control) {
        assert!(
            APIS.contains(&api),
            "no fault can be put into {api:?}, only into {APIS:?}"
        );
        self.state()
            .queued
            .entry(api)
            .or_default()
            .extend(repeat_n(fault, times));
    }

    fn next(&self, api: ApiKey) -> Option<Control> {
        let mut state = self.state();
        match state.mode {
            Mode::Up => state.queued.get_mut(&api)?.pop_front(),
            Mode::Down => Some(Control::Disconnect),
            Mode::Silent => Some(Control::Silence),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts `faults` and `bound` before every request that `broker` serves.
pub(crate) fn install(broker: &Arc<FakeBroker>, faults: &Arc<Faults>, bound: Bound) {
    let bound = Arc::new(bound);
    for api in APIS {
        // The broker owns the hook, so an `Arc` here would leak both.
        let broker_of_hook = Arc::downgrade(broker);
        let (faults, bound) = (Arc::clone(faults), Arc::clone(&bound));
        broker.on(api, move |_| {
            let Some(broker) = broker_of_hook.upgrade() else {
                return Control::Disconnect;
            };
            // The broker records every request and scans the records at each one.
            broker.clear_requests();
            match faults.next(api) {
                Some(fault) => fault,
                None if api == ApiKey::Produce => bound.admit(&broker),
                None => Control::Pass,
            }
        });
    }
}

impl EmbeddedKafka {
    /// Answers the next `times` requests of a kind with `code`, without executing them. For fetches, use [`fail_fetches`](Self::fail_fetches).
    pub fn fail(&self, api: ApiKey, times: usize, code: ErrorCode) {
        assert!(
            api != ApiKey::Fetch,
            "librdkafka cannot read how FakeBroker answers a fetch with {code:?}: use fail_fetches"
        );
        self.faults.queue(api, times, Control::Error(code));
    }

    /// Refuses the next `times` produce requests with a retriable error.
    pub fn refuse_produces(&self, times: usize) {
        self.fail(ApiKey::Produce, times, ErrorCode::NotEnoughReplicas);
    }

    /// Drops the connection at each of the next `times` fetches.
    pub fn fail_fetches(&self, times: usize) {
        self.faults.queue(ApiKey::Fetch, times, Control::Disconnect);
    }

    /// Corrupts the records of the next `times` fetches, so that their checksum is wrong. A fetch without records counts too.
    pub fn corrupt_fetches(&self, times: usize) {
        self.faults
            .queue(ApiKey::Fetch, times, Control::CorruptRecords);
    }

    /// Executes the next `times` requests of a kind, but drops the connection instead of answering.
    pub fn lose_answers(&self, api: ApiKey, times: usize) {
        let fault = Control::ApplyThen(Box::new(Control::Disconnect));
        self.faults.queue(api, times, fault);
    }

    /// Drops every connection, present and new, until [`come_back`](Self::come_back). The port and the data stay.
    pub fn go_down(&self) {
        // `crash` alone misses a connection that is being accepted right now.
        self.faults.state().mode = Mode::Down;
        self.broker.crash(NODE);
    }

    /// Hangs: answers no request until [`come_back`](Self::come_back), while connections stay open.
    pub fn hang(&self) {
        self.faults.state().mode = Mode::Silent;
    }

    /// Ends [`go_down`](Self::go_down) and [`hang`](Self::hang), and discards every queued fault.
    pub fn come_back(&self) {
        *self.faults.state() = State::default();
        // A connection that hung never answers again, so clients must reconnect.
        self.broker.crash(NODE);
        self.broker.restart(NODE);
    }
}
