//! Time comes into the service here: the wall clock, the clock of spans and the monotonic clock.
//! Everywhere else it is an argument.

use std::time::{Duration, Instant, SystemTime};

pub use common::clock::{Clock, milliseconds};

/// The time for spans: always that of the system, and finer than a [`Clock`]'s.
#[expect(clippy::disallowed_methods, reason = "the edge where time comes in")]
pub(crate) fn span_time() -> SystemTime {
    SystemTime::now()
}

/// Measures a duration, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to measure.
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge where durations are measured"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
