//! Which alerts a silence covers. The caller passes the active silences, so no clock is needed.

mod period;

use uuid::Uuid;

pub use self::period::{Period, Weekly, WeeklyError};
use crate::{pattern::StreamPattern, status::MonitoredStatus};

/// Suppresses alerts: of some streams, of one status, of one status of some streams, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Recorded with every alert that it suppresses.
    pub id: Uuid,
    /// Only alerts of these streams; `None` for all.
    pub streams: Option<StreamPattern>,
    /// Only alerts of this status; `None` for everything about a stream.
    pub status: Option<MonitoredStatus>,
}

impl Silence {
    /// True if it covers this stream: all of it, or one status.
    pub fn covers_stream(&self, stream: &str) -> bool {
        self.streams
            .as_ref()
            .is_none_or(|pattern| pattern.matches(stream))
    }

    /// True if it suppresses alerts of this stream about this status, or about the stream as a whole.
    fn covers(&self, stream: &str, status: Option<MonitoredStatus>) -> bool {
        self.covers_stream(stream) && (self.status.is_none() || self.status == status)
    }
}

/// The first silence that covers alerts of this stream about this status. `None`: about the stream as a whole, such as that it is
/// stale, which no silence of a single status covers.
pub fn matching<'a>(
    silences: &'a [Silence],
    stream: &str,
    status: Option<MonitoredStatus>,
) -> Option<&'a Silence> {
    silences
        .iter()
        .find(|silence| silence.covers(stream, status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use MonitoredStatus::{Denied, Failed};

    #[test]
    fn a_silence_covers_what_it_names() {
        for (streams, status, covered, others) in [
            (None, None, &[("a", Some(Denied)), ("b", None)][..], &[][..]),
            (
                Some("a"),
                None,
                &[("a", Some(Denied)), ("a", None)],
                &[("b", Some(Denied)), ("b", None), ("ab", None)],
            ),
            (
                Some("day*"),
                None,
                &[("day", None), ("day2", Some(Failed))],
                &[("night", None)],
            ),
            (
                None,
                Some(Denied),
                &[("a", Some(Denied)), ("b", Some(Denied))],
                &[("a", Some(Failed)), ("a", None)],
            ),
            (
                Some("a"),
                Some(Denied),
                &[("a", Some(Denied))],
                &[("a", Some(Failed)), ("b", Some(Denied)), ("a", None)],
            ),
        ] {
            let silence = Silence {
                id: Uuid::nil(),
                streams: streams.map(|text| text.parse().expect("valid")),
                status,
            };
            let silences = [silence];
            for (stream, about) in covered {
                assert!(
                    matching(&silences, stream, *about).is_some(),
                    "{silences:?}: {stream} {about:?}"
                );
            }
            for (stream, about) in others {
                assert!(
                    matching(&silences, stream, *about).is_none(),
                    "{silences:?}: {stream} {about:?}"
                );
            }
        }
    }
}
