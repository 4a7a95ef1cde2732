//! The one place that reads the wall clock. Everywhere else time is an argument.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use jiff::Timestamp;

/// Tells the time: the system's, or one that a test sets.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still at this many milliseconds since 1970 until it is [`Clock::set_ms`].
    pub fn fixed(now_ms: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(now_ms))))
    }

    /// Moves a fixed clock and its clones; a system clock cannot be moved.
    pub fn set_ms(&self, now_ms: i64) {
        if let Self(Some(fixed)) = self {
            fixed.store(now_ms, Ordering::SeqCst);
        }
    }

    /// Milliseconds since 1970-01-01T00:00Z.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Some(fixed) => fixed.load(Ordering::SeqCst),
            None => Self::system_now().as_millisecond(),
        }
    }

    /// The instant.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).unwrap_or(Timestamp::MAX)
    }

    #[expect(clippy::disallowed_methods, reason = "the edge where time comes in")]
    fn system_now() -> Timestamp {
        Timestamp::now()
    }
}

/// The time as spans tell it: always the system's, and finer than a [`Clock`]'s.
#[expect(clippy::disallowed_methods, reason = "the edge where time comes in")]
pub fn span_time() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// Measures how long something takes, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge where durations are measured"
    )]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> std::time::Duration {
        self.0.elapsed()
    }
}
