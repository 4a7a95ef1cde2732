//! What the API asks of ingest, and the bounded way there: ingest alone observes minutes, so that all of them are folded in one order.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    time::Duration,
};

use detection::{Mapping, Minute, Observed, Stream, mapping::ReadMinute};
use opentelemetry::trace::SpanContext;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    alerts::Alert,
    clock::Stopwatch,
    store::{IngestCommit, StoreError},
};

/// Time limit for a place in the queue.
const PLACE_TIMEOUT: Duration = Duration::from_secs(2);

/// Time limit for the answer of ingest. It waits for the brokers for up to two seconds at a time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of one place in the queue: a request takes as many places as its body needs.
const PLACE_BYTES: usize = 64 * 1024;

/// Places in the queue; with [`PLACE_BYTES`], the memory that waiting requests may take.
const PLACES: usize = 256;

/// While requests come, ingest waits for a message this long, so that a quiet topic delays none of them.
const BUSY_POLL_TIMEOUT: Duration = Duration::from_millis(2);

/// The time without a request after which none is expected.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the API asks.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// To observe closed minutes: all of them or none.
    Minutes(Vec<ReadMinute>),
    /// To read the dead letter of this number again.
    Replay(i64),
}

/// Why it was not done.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    /// One of the minutes is refused, so none is stored.
    Minute {
        index: usize,
        field: String,
        detail: String,
    },
    /// There is no such dead letter.
    Unknown,
    /// The dead letter cannot be used now, and why.
    NotPossible(String),
    /// The transaction failed.
    Store(StoreError),
    /// Ingest has too much to do.
    Overloaded,
    /// Ingest did not answer in time.
    NotAnswered,
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What was done, after its commit.
#[derive(Debug)]
pub(crate) struct Done {
    pub(super) commit: Arc<IngestCommit>,
    pub(super) outcome: Outcome,
}

/// What a request changed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Where its minutes are in the commit, in the order of the request.
    pub(super) places: Vec<Place>,
    /// The minute of a dead letter, if it is still open; it is evaluated when it closes.
    pub(super) open: Option<(Stream, Minute)>,
}

/// Where a minute is in a commit.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) observed: usize,
    pub(super) alerts: Range<usize>,
}

impl Outcome {
    /// Finds the minute that was open, if the commit closes it.
    pub(super) fn find_closed(&mut self, commit: &IngestCommit) {
        let Some((stream, minute)) = &self.open else {
            return;
        };
        let closed = commit.observed.iter().rposition(|observed| {
            observed.counts.minute() == *minute && observed.counts.stream() == stream
        });
        let Some(observed) = closed else { return };
        let is_of_it = |alert: &Alert| {
            let anomaly = alert.anomaly();
            anomaly.is_some_and(|of| of.minute == *minute && of.key.stream == *stream)
        };
        let alerts = &commit.alerts;
        let first = alerts.iter().position(is_of_it).unwrap_or(alerts.len());
        let number = alerts[first..].iter().take_while(|alert| is_of_it(alert));
        let alerts = first..first + number.count();
        self.places.push(Place { observed, alerts });
        self.open = None;
    }
}

impl Done {
    /// Its minutes with their alerts, in the order of the request.
    pub(crate) fn minutes(&self) -> impl Iterator<Item = (&Observed, &[Alert])> {
        let commit = &self.commit;
        self.outcome.places.iter().map(|at| {
            (
                &commit.observed[at.observed],
                &commit.alerts[at.alerts.clone()],
            )
        })
    }

    /// The minute that is still open, if it is one.
    pub(crate) const fn open(&self) -> Option<&(Stream, Minute)> {
        self.outcome.open.as_ref()
    }

    /// When it was done, milliseconds since 1970.
    pub(crate) fn at_ms(&self) -> i64 {
        self.commit.now_ms
    }
}

type Reply = oneshot::Sender<Result<Done, Refused>>;

/// How often a request is done again because others changed what it went on from.
const MAX_TRIES: u32 = 10;

/// One request with the way back.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) work: Work,
    /// The span of the request.
    pub(super) span: SpanContext,
    reply: Reply,
    /// How often it was tried.
    tries: u32,
}

impl Request {
    /// True if nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Refuses it. The client may be gone.
    pub(super) fn refuse(self, refused: Refused) {
        drop(self.reply.send(Err(refused)));
    }
}

/// A request whose changes are being written.
pub(super) struct Answer {
    pub(super) request: Request,
    pub(super) outcome: Outcome,
}

impl Answer {
    /// Answers after the commit. The client may be gone.
    pub(super) fn done(self, commit: &Arc<IngestCommit>) {
        let done = Done {
            commit: Arc::clone(commit),
            outcome: self.outcome,
        };
        drop(self.request.reply.send(Ok(done)));
    }

    /// Answers after the commit failed; the request, if it is to be done again.
    pub(super) fn failed(self, error: &StoreError) -> Option<Request> {
        let mut request = self.request;
        request.tries += 1;
        if error.is_outdated() && request.tries < MAX_TRIES {
            return Some(request);
        }
        request.refuse(error.clone().into());
        None
    }
}

/// The way to ingest. A clone shares it.
#[derive(Clone, Debug)]
pub struct Requests {
    sender: SyncSender<Request>,
    places: Arc<Semaphore>,
    /// How minutes are read.
    pub mapping: Arc<Mapping>,
}

impl Requests {
    /// A queue that nothing serves yet.
    pub fn new(mapping: Mapping) -> (Self, RequestQueue) {
        let (sender, receiver) = mpsc::sync_channel(PLACES);
        let queue = RequestQueue {
            receiver,
            again: VecDeque::new(),
            newest: None,
            _sender: sender.clone(),
        };
        let requests = Self {
            sender,
            places: Arc::new(Semaphore::new(PLACES)),
            // The API refuses unknown fields itself, with the nearest known one.
            mapping: Arc::new(Mapping {
                strict: false,
                ..mapping
            }),
        };
        (requests, queue)
    }

    /// Waits for room for a body of at most this many bytes, which is free again when the place is dropped.
    pub(crate) async fn place(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        let places = u32::try_from(bytes.div_ceil(PLACE_BYTES).clamp(1, PLACES));
        let place = Arc::clone(&self.places).acquire_many_owned(places.unwrap_or(u32::MAX));
        let place = tokio::time::timeout(PLACE_TIMEOUT, place).await;
        place.ok().and_then(Result::ok).ok_or(Refused::Overloaded)
    }

    /// Asks ingest and waits for the answer, which comes after the commit.
    pub(crate) async fn ask(&self, work: Work, span: SpanContext) -> Result<Done, Refused> {
        let (reply, answer) = oneshot::channel();
        let request = Request {
            work,
            span,
            reply,
            tries: 0,
        };
        self.sender.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => Refused::Overloaded,
            TrySendError::Disconnected(_) => Refused::Store(StoreError::Closed),
        })?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Err(_) => Err(Refused::NotAnswered),
            Ok(answer) => answer.unwrap_or(Err(Refused::Store(StoreError::Closed))),
        }
    }
}

/// The requests that wait, for ingest.
#[derive(Debug)]
pub struct RequestQueue {
    receiver: Receiver<Request>,
    /// Requests to do again.
    again: VecDeque<Request>,
    /// Since the newest request.
    newest: Option<Stopwatch>,
    /// So that the queue does not end while ingest runs.
    _sender: SyncSender<Request>,
}

impl RequestQueue {
    /// The next request, if one comes within this time.
    pub(super) fn next(&mut self, wait: Duration) -> Option<Request> {
        if let Some(request) = self.again.pop_front() {
            return Some(request);
        }
        let request = self.receiver.recv_timeout(wait).ok()?;
        self.newest = Some(Stopwatch::start());
        Some(request)
    }

    /// Puts a request back, to do it again.
    pub(super) fn put_back(&mut self, request: Request) {
        self.again.push_back(request);
    }

    /// How long ingest may wait for a message.
    pub(super) fn poll_timeout(&self, idle: Duration) -> Duration {
        let is_busy = self
            .newest
            .is_some_and(|newest| newest.elapsed() < BUSY_TIMEOUT);
        if is_busy { BUSY_POLL_TIMEOUT } else { idle }
    }
}
