//! The messages or requests of one transaction, as data to commit.

use std::collections::{HashMap, hash_map::Entry};

use detection::{Observed, Silence};
use uuid::Uuid;

use crate::{
    alerts::{
        Alert, NotifyPolicy,
        incident_update::{IncidentUpdate, Now},
    },
    store::{DeadLetter, IngestCommit},
};

/// The result of one message.
pub(super) enum Reading {
    /// An observed minute.
    Observed(Observed),
    /// Counts of a minute that is still open.
    Open,
    /// A message that cannot be used.
    DeadLetter(DeadLetter),
}

/// The messages read for one transaction.
pub(super) struct Batch {
    pub(super) commit: IngestCommit,
    pub(super) messages: usize,
    /// Requests of the API in it.
    pub(super) requests: usize,
    /// The silences that were active when its first message was read.
    pub(super) silences: Vec<Silence>,
    /// The place of each incident in the commit.
    incidents: HashMap<Uuid, usize>,
}

impl Batch {
    pub(super) fn new(now_ms: i64) -> Self {
        Self {
            commit: IngestCommit {
                now_ms,
                ..IngestCommit::default()
            },
            messages: 0,
            requests: 0,
            silences: Vec::new(),
            incidents: HashMap::new(),
        }
    }

    /// True if it is one message or one request.
    pub(super) const fn is_single(&self) -> bool {
        self.messages + self.requests == 1
    }

    /// Adds a message and returns the number of its alerts.
    pub(super) fn push(&mut self, reading: Reading, policy: &NotifyPolicy) -> usize {
        self.messages += 1;
        match reading {
            Reading::DeadLetter(letter) => self.commit.dead_letters.push(letter),
            Reading::Open => {}
            Reading::Observed(observed) => return self.add(observed, policy),
        }
        0
    }

    /// Adds an observed minute and returns the number of its alerts.
    pub(super) fn add(&mut self, mut observed: Observed, policy: &NotifyPolicy) -> usize {
        let before = self.commit.alerts.len();
        for raised in observed.alerts.drain(..) {
            let key = raised.anomaly.key.clone();
            self.commit.cooldowns.push((key, raised.cooldown));
            let alert = Alert::of_stream(raised, policy, self.commit.now_ms);
            self.commit.alerts.push(alert);
        }
        if let Some(step) = observed.incident.take() {
            let now = Now {
                policy,
                silences: &self.silences,
                ms: self.commit.now_ms,
            };
            let update = IncidentUpdate::of_fold(&step, observed.counts.stream(), &now);
            self.update(update);
        }
        self.commit.observed.push(observed);
        self.commit.alerts.len() - before
    }

    /// Adds an update of an incident to what the batch says of it already.
    fn update(&mut self, update: IncidentUpdate) {
        match self.incidents.entry(update.message.id) {
            Entry::Occupied(known) => self.commit.incidents[*known.get()].merge(update),
            Entry::Vacant(new) => {
                new.insert(self.commit.incidents.len());
                self.commit.incidents.push(update);
            }
        }
    }

    /// Gives the events of incidents the traces of their alerts, once these have them.
    pub(super) fn trace_incidents(&mut self) {
        let IngestCommit {
            alerts, incidents, ..
        } = &mut self.commit;
        for event in incidents.iter_mut().flat_map(|update| &mut update.events) {
            let cause = alerts.iter().find(|alert| event.alert == Some(alert.id));
            if let Some(alert) = cause {
                let message = &mut event.message;
                message.trace_id.clone_from(&alert.trace_id);
                message.span_id.clone_from(&alert.span_id);
            }
        }
    }
}
