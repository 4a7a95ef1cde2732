//! The wall clock. Only this file reads it; elsewhere time is an argument, so tests can set it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

/// The system's time, or one that a test sets. A clone shows the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The system's clock.
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that shows `now_ms` (milliseconds since 1970) until [`Clock::set_ms`] changes it.
    pub fn fixed(now_ms: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(now_ms))))
    }

    /// Sets a fixed clock and its clones; has no effect on the system's clock.
    pub fn set_ms(&self, now_ms: i64) {
        if let Self(Some(fixed)) = self {
            fixed.store(now_ms, Ordering::SeqCst);
        }
    }

    /// Milliseconds since 1970-01-01T00:00Z.
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Some(fixed) => fixed.load(Ordering::SeqCst),
            None => system_now().as_millisecond(),
        }
    }

    /// The instant, to the millisecond.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).unwrap_or(Timestamp::MAX)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the only place that reads the clock"
)]
fn system_now() -> Timestamp {
    Timestamp::now()
}

/// A duration in whole milliseconds, the unit of every stored time; `i64::MAX` if it is longer.
pub fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
