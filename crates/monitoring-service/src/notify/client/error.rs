//! Why a receiver did not accept a request, and when it wants to be asked again. No text contains its address.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest accepted `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The reason why a receiver did not accept a request. No text contains its address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WebhookError {
    /// It accepts no more requests (410).
    #[error("the receiver is gone for good (410)")]
    Gone,
    /// It answered with another status than success. Redirects are not followed: they could send the alert to another
    /// server.
    #[error("the receiver answered {status}{words}")]
    Refused {
        /// Of the answer.
        status: u16,
        /// The wait that it asks for.
        retry_after: Option<RetryAfter>,
        /// The beginning of its answer, or the target of a redirect.
        words: String,
    },
    /// It did not answer in time.
    #[error("connected, no answer within {} s", limit.as_secs_f64())]
    NoAnswer {
        /// `WEBHOOK_TIMEOUT`.
        limit: Duration,
    },
    /// The message could not be written, so nothing was sent.
    #[error("the template of the receiver fails, correct it and start again: {reason}")]
    Template {
        /// What the template does wrong.
        reason: String,
    },
    /// There was no answer.
    #[error("the receiver cannot be reached: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
        /// True if it was connected, so that the request may have arrived.
        connected: bool,
    },
}

impl WebhookError {
    /// The HTTP status of the answer, if there was one.
    pub(crate) const fn status(&self) -> Option<u16> {
        match self {
            Self::Gone => Some(410),
            Self::Refused { status, .. } => Some(*status),
            Self::NoAnswer { .. } | Self::Unreachable { .. } | Self::Template { .. } => None,
        }
    }

    /// True if the receiver may have accepted the request.
    pub(crate) const fn may_have_arrived(&self) -> bool {
        match self {
            Self::Gone | Self::Refused { .. } | Self::Template { .. } => false,
            Self::NoAnswer { .. } => true,
            Self::Unreachable { connected, .. } => *connected,
        }
    }

    /// The status of the answer, or `template`, or `unreachable`, for metrics and traces.
    pub(crate) fn class(&self) -> String {
        if matches!(self, Self::Template { .. }) {
            return "template".to_owned();
        }
        self.status()
            .map_or_else(|| "unreachable".to_owned(), |status| status.to_string())
    }
}

/// A `Retry-After` header (RFC 9110, 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryAfter {
    /// A number of seconds.
    Delay(Duration),
    /// A date.
    At(SystemTime),
}

impl RetryAfter {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        let seconds = text
            .parse()
            .ok()
            .map(|seconds| Self::Delay(Duration::from_secs(seconds)));
        seconds.or_else(|| httpdate::parse_http_date(text).ok().map(Self::At))
    }

    /// How long to wait from `now`: an hour at most, nothing if the date is past.
    pub(crate) fn delay(self, now: SystemTime) -> Duration {
        let delay = match self {
            Self::Delay(delay) => delay,
            Self::At(date) => date.duration_since(now).unwrap_or_default(),
        };
        delay.min(MAX_RETRY_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_at_most_an_hour_and_never_negative() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let after = |seconds| RetryAfter::At(now + Duration::from_secs(seconds)).delay(now);
        assert_eq!(
            RetryAfter::Delay(Duration::from_secs(5)).delay(now),
            Duration::from_secs(5)
        );
        assert_eq!(
            RetryAfter::Delay(Duration::from_hours(24)).delay(now),
            MAX_RETRY_AFTER
        );
        assert_eq!(
            (after(90), after(7200)),
            (Duration::from_secs(90), MAX_RETRY_AFTER)
        );
        assert_eq!(
            RetryAfter::At(SystemTime::UNIX_EPOCH).delay(now),
            Duration::ZERO
        );
    }
}
